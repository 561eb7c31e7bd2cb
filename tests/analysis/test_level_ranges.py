"""The range of levels that are as good as the best, and the level from which a score falls: with known numbers."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import NOISE, TYPOS, WEIGHT, Plan

from slasearch.analysis.curves import Curve, build_series
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.intervals import holm, p_of_zero, t_interval
from slasearch.analysis.ranges import best_range, fall
from slasearch.analysis.sensitivity import design_curves
from slasearch.report.factor_findings import _best_level, _range, factor_findings
from slasearch.report.finding import Finding
from slasearch.report.findings import findings
from slasearch.report.results import Results, analyse


def curve_of(values: dict[float, list[float]], *, factor: str = WEIGHT, scale: str = "log") -> Curve:
    """A curve with a value for each level and seed; trials are numbered through, so that blocks are seeds."""
    rows = [
        (MEAN, level, repeat, 100 * index + repeat, value)
        for index, (level, found) in enumerate(values.items())
        for repeat, value in enumerate(found)
    ]
    data = pd.DataFrame(rows, columns=["series", "level", "repeat", "trial_id", "value"])
    return Curve(factor, "score", scale, build_series(data, [MEAN], list(values)), len(rows), 0, "by hand")  # type: ignore[arg-type]


def blocks(curve: Curve) -> dict[int, int]:
    return {trial: trial % 100 for point in curve.named(MEAN).points for trial in point.trial_ids}


def test_levels_close_to_the_best_are_in_its_range_and_far_ones_are_not() -> None:
    seeds = np.array([0.0, 0.05, -0.04, 0.02, 0.01])
    noise = np.array([0.001, -0.002, 0.0, 0.002, -0.001])
    curve = curve_of(
        {
            0.01: list(0.70 + seeds - noise),
            0.1: list(0.80 + seeds - noise),
            1.0: list(0.801 + seeds + noise),
            10.0: list(0.75 + seeds),
        }
    )
    found = best_range(curve, blocks(curve))
    assert found is not None
    assert (found.best, found.low, found.high, found.n) == (1.0, 0.1, 1.0, 5)
    unpaired = best_range(curve, {trial: trial for trial in blocks(curve)})
    assert unpaired is None, "without a seed in common nothing is compared"


def test_a_far_level_that_is_not_told_apart_is_not_said_to_be_worse() -> None:
    """The neighbour is told to be worse, the last level has collapsed under one seed alone."""
    seeds = np.array([0.0, 0.01, -0.01])
    values = {
        0.01: list(0.75 + seeds),
        0.1: list(0.84 + seeds + np.array([0.0, 0.001, 0.0])),
        1.0: list(0.80 + seeds + np.array([0.001, 0.0, 0.0])),
        10.0: [0.80, 0.40, 0.83],
    }
    curve = curve_of(values)
    found = best_range(curve, blocks(curve))
    assert found is not None
    assert (found.best, found.low, found.high, found.rest_worse) == (0.1, 0.1, 0.1, False)
    steady = curve_of({**values, 10.0: list(0.70 + seeds + np.array([0.0, 0.0, 0.001]))})
    again = best_range(steady, blocks(steady))
    assert again is not None
    assert again.rest_worse


def test_the_fall_starts_where_the_first_lower_level_is_told_that_stays_lower() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(0.8, 0.03, 6)
    drops = {0.0: 0.0, 0.1: 0.0, 0.2: 0.03, 0.4: 0.1}
    values = {level: list(base - drop + rng.normal(0, 0.004, 6)) for level, drop in drops.items()}
    curve = curve_of(values, scale="linear")
    found = fall(curve, blocks(curve))
    assert found is not None
    table = pd.DataFrame(values)
    adjusted = holm([p_of_zero(t_interval(table[level] - table[0.0])) for level in (0.1, 0.2, 0.4)])
    assert adjusted[0] is not None
    assert adjusted[0] > 0.05 > max(p for p in adjusted[1:] if p is not None)
    assert (found.start, found.last, found.n) == (0.2, 0.4, 6)
    assert found.change == pytest.approx((table[0.2] - table[0.0]).mean())


def test_a_dip_that_recovers_is_no_fall() -> None:
    base = np.array([0.80, 0.82, 0.79, 0.81])
    wobble = np.array([0.001, -0.001, 0.002, 0.0])
    curve = curve_of(
        {0.0: list(base), 0.1: list(base - 0.05 + wobble), 0.2: list(base + 0.001 - wobble)}, scale="linear"
    )
    found = fall(curve, blocks(curve))
    assert found is not None
    assert (found.start, found.last) == (None, 0.2)


def test_levels_that_are_equal_are_told_worse_as_rarely_as_said() -> None:
    """Which level is the best is read off the same scores: its luck must not make the others worse."""
    random, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        found = best_range(curve := curve_of({float(n): list(random.normal(size=6)) for n in range(7)}), blocks(curve))
        assert found is not None
        wrong += len(found.alike) < 7
    assert wrong / 300 <= 0.06


def test_choices_have_no_neighbours() -> None:
    seeds = np.array([0.0, 0.01, -0.01])
    noise = np.array([0.001, -0.001, 0.0005])
    values = {
        "[8]": list(0.8 + seeds - noise), "all": list(0.7 + seeds - 2 * noise), "[1, 4]": list(0.8002 + seeds + noise),
    }  # fmt: skip
    curve = curve_of(values, scale="category")  # type: ignore[arg-type]
    found = best_range(curve, blocks(curve))
    assert found is not None
    assert (found.best, found.alike, found.rest_worse) == ("[1, 4]", ("[8]", "[1, 4]"), True)
    assert list(_range(curve, best_range(curve, blocks(curve)), blocks(curve))) == ["not told apart from the best: 8"]
    rates = curve_of({0.0045: [0.9, 0.94], 0.0015: [0.93, 0.9]}, scale="category")
    assert list(_range(rates, best_range(rates, blocks(rates)), blocks(rates))) == [
        "no level is told apart from the best"
    ]
    assert fall(rates, blocks(rates)) is None


def test_levels_of_the_same_mean_are_both_the_best() -> None:
    """The mean of .1, .2 and .6 is not bit for bit that of .3, .3 and .3."""
    curve = curve_of({0.1: [0.1, 0.2, 0.6], 1.0: [0.3, 0.3, 0.3 + 1e-13], 10.0: [0.2, 0.1, 0.2]})
    assert _best_level(curve, None) == "Sparsity weight λ: best mean score 0.300 ± 0.657 at 0.1 and 0.300 at 1"


def test_a_run_that_failed_does_not_make_its_level_the_best() -> None:
    """The fourth seed pair is weak, and a level that lacks it has the highest mean of its own runs."""
    scores = {0.01: [0.800, 0.801, 0.802], 0.1: [0.820, 0.8215, 0.8218, 0.700], 1.0: [0.780, 0.783, 0.781, 0.660]}
    curve = curve_of(scores)
    found = best_range(curve, blocks(curve))
    assert found is not None
    assert (found.best, found.alike, found.n) == (0.1, (0.1,), 3)
    assert _best_level(curve, found).startswith(
        "Sparsity weight λ: best mean score over the 3 seed pairs that every level has 0.821 ± "
    )
    assert list(_range(curve, found, blocks(curve))) == ["every other level is told to be worse"]


def test_a_grid_of_one_seed_pair_says_that_it_tells_nothing_apart(frames_of: Callable[[Plan], StudyFrames]) -> None:
    results = analyse(frames_of(Plan(seeds=1)))
    grid = replace(results, design={"score": results.design["score"]})
    for text in (item.text for item in factor_findings(grid)):
        assert text.count("without intervals no level can be told apart") == 1


def test_one_seed_tells_nothing(frames_of: Callable[[Plan], StudyFrames]) -> None:
    single = curve_of({0.1: [0.8], 1.0: [0.7]})
    assert best_range(single, blocks(single)) is None
    assert fall(single, blocks(single)) is None
    ranks = next(curve for curve in design_curves(frames_of(Plan())) if curve.scale == "category")
    assert best_range(ranks) is None
    assert fall(ranks) is None


def sensitivity(found: list[Finding], word: str) -> str:
    return next(item.text for item in found if item.topic == "Sensitivity" and item.text.startswith(word))


def test_the_page_says_the_best_range_and_where_the_score_falls(results: Results) -> None:
    found = findings(results)
    frames = results.frames
    trials = frames.phase_trials("design")
    repeats = dict(zip(trials["trial_id"], trials["repeat"], strict=True))
    curves = {curve.factor: curve for curve in design_curves(frames)}
    best = best_range(curves[WEIGHT], repeats)
    assert best is not None
    assert best.low <= 0.1 <= best.high, "the response is best near 0.08"
    assert best.high < 1.0
    said = sensitivity(found, "Sparsity weight λ")
    assert f"from {best.low:g} to {best.high:g} no level is told apart" in said or "every other level" in said
    for factor, word in ((NOISE, "Embedding noise in training"), (TYPOS, "Typos in training")):
        lower = fall(curves[factor], repeats)
        assert lower is not None
        wanted = (
            "no level is told from which on it falls"
            if lower.start is None
            else f"the score starts to fall at {lower.start:g}"
        )
        assert wanted in sensitivity(found, word)
    disturbed = [item.text for item in found if item.topic == "Disturbance"]
    assert len(disturbed) == 2
    assert disturbed[0].startswith("Under typos the mean validation score goes from 0.8")


def test_one_seed_pair_says_no_range(frames_of: Callable[[Plan], StudyFrames]) -> None:
    said = sensitivity(findings(analyse(frames_of(Plan(seeds=1)))), "Sparsity weight λ")
    assert "told apart from the best" not in said
    assert "every other level" not in said
