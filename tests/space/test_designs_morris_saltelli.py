"""Morris and Saltelli designs: geometry, counts, growth, seeds, and what the study file may say of them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from slasearch.config.fingerprint import difference, fingerprint
from slasearch.config.load import parse_study
from slasearch.config.schema import StudyConfig
from slasearch.errors import ConfigError
from slasearch.search.plan import planned
from slasearch.space import check, design_points, parameters, saltelli_unit
from slasearch.space.design import block_size, point_count
from slasearch.space.unit_designs import morris_unit

STUDY = """\
name: screened
tasks: [{name: spam, source: "bundled:sms_spam"}]
pool: {ranks: {categorical: [[1], [4], [1, 4]]}}
size_control: {mode: penalty, sparsity_weight: {log_float: [1e-2, 1e+1]}}
training: {epochs: 1, batch_size: {int: [8, 16]}, weight_decay: {float: [0, 0.1]}}
"""
FIELDS = 4
CONDITIONAL = "gates={family: {categorical: [sigmoid, hard_concrete]}, temperature: {float: [1, 2], when: {%s}}}"
SEEDLESS = "SALib counts a seed of 0 as none; a study's seed is 0 by default"


def study(sampler: str, points: int, *overrides: str, **options: int) -> StudyConfig:
    text = ", ".join(f"{name}: {value}" for name, value in options.items())
    design = f"phases.design={{sampler: {{name: {sampler}, options: {{{text}}}}}, points: {points}}}"
    return parse_study(STUDY, "s.yaml", [design, *overrides])


def params(config: StudyConfig) -> list[dict[str, Any]]:
    return [point.params for point in design_points(config)]


@pytest.mark.parametrize(
    ("sampler", "options", "size"),
    [("morris", {}, 5), ("morris", {"levels": 6}, 5), ("saltelli", {}, 6), ("saltelli", {"second_order": 1}, 10)],
)
def test_trials_are_counted_without_making_them(sampler: str, options: dict[str, int], size: int) -> None:
    config = study(sampler, 8, "phases.design.seeds=3", **options)
    design = config.phases.design
    assert design is not None
    points = design_points(config)
    assert block_size(design, FIELDS) == size
    assert point_count(design, FIELDS) == 8 * size
    assert len(points) == planned(config, (), points)["design"] == 8 * size * 3
    assert [(point.point, point.repeat) for point in points] == [(n, r) for r in range(3) for n in range(8 * size)]
    assert all(point.factor is None and len(point.params) == FIELDS for point in points)
    assert check(config) == []


@pytest.mark.parametrize("second_order", [False, True])
def test_a_saltelli_block_exchanges_one_coordinate_at_a_time(second_order: bool) -> None:
    size = 2 * FIELDS + 2 if second_order else FIELDS + 2
    blocks = saltelli_unit(FIELDS, 16, second_order=second_order, seed=0).reshape(16, size, FIELDS)
    a, b = blocks[:, 0], blocks[:, -1]
    assert (a != b).all()
    for column in range(FIELDS):
        others = np.arange(FIELDS) != column
        mixed = blocks[:, 1 + column]
        assert (mixed[:, column] == b[:, column]).all()
        assert (mixed[:, others] == a[:, others]).all()
        if second_order:
            back = blocks[:, 1 + FIELDS + column]
            assert (back[:, column] == a[:, column]).all()
            assert (back[:, others] == b[:, others]).all()
    for base in (a, b):
        assert all(np.histogram(base[:, column], bins=16, range=(0, 1))[0].tolist() == [1] * 16 for column in range(4))


@pytest.mark.parametrize("levels", [2, 4, 6])
def test_a_morris_trajectory_moves_each_field_once_by_the_same_share(levels: int) -> None:
    paths = morris_unit(FIELDS, 20, levels=levels, seed=0).reshape(20, FIELDS + 1, FIELDS)
    steps = np.diff(paths, axis=1)
    assert ((steps != 0).sum(axis=1) == 1).all()
    assert ((steps != 0).sum(axis=2) == 1).all()
    assert np.abs(steps[steps != 0]) == pytest.approx(levels / (2 * (levels - 1)))
    assert np.unique(paths.round(12)) == pytest.approx(np.linspace(0, 1, levels))


@pytest.mark.parametrize("levels", [2, 4, 6, 8])
def test_every_step_of_a_morris_design_changes_one_stored_value(levels: int) -> None:
    config = study("morris", 30, levels=levels)
    found = parameters(config)
    rows = params(config)
    for start in range(0, len(rows), FIELDS + 1):
        path = rows[start : start + FIELDS + 1]
        moved = [[name for name in row if row[name] != before[name]] for before, row in itertools.pairwise(path)]
        assert sorted(name for (name,) in moved) == sorted(parameter.name for parameter in found)
    for parameter in found:
        values = {parameter.decode(row[parameter.name]) for row in rows}
        shares = [parameter.share(row[parameter.name]) for row in rows]
        if parameter.choices or parameter.name == "training.batch_size":
            assert {parameter.ends[0], parameter.ends[-1]} <= values
        else:
            assert (min(shares), max(shares)) == pytest.approx((0, 1))


def test_log_fields_are_sampled_on_their_logarithm() -> None:
    rows = params(study("saltelli", 64))
    logs = np.log10([row["size_control.sparsity_weight"] for row in rows[:: FIELDS + 2]])
    assert np.histogram(logs, bins=4, range=(-2, 1))[0].tolist() == [16, 16, 16, 16]


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_a_morris_design_compares_every_pair_of_choices(count: int) -> None:
    choices = [[rank] for rank in range(1, count + 1)]
    pairs = set(itertools.combinations(range(1, count + 1), 2))
    config = study("morris", len(pairs), f"pool.ranks={{categorical: {choices}}}")
    ranks = [json.loads(found["pool.ranks"])[0] for found in params(config)]
    paths = [ranks[start : start + FIELDS + 1] for start in range(0, len(ranks), FIELDS + 1)]
    assert {tuple(sorted(set(path))) for path in paths} == pairs
    assert any(path[0] > path[-1] for path in paths)
    assert any(path[0] < path[-1] for path in paths)


DESIGNS = [("qmc", {}), ("morris", {}), ("morris", {"levels": 6}), ("saltelli", {}), ("saltelli", {"second_order": 1})]


@pytest.mark.parametrize(("sampler", "options"), DESIGNS)
def test_points_grow_by_prefix_and_stay_the_same_study(sampler: str, options: dict[str, int]) -> None:
    few, many = (study(sampler, count, **options) for count in (16, 64))
    first, grown = params(few), params(many)
    assert len(grown) == 4 * len(first)
    assert grown[: len(first)] == first
    assert fingerprint(few) == fingerprint(many)
    assert difference(few, many) == []


@pytest.mark.parametrize(("sampler", "options"), DESIGNS)
def test_a_design_follows_from_the_seed_of_the_study(sampler: str, options: dict[str, int]) -> None:
    config = study(sampler, 16, **options)
    assert config.seed == 0, SEEDLESS
    assert params(config) == params(study(sampler, 16, **options)), SEEDLESS
    assert params(config) != params(study(sampler, 16, "seed=1", **options))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (("morris", {}), ("saltelli", {}), 'phases.design.sampler.name: was "morris", is "saltelli"'),
        (("morris", {"levels": 4}), ("morris", {"levels": 6}), "phases.design.sampler.options.levels: was 4, is 6"),
        (
            ("saltelli", {"second_order": 0}),
            ("saltelli", {"second_order": 1}),
            "phases.design.sampler.options.second_order: was 0, is 1",
        ),
    ],
)
def test_another_geometry_is_another_study(
    old: tuple[str, dict[str, int]], new: tuple[str, dict[str, int]], line: str
) -> None:
    before, after = (study(sampler, 16, **options) for sampler, options in (old, new))
    assert difference(before, after) == [line]


@pytest.mark.parametrize(
    ("design", "wanted"),
    [
        ("{sampler: {name: morris}}", "expected a number of trajectories with morris, got none"),
        ("{sampler: {name: saltelli}}", "expected a number of base points with saltelli, got none"),
        ("{sampler: {name: saltelli}, points: 48}", "points: expected a power of two with saltelli, got 48"),
        ("{sampler: {name: morris}, points: 4, levels: {a: [1]}}", "levels: expected no levels with morris, got a"),
        ("{sampler: {name: saltelli}, points: 4, levels: {a: [1]}}", "levels: expected no levels with saltelli, got a"),
    ],
)
def test_the_schema_says_what_a_design_takes(design: str, wanted: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_study(STUDY, "s.yaml", [f"phases.design={design}"])
    assert wanted in str(refused.value)


@pytest.mark.parametrize(
    ("config", "at", "expected", "got"),
    [
        (study("morris", 4, levels=3), "sampler.options.levels", "an even number from 2 to 100", "3"),
        (study("saltelli", 4, levels=4), "sampler.options.levels", "an option of saltelli (second_order)", "levels"),
        (study("saltelli", 4, second_order=2), "sampler.options.second_order", "a whole number from 0 to 1", "2"),
        (study("saltelli", 16384, "phases.design.seeds=2"), "", "at most 100,000 trials", "196,608"),
        (study("morris", 30000), "", "at most 100,000 trials", "150,000"),
        (
            study("morris", 4, "phases.design.base.training.batch_size=8"),
            "base.training.batch_size",
            "no base with morris, which varies every field",
            "training.batch_size",
        ),
    ],
)
def test_the_check_says_what_a_design_takes(config: StudyConfig, at: str, expected: str, got: str) -> None:
    (problem,) = check(config)
    assert ".".join(str(step) for step in problem.path) == f"phases.design.{at}".rstrip(".")
    assert (problem.expected, problem.got) == (expected, got)


@pytest.mark.parametrize("sampler", ["morris", "saltelli"])
def test_fields_under_a_condition_are_refused_in_one_message(sampler: str) -> None:
    (problem,) = check(study(sampler, 4, CONDITIONAL % "gates.family: sigmoid"))
    assert problem.path == ("phases", "design", "sampler", "name")
    assert problem.expected == (
        "one_at_a_time, grid or qmc, as a point may be without a field that has a `when` (gates.temperature)"
    )
    assert problem.got == sampler
    assert check(study("qmc", 4, CONDITIONAL % "gates.family: sigmoid")) == []
