"""Which complete trials keep the study's bounds, and by how much others break them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from slasearch.config.constraints import ConstraintConfig

__all__ = ["excesses", "feasible", "measured"]


class Measured(Protocol):
    """A complete trial."""

    def objective(self, name: str) -> float | None:
        """Its `score`, `exported_parameters`, `robustness` or `latency` (ms); None if it has none."""


def excesses(constraints: Sequence[ConstraintConfig], trial: Measured) -> dict[str, float]:
    """For each bounded value that the trial has, how far it lies beyond its bounds; 0 or less within them."""
    values = {constraint: trial.objective(constraint.name) for constraint in constraints}
    return {constraint.name: constraint.excess(value) for constraint, value in values.items() if value is not None}


def measured(constraints: Sequence[ConstraintConfig], trial: Measured) -> bool:
    """Whether a trial has every value that is bounded."""
    return all(trial.objective(constraint.name) is not None for constraint in constraints)


def feasible(constraints: Sequence[ConstraintConfig], trial: Measured) -> bool:
    """Whether a trial keeps all bounds; one without a value that is bounded does not."""
    return measured(constraints, trial) and all(excess <= 0 for excess in excesses(constraints, trial).values())
