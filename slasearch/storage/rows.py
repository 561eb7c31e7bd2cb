"""Rows of the `sla_` tables as plain values, for those who read them without SQLAlchemy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from slasearch.config.plain import stored_json

__all__ = [
    "OPEN_STATES",
    "ArtifactRow",
    "EarlierTrial",
    "EventRow",
    "OptunaStudy",
    "RequestRow",
    "StudyRow",
    "TrialRow",
    "TrialState",
    "Verb",
    "WarmStart",
    "optuna_names",
]

TrialState = Literal["waiting", "running", "complete", "pruned", "fail"]
OptunaStudy = Literal["search", "confirm"]
Verb = Literal["retry", "cancel"]
OPEN_STATES = ("waiting", "running")
"""States of a trial that has not ended."""


@dataclass(frozen=True)
class StudyRow:
    """One row of `sla_study`; `config` is the StudyConfig as JSON, `data` the digests of its tasks' data as JSON."""

    id: int
    name: str
    config: str
    fingerprint: str
    seed: int
    state: str
    version: str
    created_at: float
    updated_at: float
    data: str | None = None

    @property
    def folder(self) -> str:
        """Its folder wherever files lie: the name and when it was made, to the microsecond.

        No study of that name in another database shares it.
        """
        return f"{self.name}-{1e6 * self.created_at:.0f}"


@dataclass(frozen=True)
class TrialRow:
    """One row of `sla_trial`, as described in `slasearch.storage.models`. `id` is 0 before it is stored."""

    id: int
    study_id: int
    optuna_study: OptunaStudy
    number: int | None
    phase: str
    role: str
    sampler: str
    factor: str | None
    point: int | None
    repeat: int
    attempt: int
    retry_of: int | None
    state: TrialState
    reason: str | None
    params: str
    spec: str
    config_hash: str
    init_seed: int
    data_seed: int
    pair_of: int | None
    control_size: int | None
    control_variant: str | None
    created_at: float
    sampler_notes: str | None = None
    ray_trial_id: str | None = None
    worker: str | None = None
    score: float | None = None
    exported_parameters: float | None = None
    robustness: float | None = None
    latency: float | None = None
    budget: int | None = None
    budget_max: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    log: str | None = None

    @property
    def open(self) -> bool:
        """Whether the trial has not ended."""
        return self.state in OPEN_STATES

    @property
    def values(self) -> dict[str, Any]:
        """The searched fields: dotted path -> the value as Optuna stores it."""
        values: dict[str, Any] = stored_json(self.params)
        return values

    def objective(self, name: str) -> float | None:
        """The trial's `score`, `exported_parameters`, `robustness` or `latency` (ms); None if it has none."""
        value: float | None = getattr(self, name)
        return value

    def columns(self) -> dict[str, Any]:
        """Column -> value for an insert: everything but the id."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "id"}


@dataclass(frozen=True)
class ArtifactRow:
    """One row of `sla_artifact`; `path` is relative to where artifacts lie, `bytes` the size."""

    name: str
    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class EventRow:
    """One row of `sla_event`; `at` in epoch seconds."""

    trial_id: int | None
    at: float
    level: Literal["info", "warning", "error"]
    kind: str
    message: str


@dataclass(frozen=True)
class RequestRow:
    """One row of `sla_request`; `trials` are ids in `sla_trial`, None for the study as a whole."""

    id: int
    study_id: int
    verb: Verb
    trials: tuple[int, ...] | None
    at_once: bool
    asked_at: float
    done_at: float | None = None
    outcome: str | None = None


@dataclass(frozen=True)
class EarlierTrial:
    """A complete trial of an earlier study: its number there, its searched fields as Optuna stores them, its values."""

    number: int
    params: dict[str, Any]
    score: float | None
    exported_parameters: float | None
    robustness: float | None
    latency: float | None = None

    def objective(self, name: str) -> float | None:
        """Its `score`, `exported_parameters`, `robustness` or `latency` (ms); None if it has none."""
        value: float | None = getattr(self, name)
        return value


@dataclass(frozen=True)
class WarmStart:
    """One row of `sla_warm_start`: the trials of an earlier study that a study's sampler begins from.

    `left_out` counts its other complete trials that have a value outside the study's ranges, or lack one that it
    bounds. `study_id` is 0 before it is stored.
    """

    study_id: int
    source: str
    fingerprint: str
    data: str | None
    left_out: int
    trials: tuple[EarlierTrial, ...]

    @property
    def words(self) -> str:
        """`the sampler begins from 40 complete trials of study old`, and what was left out."""
        count = "1 complete trial" if len(self.trials) == 1 else f"{len(self.trials):,} complete trials"
        why = "as they lie outside the ranges or lack a value that is bounded"
        others = f" ({self.left_out:,} left out, {why})" if self.left_out else ""
        return f"the sampler begins from {count} of study {self.source}{others}"


def optuna_names(name: str) -> tuple[str, str]:
    """Names of a study's two Optuna studies: that of the search, and that of what comes after it."""
    return name, f"{name}.confirm"
