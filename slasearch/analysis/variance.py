"""Which fields a response's variance comes from, by what the study's design allows: its own trials, or a surrogate."""

from __future__ import annotations

import numpy as np

from slasearch.analysis.blocks import complete_blocks
from slasearch.analysis.coordinates import (
    Coordinates,
    DesignResponse,
    design_coordinates,
    refuse_constant,
    response_words,
)
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.points import point_noise, points_of
from slasearch.analysis.sobol import SobolIndices, direct_indices
from slasearch.analysis.surrogate import surrogate_indices
from slasearch.errors import ReportError
from slasearch.space.design import second_order

__all__ = ["saltelli_indices", "sobol_indices"]

_FEWEST = 32
"""Base points below which the intervals hold the truth too rarely: of 16 in 91 % of cases."""


def sobol_indices(frames: StudyFrames, response: DesignResponse = "score") -> SobolIndices:
    """Sobol indices of every searched field: from the trials of a Saltelli design, from a surrogate of a qmc design.

    On a Saltelli design, seed repeats of a point are averaged and the variance that seeds leave in the means is
    subtracted. A point without a result drops its whole block.

    Args:
        frames: The study.
        response: `score` (validation, undisturbed, mean over tasks), `exported_parameters` or `robustness`.

    Raises:
        ReportError: The study has neither design: trials of an adaptive sampler, of a grid or along one factor at a
            time cannot tell. Or fewer than 32 complete blocks, a response that does not vary, or too few points with
            several seed pairs: the variance of seeds is then unknown, and every index is divided by a variance that
            holds it. For qmc see `surrogate_indices`.
    """
    found = design_coordinates(frames, response, ("saltelli", "qmc"), what="Sobol indices")
    if found.sampler == "qmc":
        return surrogate_indices(frames, response)
    design = frames.config.phases.design
    assert design is not None
    assert design.points is not None
    return saltelli_indices(found, response, planned=design.points, pairs=second_order(design))


def saltelli_indices(found: Coordinates, response: DesignResponse, *, planned: int, pairs: bool) -> SobolIndices:
    """The same of the trials of a Saltelli design with `planned` base points; `pairs`: it has those of pairs too."""
    points = points_of(found)
    blocks = complete_blocks(found, points, planned, called="base points")
    if blocks.count < _FEWEST:
        raise ReportError(
            f"Sobol indices: expected at least {_FEWEST} base points with all their {found.block} points complete, got "
            f"{blocks.count}. Run the study further, or look at its failures with `slasearch trials`."
        )
    noises = point_noise(points)
    if noises is None:
        raise ReportError(
            "Sobol indices: expected at least two seed pairs at most points, to subtract the variance of seeds, got "
            f"{pairs_of_seeds(blocks.repeats)} and {points.freedom} degrees of freedom. Raise phases.design.seeds to 2 "
            "and run again; the trials that are there stay."
        )
    refuse_constant("Sobol indices", blocks.values)
    noises = noises[blocks.places]
    noise = float(noises.mean() / np.var(blocks.values.reshape(blocks.count, -1)[:, [0, -1]]))
    if noise >= 1:
        raise ReportError(
            f"Sobol indices: expected a {response_words(response)} that fields move more than seeds do, got one that "
            f"varies no more between {len(blocks.values)} points than between the seed pairs of a point. Search wider "
            "ranges, or raise phases.design.seeds."
        )
    first, total, second = direct_indices(blocks.values, noises, found.names, second_order=pairs)
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
            f"points, means over {pairs_of_seeds(blocks.repeats)} whose own variance is subtracted; 95 % jackknife "
            "intervals"
        ),
        warnings=blocks.warnings,
        noise=noise,
    )
