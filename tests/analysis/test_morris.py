"""Morris screening: on functions whose elementary effects are known, and over incomplete designs."""

from __future__ import annotations

import random
from collections.abc import Callable
from statistics import fmean

import numpy as np
import pytest
from design_kit import DECAY, RATE, WEIGHT, Response, design_frames, designed, shares
from synthetic import Plan

from slasearch.analysis.coordinates import design_coordinates
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.morris import MorrisScreening, morris_screening
from slasearch.config.schema import StudyConfig
from slasearch.errors import ReportError
from slasearch.space import DesignPoint


def of(config: StudyConfig, function: Callable[..., float]) -> Response:
    return lambda point: function(*shares(config, point.params))


def screened(function: Callable[..., float], *overrides: str, points: int = 20) -> MorrisScreening:
    config = designed("morris", points, *overrides)
    return morris_screening(design_frames(config, of(config, function)))


@pytest.mark.parametrize("overrides", [(), ("phases.design.sampler.options.levels=6",)])
def test_linear_effects_are_the_coefficients(overrides: tuple[str, ...]) -> None:
    found = screened(lambda u, v, w: 2 * u - 3 * w, *overrides)
    assert [effect.field for effect in found.effects] == [WEIGHT, RATE, DECAY]
    assert [effect.mu_star for effect in found.effects] == pytest.approx([2, 0, 3])
    assert [effect.mu for effect in found.effects] == pytest.approx([2, 0, -3])
    assert [effect.sigma for effect in found.effects] == pytest.approx([0, 0, 0], abs=1e-9)
    assert [effect.high - effect.low for effect in found.effects] == pytest.approx([0, 0, 0], abs=1e-9)
    assert (found.trajectories, found.n, found.warnings) == (20, 80, ())
    levels = 6 if overrides else 4
    assert found.method == (
        f"elementary effects on the score over 20 Morris trajectories of {levels} levels; 95 % t-intervals, widened "
        "below by the noise of seeds"
    )


def test_an_interaction_shows_as_spread() -> None:
    first, idle, third = screened(lambda u, v, w: u * w, points=200).effects
    assert (idle.mu_star, idle.sigma) == (0, 0)
    for effect in (first, third):
        # the effect of u is w, which lies on 0, 1/3, 2/3, 1 with equal chance: mean 1/2, deviation √(5/36)
        assert effect.mu == effect.mu_star == pytest.approx(0.5, abs=0.08)
        assert effect.sigma == pytest.approx((5 / 36) ** 0.5, abs=0.03)
        assert effect.low < 0.5 < effect.high


def test_effects_of_both_signs_do_not_cancel_in_mu_star() -> None:
    _, _, bent = screened(lambda u, v, w: (w - 0.5) ** 2, points=200).effects
    # 0 to 2/3: ((1/6)² - (1/2)²) / (2/3) = -1/3; 1/3 to 1: +1/3
    assert bent.mu_star == pytest.approx(1 / 3)
    assert abs(bent.mu) < 0.1
    assert bent.sigma == pytest.approx(1 / 3, abs=0.03)


def test_choices_and_whole_numbers_are_moved_too() -> None:
    choice = "pool.ranks={categorical: [[1], [4]]}"
    config = designed("morris", 20, choice, "training.batch_size={int: [1, 16]}")
    score = lambda point: point.params["training.batch_size"] + 8.0 * (point.params["pool.ranks"] == "[4]")  # noqa: E731
    effects = {effect.field: effect for effect in morris_screening(design_frames(config, score)).effects}
    assert effects["training.batch_size"].mu == pytest.approx(15)  # from 1 to 11 and from 6 to 16 over 2/3 of the range
    assert effects["pool.ranks"].mu == pytest.approx(8), "a choice goes from one to another, whatever the step"
    assert effects["pool.ranks"].sigma == pytest.approx(0, abs=1e-9)
    assert [name for name, effect in effects.items() if effect.choice] == ["pool.ranks"]
    assert effects[RATE].mu_star == 0


@pytest.mark.parametrize("high", [2, 3, 4, 5, 16])
@pytest.mark.parametrize("levels", [4, 6])
def test_a_linear_whole_number_has_one_effect_however_few_its_values(high: int, levels: int) -> None:
    fields = [f"training.batch_size={{int: [1, {high}]}}", f"phases.design.sampler.options.levels={levels}"]
    config = designed("morris", 60, *fields)
    score = lambda point: (point.params["training.batch_size"] - 1) / (high - 1)  # noqa: E731
    effects = {effect.field: effect for effect in morris_screening(design_frames(config, score)).effects}
    assert effects["training.batch_size"].mu == effects["training.batch_size"].mu_star == pytest.approx(1)
    assert effects["training.batch_size"].sigma == pytest.approx(0, abs=1e-9)


