"""Which fields a response's variance comes from, by what the study's design allows: its own trials, or a surrogate."""

from __future__ import annotations

import numpy as np

from slasearch.analysis.blocks import Blocks, complete_blocks
from slasearch.analysis.coordinates import DesignResponse, design_coordinates, response_words
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.points import DesignPoints, point_noise, points_of
from slasearch.analysis.sobol import SobolIndices, direct_indices
from slasearch.analysis.surrogate import surrogate_indices
from slasearch.errors import ReportError
from slasearch.space.design import second_order

__all__ = ["ONE_PAIR", "sobol_indices"]

_FEWEST = 16
ONE_PAIR = (
    "one seed pair: the total order indices (ST) hold what seeds do, and cannot tell it from what fields do together"
)
"""Caution of indices from the trials of one seed pair each."""
FEW_PAIRS = (
    "hardly any point has several seed pairs yet: the total order indices (ST) hold what seeds do, and cannot tell it "
    "from what fields do together"
)
"""The same while the first repeats are on their way."""


def sobol_indices(frames: StudyFrames, response: DesignResponse = "score") -> SobolIndices:
    """Sobol indices of every searched field: from the trials of a Saltelli design, from a surrogate of a qmc design.

    On a Saltelli design, seed repeats of a point are averaged and their own variance is taken off, once enough points
    have several. A point without a result drops its whole block.

    Args:
        frames: The study.
        response: `score` (validation, undisturbed, mean over tasks), `exported_parameters` or `robustness`.

    Raises:
        ReportError: The study has neither design: trials of an adaptive sampler, of a grid or along one factor at a
            time cannot tell. Or fewer than 16 complete blocks, or a response that does not vary; for qmc see
            `surrogate_indices`.
    """
    found = design_coordinates(frames, response, ("saltelli", "qmc"), what="Sobol indices")
    if found.sampler == "qmc":
        return surrogate_indices(frames, response)
    design = frames.config.phases.design
    assert design is not None
    assert design.points is not None
    points = points_of(found)
    blocks = complete_blocks(found, points, design.points, called="base points")
    if blocks.count < _FEWEST:
        raise ReportError(
            f"Sobol indices: expected at least {_FEWEST} base points with all their {found.block} points complete, got "
            f"{blocks.count}. Run the study further, or look at its failures with `slasearch trials`."
        )
    noise = _noise(points, blocks)
    if noise is not None and noise >= 1:
        raise ReportError(
            f"Sobol indices: expected a {response_words(response)} that fields move more than seeds do, got one that "
            f"varies no more between {len(blocks.values)} points than between the seed pairs of a point. Search wider "
            "ranges, or raise phases.design.seeds."
        )
    first, total, second = direct_indices(
        blocks.values, found.names, second_order=second_order(design), seed=frames.config.seed, noise=noise or 0.0
    )
    seeds = "" if noise is None else f", means over {pairs_of_seeds(blocks.repeats)}, whose own variance is taken off"
    return SobolIndices(
        response=response,
        first=first,
        total=total,
        second=second,
        n=blocks.n,
        source="direct",
        r2=None,
        method=(
            f"Sobol indices of the {response_words(response)} from the trials of {blocks.count} Saltelli base "
            f"points{seeds}; 95 % bootstrap intervals"
        ),
        warnings=(
            *blocks.warnings,
            *(() if noise is not None else (ONE_PAIR,) if blocks.repeats == 1 else (FEW_PAIRS,)),
        ),
        noise=noise,
    )


def _noise(points: DesignPoints, blocks: Blocks) -> float | None:
    """The share of the variance that seeds have, at Saltelli's independent points (the first and last of a block).

    None where too few points are repeated to know.
    """
    noise = point_noise(points)
    if noise is None:
        return None
    ends = blocks.values.reshape(blocks.count, -1)[:, [0, -1]]
    variance = float(np.var(ends))
    return noise / variance if variance > 0 else 0.0
