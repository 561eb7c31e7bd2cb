"""Which trials of the search are confirmed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slasearch.config.schema import ObjectiveConfig
from slasearch.storage.rows import TrialRow

__all__ = ["last_attempts", "winners"]


def last_attempts(rows: Iterable[TrialRow]) -> list[TrialRow]:
    """Each trial once, as its last attempt."""
    rows = list(rows)
    retried = {row.retry_of for row in rows}
    return [row for row in rows if row.id not in retried]


def winners(objectives: Sequence[ObjectiveConfig], rows: Iterable[TrialRow], top: int) -> list[TrialRow]:
    """The `top` best complete search trials by each objective, each configuration once.

    Ties go to the better score, then to the earlier trial.
    """
    complete = [row for row in last_attempts(rows) if row.role == "search" and row.state == "complete"]
    chosen: dict[str, TrialRow] = {}
    for objective in objectives:
        best: dict[str, TrialRow] = {}
        for row in sorted(complete, key=lambda row: _rank(objective, row)):
            if len(best) == top:
                break
            best.setdefault(row.params, row)
        for params, row in best.items():
            chosen.setdefault(params, row)
    return list(chosen.values())


def _rank(objective: ObjectiveConfig, row: TrialRow) -> tuple[float, float, int]:
    value = row.objective(objective.name) or 0.0
    return (value if objective.direction == "minimize" else -value), -(row.score or 0.0), row.id