def test_numbers_on_ranges_have_salibs_effects() -> None:
    from SALib.analyze import morris

    config = designed("morris", 30)
    frames = design_frames(config, of(config, lambda u, v, w: u * w + v**2))
    found = design_coordinates(frames, "score", ("morris",), what="test")
    order = np.argsort(found.points)
    names = list(found.names)
    problem = {"num_vars": 3, "names": names, "bounds": [[0.0, 1.0]] * 3}
    theirs = morris.analyze(problem, found.unit[order], found.values[order], num_levels=4, seed=1)
    for number, effect in enumerate(morris_screening(frames).effects):
        assert effect.mu_star == pytest.approx(theirs["mu_star"][number])
        assert effect.mu == pytest.approx(theirs["mu"][number])
        assert effect.sigma == pytest.approx(theirs["sigma"][number])
        assert effect.high - effect.mu_star == pytest.approx(theirs["mu_star_conf"][number], rel=0.15, abs=1e-9)


def test_incomplete_trajectories_are_left_out_and_counted() -> None:
    config = designed("morris", 10)
    linear = of(config, lambda u, v, w: u + 2 * w)
    frames = design_frames(config, lambda point: None if point.point in (0, 1, 30) else linear(point))
    found = morris_screening(frames)
    assert (found.trajectories, found.n) == (8, 32)
    assert found.warnings == (
        "2 of 10 trajectories left out, as some point of theirs has no result (failed trials: 3)",
    )
    assert [effect.mu_star for effect in found.effects] == pytest.approx([1, 0, 2])


def test_seed_repeats_are_averaged() -> None:
    config = designed("morris", 6, "phases.design.seeds=3")
    linear = of(config, lambda u, v, w: u)

    def noisy(point: DesignPoint) -> float | None:
        value = linear(point)
        assert value is not None
        return value + 0.1 * (point.repeat - 1) * (1 if point.point % 2 else -1)

    found = morris_screening(design_frames(config, noisy))
    assert [effect.mu_star for effect in found.effects] == pytest.approx([1, 0, 0])
    assert found.n == 6 * 4 * 3
    assert "means over 3 seed pairs" in found.method


def idle(trajectories: int, seed: int, *fields: str) -> MorrisScreening:
    """A screening of fields of which none does anything, under two seed pairs with a level of their own."""
    noise = random.Random(seed)
    config = designed("morris", trajectories, "phases.design.seeds=2", *fields)
    return morris_screening(design_frames(config, lambda point: 0.8 + 0.1 * point.repeat + noise.gauss(0, 0.02)))


FIELDS = ("pool.ranks={categorical: [[1], [4]]}", "training.batch_size={int: [1, 3]}")


def test_the_floor_is_what_idle_fields_show() -> None:
    found = [idle(12, seed, *FIELDS) for seed in range(30)]
    for number, effect in enumerate(found[0].effects):
        sizes = [item.effects[number].mu_star for item in found]
        assert fmean(sizes) == pytest.approx(fmean(item.effects[number].floor for item in found), rel=0.1), effect.field


def test_with_few_trajectories_no_more_idle_fields_are_told_than_said() -> None:
    """Of four trajectories each: some field moves in 1 of 20 studies, and as many seem to bend."""
    found = [idle(4, seed, *FIELDS) for seed in range(80)]
    assert all(effect.p_moves is not None for item in found for effect in item.effects)
    for name in ("p_moves", "p_bends"):
        assert sum(any(getattr(effect, name) < 0.05 for effect in item.effects) for item in found) <= 8, name


def test_no_more_idle_fields_are_told_where_seeds_do_more_at_some_points() -> None:
    """A tenth of the noise at one end of a field's range, where its own effects are told from seeds all the same."""
    config = designed("morris", 8, "phases.design.seeds=2")
    named = missed = 0
    for seed in range(100):
        noise = random.Random(seed)

        def score(point: DesignPoint, noise: random.Random = noise) -> float:
            moved, loud, _ = shares(config, point.params)
            return moved + noise.gauss(0, 0.02 + 0.2 * loud**2)

        moved, *rest = morris_screening(design_frames(config, score)).effects
        assert moved.p_moves is not None
        missed += moved.p_moves >= 0.05
        named += any((effect.p_moves or 0) < 0.05 for effect in rest)
    assert named <= 10
    assert missed <= 10


