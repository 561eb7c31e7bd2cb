"""All analyses of one study, each made once; what cannot be made stands beside them with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from slasearch.analysis.compare import Comparisons, compare
from slasearch.analysis.counts import Counts, Failure, count_trials, failures
from slasearch.analysis.curves import Curve
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.health import HealthWarning, gate_health
from slasearch.analysis.importance import Importance, importance
from slasearch.analysis.pareto import ParetoFront, pareto_front
from slasearch.analysis.robustness import robustness_curves
from slasearch.analysis.sensitivity import Response, design_curves, measured_curves, responses
from slasearch.analysis.sparsity_path import PathAgreement, has_path, path_agreement, path_curves
from slasearch.analysis.structure import GateMap, WinnerPaths, gate_map, winner_paths
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
    front: ParetoFront | None
    importances: tuple[Importance, ...]
    comparisons: tuple[Comparisons, ...]
    robustness: dict[str, tuple[Curve, ...]]
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


def analyse(frames: StudyFrames) -> Results:
    """Every analysis that the study allows.

    Raises:
        ReportError: The study has no trial at all.
    """
    if frames.trials.empty:
        raise ReportError(
            f"report of {frames.study.name}: expected at least one trial, got none. Run it with `slasearch run`."
        )
    attempt = _Attempts()
    comparisons = attempt(partial(compare, frames)) or ()
    found = [attempt(partial(importance, frames, objective.name)) for objective in frames.config.objectives]
    return Results(
        frames=frames,
        counts=count_trials(frames),
        failures=failures(frames),
        design=_design(frames, attempt),
        measured=attempt(partial(measured_curves, frames)) or (),
        sparsity_path=(attempt(partial(path_curves, frames)) or ()) if has_path(frames) else (),
        path_agreement=path_agreement(frames),
        front=attempt(partial(pareto_front, frames)),
        importances=tuple(item for item in found if item is not None),
        comparisons=comparisons,
        robustness=_robustness(frames, comparisons, attempt),
        gates=attempt(partial(gate_map, frames)),
        paths=winner_paths(frames),
        health=_health(frames),
        missing=tuple(attempt.reasons),
    )


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
