import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import BASE, LEVELS, MEASURED, NOISE, RANKS, TASKS, TYPOS, WEIGHT, Plan

from slasearch.analysis.curves import build_series, curve_table
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.intervals import holm, log_interval, t_interval
from slasearch.analysis.robustness import robustness_curves
from slasearch.analysis.sensitivity import design_curves, level_p_values, measured_curves, responses
from slasearch.errors import ReportError

SERIES = (*TASKS, MEAN)


def test_known_data_give_known_points() -> None:
    rows = [("a", level, repeat, 10 * repeat + level, level + repeat) for level in (1, 2) for repeat in (0, 1, 2)]
    data = pd.DataFrame(rows, columns=["series", "level", "repeat", "trial_id", "value"])
    (series,) = build_series(data, ["a", "b"], [1, 2, 3])
    assert [point.level for point in series.points] == [1, 2]
    assert series.points[0].values == (1.0, 2.0, 3.0)
    assert series.points[0].trial_ids == (1, 11, 21)
    assert series.points[1].estimate == t_interval([2, 3, 4])


def test_interval_counts_repeats_not_trials() -> None:
    rows = [("a", 1.0, repeat, trial, float(repeat)) for repeat in (0, 1) for trial in (repeat, repeat + 10)]
    data = pd.DataFrame(rows, columns=["series", "level", "repeat", "trial_id", "value"])
    (series,) = build_series(data, ["a"], [1.0])
    assert len(series.points[0].values) == 4
    assert series.points[0].estimate == t_interval([0.0, 1.0])


def test_sizes_have_a_geometric_mean_within_a_repeat_too() -> None:
    """Of a grid, where a level stands once for each level of the other field."""
    rows = [
        ("a", 1.0, repeat, 2 * repeat + place, size) for repeat in (0, 1) for place, size in enumerate((100.0, 1e4))
    ]
    data = pd.DataFrame(rows, columns=["series", "level", "repeat", "trial_id", "value"])
    (series,) = build_series(data, ["a"], [1.0], log_interval)
    assert series.points[0].estimate.mean == pytest.approx(1000)
    data.loc[0, "value"] = 0.0
    (series,) = build_series(data, ["a"], [1.0], log_interval)
    assert series.points[0].estimate.mean == 0


def test_design_curves_follow_the_study_file(frames: StudyFrames) -> None:
    curves = design_curves(frames)
    assert [curve.factor for curve in curves] == list(LEVELS)
    assert [curve.scale for curve in curves] == ["log", "linear", "linear", "category"]
    assert curves[0].levels == tuple(LEVELS[WEIGHT])
    assert curves[3].levels == ("[1]", "[4]", "[1, 4]")
    assert all([series.name for series in curve.series] == list(SERIES) for curve in curves)
    assert all(point.estimate.n == 3 for curve in curves for series in curve.series for point in series.points)


def test_base_point_is_on_every_curve(frames: StudyFrames) -> None:
    points = [
        next(point for point in curve.named(MEAN).points if point.level == BASE[curve.factor])
        for curve in design_curves(frames)
    ]
    assert all(point == replace(points[0], level=point.level) for point in points)


def test_points_are_the_stored_scores(frames: StudyFrames) -> None:
    point = design_curves(frames)[0].named("spam").points[-1]
    metrics = frames.metrics
    stored = metrics[
        metrics["trial_id"].isin(point.trial_ids) & (metrics["metric"] == "mcc") & (metrics["condition"] == "clean")
    ]
    assert sorted(point.values) == sorted(stored["value"])
    params = frames.params.set_index("trial_id").loc[list(point.trial_ids)]
    assert (params[WEIGHT] == 1.0).all()
    assert (params[NOISE] == BASE[NOISE]).all()


def test_change_is_zero_at_the_base_and_paired_elsewhere(frames: StudyFrames) -> None:
    change = design_curves(frames, "change")[0].named(MEAN)
    score = design_curves(frames)[0].named(MEAN)
    base = next(point for point in score.points if point.level == BASE[WEIGHT])
    for moved, point in zip(change.points, score.points, strict=True):
        assert moved.values == pytest.approx(np.subtract(point.values, base.values))
    assert next(point for point in change.points if point.level == BASE[WEIGHT]).estimate.mean == 0