REPEATS = {
    "half of the second": lambda point: point.repeat == 0 or point.point < 30,
    "twenty of the second and of the third": lambda point: point.repeat == 0 or point.point < 20,
    "a third of the third": lambda point: point.repeat < 2 or point.point < 20,
    "three of the third": lambda point: point.repeat < 2 or point.point < 3,
}
"""Which trials of fifteen trajectories under three seed pairs a study has run so far."""


def unfinished(ran: Callable[[DesignPoint], bool], seed: int, slope: float = 0.0) -> MorrisScreening:
    noise, config = random.Random(seed), designed("morris", 15, "phases.design.seeds=3")
    linear = of(config, lambda u, v, w: slope * u)

    def score(point: DesignPoint) -> float | None:
        moved = linear(point)
        assert moved is not None
        return moved + 0.1 * point.repeat + noise.gauss(0, 0.02) if ran(point) else None

    return morris_screening(design_frames(config, score))


@pytest.mark.parametrize("ran", REPEATS.values(), ids=REPEATS)
def test_idle_fields_stay_idle_while_repeats_are_on_their_way(ran: Callable[[DesignPoint], bool]) -> None:
    """Points with more repeats are surer than others: some field moves in 1 of 20 studies all the same."""
    found = [unfinished(ran, seed) for seed in range(60)]
    for name in ("p_moves", "p_bends"):
        assert sum(any(getattr(effect, name) < 0.05 for effect in item.effects) for item in found) <= 7, name


def test_the_first_trials_of_a_new_repeat_take_nothing_away() -> None:
    for ran in (REPEATS["three of the third"], lambda point: point.repeat < 2 or point.point == 0):
        moved, *rest = unfinished(ran, 2, slope=0.1).effects
        assert moved.p_moves is not None
        assert moved.p_moves < 1e-3  # of 5,000 flips, three fields
        assert all(one.p_moves is not None and one.p_moves > 0.05 for one in rest)
    first = unfinished(lambda point: point.repeat == 0 or point.point == 0, 2, slope=0.1)
    assert {one.p_moves for one in first.effects} == {None}


def test_what_moves_and_what_bends_is_told_beyond_seeds() -> None:
    noise, config = random.Random(1), designed("morris", 8, "phases.design.seeds=2")
    score = of(config, lambda u, v, w: 0.1 * u + 0.4 * (v - 0.5) ** 2)
    found = morris_screening(design_frames(config, lambda point: score(point) + noise.gauss(0, 0.01)))
    straight, bent, nothing = (((one.p_moves or 0) < 0.05, (one.p_bends or 0) < 0.05) for one in found.effects)
    assert [straight, bent, nothing] == [(True, False), (True, True), (False, False)]


def test_one_seed_pair_tells_nothing_and_a_response_without_noise_tells_all() -> None:
    config = designed("morris", 6)
    once = morris_screening(design_frames(config, of(config, lambda u, v, w: u)))
    assert {(one.p_moves, one.p_bends, one.floor) for one in once.effects} == {(None, None, 0.0)}
    twice = designed("morris", 6, "phases.design.seeds=2")
    exact = morris_screening(design_frames(twice, of(twice, lambda u, v, w: u)))
    assert [one.p_moves for one in exact.effects] == [0.0, 1.0, 1.0]
    assert all(one.floor == 0 for one in exact.effects)


def test_too_few_trajectories_are_refused() -> None:
    config = designed("morris", 2)
    linear = of(config, lambda u, v, w: u)
    assert morris_screening(design_frames(config, linear)).trajectories == 2
    frames = design_frames(config, lambda point: None if point.point == 0 else linear(point))
    with pytest.raises(ReportError, match="at least 2 complete trajectories of 4 points each, got 1"):
        morris_screening(frames)


def test_other_designs_are_refused(frames_of: Callable[[Plan], StudyFrames]) -> None:
    with pytest.raises(ReportError, match="Morris screening: expected a design phase of morris, got one_at_a_time"):
        morris_screening(frames_of(Plan()))
    with pytest.raises(ReportError, match="got adaptive trials of tpe only"):
        morris_screening(frames_of(Plan(design=False)))


def test_the_same_frames_give_the_same_intervals() -> None:
    config = designed("morris", 8)
    frames = design_frames(config, of(config, lambda u, v, w: u * w))
    assert config.seed == 0
    assert morris_screening(frames) == morris_screening(frames)
