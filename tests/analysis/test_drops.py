from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
from synthetic import DROP, MEASURED, NOISE, TASKS, TYPOS, Plan, disturbed

from slasearch.analysis.drops import Drop, PerformanceDrops, performance_drops
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.intervals import holm, p_of_zero, t_interval
from slasearch.errors import ReportError

ROLES = ("winner", "control:lora", "control:random", "control:linear_probe")


@pytest.fixture(scope="module")
def first(frames: StudyFrames) -> PerformanceDrops:
    return performance_drops(frames)[0]


def the(item: PerformanceDrops, role: str, series: str, condition: str, level: float) -> Drop:
    return next(drop for drop in item.of(role, series) if (drop.condition, drop.level) == (condition, level))


def stored(frames: StudyFrames, item: PerformanceDrops, role: str, task: str, kind: str, level: float) -> pd.Series:
    """Rates of the runs by repeat, straight from the stored metrics."""
    winner = frames.trials.loc[frames.trials["number"] == item.number, "trial_id"].iloc[0]
    runs = frames.trials[(frames.trials["phase"] == "confirm") & (frames.trials["role"] == role)]
    runs = runs[(runs["pair_of"] == winner) | runs["pair_of"].isna()]
    metrics = frames.metrics[(frames.metrics["split"] == "test") & (frames.metrics["task"] == task)]
    metrics = metrics[metrics["metric"] == TASKS[task][1]].merge(runs[["trial_id", "repeat"]], on="trial_id")
    clean = metrics[metrics["condition"] == "clean"].set_index("repeat")["value"]
    noisy = metrics[(metrics["condition"] == kind) & (metrics["level"] == level)].set_index("repeat")["value"]
    return ((clean - noisy) / clean).sort_index()


def test_a_rate_is_the_share_of_the_clean_score_that_a_run_loses(frames: StudyFrames, first: PerformanceDrops) -> None:
    for role in ROLES:
        expected = stored(frames, first, role, "spam", "typos", 0.2)
        drop = the(first, role, "spam", "typos", 0.2)
        assert drop.values == pytest.approx(tuple(expected))
        assert drop.rate == t_interval(drop.values)


def test_a_known_drop(frames: StudyFrames, first: PerformanceDrops) -> None:
    winner = frames.trials.loc[frames.trials["number"] == first.number, "trial_id"].iloc[0]
    params = frames.params.set_index("trial_id").loc[winner]
    fall = 1.0 - disturbed(1.0, "typos", 0.4, params)
    clean = frames.clean_scores("test").merge(frames.trials[["trial_id", "role", "pair_of"]], on="trial_id")
    clean = clean[(clean["role"] == "winner") & (clean["pair_of"] == winner) & (clean["series"] == "bbc")]["value"]
    assert sorted(the(first, "winner", "bbc", "typos", 0.4).values) == pytest.approx(sorted(fall / clean))
    assert 0 < fall < DROP["typos"]
    assert {TYPOS, NOISE} <= set(params.index)


def test_the_mean_is_over_the_tasks_own_rates(frames: StudyFrames, first: PerformanceDrops) -> None:
    rates = [stored(frames, first, "control:lora", task, "embedding_gaussian", 0.3) for task in TASKS]
    drop = the(first, "control:lora", MEAN, "embedding_gaussian", 0.3)
    assert drop.values == pytest.approx(tuple(sum(rates) / len(TASKS)))


def test_differences_are_paired_by_seed(first: PerformanceDrops) -> None:
    for role in ROLES[1:]:
        one, other = (the(first, name, MEAN, "typos", 0.4) for name in ("winner", role))
        assert other.pairs == pytest.approx([a - b for a, b in zip(one.values, other.values, strict=True)])
        assert other.difference == t_interval(other.pairs)
        assert other.p == p_of_zero(other.difference)
    winner = the(first, "winner", MEAN, "typos", 0.4)
    assert (winner.difference, winner.pairs, winner.verdict) == (None, (), "no interval")


