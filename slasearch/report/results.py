"""All analyses of one study, each made once; what cannot be made stands beside them with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeVar

import pandas as pd

from slasearch.analysis.compare import Comparisons, compare
from slasearch.analysis.coordinates import DesignResponse
from slasearch.analysis.counts import Counts, Failure, count_trials, failures
from slasearch.analysis.curves import Curve
from slasearch.analysis.drops import PerformanceDrops, performance_drops
from slasearch.analysis.fanova import Fanova, fanova
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.health import HealthWarning, gate_health
from slasearch.analysis.importance import Importance, importance
from slasearch.analysis.learning import LearningCurves, learning_curves
from slasearch.analysis.ledger import Ledger, cost_ledger
from slasearch.analysis.morris import MorrisScreening, morris_screening
from slasearch.analysis.pareto import Hypervolume, ParetoFront, hypervolume, pareto_front
from slasearch.analysis.robustness import robustness_curves
from slasearch.analysis.sensitivity import Response, design_curves, measured_curves, responses
from slasearch.analysis.shape import ResponseLine, ResponseSurface, lines_of, response_surfaces, surfaces_of
from slasearch.analysis.sobol import SobolIndices
from slasearch.analysis.sparsity_path import PathAgreement, has_path, path_agreement, path_curves
from slasearch.analysis.structure import GateMap, WinnerPaths, gate_map, winner_paths
from slasearch.analysis.surrogate import fit_surrogate, indices_of
from slasearch.analysis.variance import sobol_indices
from slasearch.errors import ReportError
from slasearch.records import Event

__all__ = ["Results", "analyse"]

R = TypeVar("R")


@dataclass(frozen=True)
class Results:
    """What the figures, sentences and tables of a report are made from; `missing` says what could not be made."""

    frames: StudyFrames
    counts: Counts
    failures: tuple[Failure, ...]
    design: dict[Response, tuple[Curve, ...]]
    measured: tuple[Curve, ...]
    sparsity_path: tuple[Curve, ...]
    path_agreement: tuple[PathAgreement, ...]
    sobol: tuple[SobolIndices, ...]
    screenings: tuple[MorrisScreening, ...]
    lines: tuple[ResponseLine, ...]
    surfaces: tuple[ResponseSurface, ...]
    front: ParetoFront | None
    hypervolume: Hypervolume | None
    importances: tuple[Importance, ...]
    shares: tuple[Fanova, ...]
    comparisons: tuple[Comparisons, ...]
    robustness: dict[str, tuple[Curve, ...]]
    drops: tuple[PerformanceDrops, ...]
    learning: LearningCurves | None
    ledger: Ledger | None
    gates: GateMap | None
    paths: tuple[WinnerPaths, ...]
    health: tuple[HealthWarning, ...]
    missing: tuple[str, ...]

    def counts_of(self, *phases: str) -> Counts:
        """What became of the trials of some phases."""
        return count_trials(self.frames, *phases)


class _Attempts:
    """Makes analyses and keeps the reasons of those that cannot be made, each once."""

    def __init__(self) -> None:
        self.reasons: dict[str, None] = {}

    def __call__(self, make: Callable[[], R]) -> R | None:
        try:
            return make()
        except ReportError as error:
            self.reasons[str(error)] = None
            return None


def analyse(frames: StudyFrames, reports: pd.DataFrame | None = None, *, whole_design: bool = True) -> Results:
    """Every analysis that the study allows.

    Args:
        frames: The study.
        reports: Scores on the way, as `load_learning` gives them; None: no learning curves.
        whole_design: Whether to look for what all fields do together, in a design or in the search, which takes
            seconds.

    Raises:
        ReportError: The study has no trial at all.
    """
    if frames.trials.empty:
        raise ReportError(
            f"report of {frames.study.name}: expected at least one trial, got none. Run it with `slasearch run`."
        )
    attempt = _Attempts()
    comparisons = attempt(partial(compare, frames)) or ()
    names = [objective.name for objective in frames.config.objectives]
    found = [attempt(partial(importance, frames, name)) for name in names]
    whole = _whole_design(frames, names, attempt) if whole_design else _WholeDesign()
    front = attempt(partial(pareto_front, frames))
    return Results(
        frames=frames,
        counts=count_trials(frames),
        failures=failures(frames),
        design=_design(frames, attempt),
        measured=attempt(partial(measured_curves, frames)) or (),
        sparsity_path=(attempt(partial(path_curves, frames)) or ()) if has_path(frames) else (),
        path_agreement=path_agreement(frames),
        sobol=whole.sobol,
        screenings=whole.screenings,
        lines=whole.lines,
        surfaces=whole.surfaces,
        front=front,
        hypervolume=None if front is None else attempt(partial(hypervolume, front)),
        importances=_found(found),
        shares=_found(attempt(partial(fanova, frames, name)) for name in names) if whole_design else (),
        comparisons=comparisons,
        robustness=_robustness(frames, comparisons, attempt),
        drops=(attempt(partial(performance_drops, frames)) or ()) if comparisons else (),
        learning=None if reports is None else attempt(partial(learning_curves, frames, reports)),
        ledger=attempt(partial(cost_ledger, frames)),
        gates=attempt(partial(gate_map, frames)),
        paths=winner_paths(frames),
        health=_health(frames),
        missing=tuple(attempt.reasons),
    )


@dataclass(frozen=True)
class _WholeDesign:
    """What a design says of all its fields together."""

    sobol: tuple[SobolIndices, ...] = ()
    screenings: tuple[MorrisScreening, ...] = ()
    lines: tuple[ResponseLine, ...] = ()
    surfaces: tuple[ResponseSurface, ...] = ()


def _whole_design(frames: StudyFrames, responses: Sequence[DesignResponse], attempt: _Attempts) -> _WholeDesign:
    """The analyses that the design was made for; where it was made for none of them, nothing is missing."""
    design = frames.config.phases.design
    sampler = None if design is None else design.sampler.name
    if sampler == "morris":
        return _WholeDesign(screenings=_found(attempt(partial(morris_screening, frames, one)) for one in responses))
    if sampler == "grid":
        surfaces = (attempt(partial(response_surfaces, frames, one)) or () for one in responses)
        return _WholeDesign(surfaces=tuple(chain.from_iterable(surfaces)))
    if sampler not in ("qmc", "saltelli"):
        return _WholeDesign()
    surrogates = _found(attempt(partial(fit_surrogate, frames, one)) for one in responses)
    read_off = [indices_of(surrogate) for surrogate in surrogates]
    direct = _found(attempt(partial(sobol_indices, frames, one)) for one in responses) if sampler == "saltelli" else ()
    pairs = zip(surrogates, read_off, strict=True)
    return _WholeDesign(
        sobol=direct or tuple(read_off),
        lines=tuple(chain.from_iterable(lines_of(surrogate) for surrogate in surrogates)),
        surfaces=tuple(chain.from_iterable(surfaces_of(surrogate, indices) for surrogate, indices in pairs)),
    )


def _found(items: Iterable[R | None]) -> tuple[R, ...]:
    return tuple(item for item in items if item is not None)


def _design(frames: StudyFrames, attempt: _Attempts) -> dict[Response, tuple[Curve, ...]]:
    """Curves by response; without scores there are none at all, and one reason is enough."""
    found: dict[Response, tuple[Curve, ...]] = {}
    for response in responses(frames):
        curves = attempt(partial(design_curves, frames, response))
        if curves:
            found[response] = curves
        elif response == "score":
            break
    return found


def _robustness(
    frames: StudyFrames, comparisons: tuple[Comparisons, ...], attempt: _Attempts
) -> dict[str, tuple[Curve, ...]]:
    if not comparisons:
        return {}
    return attempt(partial(robustness_curves, frames, comparisons[0].winner_id)) or {}


def _health(frames: StudyFrames) -> tuple[HealthWarning, ...]:
    events = frames.events[["trial_id", "kind", "message", "level"]].to_numpy().tolist()
    return gate_health((trial_id, Event(kind, message, level)) for trial_id, kind, message, level in events)
