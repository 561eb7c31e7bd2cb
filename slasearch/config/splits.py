"""Which split of a task's source stands for which of ours."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SOURCE_SPLITS", "source_splits"]

SOURCE_SPLITS: tuple[str, ...] = ("train", "validation", "test")
"""The splits that a source may have of its own; `gate` is always taken out of train."""


def source_splits(given: Mapping[str, str]) -> dict[str, str]:
    """The source's split for each of ours. A split that is given to one of ours no longer stands for its namesake.

    So with `{test: validation}` nothing stands for our validation, and it is taken off train.

    Raises:
        ValueError: Two of ours are given the same, or train is left without; as `expected …, got …`.
    """
    names = list(given.values())
    if len(set(names)) != len(names) or not all(names):
        raise ValueError(f"expected another split of the source for each, got {', '.join(map(repr, names))}")
    if "train" in names and "train" not in given:
        raise ValueError(f"expected a split for train too, as its namesake is given away, got {dict(given)}")
    return {ours: given.get(ours, ours) for ours in SOURCE_SPLITS if ours in given or ours not in names}
