"""Gate health: in how many trials gates did something that a person should know of, and what helps."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from slasearch.records import Event

__all__ = ["HEALTH", "HealthWarning", "gate_health", "short_kind"]

HEALTH = "gate_health."
"""How the kinds of these events begin; a trial with gates has at least one of them, if only to say that all is well."""

_WORDS = {
    "all_open": "all open",
    "all_closed": "all closed",
    "stalled": "stalled",
    "penalty_ratio": "one-sided",
    "task_without_slots": "with a task without slots",
}


@dataclass(frozen=True)
class HealthWarning:
    """One kind of warning: in `count` of the `total` trials that have gates; `message` is that of the first."""

    kind: str
    message: str
    count: int
    total: int

    @property
    def text(self) -> str:
        """`gate health: 12 of 40 trials all open — No gate closed by itself. Raise …`."""
        name = self.kind.removeprefix(HEALTH)
        what = _WORDS.get(name, short_kind(self.kind))
        return f"gate health: {self.count} of {self.total} trials {what} — {self.message}"


def short_kind(kind: str) -> str:
    """What stands in a column: `gate_health.all_open` is `all open`."""
    return kind.removeprefix(HEALTH).replace("_", " ")


def gate_health(events: Iterable[tuple[Hashable, Event]]) -> tuple[HealthWarning, ...]:
    """Warnings by kind, the most frequent first.

    Args:
        events: Pairs of a trial, whatever tells it apart from others, and one of its events; all kinds of events.
    """
    heard = [(trial, event) for trial, event in events if event.kind.startswith(HEALTH)]
    trials: dict[str, set[Hashable]] = {}
    first: dict[str, str] = {}
    for trial, event in heard:
        if event.level != "info":
            trials.setdefault(event.kind, set()).add(trial)
            first.setdefault(event.kind, event.message)
    total = len({trial for trial, _ in heard})
    found = [HealthWarning(kind, first[kind], len(trials[kind]), total) for kind in trials]
    return tuple(sorted(found, key=lambda warning: -warning.count))
