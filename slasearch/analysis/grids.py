"""What the levels of a factor in a grid may be compared over: combinations of the others with a result at every level.

A plain mean over what there is would put down to a level what failed beside it: where one level lacks its trials at a
bad value of another factor, it looks better than the rest.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from slasearch.config.schema import StudyConfig
from slasearch.space.design import design_points
from slasearch.space.parameters import Parameter, parameters

__all__ = ["comparable"]

_FULL = 0.5
"""A level with less than this share of the trials of the fullest level would leave too little to compare the others."""


def comparable(config: StudyConfig, factor: str, trials: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The trials of a grid among which levels of a factor differ in nothing else.

    Args:
        config: The study.
        factor: Dotted path of the field.
        trials: Complete trials of its design that use the field: columns `point`, `repeat`, `level` and any others.

    Returns:
        Those rows whose combination of the other factors has, with the same seed pair, a trial at every level; levels
        with less than half of the trials of the fullest one are left out before. And what was left out, in words.
    """
    fields = parameters(config)
    others = _others(fields, factor)
    planned = {point.point: (point.params.get(factor), _key(point.params, others)) for point in design_points(config)}
    counts = trials["level"].value_counts()
    levels = [level for level, count in counts.items() if count >= _FULL * counts.max()]
    kept, lacking, cells = trials, 0, 0
    while levels:
        kept, lacking, cells = _whole(trials[trials["level"].isin(levels)], planned)
        if len(kept):
            break
        levels.pop()  # the one with the fewest trials
    dropped = [level for level in counts.index if level not in levels]
    said = [f"level {level} left out: it has too few results beside the others" for level in dropped]
    if lacking:
        said.append(f"{lacking} of {cells} combinations of the other factors left out: some level has no result there")
    return kept, tuple(said)


def _whole(trials: pd.DataFrame, planned: Mapping[int, tuple[Any, Hashable]]) -> tuple[pd.DataFrame, int, int]:
    """Those trials whose combination and seed pair has all levels, and of how many such pairs how many have not."""
    levels, there = set(trials["level"]), set(zip(trials["point"], trials["repeat"], strict=True))
    wanted = [
        ((key, repeat), (point, repeat) in there)
        for repeat in dict.fromkeys(trials["repeat"])
        for point, (level, key) in planned.items()
        if level in levels
    ]
    lacking = {cell for cell, found in wanted if not found}
    cells = [(planned[point][1], repeat) for point, repeat in zip(trials["point"], trials["repeat"], strict=True)]
    return trials[[cell not in lacking for cell in cells]], len(lacking), len({cell for cell, _ in wanted})


def _others(fields: Sequence[Parameter], factor: str) -> list[str]:
    """The fields that neither are the factor nor are switched by it: what two of its levels can have in common."""
    switched = {factor}
    for field in fields:  # each after those that it depends on
        if switched.intersection(field.when):
            switched.add(field.name)
    return [field.name for field in fields if field.name not in switched]


def _key(params: Mapping[str, Any], others: Sequence[str]) -> Hashable:
    return tuple((name, params[name]) for name in others if name in params)
