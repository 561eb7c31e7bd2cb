"""Averages of a process over its fields, beside sums over all points of a small space, and beside many drawn points."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from designed import RATE, WEIGHT, Floats, ishigami, sampled, study_of, write_design

from slasearch.analysis.averages import Averages, averages_of
from slasearch.analysis.shape import lines_of, surfaces_of
from slasearch.analysis.sobol import direct_indices
from slasearch.analysis.surrogate import Surrogate, fit_surrogate, indices_of, surrogate_of
from slasearch.space.unit_designs import saltelli_unit

MODE, SCHEDULE, DECAY = "training.multitask", "training.schedule", "training.weight_decay"


@pytest.fixture(scope="module")
def switched(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    """A grid of five fields: a choice switches one of three, two of which switch a number on."""
    training = {
        "multitask": {"categorical": ["joint", "independent"]},
        "schedule": {"categorical": ["linear", "cosine", "constant"], "when": {MODE: "joint"}},
        "weight_decay": {"float": [0.0, 0.1], "when": {SCHEDULE: ["linear", "constant"]}},
    }
    levels = {
        WEIGHT: [1e-4, 1e-2, 1.0], RATE: [1e-4, 1e-2], MODE: ["joint", "independent"],
        SCHEDULE: ["linear", "cosine", "constant"], DECAY: [0.0, 0.02, 0.05, 0.1],
    }  # fmt: skip
    config = study_of({"design": {"sampler": {"name": "grid"}, "levels": levels, "seeds": 2}}, training=training)

    def function(unit: Floats) -> Floats:
        return unit[:, 0] + np.cos(unit.sum(axis=1) + 2 * unit[:, 2:].sum(axis=1)) * (0.5 + unit[:, 1])

    folder = tmp_path_factory.mktemp("switched")
    return fit_surrogate(write_design(folder, config, function), "score")


@pytest.fixture(scope="module")
def averages(switched: Surrogate) -> Averages:
    return averages_of(switched.process, switched.axes)


@pytest.fixture(scope="module")
def everywhere(switched: Surrogate) -> Floats:
    """Every point of the space: `144 x k`."""
    axes = switched.axes
    levels = [axes.nodes(column)[0] for column in axes.varied]
    unit = np.tile(axes.still, (144, 1))
    unit[:, list(axes.varied)] = list(itertools.product(*levels))
    return unit


def position(surrogate: Surrogate, field: str) -> int:
    return surrogate.coordinates.names.index(field)


def variance_of(cube: Floats, kept: tuple[int, ...]) -> float:
    """The variance of the expectation given some axes."""
    return float(np.var(cube.mean(axis=tuple(axis for axis in range(cube.ndim) if axis not in kept))))


def test_settings_are_those_that_differ(switched: Surrogate) -> None:
    found = switched.axes.settings()
    fields = [position(switched, name) for name in (SCHEDULE, DECAY)]
    seen = sorted((round(setting.share, 6), *setting.active[fields].tolist()) for setting in found)
    # Of the schedule, `linear` and `constant` switch alike, so they are one.
    assert seen == [
        (0.166667, False, False), (0.166667, True, False), (0.333333, False, False), (0.333333, True, True),
    ]  # fmt: skip


def test_shares_of_variance_are_those_of_the_whole_space(
    switched: Surrogate, averages: Averages, everywhere: Floats
) -> None:
    assert set(switched.axes.names) == {WEIGHT, RATE, MODE, SCHEDULE, DECAY}
    shape = [len(switched.axes.nodes(column)[0]) for column in switched.axes.varied]
    cube = switched.mean(everywhere).reshape(shape)
    whole, axes = cube.var(), range(cube.ndim)
    first = [variance_of(cube, (axis,)) / whole for axis in axes]
    total = [1 - variance_of(cube, tuple(set(axes) - {axis})) / whole for axis in axes]
    pairs = [
        variance_of(cube, pair) / whole - first[pair[0]] - first[pair[1]] for pair in itertools.combinations(axes, 2)
    ]
    found = averages.shares()
    assert found.first == pytest.approx(first, abs=1e-9)
    assert found.total == pytest.approx(total, abs=1e-9)
    assert found.second == pytest.approx(pairs, abs=1e-9)
    assert min(found.total) > 0.01


@pytest.mark.parametrize("field", [WEIGHT, RATE, MODE, SCHEDULE, DECAY])
def test_what_is_expected_along_a_field_is_the_mean_over_the_space_where_it_is_active(
    switched: Surrogate, averages: Averages, everywhere: Floats, field: str
) -> None:
    column, process = position(switched, field), switched.process
    active = everywhere[switched.axes.active(everywhere)[:, column]]
    places = switched.axes.nodes(column)[0]
    means, deviations = averages.along([column], places[:, None])
    for place, mean, deviation in zip(places, means, deviations, strict=True):
        rows = switched.axes.features(active[active[:, column] == place])
        cross = process.kernel(rows, process.x).mean(axis=0, keepdims=True)
        truth = process.conditioned(cross, process.kernel(rows, rows).mean())
        assert mean == pytest.approx(process.mean(rows).mean(), abs=1e-9)
        assert (mean, deviation) == pytest.approx((float(truth[0][0]), float(truth[1][0])), abs=1e-6)


def test_a_map_over_a_choice_and_what_it_switches_is_flat_where_that_is_off(
    switched: Surrogate, averages: Averages, everywhere: Floats
) -> None:
    pair = [position(switched, SCHEDULE), position(switched, DECAY)]
    schedule, decay = (switched.axes.nodes(column)[0] for column in pair)
    places = np.array(list(itertools.product(schedule, decay)))
    means, deviations = (part.reshape(3, 4) for part in averages.along(pair, places))
    assert np.ptp(means[1]) < 1e-9
    assert np.ptp(deviations[1]) < 1e-6
    active = switched.axes.active(everywhere)
    for row in (0, 2):
        for number in range(4):
            here = (everywhere[:, pair] == (schedule[row], decay[number])).all(axis=1) & active[:, pair].all(axis=1)
            assert means[row, number] == pytest.approx(switched.mean(everywhere[here]).mean(), abs=1e-9)


def test_lines_and_maps_of_switched_fields(switched: Surrogate) -> None:
    assert [line.field for line in lines_of(switched)] == list(switched.axes.names)
    assert all(np.isfinite(surface.unsure).all() for surface in surfaces_of(switched, indices_of(switched)))


def test_integrals_agree_with_drawn_points() -> None:
    surrogate = surrogate_of(sampled(ishigami, 3, 128, seed=3), "score")
    averages = averages_of(surrogate.process, surrogate.axes)
    unit = saltelli_unit(3, 4096, second_order=True, seed=5)
    values = surrogate.mean(unit)
    first, total, pairs = direct_indices(values, np.zeros_like(values), surrogate.axes.names, second_order=True)
    found = averages.shares()
    assert found.first == pytest.approx([index.estimate for index in first], abs=0.01)
    assert found.total == pytest.approx([index.estimate for index in total], abs=0.01)
    assert found.second == pytest.approx([index.estimate for index in pairs], abs=0.02)
    # All that a field does is what it does alone, in pairs, and here, where there are three, in the one triple.
    triple = 1 - found.first.sum() - found.second.sum()
    shares = dict(zip(itertools.combinations(range(3), 2), found.second, strict=True))
    for field in range(3):
        with_it = sum(share for pair, share in shares.items() if field in pair)
        assert found.total[field] == pytest.approx(found.first[field] + with_it + triple, abs=1e-6)


def test_integrals_are_exact_for_the_shortest_length_scale() -> None:
    surrogate = surrogate_of(sampled(ishigami, 3, 64, seed=1), "score")
    nodes, weights = surrogate.axes.nodes(0)
    fine = (np.arange(20_000) + 0.5) / 20_000
    for first, second in itertools.product((0.0, 0.31, 0.5, 0.97), (0.0, 0.33, 1.0)):
        by_nodes, by_grid = (np.exp(-0.5 * ((at - first) ** 2 + (at - second) ** 2) / 0.05**2) for at in (nodes, fine))
        assert weights @ by_nodes == pytest.approx(by_grid.mean(), abs=1e-6)


def test_a_sum_of_effects_has_lines_that_are_these_effects(tmp_path: Path) -> None:
    config = study_of({"design": {"sampler": {"name": "qmc"}, "points": 64}})
    surrogate = fit_surrogate(write_design(tmp_path, config, lambda unit: unit @ np.array([1.0, 0.5, 0.25])), "score")
    found = lines_of(surrogate)[0]
    assert np.array(found.mean) == pytest.approx(np.linspace(0, 1, 25) + 0.375, abs=0.01)
    assert np.max(np.array(found.high) - np.array(found.low)) < 0.05