def test_size_and_robustness_have_one_series(frames: StudyFrames) -> None:
    for response in ("exported_parameters", "robustness"):
        curves = design_curves(frames, response)
        assert [series.name for series in curves[0].series] == [MEAN]
    points = design_curves(frames, "exported_parameters")[0].series[0].points
    sizes = [point.estimate.mean for point in points]
    assert sizes == sorted(sizes, reverse=True)
    assert all(point.estimate == log_interval(point.values) for point in points)


def test_intervals_of_sizes_with_two_seeds_stay_above_zero(frames_of: Callable[[Plan], StudyFrames]) -> None:
    curves = design_curves(frames_of(Plan(seeds=2)), "exported_parameters")
    estimates = [point.estimate for curve in curves for point in curve.series[0].points]
    assert all(item.low is not None and 0 < item.low < item.mean for item in estimates)


def test_levels_are_told_apart_after_holm_over_the_design(frames: StudyFrames) -> None:
    changes = design_curves(frames, "change")
    found = level_p_values(frames, changes)
    levels = {(curve.factor, level) for curve in changes for level in curve.levels}
    assert set(found) == levels - {(factor, BASE[factor]) for factor in LEVELS}
    values = {
        (curve.factor, point.level): stats.ttest_1samp(point.values, 0).pvalue
        for curve in changes
        for point in curve.named(MEAN).points
        if (curve.factor, point.level) in found
    }
    assert list(found.values()) == pytest.approx(holm([float(values[key]) for key in found]))


