"""All analyses of one study, each made once; what cannot be made stands beside them with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

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
from slasearch.analysis.main_effects import MainEffects, main_effects
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
from slasearch.analysis.within_bounds import KeptOut, kept_out
from slasearch.errors import ReportError
from slasearch.records import Event
from slasearch.report.processes import in_processes

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
    main_effects: tuple[MainEffects, ...]
    lines: tuple[ResponseLine, ...]
    surfaces: tuple[ResponseSurface, ...]
    kept_out: KeptOut | None
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

    def open_shares(self) -> dict[str, float]:
        """For each task of the gate map the share of its slots that stay open, over all runs of the map's trial.

        Of slots and not of places, some of which hold more slots than others. Empty without a gate map.
        """
        if self.gates is None:
            return {}
        search, trials, gates = self.frames.search_trials(), self.frames.trials, self.frames.gates
        chosen = search.loc[search["number"] == self.gates.number, "trial_id"]
        runs = trials.loc[(trials["role"] == "winner") & trials["pair_of"].isin(chosen), "trial_id"]
        mine = gates[gates["trial_id"].isin({*chosen, *runs})]
        shares = mine["open"].astype(float).groupby(mine["task"]).mean()
        return {task: float(shares[task]) for task in self.gates.tasks}


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
    frames.scores  # noqa: B018  made here once, else by each process
    names = [objective.name for objective in frames.config.objectives]
    parts = [
        partial(_compared, frames),
        *(partial(_of_response, frames, name, whole_design) for name in names),
        partial(_front, frames),
        partial(_curves, frames),
        partial(_course, frames, reports),
        partial(_structures, frames),
    ]
    found: _Fields = dict.fromkeys(("sobol", "screenings", "main_effects", "lines", "surfaces", "shares"), ())
    reasons: dict[str, None] = {}
    for fields, missing in in_processes([partial(_attempted, part) for part in parts]):
        reasons.update(dict.fromkeys(missing))
        for name, value in fields.items():
            found[name] = (*found[name], *value) if name in found else value
    return Results(frames=frames, missing=tuple(reasons), **found)


_Fields = dict[str, Any]
"""Some fields of `Results`; tuples of several responses are joined."""


def _attempted(part: Callable[[_Attempts], _Fields]) -> tuple[_Fields, tuple[str, ...]]:
    attempt = _Attempts()
    return part(attempt), tuple(attempt.reasons)


def _compared(frames: StudyFrames, attempt: _Attempts) -> _Fields:
    """What confirmation says."""
    comparisons = attempt(partial(compare, frames)) or ()
    curves = attempt(partial(robustness_curves, frames, comparisons[0].winner_id)) if comparisons else None
    drops = attempt(partial(performance_drops, frames)) if comparisons else None
    return {"comparisons": comparisons, "robustness": curves or {}, "drops": drops or ()}


def _of_response(frames: StudyFrames, response: DesignResponse, whole_design: bool, attempt: _Attempts) -> _Fields:
    """What the searched fields say of one objective, each alone and all together."""
    fields: _Fields = {"importances": _found([attempt(partial(importance, frames, response))])}
    if not whole_design:
        return fields
    return {
        **fields,
        **_whole_design(frames, response, attempt),
        "shares": _found([attempt(partial(fanova, frames, response))]),
    }


def _whole_design(frames: StudyFrames, response: DesignResponse, attempt: _Attempts) -> _Fields:
    """The analyses that the design was made for; where it was made for none of them, nothing is missing."""
    design = frames.config.phases.design
    sampler = None if design is None else design.sampler.name
    if sampler == "morris":
        return {"screenings": _found([attempt(partial(morris_screening, frames, response))])}
    if sampler == "grid":
        return {"surfaces": attempt(partial(response_surfaces, frames, response)) or ()}
    if sampler not in ("qmc", "saltelli"):
        return {}
    additive = attempt(partial(main_effects, frames, response)) if sampler == "qmc" else None
    effects: _Fields = {"main_effects": _found([additive])}
    surrogate = attempt(partial(fit_surrogate, frames, response))
    direct = attempt(partial(sobol_indices, frames, response)) if sampler == "saltelli" else None
    if surrogate is None:
        return {**effects, "sobol": _found([direct])}
    read_off = indices_of(surrogate)
    return {
        **effects,
        "sobol": (direct or read_off,),
        "lines": tuple(lines_of(surrogate)),
        "surfaces": tuple(surfaces_of(surrogate, read_off)),
    }


def _front(frames: StudyFrames, attempt: _Attempts) -> _Fields:
    front = attempt(partial(pareto_front, frames))
    grown = None if front is None else attempt(partial(hypervolume, front))
    return {"kept_out": kept_out(frames), "front": front, "hypervolume": grown}


def _curves(frames: StudyFrames, attempt: _Attempts) -> _Fields:
    """What is read along one field at a time."""
    return {
        "design": _design(frames, attempt),
        "measured": attempt(partial(measured_curves, frames)) or (),
        "sparsity_path": (attempt(partial(path_curves, frames)) or ()) if has_path(frames) else (),
        "path_agreement": path_agreement(frames),
    }


def _course(frames: StudyFrames, reports: pd.DataFrame | None, attempt: _Attempts) -> _Fields:
    """How the study went."""
    return {
        "counts": count_trials(frames),
        "failures": failures(frames),
        "learning": None if reports is None else attempt(partial(learning_curves, frames, reports)),
        "ledger": attempt(partial(cost_ledger, frames)),
        "health": _health(frames),
    }


def _structures(frames: StudyFrames, attempt: _Attempts) -> _Fields:
    return {"gates": attempt(partial(gate_map, frames)), "paths": winner_paths(frames)}


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


def _health(frames: StudyFrames) -> tuple[HealthWarning, ...]:
    events = frames.events[["trial_id", "kind", "message", "level"]].to_numpy().tolist()
    return gate_health((trial_id, Event(kind, message, level)) for trial_id, kind, message, level in events)
