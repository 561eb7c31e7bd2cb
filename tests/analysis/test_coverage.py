"""How often published intervals hold the truth, on functions that the analyses were not made for. Takes minutes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from design_kit import coordinates_of
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import qmc

from slasearch.analysis.morris import screening_of
from slasearch.analysis.surrogate import indices_of, surrogate_of
from slasearch.analysis.variance import saltelli_indices
from slasearch.errors import ReportError
from slasearch.space import saltelli_unit
from slasearch.space.unit_designs import morris_unit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

Floats = NDArray[np.float64]
REPETITIONS = 200
KINDS = ("S1", "ST", "S2")


@dataclass(frozen=True)
class Known:
    """A response of `fields` uniform fields, `n x fields` -> `n`, and the indices that it has."""

    function: Callable[[Floats], Floats]
    fields: int
    variance: float
    truth: dict[str, Floats]


def moon(u: Floats) -> Floats:
    """Moon, Dean and Santner 2012."""
    return u[:, 0] + u[:, 1] + 3 * u[:, 0] * u[:, 2]


def k_function(u: Floats) -> Floats:
    """Bratley, Fox and Niederreiter 1992: Σ (-1)^i Π_{j ≤ i} u_j."""
    return (np.cumprod(u, axis=1) * (-1.0) ** np.arange(1, u.shape[1] + 1)).sum(axis=1)


def product(u: Floats) -> Floats:
    return u.prod(axis=1)


def step(u: Floats) -> Floats:
    """A step whose height is that of a choice of four, and a slope."""
    return np.where(u[:, 0] > 0.5, 1.0, 0.0) * np.array([0.2, 1.0, 0.5, 0.7])[(4 * u[:, 1]).astype(int)] + 0.3 * u[:, 2]


WEIGHTS = np.loadtxt(Path(__file__).with_name("oakley_ohagan.csv"), delimiter=",")
LINEAR, SINE, COSINE, QUADRATIC = WEIGHTS[0], WEIGHTS[1], WEIGHTS[2], WEIGHTS[3:]


def oakley(u: Floats) -> Floats:
    """Oakley and O'Hagan 2004: a₁x + a₂ sin x + a₃ cos x + x'Mx of 15 normal x."""
    x = stats.norm.ppf(np.clip(u, 1e-9, 1 - 1e-9))
    return x @ LINEAR + np.sin(x) @ SINE + np.cos(x) @ COSINE + np.einsum("ni,ij,nj->n", x, QUADRATIC, x)


def oakley_known() -> Known:
    """Its terms of one field and of two are orthogonal: E x_i x_j = 0."""
    x, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    alone = np.outer(LINEAR, x) + np.outer(SINE, np.sin(x)) + np.outer(COSINE, np.cos(x))
    alone += np.outer(np.diag(QUADRATIC), x**2)
    first = (alone**2) @ weights - (alone @ weights) ** 2
    pair = (QUADRATIC + QUADRATIC.T) ** 2
    np.fill_diagonal(pair, 0)
    variance = first.sum() + pair.sum() / 2
    upper = pair[np.triu_indices(15, 1)]
    shares = {"S1": first, "ST": first + pair.sum(axis=1), "S2": upper}
    return Known(oakley, 15, variance, {kind: values / variance for kind, values in shares.items()})


def known(function: Callable[[Floats], Floats], fields: int) -> Known:
    """Indices by a Gauss rule of two nodes in each of eight cells, which is exact for these functions."""
    cells = (np.arange(8)[:, None] + 0.5 + np.array([-0.5, 0.5]) / 3**0.5).ravel() / 8
    grid = np.array(list(itertools.product(cells, repeat=fields)))
    table = function(grid).reshape((len(cells),) * fields)
    variance, everything = table.var(), set(range(fields))

    def closed(kept: set[int]) -> float:
        return float(table.mean(axis=tuple(everything - kept)).var() / variance)

    first = np.array([closed({i}) for i in range(fields)])
    total = np.array([1 - closed(everything - {i}) for i in range(fields)])
    pairs = [closed({i, j}) - first[i] - first[j] for i, j in itertools.combinations(range(fields), 2)]
    return Known(function, fields, float(variance), {"S1": first, "ST": total, "S2": np.array(pairs)})


FUNCTIONS = {
    "moon": known(moon, 3),
    "k": known(k_function, 4),
    "product": known(product, 3),
    "step": known(step, 3),
    "oakley": oakley_known(),
}


def test_the_truths_are_those_of_the_literature() -> None:
    assert FUNCTIONS["moon"].truth["S1"] == pytest.approx([0.6098, 0.0976, 0.2195], abs=1e-4)
    assert FUNCTIONS["moon"].truth["ST"] == pytest.approx([0.6829, 0.0976, 0.2927], abs=1e-4)
    for one in FUNCTIONS.values():
        points = qmc.Sobol(one.fields, rng=np.random.default_rng(0)).random(2**16)
        assert one.function(points).var() == pytest.approx(one.variance, rel=0.02)
    assert FUNCTIONS["oakley"].truth["S1"].sum() + FUNCTIONS["oakley"].truth["S2"].sum() == pytest.approx(1)


def direct(one: Known, seed: int, noise: float, pairs: bool) -> dict[str, list[bool]]:
    """Whether each interval of a Saltelli design of 64 base points under two seed pairs holds the truth."""
    unit = saltelli_unit(one.fields, 64, second_order=pairs, seed=seed)
    size = 2 * one.fields + 2 if pairs else one.fields + 2
    values = one.function(unit)[:, None] + drawn(seed, noise * one.variance, len(unit))
    found = saltelli_indices(coordinates_of(unit, values, size), "score", planned=64, pairs=pairs)
    return held(one, found)


def surrogate(one: Known, seed: int, noise: float, points: int) -> dict[str, list[bool]]:
    unit = qmc.Sobol(one.fields, rng=np.random.default_rng([seed, 1])).random(points)
    values = one.function(unit)[:, None] + drawn(seed, noise * one.variance, points)
    found = replace(coordinates_of(unit, values, 1), sampler="qmc")
    return held(one, indices_of(surrogate_of(found, "score")))


def drawn(seed: int, variance: float, points: int) -> Floats:
    return np.random.default_rng([seed, 2]).normal(0, variance**0.5, (points, 2))


def held(one: Known, found) -> dict[str, list[bool]]:
    intervals = {"S1": found.first, "ST": found.total, "S2": found.second}
    return {
        kind: [index.low <= truth <= index.high for index, truth in zip(indices, one.truth[kind], strict=True)]
        for kind, indices in intervals.items()
        if indices
    }


def coverage(trial: Callable[[int], dict[str, list[bool]]]) -> tuple[dict[str, float], int]:
    """The share of a kind's intervals that hold the truth, and how many repetitions had an answer."""
    answers = []
    for seed in range(REPETITIONS):
        try:
            answers.append(trial(seed))
        except ReportError:
            continue
    kinds = answers[0] if answers else {}
    return {kind: float(np.mean([one[kind] for one in answers])) for kind in kinds}, len(answers)