def test_one_seed_has_no_p(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(Plan(seeds=1))
    assert set(level_p_values(frames, design_curves(frames, "change")).values()) == {None}


def test_failed_design_trials_are_counted_and_left_out(frames: StudyFrames) -> None:
    trials = frames.trials.copy()
    lost = trials[(trials["factor"] == TYPOS)].index[0]
    trials.loc[lost, "state"] = "fail"
    curves = {curve.factor: curve for curve in design_curves(replace(frames, trials=trials))}
    assert (curves[TYPOS].failed, curves[WEIGHT].failed) == (1, 0)
    assert sorted(point.estimate.n for point in curves[TYPOS].named(MEAN).points) == [2, 3, 3, 3]


def test_adaptive_trials_are_never_on_a_design_curve(frames: StudyFrames) -> None:
    used = {
        trial for curve in design_curves(frames) for series in curve.series for point in series.points
        for trial in point.trial_ids
    }  # fmt: skip
    assert used <= set(frames.phase_trials("design")["trial_id"])


def test_grid_averages_over_the_other_factors(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(Plan(design_sampler="grid", optimise=0, confirm=False))
    _, curve = design_curves(frames)
    assert "mean over all levels of the other factors" in curve.method
    point = next(point for point in curve.named(MEAN).points if point.level == "[4]")
    assert point.estimate.n == 3
    assert len(point.values) == 3 * len(LEVELS[WEIGHT])
    assert responses(frames) == ("score", "exported_parameters", "robustness")
    with pytest.raises(ReportError, match=r"needs a design of one_at_a_time") as refused:
        design_curves(frames, "change")
    assert "Run the study further" not in str(refused.value)


def test_robustness_is_asked_for_only_where_something_is_measured(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(Plan(measured=False))
    assert responses(frames) == ("score", "change", "exported_parameters")
    with pytest.raises(ReportError, match=r"robustness needs `conditions\.measured`"):
        design_curves(frames, "robustness")


def test_one_seed_is_said_to_have_no_interval(frames_of: Callable[[Plan], StudyFrames]) -> None:
    curve = design_curves(frames_of(Plan(seeds=1)))[0]
    assert curve.warnings == ("one seed pair: no intervals",)
    assert curve.named(MEAN).points[0].estimate.low is None


def test_no_design_and_failed_design_are_refused(frames_of: Callable[[Plan], StudyFrames]) -> None:
    with pytest.raises(ReportError, match=r"Add `phases\.design`"):
        design_curves(frames_of(Plan(design=False)))
    with pytest.raises(ReportError, match="got none of"):
        design_curves(frames_of(Plan(fail=True)))


def test_measured_curves_start_clean_and_use_the_base_point(frames: StudyFrames) -> None:
    curves = measured_curves(frames)
    assert {curve.factor: curve.levels for curve in curves} == {k: (0.0, *v) for k, v in MEASURED.items()}
    clean = curves[0].named("tweets").points[0]
    base = next(point for point in design_curves(frames)[0].named("tweets").points if point.level == BASE[WEIGHT])
    assert clean.values == base.values
    means = [point.estimate.mean for point in curves[0].named(MEAN).points]
    assert means == sorted(means, reverse=True)
    assert "base point" in curves[0].method


def test_curves_of_a_sample_begin_with_its_own_clean_score_and_say_how_small_it_is(
    frames_of: Callable[[Plan], StudyFrames],
) -> None:
    frames = frames_of(Plan(share=0.25))
    curve = measured_curves(frames)[0]
    whole = next(point for point in design_curves(frames)[0].named(MEAN).points if point.level == BASE[WEIGHT])
    assert curve.named(MEAN).points[0].values == pytest.approx(tuple(value - 0.01 for value in whole.values))
    error = 1.96 * math.sqrt(3 * 0.03**2) / 3
    assert curve.method.endswith(
        "measured on 100 examples of each task, the same for all trials: by their choice "
        f"± {error:.3f} at most on a trial's mean (95 %)"
    )
    robust = design_curves(frames, "robustness")[0]
    assert "measured on 25 % of the examples, the same for all trials" in robust.method
    assert "examples" not in design_curves(frames)[0].method
    winner = int(frames.trials.loc[frames.trials["role"] == "winner", "pair_of"].iloc[0])
    assert "examples" not in robustness_curves(frames, winner)["typos"][0].method


def test_measured_curves_without_design_say_what_they_are_over(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(Plan(design=False))
    complete = len(frames.search_trials("complete"))
    curve = measured_curves(frames)[0]
    assert curve.method.startswith(f"complete trials of the search: {complete}")
    assert curve.named(MEAN).points[0].estimate.n == complete


def test_measured_curves_are_refused_without_conditions_or_trials(frames_of: Callable[[Plan], StudyFrames]) -> None:
    with pytest.raises(ReportError, match=r"conditions\.measured"):
        measured_curves(frames_of(Plan(measured=False)))
    with pytest.raises(ReportError, match="at least one complete trial"):
        measured_curves(frames_of(Plan(fail=True)))


def test_robustness_is_on_test_with_a_series_for_each_role(frames: StudyFrames) -> None:
    winner = int(frames.trials.loc[frames.trials["role"] == "winner", "pair_of"].iloc[0])
    curves = robustness_curves(frames, winner)
    assert set(curves) == set(MEASURED)
    mean = curves["typos"][0]
    assert [series.name for series in mean.series] == [
        "winner", "control:lora", "control:random", "control:linear_probe",
    ]  # fmt: skip
    runs = frames.trials[(frames.trials["role"] == "winner") & (frames.trials["pair_of"] == winner)]["trial_id"]
    test = frames.clean_scores("test")
    expected = test[test["trial_id"].isin(runs) & (test["series"] == MEAN)]["value"]
    assert mean.named("winner").points[0].values == pytest.approx(tuple(expected))
    with pytest.raises(ReportError, match="Robustness against controls"):
        robustness_curves(frames, -1)


def test_table_holds_every_number(frames: StudyFrames) -> None:
    curves = design_curves(frames)
    table = curve_table(curves)
    points = [point for curve in curves for series in curve.series for point in series.points]
    assert (table["what"] == "mean").sum() == len(points)
    assert (table["what"] == "trial").sum() == sum(len(point.values) for point in points)
    means = table[table["what"] == "mean"]
    assert means["value"].tolist() == [point.estimate.mean for point in points]
    assert set(table[table["factor"] == RANKS]["choice"]) == {"[1]", "[4]", "[1, 4]"}
