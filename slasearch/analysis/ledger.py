"""What a study cost: when and where every attempt at a trial ran, and what the time went to.

An attempt holds one worker, with its cores or its GPU, from its start to its end. These are its device-seconds, as
`limits.max_device_hours` counts them; failed and pruned attempts cost theirs like any other. A place where one attempt
at a time ran is a slot. A worker holds its slot from its first start to its last end, between its attempts too; then
another may take it: worker processes come and go. An attempt without a stored worker holds one while it runs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slasearch.analysis.frames import StudyFrames
from slasearch.errors import ReportError
from slasearch.search.job import PHASES
from slasearch.search.winners import FINALIST

__all__ = ["LORA", "LOST", "PAUSE", "CostEntry", "Ledger", "Outcome", "Session", "cost_ledger"]

Outcome = Literal["complete", "pruned", "failed", "lost", "running"]
"""What became of an attempt; `lost` ones were taken over by a later attempt."""

LOST: tuple[Outcome, ...] = ("pruned", "failed", "lost")
"""Attempts that gave no complete trial."""

LORA = "control:lora"
"""The control whose run is the unit in which costs are also told."""

PAUSE = 600.0
"""A longer time (s) in which nothing ran is a pause of the study, and not idleness of its workers."""


@dataclass(frozen=True)
class Session:
    """A stretch of the study without a pause: epoch seconds, slots that were held at once, device-seconds."""

    start: float
    end: float
    slots: int
    busy: float

    @property
    def span(self) -> float:
        """Wall time in s."""
        return self.end - self.start


@dataclass(frozen=True)
class CostEntry:
    """What attempts of one phase and part (`search`, `winners`, `controls`) with one outcome cost together.

    `device_seconds` is their time on workers. Complete ones have told how long they trained and evaluated, and on how
    many tokens; of the others these are 0.
    """

    phase: str
    part: str
    outcome: Outcome
    attempts: int
    device_seconds: float
    train_seconds: float
    evaluate_seconds: float
    tokens: float

    @property
    def other_seconds(self) -> float:
        """What complete attempts neither trained nor evaluated: loading, encoding, finalising, waiting; else 0."""
        told = self.train_seconds + self.evaluate_seconds
        return max(0.0, self.device_seconds - told) if self.outcome == "complete" else 0.0


@dataclass(frozen=True)
class Ledger:
    """The time line and the costs of a study.

    Args:
        timeline: One row for each attempt that started, by start: `trial_id, number, phase, role, attempt, outcome,
            worker, session, slot, start, end` (the worker's id, missing where none is stored; s since the first start;
            session and slot count from 1).
        sessions: Stretches without a pause.
        entries: Costs by phase, part and outcome.
        lora_seconds: Median device-seconds of a complete confirmed LoRA run; None without one.
        lora_range: The shortest and the longest of those runs, in s.
        lora_runs: How many there are.
        method: How it was counted.
        warnings: What limits it.
    """

    timeline: pd.DataFrame
    sessions: tuple[Session, ...]
    entries: tuple[CostEntry, ...]
    lora_seconds: float | None
    lora_range: tuple[float, float] | None
    lora_runs: int
    method: str
    warnings: tuple[str, ...]

    @property
    def n(self) -> int:
        """Attempts that started."""
        return len(self.timeline)

    @property
    def device_seconds(self) -> float:
        """Device-seconds of all attempts."""
        return sum(entry.device_seconds for entry in self.entries)

    @property
    def lost_seconds(self) -> float:
        """Device-seconds of pruned, failed and lost attempts."""
        return sum(entry.device_seconds for entry in self.entries if entry.outcome in LOST)

    @property
    def wall_seconds(self) -> float:
        """Wall time of the study without its pauses, in s."""
        return sum(session.span for session in self.sessions)

    @property
    def use(self) -> float:
        """Share of the slots' time in which they ran an attempt (0 to 1); NaN where no time has passed."""
        capacity = sum(session.slots * session.span for session in self.sessions)
        return self.device_seconds / capacity if capacity > 0 else float("nan")

    def in_lora_runs(self, seconds: float) -> float | None:
        """So many device-seconds as a number of LoRA runs; None without a run to measure by."""
        return seconds / self.lora_seconds if self.lora_seconds else None


