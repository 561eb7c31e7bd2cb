"""Which slots stay open: as frequencies of places over seeds, and as the paths of each winner's best run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.paths import TrialPaths, jaccard, paths_of
from slasearch.errors import ReportError
from slasearch.records import SITES, GateRow, Slot

__all__ = ["GateMap", "Steadiness", "WinnerPaths", "gate_map", "winner_paths"]


@dataclass(frozen=True)
class GateMap:
    """Share of open slots in each place, averaged over repeats.

    `frequency` is `tasks x layers x places`, in [0, 1]: 1 where every slot of the place is open in every run, NaN where
    the pool has no slot. `places` are `site kind`. `openness` is the mean gate openness in the same shape.
    `stability` is, for each task, the mean Jaccard index of its open slots between any two repeats (None with one), and
    `overlap` for each pair of tasks the mean Jaccard index of their open slots within a run.
    """

    number: int
    tasks: tuple[str, ...]
    layers: tuple[int, ...]
    places: tuple[str, ...]
    frequency: NDArray[np.float64]
    openness: NDArray[np.float64]
    stability: tuple[tuple[str, float | None], ...]
    overlap: tuple[tuple[str, str, float], ...]
    n: int
    method: str
    warnings: tuple[str, ...]


def gate_map(frames: StudyFrames, pair_of: int | None = None) -> GateMap:
    """The gate map of one winner over its confirmed repeats, or of the best trial of the search.

    Args:
        frames: The study.
        pair_of: The search trial whose repeats are mapped; None takes the first confirmed one, or, where nothing is
            confirmed, the best trial of the search.

    Raises:
        ReportError: No gates are stored for such trials.
    """
    winners = frames.trials[(frames.trials["role"] == "winner") & (frames.trials["state"] == "complete")]
    if len(winners):
        pair_of = int(winners["pair_of"].iloc[0]) if pair_of is None else pair_of
        runs = [int(value) for value in winners.loc[winners["pair_of"] == pair_of, "trial_id"]]
        method = f"winner over {pairs_of_seeds(len(runs))} of the confirm phase"
    else:
        runs = [int(value) for value in frames.gates["trial_id"].unique()]
        pair_of = runs[0] if runs else None
        method = "best trial of the search, one seed pair"
    gates = frames.gates[frames.gates["trial_id"].isin(runs)]
    if gates.empty or pair_of is None:
        raise ReportError("Gate map: expected stored gates of a complete trial, got none. Run the study to its end.")
    return _mapped(frames, gates, frames.number_of(pair_of), gates["trial_id"].nunique(), method)


def _mapped(frames: StudyFrames, gates: pd.DataFrame, number: int, n: int, method: str) -> GateMap:
    gates = gates.assign(place=gates["site"] + " " + gates["kind"], open=gates["open"].astype(float))
    layers = tuple(int(value) for value in sorted(gates["layer"].unique()))
    places = tuple(sorted(gates["place"].unique(), key=_place_order))
    tasks = tuple(task for task in frames.tasks if (gates["task"] == task).any())
    shape = (len(tasks), len(layers), len(places))
    index = pd.MultiIndex.from_product([tasks, layers, places], names=["task", "layer", "place"])
    cells = gates.groupby(["task", "layer", "place"])[["open", "openness"]].mean().reindex(index)
    return GateMap(
        number=number,
        tasks=tasks,
        layers=layers,
        places=places,
        frequency=cells["open"].to_numpy(dtype=np.float64).reshape(shape),
        openness=cells["openness"].to_numpy(dtype=np.float64).reshape(shape),
        stability=_stability(gates, tasks),
        overlap=_overlap(gates, tasks),
        n=n,
        method=method,
        warnings=_cautions(gates, n),
    )


def _cautions(gates: pd.DataFrame, n: int) -> tuple[str, ...]:
    one = ("one run: shares are within a place only",) if n < 2 else ()
    return (*one, "every slot stays open: the structure is the whole pool") if (gates["open"] > 0).all() else one


def _place_order(place: str) -> tuple[int, str]:
    site, _, kind = place.partition(" ")
    return (SITES.index(site) if site in SITES else len(SITES), kind)


def _open_slots(gates: pd.DataFrame, task: str) -> dict[int, frozenset[str]]:
    mine = gates[gates["task"] == task]
    runs = [int(run) for run in mine["trial_id"].unique()]
    return {run: frozenset(mine.loc[(mine["trial_id"] == run) & (mine["open"] > 0), "slot"]) for run in runs}


def _stability(gates: pd.DataFrame, tasks: tuple[str, ...]) -> tuple[tuple[str, float | None], ...]:
    return tuple((task, _agreement(_open_slots(gates, task))) for task in tasks)


def _overlap(gates: pd.DataFrame, tasks: tuple[str, ...]) -> tuple[tuple[str, str, float], ...]:
    slots = {task: _open_slots(gates, task) for task in tasks}
    return tuple(
        (one, other, float(np.mean([jaccard(slots[one][run], slots[other][run]) for run in slots[one]])))
        for one, other in combinations(tasks, 2)
    )


# ---------------------------------------------------------------- the paths of single runs


@dataclass(frozen=True)
class Steadiness:
    """One task over the runs of a winner: how often each slot was open.

    `shares` maps each slot that was open in some run to its share of the runs, in (0, 1]. `agreement` is the mean
    Jaccard index of the open slots of any two runs, None with one run.
    """

    task: str
    shares: dict[Slot, float]
    agreement: float | None

    @property
    def always(self) -> int:
        """How many slots were open in every run."""
        return sum(share == 1 for share in self.shares.values())


@dataclass(frozen=True)
class WinnerPaths:
    """The paths in one run of a winner, and how steady they are over its `n` runs.

    `number` is the search trial that was confirmed (where nothing was, the trial itself), `method` which run is shown.
    """

    number: int
    paths: TrialPaths
    steadiness: tuple[Steadiness, ...]
    n: int
    method: str


def winner_paths(frames: StudyFrames) -> tuple[WinnerPaths, ...]:
    """The paths of each confirmed winner, in the order of confirmation; else those of the best trial of the search.

    Each run of a winner learns its own structure; the one with the best validation score is shown. Empty where no gates
    are stored.
    """
    stored = frames.trials[frames.trials["trial_id"].isin(frames.gates["trial_id"])]
    runs = stored[(stored["role"] == "winner") & (stored["state"] == "complete")]
    if runs.empty:
        runs = stored[stored["role"] == "search"]
        return tuple(_one_winner(frames, int(run), runs[runs["trial_id"] == run]) for run in runs["trial_id"].head(1))
    return tuple(_one_winner(frames, winner, mine) for winner, mine in _by_winner(runs))


def _by_winner(runs: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    winners = runs["pair_of"].astype(int)
    return [(winner, runs[winners == winner]) for winner in winners.unique().tolist()]


def _one_winner(frames: StudyFrames, winner: int, runs: pd.DataFrame) -> WinnerPaths:
    best = runs.sort_values(["score", "trial_id"], ascending=[False, True]).iloc[0]
    confirmed = best["role"] == "winner"
    label = f"{'c' if confirmed else ''}{best['number']:.0f}"
    gates = frames.gates[frames.gates["trial_id"].isin(runs["trial_id"])]
    method = f"run {label}, the best of {len(runs)} by validation score" if len(runs) > 1 else "one run"
    return WinnerPaths(
        number=frames.number_of(winner),
        paths=paths_of(_rows(gates[gates["trial_id"] == best["trial_id"]]), frames.tasks, label=label),
        steadiness=tuple(_steadiness(gates, task, len(runs)) for task in frames.tasks),
        n=len(runs),
        method=method if confirmed else "best trial of the search, one seed pair",
    )


def _rows(gates: pd.DataFrame) -> list[GateRow]:
    columns = gates[["task", "slot", "openness", "value", "open", "parameters"]].to_numpy().tolist()
    return [
        GateRow(task, Slot.parse(slot), openness, value, bool(is_open), int(parameters))
        for task, slot, openness, value, is_open, parameters in columns
    ]


def _steadiness(gates: pd.DataFrame, task: str, runs: int) -> Steadiness:
    counts = gates.loc[(gates["task"] == task) & gates["open"].astype(bool), "slot"].value_counts(sort=False)
    shares = {Slot.parse(str(slot)): int(count) / runs for slot, count in counts.items()}
    return Steadiness(task, dict(sorted(shares.items())), _agreement(_open_slots(gates, task)))


def _agreement(slots: dict[int, frozenset[str]]) -> float | None:
    pairs = [jaccard(one, other) for one, other in combinations(slots.values(), 2)]
    return float(np.mean(pairs)) if pairs else None
