"""A trial ends on a plateau of its validation score, complete, and never before its structure is fixed."""

from collections.abc import Callable

import pytest

from slasearch.records import EarlyStopSpec, FinalisationSpec, Progress, TrainingSpec, TrialReport, TrialSpec
from slasearch.trial.run import TrialWorker
from slasearch.trial.stopping import Plateau

Spec = Callable[..., TrialSpec]


def ends_at(rule: EarlyStopSpec, scores: list[float], after: int = 0) -> int | None:
    plateau = Plateau(rule, after=after, total=100)
    return next((step for step, score in enumerate(scores, 1) if plateau.reached(step, score)), None)


@pytest.mark.parametrize(
    ("rule", "after", "scores", "end"),
    [
        (EarlyStopSpec(1), 0, [0.5, 0.6, 0.6], 3),
        (EarlyStopSpec(2), 0, [0.5, 0.4, 0.6, 0.6, 0.5], 5),  # the better one in between starts the wait anew
        (EarlyStopSpec(2), 0, [0.5, 0.6, 0.7, 0.8], None),
        (EarlyStopSpec(2, 0.05), 0, [0.5, 0.54, 0.549], 3),  # steps too small to count, though they add up
        (EarlyStopSpec(2, 0.05), 0, [0.5, 0.54, 0.56, 0.57], None),  # measured from the best, not from the last
        (EarlyStopSpec(1), 3, [0.9, 0.9, 0.9, 0.5, 0.6, 0.6], 6),  # what came before counts for nothing
        (EarlyStopSpec(1), 9, [0.5] * 9, None),
    ],
)
def test_the_rule(rule: EarlyStopSpec, after: int, scores: list[float], end: int | None) -> None:
    assert ends_at(rule, scores, after) == end


def still(**changes: object) -> TrainingSpec:
    """Training that changes nothing, so that every score is the same: 20 steps, a report at every second."""
    settings = {"steps": 20, "reports": 10, "early_stop": EarlyStopSpec(1), **changes}
    return TrainingSpec(8, 0.0, 0.0, 0.0, "constant", **settings)  # type: ignore[arg-type]


HALF = FinalisationSpec(share=0.5)


@pytest.mark.parametrize("control", [None, "random"])
def test_a_trial_on_a_plateau_is_complete_and_says_what_it_skipped(
    control: str | None, make_spec: Spec, worker: TrialWorker
) -> None:
    spec = make_spec(training=still(), finalisation=HALF, control=control, control_size=5000)
    *progress, report = worker.run(spec)
    assert isinstance(report, TrialReport)
    # Finalised with step 10: the reports at 12 and 14 are the first two that count, for a control as well.
    assert [item.budget for item in progress] == [2, 4, 6, 8, 10, 12, 14]
    assert (report.state, report.budget, report.budget_max) == ("complete", 14, 20)
    assert {cost.name: cost.value for cost in report.costs}["skipped_steps"] == 6
    (event,) = (event for event in report.events if event.kind == "plateau")
    assert event.message.startswith("Ended at step 14 of 20: in 1 report the validation score did not rise by more")
    last = progress[-1]
    assert isinstance(last, Progress)
    assert report.objectives["score"] == last.score, "what is handed back is the model of that step"
    assert {row.condition for row in report.metrics} == {"clean", "typos", "embedding_gaussian"}
    assert report.artifact


def test_without_the_rule_or_a_plateau_a_trial_takes_all_its_steps(make_spec: Spec, worker: TrialWorker) -> None:
    patient = EarlyStopSpec(5)
    for rule, skipped in ((None, None), (patient, 0.0)):
        *_, report = worker.run(make_spec(training=still(early_stop=rule), finalisation=HALF))
        assert isinstance(report, TrialReport)
        assert (report.budget, report.budget_max) == (20, 20)
        assert {cost.name: cost.value for cost in report.costs}.get("skipped_steps") == skipped
        assert not any(event.kind == "plateau" for event in report.events)


def test_a_method_with_a_schedule_of_its_own_runs_to_its_end(make_spec: Spec, worker: TrialWorker) -> None:
    training = still(steps=5, reports=5)
    end = FinalisationSpec(share=0.9)
    *progress, report = worker.run(make_spec(training=training, finalisation=end, control="full_fine_tuning"))
    assert isinstance(report, TrialReport)
    assert (report.state, report.budget, len(progress)) == ("complete", 5, 4), report.reason
