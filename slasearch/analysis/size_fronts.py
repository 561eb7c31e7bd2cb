"""How much of the trade-off of score and size each method covers, over studies of the same tasks at several sizes.

The share of a box that a method's means dominate (hypervolume, Zitzler and Thiele 1998), sizes as logarithms. The box
is common to all methods of the same tasks: from the best values that any of them has to the worst, moved out by a tenth
of the range. The difference to the winner has a t-interval, its variance by a bootstrap over seed pairs, drawn
anew the same for all arms, so that pairs stay pairs, and for all studies that share seed pairs, as what a seed does may
be alike at every size. Of studies with other seed pairs variances add; degrees of freedom as in `crossed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from slasearch.analysis.evidence import scores_by
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.groups import SEEDS, Group, group_of
from slasearch.analysis.intervals import Estimate
from slasearch.analysis.likeness import data_of
from slasearch.analysis.measure import Measure, measuring
from slasearch.analysis.pareto import MARGIN, dominated_volume
from slasearch.analysis.roles import control_name
from slasearch.registry import UNSIZED_CONTROLS

__all__ = ["SizeFront", "fronts_by_size"]

DRAWS = 1_000
"""Bootstrap draws over the seed pairs of a study, or of several that share some."""

_NOTHING = 1e-18
"""A variance of shares below this is rounding."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SizeFront:
    """A role over `studies` of the same tasks: the share of the box that it covers, 0 to 1.

    `difference` is the winner's share minus this one, over `n` seed pairs in the study with the fewest; None for the
    winner, and where a study has fewer than two pairs the interval is missing.
    """

    tasks: tuple[str, ...]
    studies: tuple[str, ...]
    role: str
    share: float
    difference: Estimate | None


def fronts_by_size(
    studies: Mapping[str, StudyFrames],
    *,
    trials: Mapping[str, int] | None = None,
    measure: Measure | None = None,
    seed: int = 0,
) -> tuple[SizeFront, ...]:
    """The winner and every control of its size that all studies of the same tasks have, where these are two or more.

    The same are tasks of the same names on the same data.
    Runs count in seed pairs that all of these arms have; where a study has none there is no front.

    Args:
        studies: As `arms_by_size` takes them.
        trials: The same.
        measure: The same.
        seed: Of the bootstrap.

    Raises:
        ReportError: A study has confirmed nothing, or not this trial, or lacks what is to be measured.
    """
    measure = measure or Measure()
    alike: dict[tuple[tuple[str, str | None], ...], list[Group]] = {}
    for label, frames in studies.items():
        group = group_of(label, measuring(frames, measure), (trials or {}).get(label), measure)
        data = data_of(frames)
        alike.setdefault(tuple((task, data.get(task)) for task in sorted(group.frames.tasks)), []).append(group)
    several = [groups for groups in alike.values() if len(groups) > 1]
    return tuple(front for groups in several for front in _fronts(tuple(groups[0].frames.tasks), groups, seed))


def _fronts(tasks: tuple[str, ...], groups: Sequence[Group], seed: int) -> list[SizeFront]:
    common = [role for role in groups[0].roles if all(role in group.roles for group in groups)]
    roles = [role for role in common if control_name(role) not in UNSIZED_CONTROLS]
    found = [_runs(group, roles) for group in groups]
    runs = [table for _, table in found]
    fewest = min(len(table) for table in runs)
    if not fewest:
        return []
    alike = _sharing([pairs for pairs, _ in found])
    means = np.stack([table.mean(axis=0) for table in runs])
    worst, best = means.max(axis=(0, 1)), means.min(axis=(0, 1))
    span = np.where(worst > best, worst - best, 1.0)
    shares = _shares((means - best) / span)
    variances = np.stack([_variance(found, together, best, span, seed) for together in alike])
    counts = [min(len(runs[study]) for study in together) for together in alike]
    studies = tuple(group.label for group in groups)

    def difference(column: int) -> Estimate:
        mean, parts = float(shares[0] - shares[column]), variances[:, column]
        if fewest < 2 or parts.sum() < _NOTHING:
            return Estimate(mean, None, None, fewest)
        freedom = parts.sum() ** 2 / sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
        half = float(stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum()))
        return Estimate(mean, mean - half, mean + half, fewest)

    return [
        SizeFront(tasks, studies, role, float(shares[column]), difference(column) if column else None)
        for column, role in enumerate(roles)
    ]


def _sharing(pairs: Sequence[tuple[Any, ...]]) -> list[list[int]]:
    """Studies by the seed pairs that they share, with one another or by way of others."""
    groups: list[tuple[set[Any], list[int]]] = []
    for study, mine in enumerate(pairs):
        seeds, studies = set(mine), [study]
        for group in [group for group in groups if group[0] & seeds]:
            groups.remove(group)
            seeds |= group[0]
            studies += group[1]
        groups.append((seeds, studies))
    return [sorted(studies) for _, studies in groups]


def _variance(
    found: Sequence[tuple[tuple[Any, ...], Floats]], together: Sequence[int], best: Floats, span: Floats, seed: int
) -> Floats:
    """What the pairs that some studies share add to the variance of the winner's share minus each role's (`roles`).

    Each draw is of all their pairs, and each study takes of it those that it has.
    """
    union = sorted({pair for study in together for pair in found[study][0]})
    rows = {study: [union.index(pair) for pair in found[study][0]] for study in together}
    count = min(len(found[study][0]) for study in together)
    generator = np.random.default_rng([seed, together[0]])
    means = np.stack([table.mean(axis=0) for _, table in found])
    draws = np.empty((DRAWS, means.shape[1]))
    for number in range(DRAWS):
        times = np.bincount(generator.integers(0, len(union), len(union)), minlength=len(union))
        while not all(times[rows[study]].any() for study in together):
            times = np.bincount(generator.integers(0, len(union), len(union)), minlength=len(union))
        for study in together:
            means[study] = np.average(found[study][1], axis=0, weights=times[rows[study]])
        draws[number] = _shares((means - best) / span)
    # A bootstrap of few pairs spreads too little.
    variance: Floats = (draws[:, :1] - draws).var(axis=0) * count / max(1, count - 1)
    return variance


def _runs(group: Group, roles: Sequence[str]) -> tuple[tuple[Any, ...], Floats]:
    """The seed pairs that all roles have, and `pairs x roles x 2`: log10 of the size and minus the score."""
    found = {}
    for role in roles:
        complete = group.complete(role)
        sizes = complete.groupby(list(SEEDS))["exported_parameters"].first()
        scores = scores_by(complete, SEEDS, (MEAN,))[MEAN]
        found[role] = pd.DataFrame({"size": np.log10(sizes.clip(lower=1.0)), "loss": -scores})
    table = pd.concat(found, axis=1).dropna().sort_index()
    return tuple(table.index), np.stack([table[role].to_numpy(dtype=np.float64) for role in roles], axis=1)


def _shares(costs: Floats) -> Floats:
    """Shares of the box (`roles`) that points (`studies x roles x 2`, best values 0 and worst 1) dominate.

    A draw may be better than the box's best values, and its share above 1: cut off there, differences would shrink.
    """
    edge = 1.0 + MARGIN
    reference = np.full(2, edge)
    inside = np.minimum(costs, edge)
    volumes = [dominated_volume(inside[:, role], reference) for role in range(costs.shape[1])]
    return np.array(volumes) / edge**2
