"""One trial to run, before it has a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slasearch.storage.rows import OptunaStudy

__all__ = ["PHASES", "SEARCH_PHASES", "Job"]

SEARCH_PHASES: tuple[str, ...] = ("design", "optimise")
"""The phases in which structures are looked for."""

PHASES: tuple[str, ...] = (*SEARCH_PHASES, "tune", "confirm")
"""All phases, in their order."""


@dataclass(frozen=True)
class Job:
    """One trial to run. `params` None: the sampler is asked; else the searched fields as Optuna stores them."""

    phase: str
    role: str
    sampler: str
    repeat: int = 0
    params: Mapping[str, Any] | None = None
    point: int | None = None
    factor: str | None = None
    pair_of: int | None = None
    control_size: int | None = None
    control_variant: str | None = None

    @property
    def control(self) -> str | None:
        """Name of the control; None for search trials, finalists and winners."""
        return self.role.removeprefix("control:") if self.role.startswith("control:") else None

    @property
    def optuna_study(self) -> OptunaStudy:
        """In which of the two Optuna studies the trial stands: what follows the search is no trial of it."""
        return "search" if self.phase in SEARCH_PHASES else "confirm"
