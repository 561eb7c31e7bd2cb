"""What may be written to the `sla_` tables, inside one transaction."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from slasearch.records import Checkpoint, CostRow, Event, GateRow, MetricRow
from slasearch.storage.models import (
    SlaArtifact,
    SlaCheckpoint,
    SlaCost,
    SlaEvent,
    SlaGate,
    SlaLease,
    SlaMetric,
    SlaRequest,
    SlaStudy,
    SlaTrial,
    SlaWarmStart,
)
from slasearch.storage.rows import ArtifactRow, RequestRow, StudyRow, TrialRow, WarmStart

__all__ = ["Writer", "finite_or_none", "storable_text"]


def finite_or_none(value: float | None) -> float | None:
    """The number as it is stored: NaN and infinities are NULL."""
    return None if value is None or not math.isfinite(value) else float(value)


def storable_text(text: str) -> str:
    """The text as every database takes it: zero bytes and halves of characters become marks."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


class Writer:
    """Writes on one open transaction; `Store.write` opens and commits it."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def add_study(self, study: StudyRow) -> StudyRow:
        """Inserts a study; returns it with its id. Raises sqlalchemy.exc.IntegrityError if the name is taken."""
        values = {name: value for name, value in vars(study).items() if name != "id"}
        return replace(study, id=self._insert(SlaStudy, values))

    def update_study(self, study_id: int, **values: Any) -> None:
        """Changes columns of a study."""
        self.connection.execute(sa.update(SlaStudy).where(SlaStudy.id == study_id).values(**values))

    def add_warm_start(self, warm: WarmStart) -> None:
        """Adds what a study's sampler begins from."""
        trials = json.dumps([vars(trial) for trial in warm.trials])
        self._bulk(SlaWarmStart, [{**vars(warm), "trials": trials}])

    def add_trial(self, trial: TrialRow) -> TrialRow:
        """Inserts a trial; returns it with its id."""
        return replace(trial, id=self._insert(SlaTrial, trial.columns()))

    def update_trial(self, trial_id: int, **values: Any) -> None:
        """Changes columns of a trial."""
        values = {name: storable_text(value) if isinstance(value, str) else value for name, value in values.items()}
        self.connection.execute(sa.update(SlaTrial).where(SlaTrial.id == trial_id).values(**values))

    def add_metrics(self, trial_id: int, rows: Iterable[MetricRow]) -> None:
        """Adds measured numbers to a trial."""
        self._bulk(
            SlaMetric,
            (
                {
                    "trial_id": trial_id,
                    "task": row.task,
                    "split": row.split,
                    "condition": row.condition,
                    "level": row.level,
                    "metric": row.metric,
                    "step": row.step,
                    "value": finite_or_none(row.value),
                    "examples": row.examples,
                    "error": finite_or_none(row.error),
                    "labels": row.labels,
                    "predicted": row.predicted,
                }
                for row in rows
            ),
        )

    def add_gates(self, trial_id: int, rows: Iterable[GateRow]) -> None:
        """Adds a trial's gates."""
        self._bulk(
            SlaGate,
            (
                {
                    "trial_id": trial_id,
                    "task": row.task,
                    "slot": row.slot.name,
                    "layer": row.slot.layer,
                    "site": row.slot.site,
                    "kind": row.slot.kind,
                    "rank": row.slot.rank,
                    "idx": row.slot.index,
                    "openness": finite_or_none(row.openness),
                    "value": finite_or_none(row.value),
                    "open": row.open,
                    "parameters": row.parameters,
                }
                for row in rows
            ),
        )

    def add_costs(self, trial_id: int, rows: Iterable[CostRow]) -> None:
        """Adds what a trial cost."""
        costs = ((row.name, finite_or_none(row.value), row.unit) for row in rows)
        self._bulk(
            SlaCost, ({"trial_id": trial_id, "name": name, "value": value, "unit": unit} for name, value, unit in costs)
        )

    def add_artifacts(self, trial_id: int, rows: Iterable[ArtifactRow]) -> None:
        """Adds a trial's files, which `Artifacts.write` has written."""
        self._bulk(SlaArtifact, ({"trial_id": trial_id, **vars(row)} for row in rows))

    def add_checkpoint(self, trial_id: int, checkpoint: Checkpoint) -> None:
        """Adds a state that an attempt says it has saved."""
        self._bulk(SlaCheckpoint, [{"trial_id": trial_id, **vars(checkpoint)}])

    def add_events(self, study_id: int, trial_id: int | None, at: float, events: Iterable[Event]) -> None:
        """Adds events of a study or of one of its trials; `at` in epoch seconds."""
        self._bulk(
            SlaEvent,
            (
                {
                    "study_id": study_id,
                    "trial_id": trial_id,
                    "at": at,
                    "level": event.level,
                    "kind": event.kind,
                    "message": storable_text(event.message),
                }
                for event in events
            ),
        )

    def add_request(self, request: RequestRow) -> RequestRow:
        """Inserts a request; returns it with its id."""
        values = {name: value for name, value in vars(request).items() if name != "id"}
        values["trials"] = None if request.trials is None else json.dumps(request.trials)
        return replace(request, id=self._insert(SlaRequest, values))

    def end_request(self, request_id: int, *, at: float, outcome: str) -> None:
        """Says what came of a request."""
        ended = sa.update(SlaRequest).where(SlaRequest.id == request_id)
        self.connection.execute(ended.values(done_at=at, outcome=outcome))

    def delete_study(self, study_id: int) -> None:
        """Deletes a study with everything that stands under it."""
        trials = sa.select(SlaTrial.id).where(SlaTrial.study_id == study_id)
        for of_trial in (SlaMetric, SlaGate, SlaCost, SlaArtifact, SlaCheckpoint):
            self.connection.execute(sa.delete(of_trial).where(of_trial.trial_id.in_(trials)))
        for of_study in (SlaEvent, SlaRequest, SlaTrial, SlaLease, SlaWarmStart):
            self.connection.execute(sa.delete(of_study).where(of_study.study_id == study_id))
        self.connection.execute(sa.delete(SlaStudy).where(SlaStudy.id == study_id))

    def _insert(self, model: Any, values: dict[str, Any]) -> int:
        result = self.connection.execute(sa.insert(model.__table__).values(**values))
        key = result.inserted_primary_key
        assert key is not None
        return int(key[0])

    def _bulk(self, model: Any, rows: Iterable[dict[str, Any]]) -> None:
        values = list(rows)
        if values:
            self.connection.execute(sa.insert(model.__table__), values)
