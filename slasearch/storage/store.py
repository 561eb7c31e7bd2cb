"""The `sla_` tables: readers read whole tables at once, the one writer writes whole transactions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from slasearch.config.plain import stored_json
from slasearch.errors import StorageError, StudyNotFoundError
from slasearch.records import WHOLE_TRIAL, Checkpoint, GateRow, MetricRow, Slot
from slasearch.storage.engine import make_engine, storage_errors, wait_for_disk
from slasearch.storage.models import (
    SlaArtifact,
    SlaCheckpoint,
    SlaEvent,
    SlaGate,
    SlaMetric,
    SlaRequest,
    SlaStudy,
    SlaTrial,
    SlaWarmStart,
)
from slasearch.storage.patience import Patience
from slasearch.storage.rows import ArtifactRow, EarlierTrial, EventRow, RequestRow, StudyRow, TrialRow, WarmStart
from slasearch.storage.upgrade import newest_revision, refuse_later, stored_revision, upgrade
from slasearch.storage.writer import Writer

__all__ = ["AlreadyWritten", "Guard", "Store"]

R = TypeVar("R")


class AlreadyWritten(Exception):
    """The transaction that is tried again was committed the first time; only the answer was lost."""


class Guard(Protocol):
    """Stands at the beginning of every write: refuses it, or numbers it, so that none is done twice."""

    def check(self, connection: sa.Connection) -> None:
        """Called first inside each writing transaction; raises to refuse it. What it has read must hold to the commit.

        Raises:
            AlreadyWritten: The same transaction was committed before.
        """

    def written(self) -> None:
        """Called after each commit that is known."""

    def unsure(self) -> None:
        """Called when a write is given up, by an interrupt say: it may be committed or not, and is not tried again."""


class Store:
    """One database. Nothing is opened before it is needed.

    Args:
        url: SQLAlchemy URL.
        patience: Waits when the connection is lost.

    Attributes:
        writing: Whether a write is on its way.

    Every method raises StorageError if the database cannot be reached, read or written.
    """

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        self.url = url
        self.patience = patience or Patience()
        self.writing = False
        self._engine: sa.Engine | None = None
        self._guard: Guard | None = None

    # ------------------------------------------------------------ open and close

    def upgrade(self, *, create: bool = True) -> str | None:
        """Makes the database, or brings it to this release. A writer calls this first.

        Args:
            create: Whether tables are made where there are none; else that is an error.

        Returns:
            The revision that it was at; None where there were no tables.
        """
        self.close()
        engine = make_engine(self.url, create=create)

        def begun() -> str | None:
            if not create:
                _check_present(stored_revision(engine))
            return upgrade(engine)

        before = self.patiently(begun)
        self._engine = engine
        return before

    def guard(self, guard: Guard | None) -> None:
        """From now on `guard` stands at the beginning of every write."""
        self._guard = guard

    def close(self) -> None:
        """Closes all connections; the store may be used again."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    # ------------------------------------------------------------ read

    def studies(self) -> list[StudyRow]:
        """All studies, the oldest first."""
        rows = self._rows(sa.select(SlaStudy.__table__).order_by(SlaStudy.id))
        return [StudyRow(**row) for row in rows]

    def study(self, name: str) -> StudyRow:
        """One study.

        Raises:
            StudyNotFoundError: There is none of that name; the text lists those there are.
        """
        found = self.find_study(name)
        if found is None:
            names = ", ".join(study.name for study in self.studies()) or "none"
            raise StudyNotFoundError(f"study: expected one that is in the database ({names}), got {name!r}.")
        return found

    def find_study(self, name: str) -> StudyRow | None:
        """One study, or None."""
        rows = self._rows(sa.select(SlaStudy.__table__).where(SlaStudy.name == name))
        return StudyRow(**rows[0]) if rows else None

    def warm_start(self, study_id: int) -> WarmStart | None:
        """What the study's sampler begins from; None if that is nothing."""
        rows = self._rows(sa.select(SlaWarmStart.__table__).where(SlaWarmStart.study_id == study_id))
        if not rows:
            return None
        trials = tuple(EarlierTrial(**trial) for trial in stored_json(rows[0].pop("trials")))
        return WarmStart(**rows[0], trials=trials)

    def trials(self, study_id: int) -> list[TrialRow]:
        """All attempts at all trials of a study, in the order in which they were made."""
        query = sa.select(SlaTrial.__table__).where(SlaTrial.study_id == study_id).order_by(SlaTrial.id)
        return [TrialRow(**row) for row in self._rows(query)]

    def reports(self, study_id: int) -> dict[int, list[tuple[int, float]]]:
        """For each trial that reported on the way: (step, validation score) pairs in the order of the steps."""
        query = (
            sa.select(SlaMetric.trial_id, SlaMetric.step, SlaMetric.value)
            .join(SlaTrial, SlaTrial.id == SlaMetric.trial_id)
            .where(SlaTrial.study_id == study_id, SlaMetric.task == WHOLE_TRIAL, SlaMetric.step.is_not(None))
            .order_by(SlaMetric.trial_id, SlaMetric.step)
        )
        curves: dict[int, list[tuple[int, float]]] = {}
        for row in self._rows(query):
            if row["value"] is not None:
                curves.setdefault(row["trial_id"], []).append((row["step"], row["value"]))
        return curves

    def final_metrics(self, study_id: int) -> dict[int, list[MetricRow]]:
        """What each trial of a study had at its end, by the trial's id."""
        columns = [getattr(SlaMetric, field.name) for field in fields(MetricRow)]
        query = (
            sa.select(SlaMetric.trial_id, *columns)
            .join(SlaTrial, SlaTrial.id == SlaMetric.trial_id)
            .where(SlaTrial.study_id == study_id, SlaMetric.step.is_(None), SlaMetric.value.is_not(None))
            .order_by(SlaMetric.id)
        )
        found: dict[int, list[MetricRow]] = {}
        for row in self._rows(query):
            found.setdefault(row.pop("trial_id"), []).append(MetricRow(**row))
        return found

    def artifacts(self, trial_id: int) -> list[ArtifactRow]:
        """The files of a trial."""
        columns = (SlaArtifact.name, SlaArtifact.path, SlaArtifact.sha256, SlaArtifact.bytes)
        query = sa.select(*columns).where(SlaArtifact.trial_id == trial_id).order_by(SlaArtifact.id)
        return [ArtifactRow(**row) for row in self._rows(query)]

    def all_artifacts(self, study_id: int) -> list[ArtifactRow]:
        """The files of all trials of a study."""
        columns = (SlaArtifact.name, SlaArtifact.path, SlaArtifact.sha256, SlaArtifact.bytes)
        query = sa.select(*columns).join(SlaTrial, SlaTrial.id == SlaArtifact.trial_id)
        return [
            ArtifactRow(**row)
            for row in self._rows(query.where(SlaTrial.study_id == study_id).order_by(SlaArtifact.id))
        ]

    def checkpoints(self, trial_ids: Sequence[int]) -> tuple[Checkpoint, ...]:
        """What some attempts have saved, the oldest first."""
        columns = (SlaCheckpoint.step, SlaCheckpoint.sha256, SlaCheckpoint.node)
        query = sa.select(*columns).where(SlaCheckpoint.trial_id.in_(trial_ids)).order_by(SlaCheckpoint.id)
        return tuple(Checkpoint(**row) for row in self._rows(query))

    def saved_attempts(self, study_id: int) -> set[int]:
        """Ids of a study's attempts that have saved checkpoints."""
        query = sa.select(SlaCheckpoint.trial_id).join(SlaTrial, SlaTrial.id == SlaCheckpoint.trial_id)
        return {row["trial_id"] for row in self._rows(query.where(SlaTrial.study_id == study_id).distinct())}

    def events(self, study_id: int) -> list[EventRow]:
        """The events of a study and its trials, the oldest first."""
        columns = (SlaEvent.trial_id, SlaEvent.at, SlaEvent.level, SlaEvent.kind, SlaEvent.message)
        query = sa.select(*columns).where(SlaEvent.study_id == study_id).order_by(SlaEvent.id)
        return [EventRow(**row) for row in self._rows(query)]

    def requests(self, study_id: int) -> list[RequestRow]:
        """What was asked of a study and is not carried out yet, the oldest first."""
        query = sa.select(SlaRequest.__table__).where(SlaRequest.study_id == study_id, SlaRequest.done_at.is_(None))
        return [_request(row) for row in self._rows(query.order_by(SlaRequest.id))]

    def request(self, request_id: int) -> RequestRow:
        """One request as it stands now.

        Raises:
            StudyNotFoundError: Its study was deleted, and the request with it.
        """
        rows = self._rows(sa.select(SlaRequest.__table__).where(SlaRequest.id == request_id))
        if not rows:
            raise StudyNotFoundError(
                "study: expected one that stays until what was asked of it is carried out, got one that was deleted "
                "meanwhile. `slasearch status` lists those there are."
            )
        return _request(rows[0])

    def gates(self, trial_id: int) -> list[GateRow]:
        """The gates of a trial at its end, open and closed; none where it did not come so far."""
        query = sa.select(SlaGate.__table__).where(SlaGate.trial_id == trial_id).order_by(SlaGate.id)
        return [_gate(row) for row in self._rows(query)]

    # ------------------------------------------------------------ write

    def write(self, step: Callable[[Writer], R], *, durable: bool = False) -> R:
        """One transaction: everything that `step` writes is committed, or nothing is; returns what it returns.

        With `durable` no power failure takes it back, nor what was written before. If the connection is lost, `step` is
        called again, unless a guard knows that the first try was committed.
        """
        sent: list[R] = []

        def transaction() -> None:
            with self.engine.connect() as connection:
                wait_for_disk(connection, durable)
                with connection.begin():
                    if self._guard is not None:
                        self._guard.check(connection)
                    sent.append(step(Writer(connection)))
            if self._guard is not None:
                self._guard.written()

        self.once(transaction)
        return sent[-1]

    def once(self, transaction: Callable[[], object]) -> None:
        """Runs a transaction at whose beginning the guard stands until it is committed, and no further time."""

        def attempt() -> None:
            with suppress(AlreadyWritten):
                transaction()

        self.writing = True
        try:
            self.patiently(attempt)
        except BaseException:
            if self._guard is not None:
                self._guard.unsure()
            raise
        finally:
            self.writing = False

    # ------------------------------------------------------------ parts

    def optuna_states(self, names: Sequence[str]) -> dict[tuple[str, int], str]:
        """The state of each trial in Optuna's tables, in lower case, by study and number; empty without such tables."""
        query = sa.text(
            "SELECT s.study_name, t.number, t.state FROM trials t JOIN studies s ON s.study_id = t.study_id "
            "WHERE s.study_name IN :names"
        ).bindparams(sa.bindparam("names", list(names), expanding=True))
        if not self.patiently(lambda: sa.inspect(self.engine).has_table("trials")):
            return {}
        return {(row["study_name"], row["number"]): row["state"].lower() for row in self._rows(query)}

    def patiently(self, attempt: Callable[[], R]) -> R:
        """What `attempt` returns, which is called again while the connection is lost: it must be safe to repeat."""

        def translated() -> R:
            with storage_errors(self.url):
                return attempt()

        return self.patience.call(translated)

    @property
    def engine(self) -> sa.Engine:
        """The connections; opened, and the tables checked, at the first use."""
        if self._engine is None:
            engine = make_engine(self.url, create=False)
            with storage_errors(self.url):
                _check_revision(_check_present(stored_revision(engine)))
            self._engine = engine
        return self._engine

    def _rows(self, query: sa.Executable) -> list[dict[str, Any]]:
        def read() -> list[dict[str, Any]]:
            with self.engine.connect() as connection:
                return [dict(row) for row in connection.execute(query).mappings()]

        return self.patiently(read)


def _gate(row: dict[str, Any]) -> GateRow:
    openness, value = (math.nan if row[name] is None else row[name] for name in ("openness", "value"))
    return GateRow(row["task"], Slot.parse(row["slot"]), openness, value, row["open"], row["parameters"])


def _request(row: dict[str, Any]) -> RequestRow:
    trials = None if row["trials"] is None else tuple(stored_json(row["trials"]))
    return RequestRow(**{**row, "trials": trials})


def _check_present(stored: str | None) -> str:
    if stored is None:
        raise StorageError(
            "database: expected slasearch's tables, got none. Run a study first (`slasearch run FILE`), "
            "or name another database with --storage."
        )
    return stored


def _check_revision(stored: str) -> None:
    if stored != newest_revision():
        refuse_later(stored)
        raise StorageError(
            f"database: expected revision {newest_revision()}, got {stored}, made by an earlier release. "
            "Take a copy of it, then run `slasearch upgrade`."
        )
