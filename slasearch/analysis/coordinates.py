"""Where the trials of a design lie in the unit cube, in the space in which fields were sampled, and what came out.

Log ranges stay logarithmic: on a linear axis, what a log-uniform field does is ranked wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.missing import Missing, missing_results
from slasearch.errors import ReportError
from slasearch.space.design import block_size
from slasearch.space.parameters import Parameter, parameters

__all__ = [
    "Coordinates",
    "DesignResponse",
    "design_coordinates",
    "empty_words",
    "refuse_constant",
    "response_words",
    "unit_coordinates",
    "with_response",
]

DesignResponse = Literal["score", "exported_parameters", "robustness"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coordinates:
    """Complete trials of a design as numbers.

    Args:
        fields: The k searched fields, in the order of the study file.
        unit: `n x k`, each coordinate in [0, 1]; 0.5 for a field that a trial does not use.
        values: `n`, what was measured; of `exported_parameters` the natural logarithm.
        points: `n`, the number of each trial's point in the design.
        repeats: `n`, the seed repeat of each trial: trials of one repeat share their seed pair.
        failed: How many trials of the design failed for good, and are not here.
        empty: How many trials of the design ended without parameters, which have no logarithm, and are not here.
        sampler: The design's sampler.
        block: How many points in a row belong together, and differ in single coordinates: those of one of Saltelli's
            base points or one of Morris' trajectories.
        missing: The fields on which it depends whether a trial has a result.
    """

    fields: tuple[Parameter, ...]
    unit: Floats
    values: Floats
    points: NDArray[np.int64]
    repeats: NDArray[np.int64]
    failed: int
    sampler: str
    block: int = 1
    empty: int = 0
    missing: tuple[Missing, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Dotted paths of the fields."""
        return tuple(field.name for field in self.fields)


def design_coordinates(
    frames: StudyFrames, response: DesignResponse, samplers: Sequence[str], *, what: str
) -> Coordinates:
    """The complete trials of the design phase.

    Args:
        frames: The study.
        response: `score` (validation, undisturbed, mean over tasks), `exported_parameters` or `robustness`.
        samplers: Designs that can answer the question.
        what: The question, as messages begin.

    Raises:
        ReportError: The study has no such design, or no complete trial of it with this response. Trials of an adaptive
            sampler crowd where it liked it; what is computed from them speaks of the sampler, not of the fields.
    """
    design = frames.config.phases.design
    wanted = " or ".join(samplers)
    if design is None:
        adaptive = frames.config.phases.optimise
        found = f"adaptive trials of {adaptive.sampler.name} only" if adaptive else "none"
        raise ReportError(
            f"{what}: expected a design phase of {wanted}, got {found}. Trials that a sampler placed where the score "
            "was good say nothing about shares of variance. Add `phases.design` and run again."
        )
    if design.sampler.name not in samplers:
        raise ReportError(
            f"{what}: expected a design phase of {wanted}, got {design.sampler.name}. Change `phases.design.sampler` "
            "in a study of another name."
        )
    trials = frames.phase_trials("design", "complete")
    trials, empty = with_response(trials, response)
    if trials.empty:
        raise ReportError(
            f"{what}: expected complete design trials with {response}, got none. Run the study further, or look at its "
            "failures with `slasearch trials`."
        )
    values = trials[response].to_numpy(np.float64)
    fields = parameters(frames.config)
    params = frames.params.set_index("trial_id").loc[trials["trial_id"]]
    return Coordinates(
        fields=fields,
        unit=unit_coordinates(params, fields, unused=np.full((len(trials), len(fields)), 0.5)),
        values=np.log(values) if response == "exported_parameters" else values,
        points=trials["point"].to_numpy(np.int64),
        repeats=trials["repeat"].to_numpy(np.int64),
        failed=frames.failed(frames.phase_trials("design")),
        sampler=design.sampler.name,
        block=block_size(design, len(fields)),
        empty=empty,
        missing=missing_results(frames, frames.phase_trials("design"), response),
    )


def with_response(trials: pd.DataFrame, response: DesignResponse) -> tuple[pd.DataFrame, int]:
    """The trials that a response can be analysed of, and how many had no parameters, whose logarithm there is not."""
    known = trials[np.isfinite(trials[response].to_numpy(np.float64))]
    if response != "exported_parameters":
        return known, 0
    some = known[known[response] > 0]
    return some, len(known) - len(some)


def empty_words(count: int) -> str:
    """What is said of trials that were left out as they have no parameters."""
    trials = "1 trial ended" if count == 1 else f"{count} trials ended"
    return f"{trials} without parameters, which have no logarithm, and {'is' if count == 1 else 'are'} not in it"


def unit_coordinates(params: pd.DataFrame, fields: Sequence[Parameter], *, unused: Floats) -> Floats:
    """Where trials lie in the unit cube, in the space in which fields were sampled.

    Args:
        params: One row a trial, one column a field by its dotted path, of stored values; nothing where not used.
        fields: The k searched fields.
        unused: `n x k`, the coordinate that a trial gets of a field that it does not use.

    Returns:
        `n x k`, each coordinate in [0, 1].
    """
    unit = unused.copy()
    for column, field in enumerate(fields):
        if field.name in params:
            used = params[field.name].notna().to_numpy()
            unit[used, column] = [field.share(value) for value in params.loc[used, field.name]]
    return unit


def refuse_constant(what: str, values: Floats) -> None:
    """Raises ReportError where `n` values are all the same; `what` is how its message begins."""
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        raise ReportError(
            f"{what}: expected a response that varies, got {values[0]:.6g} at all {len(values)} points. No field "
            "changes it over these ranges: search wider ones, or ask for another response."
        )


def response_words(response: DesignResponse) -> str:
    """What a response is called in titles and sentences."""
    return {"score": "score", "exported_parameters": "log size", "robustness": "robustness"}[response]
