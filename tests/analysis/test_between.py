"""Arms of several stored studies, and any two roles of one: pairs by seeds, Welch without, refusals."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import TASKS, Plan, write_study

from slasearch.analysis.between import Contrasts, compare_studies
from slasearch.analysis.compare import compare
from slasearch.analysis.frames import MEAN, StudyFrames, load_frames
from slasearch.analysis.groups import ArmName
from slasearch.analysis.intervals import holm
from slasearch.analysis.measure import Measure
from slasearch.errors import ReportError

DIGESTS = {task: task * 4 for task in TASKS}
PLANS = {"old": Plan(seeds=7), "new": Plan(seeds=7, seed=1, lora=0.02)}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyFrames]:
    """Two studies of two databases, of the same data and seed pairs."""
    found = {}
    for name, plan in PLANS.items():
        url = f"sqlite:///{tmp_path_factory.mktemp('between') / 'study.db'}"
        write_study(url, name, plan)
        found[name] = with_data(load_frames(url, name), DIGESTS)
    return found


def other_seeds(frames: StudyFrames, shift: int, repeats: int = 0) -> StudyFrames:
    """The same runs under other seeds, from that repeat on."""
    trials = frames.trials.copy()
    trials.loc[trials["repeat"] >= repeats, ["init_seed", "data_seed"]] += shift
    return replace(frames, trials=trials)


def with_config(frames: StudyFrames, task: str, **changes: Any) -> StudyFrames:
    tasks = tuple(one.model_copy(update=changes) if one.name == task else one for one in frames.config.tasks)
    return replace(frames, config=frames.config.model_copy(update={"tasks": tasks}))


def with_data(frames: StudyFrames, digests: Mapping[str, str] | None) -> StudyFrames:
    return replace(frames, study=replace(frames.study, data=json.dumps(digests) if digests else None))


def scores(frames: StudyFrames, role: str, series: str = MEAN) -> pd.Series:
    """Test scores of the first winner's group by init seed."""
    first = compare(frames)[0].winner_id
    runs = frames.confirmed(first)
    rows = runs[runs["role"] == role].merge(frames.clean_scores("test"), on="trial_id")
    return rows[rows["series"] == series].set_index("init_seed")["value"]


def only(found: Contrasts) -> ArmName:
    (arm,) = found.arms[1:]
    return arm.name


# ---------------------------------------------------------------- between studies


def test_winners_of_two_studies_are_paired_by_their_seeds(stored: dict[str, StudyFrames]) -> None:
    found = compare_studies(stored)
    arm = only(found)
    assert (found.reference.name.study, arm.study, arm.role) == ("old", "new", "winner")
    for series in (MEAN, "spam"):
        pairs = scores(stored["new"], "winner", series) - scores(stored["old"], "winner", series)
        one = found.contrast(arm, series).evidence
        assert one.pairs == pytest.approx(tuple(pairs.sort_index()))
        assert one.difference.p == pytest.approx(stats.ttest_1samp(pairs, 0).pvalue)
        assert one.difference.paired
    assert found.contrast(arm).evidence.signed_rank is not None
    assert found.method == "test split; paired by seeds, 95 % t-interval of the differences"


def test_the_order_of_tasks_does_not_matter(stored: dict[str, StudyFrames]) -> None:
    new = stored["new"]
    turned = replace(new, config=new.config.model_copy(update={"tasks": new.config.tasks[::-1]}))
    before, after = (compare_studies({"old": stored["old"], "new": frames}) for frames in (new, turned))
    assert before.contrasts == after.contrasts


def test_other_seeds_are_not_paired_and_that_is_said(stored: dict[str, StudyFrames]) -> None:
    found = compare_studies({"old": stored["old"], "new": other_seeds(stored["new"], 500)})
    arm = only(found)
    one = found.contrast(arm).evidence
    first, second = scores(stored["new"], "winner"), scores(stored["old"], "winner")
    welch = stats.ttest_ind(first, second, equal_var=False)
    low, high = welch.confidence_interval()
    assert (one.pairs, one.difference.paired, one.signed_rank) == ((), False, None)
    assert (one.difference.low, one.difference.high) == (pytest.approx(low), pytest.approx(high))
    assert one.difference.p == pytest.approx(welch.pvalue)
    assert "Welch" in found.method
    assert f"{arm.label}: 0 runs share their seeds with {found.reference.name.label}, so runs are not paired" in (
        found.warnings
    )


