"""Sobol indices: against closed forms, over incomplete and replicated designs, and where they are refused."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from design_kit import DECAY, RATE, WEIGHT, coordinates_of, design_frames, designed, shares
from synthetic import Plan

from slasearch.analysis.coordinates import design_coordinates
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.sobol import direct_indices
from slasearch.analysis.variance import saltelli_indices, sobol_indices
from slasearch.config.schema import StudyConfig
from slasearch.errors import ReportError
from slasearch.space import DesignPoint, saltelli_unit
from slasearch.testing.known_responses import ishigami, sobol_g

G8 = partial(sobol_g, a=(0, 1, 4.5, 9, 99, 99, 99, 99))
G6 = partial(sobol_g, a=(78, 12, 0.5, 2, 97, 33))
FIRST = {
    "ishigami": (0.313905, 0.442411, 0),
    "g8": (0.716192, 0.179048, 0.023676, 0.007162, *[0.000072] * 4),
    "g6": (0.000276, 0.010195, 0.765743, 0.191436, 0.000179, 0.001490),
}
TOTAL = {
    "ishigami": (0.557589, 0.442411, 0.243684),
    "g8": (0.787144, 0.242198, 0.034317, 0.010460, *[0.000105] * 4),
    "g6": (0.000329, 0.012143, 0.795970, 0.220313, 0.000214, 0.001778),
}
FUNCTIONS = {"ishigami": ishigami, "g8": G8, "g6": G6}


def indices(name: str, n: int, seed: int, *, second_order: bool = False):
    count = len(FIRST[name])
    unit = saltelli_unit(count, n, second_order=second_order, seed=seed)
    values = np.array([FUNCTIONS[name](row) for row in unit.tolist()])
    names = [f"x{column}" for column in range(count)]
    return direct_indices(values, np.zeros_like(values), names, second_order=second_order)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_direct_indices_are_those_of_the_closed_form(name: str, seed: int) -> None:
    first, total, pairs = indices(name, 1024, seed)
    assert [index.estimate for index in first] == pytest.approx(FIRST[name], abs=0.03)
    assert [index.estimate for index in total] == pytest.approx(TOTAL[name], abs=0.03)
    assert pairs == ()
    assert all(index.low <= index.estimate <= index.high for index in (*first, *total))


def test_pairs_are_those_of_the_closed_form() -> None:
    _, _, pairs = indices("ishigami", 4096, 0, second_order=True)
    assert [pair.fields for pair in pairs] == [("x0", "x1"), ("x0", "x2"), ("x1", "x2")]
    assert [pair.estimate for pair in pairs] == pytest.approx((0, 0.243684, 0), abs=0.03)
    assert all(pair.low <= pair.estimate <= pair.high for pair in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_intervals_cover_the_truth(name: str) -> None:
    truth = np.array((*FIRST[name], *TOTAL[name]))
    covered = np.zeros(len(truth))
    for seed in range(100):
        first, total, _ = indices(name, 1024, seed)
        ends = np.array([(index.low, index.high) for index in (*first, *total)])
        covered += (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    assert covered.min() >= 90, covered.tolist()
    assert covered.mean() >= 95


@pytest.mark.parametrize("name", ["g8", "g6"])
def test_no_index_errs_more_than_from_independent_points(name: str) -> None:
    """In fixed order of the Sobol points' columns, some indices and pairs err more than twice as much as these.

    The error of 100 repetitions is itself known to some 7 %: two such are allowed.
    """
    weights = np.array(FUNCTIONS[name].keywords["a"])
    k = len(weights)
    parts_of_variance = 1 / (3 * (1 + weights) ** 2)
    pairs = list(itertools.combinations(range(k), 2))
    second = [parts_of_variance[i] * parts_of_variance[j] / (np.prod(1 + parts_of_variance) - 1) for i, j in pairs]
    truth = np.array((*FIRST[name], *TOTAL[name], *second))
    errors, independent = [], []
    for seed in range(100):
        unit = saltelli_unit(k, 1024, second_order=True, seed=seed)
        values = ((np.abs(4 * unit - 2) + weights) / (1 + weights)).prod(axis=1).reshape(1024, -1).T - 1
        a, mixed, back, b = values[0], values[1 : 1 + k], values[1 + k : -1], values[-1]
        alone = b * (mixed - a)
        both = [back[i] * mixed[j] - a * b - alone[i] - alone[j] for i, j in pairs]
        parts = np.concatenate([alone, (a - mixed) ** 2 / 2, both])
        variance = (np.var(a) + np.var(b)) / 2
        errors.append(parts.mean(axis=1) / variance - truth)
        independent.append(parts.std(axis=1) / variance / math.sqrt(1024))
    ratios = np.sqrt(np.mean(np.square(errors), axis=0)) / np.mean(independent, axis=0)
    assert ratios.max() < 1.15, ratios.tolist()


# ---------------------------------------------------------------- over the trials of a study


def saltelli(points: int, *overrides: str) -> StudyConfig:
    """A Saltelli design whose points have two seed pairs, so that the variance of seeds is known."""
    return designed("saltelli", points, "phases.design.seeds=2", *overrides)


def linear(point: DesignPoint) -> float:
    """Variances 16/12 from log10 λ over four decades and 9/12 from a decay that is as wide as its range."""
    return float(np.log10(point.params[WEIGHT]) + 30 * point.params[DECAY])


def test_a_log_uniform_field_is_ranked_on_its_logarithm() -> None:
    found = sobol_indices(design_frames(saltelli(256), linear))
    assert [index.field for index in found.first] == [WEIGHT, RATE, DECAY]
    assert [index.estimate for index in found.first] == pytest.approx((16 / 25, 0, 9 / 25), abs=0.01)
    assert [index.estimate for index in found.total] == pytest.approx((16 / 25, 0, 9 / 25), abs=0.01)
    assert (found.source, found.r2, found.n, found.second) == ("direct", None, 2 * 256 * 5, ())
    assert (found.noise, found.warnings) == (0, ())
    assert found.method == (
        "Sobol indices of the score from the trials of 256 Saltelli base points, means over 2 seed pairs whose own "
        "variance is subtracted; 95 % jackknife intervals"
    )


def test_pairs_come_with_second_order() -> None:
    config = saltelli(512, "phases.design.sampler.options.second_order=1")
    found = sobol_indices(design_frames(config, lambda point: ishigami(shares(config, point.params))))
    assert found.n == 2 * 512 * 8
    assert {pair.fields for pair in found.second} == {(WEIGHT, RATE), (WEIGHT, DECAY), (RATE, DECAY)}
    assert max(found.second, key=lambda pair: pair.estimate).fields == (WEIGHT, DECAY)


def test_size_is_analysed_on_its_logarithm() -> None:
    frames = design_frames(saltelli(128), linear, size=lambda point: float(np.exp(linear(point))))
    score, size = sobol_indices(frames), sobol_indices(frames, "exported_parameters")
    assert [index.estimate for index in size.first] == pytest.approx([index.estimate for index in score.first])
    assert "of the log size" in size.method


def test_a_point_without_a_result_drops_its_block() -> None:
    config = saltelli(64)
    broken = {3, 4, 160}  # two of block 0, one of block 32
    frames = design_frames(config, lambda point: None if point.point in broken else linear(point))
    found = sobol_indices(frames)
    values = np.array([linear(point) for point in design_points_of(frames)])
    kept = np.delete(values.reshape(64, 5), [0, 32], axis=0).ravel()
    first, total, _ = direct_indices(kept, np.zeros_like(kept), [WEIGHT, RATE, DECAY], second_order=False)
    assert [(one.estimate, one.low, one.high) for one in (*found.first, *found.total)] == [
        pytest.approx((one.estimate, one.low, one.high), abs=1e-9) for one in (*first, *total)
    ]
    assert found.n == 2 * 62 * 5
    assert found.warnings == ("2 of 64 base points left out, as some point of theirs has no result (failed trials: 6)",)


def design_points_of(frames: StudyFrames) -> list[DesignPoint]:
    rows = frames.params[(frames.trials["repeat"] == 0).to_numpy()].drop(columns="trial_id").to_dict("records")
    return [DesignPoint(row, number, 0) for number, row in enumerate(rows)]


def test_points_that_have_not_run_are_left_out_too() -> None:
    frames = design_frames(saltelli(64), linear)
    begun = frames.trials["point"] < 32 * 5 + 2
    found = sobol_indices(replace(frames, trials=frames.trials[begun]))
    assert found.n == 2 * 32 * 5
    assert found.warnings == ("32 of 64 base points left out, as some point of theirs has no result",)


def test_too_few_blocks_are_refused() -> None:
    config = saltelli(32)
    assert sobol_indices(design_frames(config, linear)).n == 320
    frames = design_frames(config, lambda point: None if point.point == 79 else linear(point))
    with pytest.raises(ReportError, match="at least 32 base points with all their 5 points complete, got 31"):
        sobol_indices(frames)


def test_seed_repeats_are_averaged_as_blocks() -> None:
    config = saltelli(32)
    plain = sobol_indices(design_frames(saltelli(32), linear))
    found = sobol_indices(design_frames(config, lambda point: linear(point) + 5 * point.repeat))
    assert found.n == plain.n
    assert [index.estimate for index in found.total] == pytest.approx([index.estimate for index in plain.total])
    assert "means over 2 seed pairs" in found.method

    def lacking(point: DesignPoint) -> float | None:
        return None if (point.point, point.repeat) == (7, 1) else linear(point) + 5 * point.repeat

    partly = sobol_indices(design_frames(config, lacking))
    assert [index.estimate for index in partly.total] == pytest.approx([index.estimate for index in plain.total])
    assert partly.warnings == ("1 of 160 points have fewer than 2 seed pairs",)


def noisy(deviation: float) -> Callable[[DesignPoint], float]:
    """λ alone, and what a seed does to a trial."""
    noise = random.Random(1)
    return lambda point: linear_in_weight(point) + noise.gauss(0, deviation)


def linear_in_weight(point: DesignPoint) -> float:
    return 0.8 + 0.05 * shares(saltelli(2), point.params)[0]


def test_what_seeds_do_is_taken_off_the_totals() -> None:
    """Of fields that do nothing a total would be a third: the variance of seeds is in it, and in all of it."""
    found = sobol_indices(design_frames(saltelli(256), noisy(0.012)))
    weight, rate, decay = found.total
    assert weight.estimate == pytest.approx(1, abs=0.15)
    assert [rate.estimate, decay.estimate] == pytest.approx([0, 0], abs=0.06)
    assert found.noise == pytest.approx(0.5 * 0.012**2 / (0.05**2 / 12 + 0.5 * 0.012**2), abs=0.08)
    assert "whose own variance is subtracted" in found.method
    assert found.warnings == ()


@pytest.mark.parametrize(("second", "free"), [(0, 0), (1, 0), (8, 7)])
def test_an_unknown_variance_of_seeds_is_refused(second: int, free: int) -> None:
    """S1 and ST are shares of the variance without seeds; with too few repeated points that is not known."""
    score = noisy(0.012)
    frames = design_frames(
        saltelli(32), lambda point: score(point) if point.repeat == 0 or point.point < second else None
    )
    with pytest.raises(ReportError, match=rf"at least two seed pairs at most points.*and {free} degrees of freedom"):
        sobol_indices(frames)


def test_first_order_indices_do_not_shrink_by_what_seeds_do() -> None:
    """Noise as large as the response itself: divided by the whole variance, .61 would come out as .31."""
    unit = saltelli_unit(3, 16384, second_order=False, seed=0)
    x, y, z = unit.T
    values = x + y + 3 * x * z  # Moon, Dean and Santner 2012: of variance .8542 and S1 .61, .098, .220
    noise = np.random.default_rng(5).normal(0, 0.8542**0.5, (len(unit), 2))
    found = saltelli_indices(coordinates_of(unit, values[:, None] + noise, 5), "score", planned=16384, pairs=False)
    assert [index.estimate for index in found.first] == pytest.approx((0.6098, 0.0976, 0.2195), abs=0.04)
    assert found.noise == pytest.approx(1 / 3, abs=0.02)
    assert all(
        index.low < truth < index.high for index, truth in zip(found.first, (0.6098, 0.0976, 0.2195), strict=True)
    )


def test_seeds_that_do_as_much_as_all_fields_are_refused() -> None:
    noise = random.Random(3)
    frames = design_frames(saltelli(32), lambda point: noise.gauss(0.8, 0.01))
    with pytest.raises(ReportError, match="expected a score that fields move more than seeds do"):
        sobol_indices(frames)


def test_a_response_that_does_not_vary_is_refused() -> None:
    frames = design_frames(saltelli(32), lambda point: 0.1)
    with pytest.raises(ReportError, match=r"expected a response that varies, got 0\.1 at all 160 points"):
        sobol_indices(frames)


def test_the_same_frames_give_the_same_intervals() -> None:
    frames = design_frames(saltelli(32), linear)
    assert frames.config.seed == 0
    assert sobol_indices(frames) == sobol_indices(frames)


def test_adaptive_trials_are_refused_with_the_reason(frames_of: Callable[[Plan], StudyFrames]) -> None:
    with pytest.raises(ReportError) as refused:
        sobol_indices(frames_of(Plan(design=False)))
    text = str(refused.value)
    assert "expected a design phase of saltelli or qmc, got adaptive trials of tpe only" in text
    assert "say nothing about shares of variance" in text


@pytest.mark.parametrize("sampler", ["one_at_a_time", "grid"])
def test_other_designs_are_refused(frames_of: Callable[[Plan], StudyFrames], sampler: str) -> None:
    with pytest.raises(ReportError, match=f"expected a design phase of saltelli or qmc, got {sampler}"):
        sobol_indices(frames_of(Plan(design_sampler=sampler)))


def test_a_morris_design_is_refused() -> None:
    with pytest.raises(ReportError, match="expected a design phase of saltelli or qmc, got morris"):
        sobol_indices(design_frames(designed("morris", 8), linear))


def test_a_qmc_design_is_analysed_by_a_surrogate() -> None:
    found = sobol_indices(design_frames(designed("qmc", 64), linear))
    assert found.source == "surrogate"
    assert [index.estimate for index in found.first] == pytest.approx((16 / 25, 0, 9 / 25), abs=0.05)


def test_coordinates_are_those_that_were_sampled() -> None:
    config = saltelli(16)
    found = design_coordinates(design_frames(config, linear), "score", ("saltelli",), what="x")
    assert found.unit[found.repeats == 0] == pytest.approx(
        saltelli_unit(3, 16, second_order=False, seed=config.seed), abs=1e-12
    )