def cost_ledger(frames: StudyFrames) -> Ledger:
    """The time line and the costs of a study.

    An attempt that still runs is counted until the last start or end that is stored.

    Raises:
        ReportError: No attempt has started.
    """
    trials = frames.trials[frames.trials["started_at"].notna()]
    if trials.empty:
        raise ReportError(
            "Cost ledger: expected at least one trial that has started, got none. Run the study with `slasearch run`."
        )
    start = trials["started_at"].to_numpy(np.float64)
    known = float(np.nanmax(trials[["started_at", "ended_at"]].to_numpy(np.float64)))
    end = np.maximum(trials["ended_at"].fillna(known).to_numpy(np.float64), start)
    worker = trials["worker"].where(trials["worker"] != "")
    session, slot = _held(start, end, pd.factorize(worker)[0])
    first = float(start.min())
    rows = trials[["trial_id", "number", "phase", "role", "attempt"]].assign(
        outcome=_outcomes(frames, trials), worker=worker, session=session + 1, slot=slot + 1, start=start - first,
        end=end - first,
    )  # fmt: skip
    timeline = rows.sort_values(["start", "trial_id"], kind="stable", ignore_index=True)
    lora = timeline[_confirmed_lora(timeline)]
    seconds = (lora["end"] - lora["start"]).to_numpy(np.float64)
    running = int((timeline["outcome"] == "running").sum())
    return Ledger(
        timeline=timeline,
        sessions=tuple(_sessions(timeline, first)),
        entries=tuple(_entries(timeline, frames.costs)),
        lora_seconds=float(np.median(seconds)) if len(seconds) else None,
        lora_range=(float(seconds.min()), float(seconds.max())) if len(seconds) else None,
        lora_runs=len(seconds),
        method="time of each attempt on its worker, from start to end; "
        "training and evaluation as complete trials measured them",
        warnings=(
            *(("no confirmed LoRA run, so costs are not told in LoRA runs",) if not len(seconds) else ()),
            *((f"{running} still running, counted until the last start or end that is stored",) if running else ()),
        ),
    )


def _outcomes(frames: StudyFrames, trials: pd.DataFrame) -> NDArray[np.str_]:
    names = {"complete": "complete", "pruned": "pruned", "fail": "failed"}
    found = trials["state"].map(names).fillna("running").to_numpy(np.str_)
    taken_over = trials["trial_id"].isin(frames.trials["retry_of"].dropna()).to_numpy()
    return np.where(taken_over, "lost", found)


def _held(
    start: NDArray[np.float64], end: NDArray[np.float64], worker: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Session and slot of each attempt, from 0, where a worker (its number; -1: none is stored) holds one slot.

    A pause ends what workers hold, though a process may live through it.
    """
    sessions, _ = _packed(start, end)
    known = int(worker.max()) + 1
    holder = np.where(worker < 0, known + np.arange(len(worker)), worker)
    _, hold = np.unique(sessions * (known + len(worker)) + holder, return_inverse=True)
    held, left = np.full(hold.max() + 1, np.inf), np.full(hold.max() + 1, -np.inf)
    np.minimum.at(held, hold, start)
    np.maximum.at(left, hold, end)
    sessions, slots = _packed(held, left)
    return sessions[hold], slots[hold]


def _packed(start: NDArray[np.float64], end: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Session and slot of each stretch of time, from 0: the lowest slot that is free when it starts."""
    sessions, slots = np.zeros(len(start), np.int64), np.zeros(len(start), np.int64)
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    session, opened, latest = 0, 0, float(start.min())
    for index in np.lexsort((end, start)):
        if start[index] - latest > PAUSE:
            session, opened, busy, free = session + 1, 0, [], []
        while busy and busy[0][0] <= start[index]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            slots[index] = heapq.heappop(free)
        else:
            slots[index], opened = opened, opened + 1
        sessions[index] = session
        heapq.heappush(busy, (float(end[index]), int(slots[index])))
        latest = max(latest, float(end[index]))
    return sessions, slots


def _sessions(timeline: pd.DataFrame, first: float) -> Iterator[Session]:
    for _, rows in timeline.groupby("session", sort=True):
        yield Session(
            start=first + float(rows["start"].min()),
            end=first + float(rows["end"].max()),
            slots=int(rows["slot"].max()),
            busy=float((rows["end"] - rows["start"]).sum()),
        )


def _confirmed_lora(timeline: pd.DataFrame) -> pd.Series[bool]:
    return (timeline["phase"] == "confirm") & (timeline["role"] == LORA) & (timeline["outcome"] == "complete")


def _entries(timeline: pd.DataFrame, costs: pd.DataFrame) -> Iterator[CostEntry]:
    """In the order of the phases, winners before controls, complete ones first."""
    told = costs[costs["name"].isin(_TOLD)].groupby(["trial_id", "name"])["value"].sum().unstack("name")
    told = told.reindex(index=timeline["trial_id"], columns=_TOLD).astype("float64").fillna(0.0)
    told = told.reset_index(drop=True)
    part = timeline["role"].map({"search": "search", FINALIST: "search", "winner": "winners"}).fillna("controls")
    seconds = timeline["end"] - timeline["start"]
    table = pd.concat([timeline[["phase", "outcome"]].assign(part=part, attempts=1, seconds=seconds), told], axis=1)
    sums = table.groupby(["phase", "part", "outcome"])[["attempts", "seconds", *_TOLD]].sum()
    found = dict(zip(sums.index.tolist(), sums.to_numpy(np.float64).tolist(), strict=True))
    for phase, part_name, outcome in product(PHASES, ("search", "winners", "controls"), _OUTCOMES):
        if (phase, part_name, outcome) in found:
            attempts, device, train, evaluate, tokens = found[phase, part_name, outcome]
            yield CostEntry(phase, part_name, outcome, int(attempts), device, train, evaluate, tokens)


_TOLD = ["train_seconds", "evaluate_seconds", "train_tokens"]
_OUTCOMES: tuple[Outcome, ...] = ("complete", "running", *LOST)