def test_pairing_is_narrower_as_seeds_share_their_level(stored: dict[str, StudyFrames]) -> None:
    old = stored["old"]
    found = compare_studies({"old": old, "moved": other_seeds(old, 500)}, against=("old", "lora"))
    pairs, apart = (
        next(item.evidence for item in found.contrasts if (item.arm.study, item.arm.role) == (study, "winner"))
        for study in ("old", "moved")
    )
    assert (pairs.difference.paired, apart.difference.paired) == (True, False)
    assert pairs.difference.estimate == pytest.approx(apart.difference.estimate)
    assert pairs.difference.error is not None
    assert apart.difference.error is not None
    assert pairs.difference.error < apart.difference.error
    assert pairs.detectable.estimate < apart.detectable.estimate


def test_half_of_the_seeds_in_common_are_paired_and_fewer_are_not(stored: dict[str, StudyFrames]) -> None:
    four = compare_studies({"old": stored["old"], "new": other_seeds(stored["new"], 500, repeats=4)})
    three = compare_studies({"old": stored["old"], "new": other_seeds(stored["new"], 500, repeats=3)})
    assert four.contrast(only(four)).evidence.difference.n == 4
    assert any("6 runs of it or of old: Searched structures" in warning for warning in four.warnings)
    assert not three.contrast(only(three)).evidence.difference.paired
    assert any(": 3 runs share their seeds with old" in warning for warning in three.warnings)


def test_a_role_of_each_study_and_one_reference_for_all(stored: dict[str, StudyFrames]) -> None:
    lora = compare_studies(stored, role="lora")
    assert [arm.name.role for arm in lora.arms] == ["control:lora", "control:lora"]
    assert lora.contrast(only(lora)).evidence.standing == "better"
    all_arms = compare_studies(stored, against=("new", "control:lora"))
    assert all_arms.reference.name == only(lora)
    assert len(all_arms.arms) == 8
    means = [item.evidence for item in all_arms.contrasts if item.series == MEAN]
    assert [one.p_holm for one in means] == holm([one.difference.p for one in means])
    ranks = [one.signed_rank.p if one.signed_rank else None for one in means]
    assert [one.signed_rank_holm for one in means] == holm(ranks)


def test_a_confirmed_trial_can_be_named(stored: dict[str, StudyFrames]) -> None:
    second = compare(stored["old"])[1]
    found = compare_studies(stored, trials={"old": second.number})
    assert found.reference.name.trial == second.number
    assert found.reference.score() == second.winner.score()
    assert any(f"compared is trial {second.number}" in warning for warning in found.warnings)
    with pytest.raises(ReportError, match=r"expected a trial that old has confirmed \(.*\), got 4711"):
        compare_studies(stored, trials={"old": 4711})


# ---------------------------------------------------------------- within a study


def test_any_two_roles_of_one_study(stored: dict[str, StudyFrames]) -> None:
    found = compare_studies({"old": stored["old"]}, role="random")
    name = found.reference.name
    assert name.role == "control:random"
    lora = found.contrast(replace(name, role="control:lora")).evidence
    pairs = scores(stored["old"], "control:lora") - scores(stored["old"], "control:random")
    assert lora.pairs == pytest.approx(tuple(pairs.sort_index()))
    assert {item.arm.role for item in found.contrasts} == {"winner", "control:lora", "control:linear_probe"}


def test_the_winner_is_compared_as_the_comparison_with_controls_has_it(stored: dict[str, StudyFrames]) -> None:
    first = compare(stored["old"])[0]
    found = compare_studies({"old": stored["old"]})
    for arm in found.arms[1:]:
        mine, theirs = found.contrast(arm.name).evidence, first.difference(arm.name.role).evidence
        assert mine.pairs == pytest.approx(tuple(-value for value in theirs.pairs))
        assert mine.difference.p == pytest.approx(theirs.difference.p)
        assert mine.improvement.estimate == pytest.approx(1 - theirs.improvement.estimate)


