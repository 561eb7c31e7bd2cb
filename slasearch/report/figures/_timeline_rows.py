"""Rows of the time line: one for each worker where there are few, else one for each slot that workers held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slasearch.analysis.ledger import Ledger
from slasearch.report.labels import thousands

__all__ = ["MOST_WORKERS", "TimelineRows", "timeline_rows"]

MOST_WORKERS = 16
"""With more workers than this, one that begins after another has gone is drawn on the other's row."""

_TICKS = 16
"""With more rows than this only some have a tick."""

_LETTERS = 14
"""Longer ids of workers are cut off on the axis."""


@dataclass(frozen=True)
class TimelineRows:
    """Where the attempts of a ledger are drawn.

    Args:
        row: `n`, the row of each attempt, from 1.
        names: What each row is: a worker's id, or `slot 2`.
        workers: How many of the rows, from above, are workers; 0 where all are slots.
        note: What a row is, in words.
    """

    row: NDArray[np.int64]
    names: tuple[str, ...]
    workers: int
    note: str

    @property
    def title(self) -> str:
        """What the axis over the rows is called."""
        return "Worker" if self.workers else "Slot"

    def is_worker(self, row: int) -> bool:
        """Whether the row (from 1) is a worker, and no slot."""
        return row <= self.workers

    @property
    def ticks(self) -> tuple[list[int], list[str]]:
        """Rows that are named on the axis, and their names there."""
        count = len(self.names)
        step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1_000, 10_000) if count <= _TICKS * step)
        ticks = [row for row in range(1, count + 1) if row == 1 or row % step == 0]
        named = self.workers and step == 1
        return ticks, [_cut(self.names[row - 1]) if named else str(row) for row in ticks]


def timeline_rows(ledger: Ledger) -> TimelineRows:
    """The rows: workers by their first start, and slots of attempts without a stored worker below them.

    Where no worker is stored, or more than 16, rows are slots.
    """
    worker, slot = ledger.timeline["worker"], ledger.timeline["slot"]
    known = worker.nunique()
    stored = f"{known} worker{'s' if known > 1 else ''}"
    without = int(worker.isna().sum())
    packed = "packed from start and end times"
    if not known:
        said = f"a slot is a place where one trial at a time ran, {packed}"
        return _slots(slot, said)
    if known > MOST_WORKERS:
        said = f"{thousands(known)} workers on slots: one takes the slot of another that has gone"
        return _slots(slot, f"{said}; {_without(without)} {packed}" if without else said)
    key = worker.fillna("slot " + slot.astype(str))
    order = [*worker.dropna().unique(), *(f"slot {number}" for number in sorted(slot[worker.isna()].unique()))]
    place = {name: row for row, name in enumerate(order, start=1)}
    said = f"{stored}, one a row: a process that held a slot from its first start to its last end"
    return TimelineRows(
        row=np.asarray(key.map(place), dtype=np.int64),
        names=tuple(map(str, order)),
        workers=known,
        note=f"{said}; {_without(without)} on slots, {packed}" if without else said,
    )


def _cut(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"


def _without(count: int) -> str:
    return f"{thousands(count)} attempt{'s' if count > 1 else ''} without a stored worker"


def _slots(slot: pd.Series[int], said: str) -> TimelineRows:
    names = tuple(f"slot {number}" for number in range(1, int(slot.max()) + 1))
    return TimelineRows(np.asarray(slot, dtype=np.int64), names, 0, said)
