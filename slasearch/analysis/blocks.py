"""Designs that are analysed block by block, Saltelli's base points and Morris' trajectories: which are complete."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slasearch.analysis.coordinates import Coordinates, empty_words
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.missing import missing_words
from slasearch.analysis.points import DesignPoints

__all__ = ["Blocks", "complete_blocks"]


@dataclass(frozen=True)
class Blocks:
    """The complete blocks of a design of k fields, one after another, each point once.

    Args:
        places: `count·size`, where each point stands among all that have a result.
        unit: `count·size x k`, each coordinate in [0, 1].
        values: `count·size`, the mean over each point's seed repeats, seed pairs as blocks.
        count: How many blocks.
        n: How many trials they were made from, repeats counted.
        repeats: Most seed repeats of a point.
        warnings: What was left out, and what is uneven.
    """

    places: NDArray[np.int64]
    unit: NDArray[np.float64]
    values: NDArray[np.float64]
    count: int
    n: int
    repeats: int
    warnings: tuple[str, ...]


def complete_blocks(found: Coordinates, points: DesignPoints, planned: int, *, called: str) -> Blocks:
    """The blocks of which every point has at least one complete trial.

    Args:
        found: The complete trials of a design of blocks: point p stands in block p // `found.block`.
        points: Its points.
        planned: How many blocks the study file asks for.
        called: What blocks are called in warnings, in the plural.
    """
    repeats = points.counts
    blocks, filled = np.unique(points.blocks, return_counts=True)
    complete = blocks[filled == found.block]
    kept = np.isin(points.blocks, complete)
    lacking = max(planned, int(blocks.max()) + 1) - len(complete)
    most = int(repeats.max())
    uneven = int((repeats[kept] < most).sum())
    warnings = []
    if lacking:
        failed = f" (failed trials: {found.failed})" if found.failed else ""
        warnings.append(
            f"{lacking} of {lacking + len(complete)} {called} left out, as some point of theirs has no result{failed}"
        )
    warnings += missing_words(found.missing)
    if found.empty:
        warnings.append(empty_words(found.empty))
    if uneven:
        warnings.append(f"{uneven} of {int(kept.sum())} points have fewer than {pairs_of_seeds(most)}")
    return Blocks(
        places=np.flatnonzero(kept),
        unit=points.unit[kept],
        values=points.means[kept],
        count=len(complete),
        n=int(repeats[kept].sum()),
        repeats=most,
        warnings=tuple(warnings),
    )