LEVELS, TRAJECTORIES = 4, 20


def effects(one: Known, seed: int, trajectories: int, noise: float):
    unit = morris_unit(one.fields, trajectories, levels=LEVELS, seed=seed)
    values = one.function(unit * 0.9 + 0.05)[:, None] + drawn(seed, noise * one.variance, len(unit))
    found = coordinates_of(unit, values, one.fields + 1)
    return screening_of(found, "score", planned=trajectories, levels=LEVELS, seed=seed).effects


MISSED = {("oakley", "surrogate", "ST"): 0.76}
"""Too narrow: with 15 fields and 128 points the process misses interactions. Measured: .82."""


@cache
def measured(name: str) -> dict[str, tuple[dict[str, float], int]]:
    one = FUNCTIONS[name]
    true = [effect.mu_star for effect in effects(one, 10_000, 4_000, 0.0)]
    found = {}
    for noise in (0.25, 1.0):
        found[f"direct, noise {noise}"] = coverage(lambda seed, noise=noise: direct(one, seed, noise, pairs=True))
        found[f"μ*, noise {noise}"] = coverage(
            lambda seed, noise=noise: {
                "μ*": [
                    effect.low <= truth <= effect.high
                    for effect, truth in zip(effects(one, seed, TRAJECTORIES, noise), true, strict=True)
                ]
            }
        )
    points = 128 if name == "oakley" else 64
    found["surrogate"] = coverage(lambda seed: surrogate(one, seed, 0.25, points))
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_intervals_hold_the_truth(name: str) -> None:
    for analysis, (shares, answers) in measured(name).items():
        assert answers >= 100, (analysis, answers)
        for kind, share in shares.items():
            assert share >= MISSED.get((name, analysis, kind), 0.93), (analysis, kind, share)


def test_intervals_are_not_too_wide_on_average() -> None:
    """S1, ST and S2 only: those of μ* are too wide, because they are widened for the noise of seeds."""
    names = ("direct, noise 0.25", "direct, noise 1.0", "surrogate")
    for analysis, kind in itertools.product(names, KINDS):
        mean = np.mean([measured(name)[analysis][0][kind] for name in FUNCTIONS])
        assert 0.93 <= mean <= 0.985, (analysis, kind, mean)
