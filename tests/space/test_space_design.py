"""Design phases: one factor at a time, grids and Sobol points, with conditions, repetitions and growth."""

from collections.abc import Callable

import numpy as np
import pytest

from slasearch.config.schema import StudyConfig
from slasearch.space import design_points, parameters

Study = Callable[..., StudyConfig]

BASE = {
    "pool.kinds": '["lora"]',
    "pool.ranks": "[1]",
    "gates.family": "sigmoid",
    "gates.temperature": 1.5,
    "size_control.sparsity_weight": 0.316228,
    "training.batch_size": 12,
    "conditions.train.typos.level": 0.2,
}


def test_no_design_phase_has_no_points(study: Study) -> None:
    assert design_points(study()) == ()


def test_one_factor_at_a_time_leaves_a_base_point(study: Study) -> None:
    config = study(
        "phases.design.sampler.name=one_at_a_time",
        "phases.design.base.training.batch_size=8",
        "phases.design.levels.training.batch_size=[8, 10, 16]",
        "phases.design.levels.conditions.train.typos.level=[0, 0.4]",
        "phases.design.levels.gates.family=[hard_concrete, sigmoid]",
        "phases.design.seeds=2",
    )
    points = design_points(config)
    base = {**BASE, "training.batch_size": 8}
    hard = {name: value for name, value in base.items() if name != "gates.temperature"}
    wanted = [
        (base, None),
        ({**hard, "gates.family": "hard_concrete"}, "gates.family"),
        ({**base, "training.batch_size": 10}, "training.batch_size"),
        ({**base, "training.batch_size": 16}, "training.batch_size"),
        ({**base, "conditions.train.typos.level": 0.0}, "conditions.train.typos.level"),
        ({**base, "conditions.train.typos.level": 0.4}, "conditions.train.typos.level"),
    ]
    assert [(point.params, point.factor) for point in points] == wanted * 2
    assert [(point.point, point.repeat) for point in points] == [(n, r) for r in range(2) for n in range(6)]


def test_more_seeds_add_points_and_change_none(study: Study) -> None:
    overrides = ["phases.design.sampler.name=grid", "phases.design.levels.training.batch_size=[8, 9]"]
    few, many = (design_points(study(*overrides, f"phases.design.seeds={n}")) for n in (1, 3))
    assert many[: len(few)] == few
    assert len(many) == 6


def test_a_grid_crosses_levels_and_drops_what_conditions_make_equal(study: Study) -> None:
    config = study(
        "phases.design.sampler.name=grid",
        "phases.design.levels.gates.family=[sigmoid, hard_concrete]",
        "phases.design.levels.gates.temperature=[1, 2]",
        "phases.design.levels.training.batch_size=[8, 16]",
        "phases.design.base.pool.ranks=[2, 4]",
    )
    points = design_points(config)
    seen = [
        (p.params["gates.family"], p.params.get("gates.temperature"), p.params["training.batch_size"]) for p in points
    ]
    assert seen == [
        ("sigmoid", 1.0, 8),
        ("sigmoid", 1.0, 16),
        ("sigmoid", 2.0, 8),
        ("sigmoid", 2.0, 16),
        ("hard_concrete", None, 8),
        ("hard_concrete", None, 16),
    ]
    assert all(p.params["pool.ranks"] == "[2, 4]" and p.factor is None for p in points)


def qmc(study: Study, points: int, *more: str) -> StudyConfig:
    return study("phases.design.sampler.name=qmc", f"phases.design.points={points}", *more)


@pytest.mark.parametrize("count", [1, 5, 64])
def test_sobol_points_are_deterministic_and_grow_by_prefix(study: Study, count: int) -> None:
    points = design_points(qmc(study, count))
    assert len(points) == count
    assert points == design_points(qmc(study, count))
    assert points == design_points(qmc(study, 100))[:count]
    assert points != design_points(qmc(study, count, "seed=4"))


def test_sobol_points_fill_every_distribution_evenly(study: Study) -> None:
    config = qmc(study, 64)
    params = [point.params for point in design_points(config)]
    for parameter in parameters(config):
        for values in params:
            if parameter.name in values:
                parameter.decode(values[parameter.name])
            assert parameter.active(values) == (parameter.name in values)
    logs = np.log10([values["size_control.sparsity_weight"] for values in params])
    assert np.histogram(logs, bins=4, range=(-2, 1))[0].tolist() == [16, 16, 16, 16]
    assert sum(values["gates.family"] == "sigmoid" for values in params) == 32
    assert {values["training.batch_size"] for values in params} == set(range(8, 17))