def test_evidence_stands_with_every_comparison_of_a_winner(frames_of: Callable[[Plan], StudyFrames]) -> None:
    for item in compare(frames_of(Plan(seeds=7))):
        for one in item.differences:
            evidence = one.evidence
            assert evidence.difference.n == evidence.improvement.n == len(one.pairs) == 7
            assert evidence.signed_rank is not None
            assert (evidence.iqm is not None) == (one.series == MEAN)
            assert evidence.non_inferiority.holds == (evidence.difference.low > -0.005)  # type: ignore[operator]
            assert evidence.detectable.estimate > 0


def test_the_interquartile_difference_is_over_all_runs_and_tasks(frames: StudyFrames) -> None:
    first = compare(frames)[0]
    runs = frames.confirmed(first.winner_id).merge(frames.clean_scores("test"), on="trial_id")
    tasks = runs[runs["series"] != MEAN]
    middle = [stats.trim_mean(tasks.loc[tasks["role"] == role, "value"], 0.25) for role in ("winner", "control:lora")]
    found = first.difference("control:lora").evidence
    assert found.iqm is not None
    assert found.iqm.estimate == pytest.approx(middle[0] - middle[1])
    assert "got 3" in found.signed_rank_refused


def test_standings(frames_of: Callable[[Plan], StudyFrames]) -> None:
    item = compare(frames_of(Plan(seeds=7, lora=0.02)), margin=0.05)[0]
    assert item.difference("control:lora").verdict == "worse"
    assert item.difference("control:lora").evidence.standing == "worse, within margin"
    assert item.difference("control:linear_probe").evidence.standing == "better"
    close = compare(frames_of(Plan(seeds=7, lora=0.0)), margin=0.05)[0].difference("control:lora")
    assert (close.verdict, close.evidence.standing) == ("not told apart", "non-inferior")
    narrow = compare(frames_of(Plan(seeds=7, lora=0.0)), margin=1e-6)[0].difference("control:lora")
    assert narrow.evidence.standing == "not told apart"
    single = compare(frames_of(Plan(seeds=1)))[0].difference("control:lora")
    assert single.evidence.standing == "no interval"


# ---------------------------------------------------------------- what is measured


def test_scores_under_a_measured_condition(frames: StudyFrames) -> None:
    measure = Measure(condition="typos", level=0.2)
    first = compare(frames, measure)[0]
    rows = frames.scores[(frames.scores["split"] == "test") & (frames.scores["condition"] == "typos")]
    rows = rows[np.isclose(rows["level"], 0.2)].merge(frames.confirmed(first.winner_id), on="trial_id")
    rows = rows[rows["series"] == MEAN].pivot(index="repeat", columns="role", values="value")
    assert first.difference("control:lora").pairs == pytest.approx(tuple(rows["winner"] - rows["control:lora"]))
    assert first.winner.score().mean < compare(frames)[0].winner.score().mean
    assert first.method.startswith("test split under typos at 0.2; paired by seed pair over 3 repeats")


def test_tasks_of_one_metric_and_the_validation_split(frames: StudyFrames) -> None:
    spam = compare(frames, Measure(metric="mcc"))[0]
    assert [name for name, _ in spam.winner.scores] == [MEAN, "spam"]
    assert spam.winner.score() == compare(frames)[0].winner.score("spam")
    shown = compare(frames, Measure(split="validation"))[0]
    assert shown.winner.score() != compare(frames)[0].winner.score()
    assert any("too good" in warning for warning in shown.warnings)


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (Measure(condition="typos", level=0.3), r"\(typos:0\.1, typos:0\.2, .*\), got typos:0\.3"),
        (Measure(condition="casing", level=0.1), r"got casing:0\.1"),
        (Measure(metric="recall"), r"\(accuracy, macro_f1, mcc\), got recall"),
    ],
)
def test_what_was_not_measured_is_refused(frames: StudyFrames, measure: Measure, text: str) -> None:
    with pytest.raises(ReportError, match=text):
        compare(frames, measure)


