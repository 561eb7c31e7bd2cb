"""Which fields a response's variance comes from, by what the study's design allows: its own trials, or a surrogate."""

from __future__ import annotations

from slasearch.analysis.blocks import complete_blocks
from slasearch.analysis.coordinates import DesignResponse, design_coordinates, response_words
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.sobol import SobolIndices, direct_indices
from slasearch.analysis.surrogate import surrogate_indices
from slasearch.errors import ReportError
from slasearch.space.design import second_order

__all__ = ["sobol_indices"]

_FEWEST = 16


def sobol_indices(frames: StudyFrames, response: DesignResponse = "score") -> SobolIndices:
    """Sobol indices of every searched field: from the trials of a Saltelli design, from a surrogate of a qmc design.

    On a Saltelli design, seed repeats of a point are averaged, and a point without a result drops its whole block.

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
    blocks = complete_blocks(found, design.points, called="base points")
    if blocks.count < _FEWEST:
        raise ReportError(
            f"Sobol indices: expected at least {_FEWEST} base points with all their {found.block} points complete, got "
            f"{blocks.count}. Run the study further, or look at its failures with `slasearch trials`."
        )
    first, total, second = direct_indices(
        blocks.values, found.names, second_order=second_order(design), seed=frames.config.seed
    )
    seeds = f", means over {pairs_of_seeds(blocks.repeats)}" if blocks.repeats > 1 else ""
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
        warnings=blocks.warnings,
    )
