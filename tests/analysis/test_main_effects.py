"""Main effects: known ones are found, intervals hold, and what cannot be told apart is refused."""

import math
import random

import numpy as np
import pytest
from design_kit import DECAY, RATE, WEIGHT, design_frames, designed, shares

from slasearch.analysis.main_effects import FieldEffect, MainEffects, main_effects
from slasearch.config.schema import StudyConfig
from slasearch.errors import ReportError
from slasearch.space import DesignPoint, parameters

FAMILY = "gates.family={categorical: [sigmoid, hard_concrete, straight_through]}"
STEEP = "gates.temperature={float: [0.1, 1.0], when: {gates.family: sigmoid}}"
OF_FAMILY = {"sigmoid": 0.05, "hard_concrete": -0.02, "straight_through": -0.03}


def of(found: MainEffects, name: str) -> FieldEffect:
    return next(field for field in found.fields if field.name == name)


def truth(config: StudyConfig, point: DesignPoint) -> float:
    """Along the logarithm of λ up by .2 from end to end, along the decay down by .1; the family; nothing else."""
    by_name = dict(zip((field.name for field in parameters(config)), shares(config, point.params), strict=True))
    return 0.5 + 0.2 * by_name[WEIGHT] - 0.1 * by_name[DECAY] + OF_FAMILY[point.params["gates.family"]]


def test_effects_that_are_there_are_found_exactly() -> None:
    config = designed("qmc", 32, FAMILY)
    found = main_effects(design_frames(config, lambda point: truth(config, point)))
    assert (found.response, found.n, found.free) == ("score", 32, 32 - 6)
    assert found.r2 == pytest.approx(1)
    assert found.deviation == pytest.approx(0, abs=1e-9)
    weight, decay, rate, family = (of(found, name) for name in (WEIGHT, DECAY, RATE, "gates.family"))
    assert [(level.level, level.estimate) for level in weight.levels] == [
        (pytest.approx(1e-3), pytest.approx(-0.1)),
        (pytest.approx(10.0), pytest.approx(0.1)),
    ]
    assert [level.estimate for level in decay.levels] == pytest.approx([0.05, -0.05])
    assert [level.estimate for level in rate.levels] == pytest.approx([0, 0], abs=1e-9)
    assert {level.level: level.estimate for level in family.levels} == pytest.approx(OF_FAMILY)
    assert sum(level.n for level in family.levels) == 32


def test_fields_stand_by_how_sure_they_are_and_only_what_is_there_is_told() -> None:
    config, noise = designed("qmc", 64, FAMILY), random.Random(3)
    found = main_effects(design_frames(config, lambda point: truth(config, point) + noise.gauss(0, 0.03)))
    assert [field.name for field in found.fields][-1] == RATE
    assert [field.p for field in found.fields] == sorted(field.p for field in found.fields)
    assert {field.name for field in found.fields if field.told} == {WEIGHT, DECAY, "gates.family"}
    assert all(field.p_holm >= field.p for field in found.fields)
    assert found.deviation == pytest.approx(0.03, rel=0.25)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    config, noise = designed("qmc", 32, FAMILY), random.Random(5)
    inside, false_alarms = [], []
    for _ in range(200):
        found = main_effects(design_frames(config, lambda point: truth(config, point) + noise.gauss(0, 0.05)))
        for level in of(found, "gates.family").levels:
            inside.append(level.low <= OF_FAMILY[level.level] <= level.high)
        high = of(found, WEIGHT).levels[1]
        inside.append(high.low <= 0.1 <= high.high)
        false_alarms.append(of(found, RATE).p < 0.05)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)
    assert np.mean(false_alarms) == pytest.approx(0.05, abs=0.04)


def test_repeats_of_a_point_count_once_and_seed_pairs_add_nothing() -> None:
    config = designed("qmc", 32, FAMILY, "phases.design.seeds=3")
    frames = design_frames(config, lambda point: truth(config, point) + 0.1 * point.repeat)
    found = main_effects(frames)
    assert found.n == 32
    assert {level.level: level.estimate for level in of(found, "gates.family").levels} == pytest.approx(OF_FAMILY)