def test_every_arm_series_condition_and_level_is_there(first: PerformanceDrops) -> None:
    assert first.roles == ROLES
    conditions = [(kind, level) for kind, levels in MEASURED.items() for level in levels]
    assert list(first.conditions) == conditions
    assert len(first.drops) == len(ROLES) * (len(TASKS) + 1) * len(conditions)
    assert (first.complete, first.failed, first.undefined, first.warnings) == (12, 0, 0, ())


def test_the_worst_condition_is_the_highest_level(first: PerformanceDrops) -> None:
    for role in ROLES:
        worst = first.worst(role)
        assert worst is not None
        assert worst.level == max(MEASURED[worst.condition])
        assert worst.rate.mean == max(drop.rate.mean for drop in first.of(role))


def test_p_values_are_adjusted_over_all_winners_controls_and_conditions(frames: StudyFrames) -> None:
    found = [drop for item in performance_drops(frames) for drop in item.drops]
    means = [drop for drop in found if drop.series == MEAN]
    assert [drop.p_holm for drop in means] == holm([drop.p for drop in means])
    assert {drop.p_holm for drop in found if drop.series != MEAN} == {None}


def test_verdicts_tell_who_loses_less() -> None:
    less = Drop(
        "control:lora", MEAN, "typos", 0.1, t_interval([0.1]), (0.1,), t_interval([-0.1, -0.11]), (), 0.01, 0.02
    )
    assert less.verdict == "better"
    assert replace(less, difference=t_interval([0.1, 0.11])).verdict == "worse"
    assert replace(less, p_holm=0.2).verdict == "not told apart"
    assert replace(less, p=None, p_holm=None).verdict == "no interval"


def test_a_clean_score_of_zero_has_no_rate(frames: StudyFrames, first: PerformanceDrops) -> None:
    metrics = frames.metrics.copy()
    run = frames.phase_trials("confirm")
    run = int(run.loc[run["role"] == "control:linear_probe", "trial_id"].iloc[0])
    hit = (metrics["trial_id"] == run) & (metrics["task"] == "spam") & (metrics["condition"] == "clean")
    metrics.loc[hit, "value"] = -0.02
    item = performance_drops(replace(frames, metrics=metrics))[0]
    assert item.undefined == 6
    assert item.warnings[0].startswith("6 rates of runs do not exist")
    assert the(item, "control:linear_probe", "spam", "typos", 0.2).rate.n == 2
    mean = the(item, "control:linear_probe", MEAN, "typos", 0.2)
    assert (mean.rate.n, len(mean.pairs)) == (2, 2)
    assert the(item, "control:lora", MEAN, "typos", 0.2) == replace(
        the(first, "control:lora", MEAN, "typos", 0.2), p_holm=the(item, "control:lora", MEAN, "typos", 0.2).p_holm
    )


def test_one_seed_has_rates_and_no_intervals(frames_of: Callable[[Plan], StudyFrames]) -> None:
    item = performance_drops(frames_of(Plan(seeds=1)))[0]
    assert item.warnings == ("one seed pair: no intervals",)
    drop = the(item, "control:lora", MEAN, "typos", 0.2)
    assert (drop.rate.n, drop.rate.low, drop.verdict) == (1, None, "no interval")


def test_a_sampled_validation_split_does_not_matter(frames_of: Callable[[Plan], StudyFrames]) -> None:
    item = performance_drops(frames_of(Plan(share=0.25)))[0]
    assert len(the(item, "winner", MEAN, "typos", 0.2).values) == 3


def test_nothing_measured_or_confirmed_is_refused(frames_of: Callable[[Plan], StudyFrames]) -> None:
    with pytest.raises(ReportError, match="0 conditions"):
        performance_drops(frames_of(Plan(measured=False)))
    with pytest.raises(ReportError, match="0 winners"):
        performance_drops(frames_of(Plan(confirm=False)))