# ---------------------------------------------------------------- refusals between studies


def test_other_data_metrics_and_tasks_are_refused_with_all_of_it(stored: dict[str, StudyFrames]) -> None:
    new = with_config(stored["new"], "bbc", metric="macro_f1")
    new = with_data(new, {**DIGESTS, "spam": "changed"})
    with pytest.raises(ReportError) as refused:
        compare_studies({"old": stored["old"], "new": new})
    assert "other metrics for bbc (macro_f1)" in str(refused.value)
    assert "in new other data for spam" in str(refused.value)
    fewer = replace(new, config=new.config.model_copy(update={"tasks": new.config.tasks[:2]}))
    with pytest.raises(ReportError, match="in new the tasks tweets, spam instead of tweets, spam, bbc"):
        compare_studies({"old": stored["old"], "new": fewer})


def test_data_that_are_not_known_are_refused(stored: dict[str, StudyFrames]) -> None:
    with pytest.raises(ReportError, match="got no digest of the data of new"):
        compare_studies({"old": stored["old"], "new": with_data(stored["new"], None)})


def test_tasks_of_one_metric_suffice_where_only_they_are_alike(stored: dict[str, StudyFrames]) -> None:
    new = with_data(stored["new"], {**DIGESTS, "tweets": "changed"})
    found = compare_studies({"old": stored["old"], "new": new}, measure=Measure(metric="mcc"))
    assert {item.series for item in found.contrasts} == {MEAN, "spam"}


def test_another_disturbance_is_refused_only_under_that_condition(stored: dict[str, StudyFrames]) -> None:
    conditions = stored["new"].config.conditions
    measured = tuple(one.model_copy(update={"seed": 9}) for one in conditions.measured)
    config = stored["new"].config.model_copy(
        update={"conditions": conditions.model_copy(update={"measured": measured})}
    )
    studies = {"old": stored["old"], "new": replace(stored["new"], config=config)}
    assert compare_studies(studies).contrasts
    with pytest.raises(ReportError, match="in new another seed or scale of typos"):
        compare_studies(studies, measure=Measure(condition="typos", level=0.2))


def test_another_backbone_and_length_are_pointed_out(stored: dict[str, StudyFrames]) -> None:
    new = with_config(stored["new"], "bbc", max_tokens=128)
    backbone = new.config.backbone.model_copy(update={"id": "path:other"})
    new = replace(new, config=new.config.model_copy(update={"backbone": backbone}))
    warnings = compare_studies({"old": stored["old"], "new": new}).warnings
    assert "new has another backbone: path:other, old bundled:minilm" in warnings
    assert "new cuts texts at another length than old: bbc" in warnings


def test_unknown_roles_and_studies_are_refused(stored: dict[str, StudyFrames]) -> None:
    with pytest.raises(ReportError, match=r"\(winner, lora, random, linear_probe\), got bitfit"):
        compare_studies(stored, role="bitfit")
    with pytest.raises(ReportError, match="expected one of the studies old, new, got older"):
        compare_studies(stored, against=("older", "lora"))


def test_a_study_without_controls_or_confirmation(frames_of: Callable[[Plan], StudyFrames], tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="expected an arm to compare with"):
        compare_studies({"bare": frames_of(Plan(controls=()))})
    with pytest.raises(ReportError, match="of the confirm phase of bare, got none"):
        compare_studies({"bare": frames_of(Plan(confirm=False))})


def test_a_control_whose_runs_all_failed_has_no_arm_and_no_numbers(frames: StudyFrames) -> None:
    trials = frames.trials.copy()
    lost = (trials["phase"] == "confirm") & (trials["role"] == "control:lora")
    trials.loc[lost, "state"] = "fail"
    broken = replace(frames, trials=trials)
    item = compare(broken)[0].difference("control:lora")
    assert (item.difference.n, item.verdict, item.evidence.standing) == (0, "no interval", "no interval")
    assert "control:lora" not in [arm.name.role for arm in compare_studies({"a": broken}).arms]