def test_a_field_that_is_switched_off_adds_nothing_there() -> None:
    config = designed("qmc", 64, FAMILY, STEEP)

    def score(point: DesignPoint) -> float:
        steep = point.params.get("gates.temperature")
        return truth_without_temperature(point) + (0.0 if steep is None else 0.1 * (steep - 0.55) / 0.9)

    def truth_without_temperature(point: DesignPoint) -> float:
        return 0.5 + OF_FAMILY[point.params["gates.family"]]

    found = main_effects(design_frames(config, score))
    temperature = of(found, "gates.temperature")
    assert [level.estimate for level in temperature.levels] == pytest.approx([-0.05, 0.05])
    used = next(level.n for level in of(found, "gates.family").levels if level.level == "sigmoid")
    assert [level.n for level in temperature.levels] == [used, used]
    assert {level.level: level.estimate for level in of(found, "gates.family").levels} == pytest.approx(OF_FAMILY)


def test_sizes_are_on_their_logarithm() -> None:
    config = designed("qmc", 32)
    frames = design_frames(
        config, lambda point: 0.5, size=lambda point: 1000 * math.e ** (2 * shares(config, point.params)[0])
    )
    found = main_effects(frames, "exported_parameters")
    assert [level.estimate for level in of(found, WEIGHT).levels] == pytest.approx([-1, 1])


@pytest.mark.parametrize("high", [2, 4])
def test_the_ends_of_a_whole_number_are_its_values(high: int) -> None:
    """A tenth of a point an epoch: from the middle to either end half of the way."""
    config = designed("qmc", 32, f"training.epochs={{int: [1, {high}]}}")
    found = main_effects(design_frames(config, lambda point: 0.1 * point.params["training.epochs"]))
    reach = 0.05 * (high - 1)
    assert [(one.level, one.estimate) for one in of(found, "training.epochs").levels] == [
        (1, pytest.approx(-reach)),
        (high, pytest.approx(reach)),
    ]


@pytest.mark.parametrize("points", [16, 32, 64])
def test_a_response_that_one_choice_sets_needs_no_test(points: int) -> None:
    """As ranks set a size: no residual is left to test by, and rounding tells nothing."""
    config = designed("qmc", points, FAMILY)
    sizes = {"sigmoid": 768, "hard_concrete": 3072, "straight_through": 768}
    frames = design_frames(config, lambda point: 0.5, size=lambda point: sizes[point.params["gates.family"]])
    found = main_effects(frames, "exported_parameters")
    assert (found.deviation, found.r2) == (0.0, 1.0)
    assert next((field.name, field.p) for field in found.fields) == ("gates.family", 0.0)
    assert [field.p for field in found.fields][1:] == [1.0] * 3
    assert all(level.low == level.estimate == level.high for field in found.fields for level in field.levels)
    assert [level.estimate for level in of(found, RATE).levels] == [0.0, 0.0]


def test_too_few_points_and_other_designs_are_refused() -> None:
    few = designed("qmc", 8, FAMILY)
    with pytest.raises(ReportError, match=r"expected at least 14 complete points for 4 fields, got 8\. Raise"):
        main_effects(design_frames(few, lambda point: 0.5))
    config = designed("saltelli", 8)
    with pytest.raises(ReportError, match="Main effects: expected a design phase of qmc, got saltelli"):
        main_effects(design_frames(config, lambda point: 0.5))


@pytest.mark.parametrize("value", [0.731, 0.0])
def test_a_response_that_never_varies_is_refused(value: float) -> None:
    with pytest.raises(ReportError, match="expected a response that varies, got"):
        main_effects(design_frames(designed("qmc", 32), lambda point: value))


def test_fields_that_always_move_together_are_refused() -> None:
    """Where all points of a family failed but those at one temperature, the two cannot be told apart."""
    config = designed("qmc", 64, FAMILY, "gates.learn_on={categorical: [auto, train]}")

    def score(point: DesignPoint) -> float | None:
        same = (point.params["gates.family"] == "sigmoid") == (point.params["gates.learn_on"] == "train")
        return 0.5 if same else None

    with pytest.raises(ReportError, match="expected fields that vary by themselves"):
        main_effects(design_frames(config, score))
