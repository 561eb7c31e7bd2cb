"""Conditions are measured at a trial's end only, in the search on a part of the validation split if so asked."""

from collections.abc import Callable, Iterable

import pytest

from slasearch.perturb.apply import perturb_examples
from slasearch.records import CLEAN_SAMPLE, ConditionSpec, MetricRow, Progress, TrialReport, TrialSpec
from slasearch.trial.run import TrialWorker

Spec = Callable[..., TrialSpec]
Finish = Callable[..., TrialReport]

TYPOS = tuple(ConditionSpec("typos", level, "eval") for level in (0.3, 0.6))


def scores(rows: Iterable[MetricRow], *conditions: str) -> dict[tuple[str, str, float], MetricRow]:
    found = (row for row in rows if row.condition in conditions and row.metric == "accuracy")
    return {(row.task, row.condition, row.level): row for row in found}


def mean(rows: Iterable[MetricRow], *conditions: str) -> float:
    values = [row.value for row in scores(rows, *conditions).values()]
    return sum(values) / len(values)


def another(worker: TrialWorker) -> TrialWorker:
    """A worker with the same data that has measured nothing yet."""
    return TrialWorker(list(worker.resources._tasks.values()), cache=None, threads=1, device="cpu")


def test_a_trial_that_is_pruned_never_pays_for_conditions(
    make_spec: Spec, worker: TrialWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed = []

    def watched(examples, condition, **more):  # type: ignore[no-untyped-def]
        disturbed.append(condition)
        return perturb_examples(examples, condition, **more)

    monkeypatch.setattr("slasearch.trial.data.perturb_examples", watched)
    fresh = another(worker)
    running = fresh.run(make_spec(measured=TYPOS))
    progress = next(running)
    assert isinstance(progress, Progress)
    assert progress.prunable
    assert {row.condition for row in progress.metrics} == {"clean"}
    running.close()
    assert disturbed == []
    *_, report = fresh.run(make_spec(measured=TYPOS))
    assert isinstance(report, TrialReport)
    assert disturbed == [condition for condition in TYPOS for _ in ("things", "mood")]


@pytest.mark.parametrize("measure", ["relative", "curve_area", "noisy_score"])
def test_a_share_of_the_examples_is_measured_with_its_own_clean_score(
    measure: str, make_spec: Spec, finish: Finish
) -> None:
    whole = finish(make_spec(measured=TYPOS, robustness=measure))
    half = finish(make_spec(measured=TYPOS, robustness=measure, measured_share=0.5))
    assert scores(half.metrics, "clean") == scores(whole.metrics, "clean"), "training and score are the same"
    assert half.objectives["score"] == whole.objectives["score"]
    assert {row.examples for row in whole.metrics} == {8}
    assert {row.error for row in whole.metrics} == {None}
    part = scores(half.metrics, CLEAN_SAMPLE, "typos")
    assert len(part) == 2 * 3
    assert {row.examples for row in part.values()} == {4}
    for row in part.values():
        assert row.error == pytest.approx((row.value * (1 - row.value) / 3) ** 0.5)
    clean = mean(half.metrics, CLEAN_SAMPLE)
    by_level = [sum(part[task, "typos", level].value for task in ("things", "mood")) / 2 for level in (0.3, 0.6)]
    expected = {
        "noisy_score": sum(by_level) / 2,
        "relative": sum(by_level) / 2 / clean,
        "curve_area": (0.5 * (clean + by_level[0]) + 0.5 * (by_level[0] + by_level[1])) / 2,
    }
    assert half.objectives["robustness"] == pytest.approx(expected[measure])


def test_every_trial_is_measured_on_the_same_examples(make_spec: Spec, worker: TrialWorker) -> None:
    """What differs between two trials' scores is then theirs: the disturbed texts are the very same."""
    backbone, tasks = worker.resources.backbone(make_spec().backbone), worker.resources.tasks(make_spec())
    sample = worker.resources.evaluation(tasks, backbone, 0.5)
    for seeds in (1, 2):
        list(worker.run(make_spec(measured=TYPOS, measured_share=0.5, control="linear_probe", control_size=seeds)))
        assert worker.resources.evaluation(tasks, backbone, 0.5) is sample
    other = another(worker).resources
    again = other.evaluation(other.tasks(make_spec()), other.backbone(make_spec().backbone), 0.5)
    for condition in (None, *TYPOS):
        changing = condition
        ours, theirs = (data.encoded(0, "validation", changing) for data in (sample, again))
        assert ours.example_ids == theirs.example_ids
        assert ours.input_ids.tolist() == theirs.input_ids.tolist()


def test_the_test_split_is_measured_whole(make_spec: Spec, finish: Finish) -> None:
    report = finish(make_spec(measured=TYPOS, measured_share=0.5, splits=("validation", "test")))
    rows = [row for row in report.metrics if row.split == "test"]
    assert {(row.condition, row.examples, row.error) for row in rows} == {("clean", 4, None), ("typos", 4, None)}


def test_in_a_race_a_trial_reports_after_each_condition_the_hardest_first(
    make_spec: Spec, finish: Finish, worker: TrialWorker
) -> None:
    measured = (*TYPOS, ConditionSpec("word_drop", 0.2, "eval"), ConditionSpec("word_drop", 0.4, "eval"))
    spec = make_spec(measured=measured)
    *told, report = another(worker).run(make_spec(measured=measured, race=True))
    standings = [one for one in told if isinstance(one, Progress) and one.exported_parameters is not None]
    assert isinstance(report, TrialReport)
    plain = finish(spec)
    assert set(report.metrics) == set(plain.metrics), "a trial that comes to its end has measured the same"
    assert report.objectives == plain.objectives
    assert report.artifact == plain.artifact
    newest = [(one.metrics[-1].condition, one.metrics[-1].level) for one in standings]
    assert newest == [("typos", 0.6), ("word_drop", 0.4), ("typos", 0.3), ("word_drop", 0.2)]
    for number, one in enumerate(standings, 1):
        assert one.prunable
        assert one.budget == one.budget_max == report.budget
        assert one.score == report.objectives["score"]
        assert one.exported_parameters == report.objectives["exported_parameters"]
        assert len(scores(one.metrics, "typos", "word_drop")) == 2 * number
        assert set(one.metrics) <= set(report.metrics)


def test_a_trial_that_is_out_of_the_race_is_measured_no_further(
    make_spec: Spec, worker: TrialWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed = []

    def watched(examples, condition, **more):  # type: ignore[no-untyped-def]
        disturbed.append(condition.level)
        return perturb_examples(examples, condition, **more)

    monkeypatch.setattr("slasearch.trial.data.perturb_examples", watched)
    running = another(worker).run(make_spec(measured=TYPOS, race=True))
    for told in running:
        if isinstance(told, Progress) and told.exported_parameters is not None:
            running.close()
    assert disturbed == [0.6, 0.6]
