"""All trials of a study in memory, and each change to them written so that a crash at any point can be mended.

The order is always: files, then our rows in one transaction, then Optuna. So our rows never say less than Optuna's,
and `Book.mend` brings Optuna up to them after a crash. Waiting and running trials are so in both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import TrialState as OptunaState

from slasearch.config.constraints import ConstraintConfig
from slasearch.config.plain import stored_json, to_plain
from slasearch.records import DIRECTIONS, WHOLE_TRIAL, Checkpoint, Event, MetricRow, Progress, TrialReport, TrialSpec
from slasearch.search.constraints import excesses
from slasearch.search.lease import Holder
from slasearch.search.logs import write_log
from slasearch.search.mirror import OURS, MirroredStudy
from slasearch.storage.artifacts import Artifacts
from slasearch.storage.rows import OptunaStudy, StudyRow, TrialRow, TrialState
from slasearch.storage.store import Store
from slasearch.storage.writer import Writer, finite_or_none

__all__ = ["CANCELLED", "DRIVER_LOST", "NOT_ASKED", "OUT_OF_MEMORY", "WORKER_LOST", "Book", "spec_hash"]

DRIVER_LOST = "driver lost"
"""How the reason of an attempt begins that ended with its driver; such attempts do not use up retries."""
WORKER_LOST = "worker lost"
"""How the reason of an attempt begins whose worker or node is gone."""
OUT_OF_MEMORY = "out of memory"
"""How the reason of an attempt begins that the memory of its worker did not suffice for."""
CANCELLED = "cancelled"
"""The reason of a trial that a person has ended."""
NOT_ASKED = "not asked by slasearch"
"""The reason of a trial in Optuna that somebody else has begun, and that was found open."""

_RESULTS = (*DIRECTIONS, "latency")
"""Columns of what a complete trial came to: the objectives, and what may be bounded beside them."""
_OPTUNA_STATES = {"complete": OptunaState.COMPLETE, "pruned": OptunaState.PRUNED, "fail": OptunaState.FAIL}
_FRESH: dict[str, Any] = {
    "number": None,
    "state": "waiting",
    "reason": None,
    "ray_trial_id": None,
    "worker": None,
    "budget": None,
    "budget_max": None,
    "score": None,
    "started_at": None,
    "ended_at": None,
    "log": None,
}


class Book:
    """The trials of one study.

    Args:
        store: The database, guarded by the lease.
        home: Folder of logs.
        artifacts: Where trained adapters go.
        study: The study's row.
        objectives: Names of its objectives, in order.
        constraints: Its bounds, which Optuna is told of.
        optuna: Its two Optuna studies.
        distributions: Distribution of each searched parameter.
    """

    def __init__(
        self,
        store: Store,
        home: Path,
        artifacts: Artifacts,
        study: StudyRow,
        objectives: Iterable[str],
        constraints: Sequence[ConstraintConfig],
        optuna: Mapping[OptunaStudy, MirroredStudy],
        distributions: Mapping[str, BaseDistribution],
    ) -> None:
        self._store = store
        self._home = home
        self._artifacts = artifacts
        self._study = study
        self._objectives = tuple(objectives)
        self._constraints = tuple(constraints)
        self._optuna = optuna
        self._distributions = distributions
        self._reported: dict[int, set[tuple[Any, ...]]] = {}
        self._saved: dict[int, Checkpoint] = {}
        self._rows = {row.id: row for row in store.trials(study.id)}

    @property
    def rows(self) -> list[TrialRow]:
        """All attempts, in the order in which they were made."""
        return list(self._rows.values())

    def __getitem__(self, trial_id: int) -> TrialRow:
        return self._rows[trial_id]

    # ------------------------------------------------------------ a trial's life

    def enter(self, row: TrialRow) -> TrialRow:
        """Stores a new or waiting trial, and gives it its number in Optuna if it has none yet."""
        optuna = self._optuna[row.optuna_study]
        if row.number is None:
            kept = stored_json(row.sampler_notes or "{}")
            row = replace(row, number=optuna.place(row.values, self._distributions, kept))
        if row.id and row == self._rows[row.id]:
            return row
        new = row
        if row.id:
            self._store.write(lambda writer: writer.update_trial(new.id, number=new.number))
        else:
            row = self._store.write(lambda writer: writer.add_trial(new))
        self._rows[row.id] = row
        assert row.number is not None
        optuna.record(row.number, _attributes(row))
        return row

    def start(self, row: TrialRow, *, ray_trial_id: str, worker: str, at: float) -> None:
        """A worker has begun with a trial."""
        changes: dict[str, Any] = {"state": "running", "ray_trial_id": ray_trial_id, "worker": worker, "started_at": at}
        self._change(row, changes)
        assert row.number is not None
        self._optuna[row.optuna_study].start(row.number)

    def report(self, row: TrialRow, progress: Progress, *, percent: int | None) -> None:
        """Stores an intermediate report, once for each step; in Optuna at `percent` of the budget, None: not there."""
        score = MetricRow(WHOLE_TRIAL, "validation", "clean", 0.0, "score", progress.score, progress.budget)
        metrics = self._new_metrics(row, (score, *progress.metrics))
        if not metrics:
            return
        changes: dict[str, Any] = {
            "budget": progress.budget,
            "budget_max": progress.budget_max,
            "score": finite_or_none(progress.score),
        }
        saved = progress.checkpoint

        def write(writer: Writer) -> None:
            writer.update_trial(row.id, **changes)
            writer.add_metrics(row.id, metrics)
            if saved is not None and saved != self._saved.get(row.id):
                writer.add_checkpoint(row.id, saved)

        self._store.write(write)
        if saved is not None:
            self._saved[row.id] = saved
        self._rows[row.id] = replace(row, **changes)
        if percent is not None and changes["score"] is not None:
            assert row.number is not None
            self._optuna[row.optuna_study].report(row.number, percent, progress.score)

    def end(
        self,
        row: TrialRow,
        state: TrialState,
        *,
        at: float,
        reason: str | None = None,
        report: TrialReport | None = None,
        retry: bool = False,
    ) -> None:
        """Ends an attempt for good, in files, rows and Optuna; with `retry` a new attempt waits."""
        changes: dict[str, Any] = {"state": state, "reason": reason, "ended_at": at}
        if state != "pruned":
            changes.update(dict.fromkeys(_RESULTS))
        if report is not None:
            changes.update(budget=report.budget, budget_max=report.budget_max)
        if state == "complete" and report is not None:
            changes.update({name: finite_or_none(report.objectives.get(name)) for name in _RESULTS})
        self._store.write(lambda _: None)  # a driver that has lost its lease writes no files either
        trained = {} if report is None or state != "complete" else report.artifact
        files = self._artifacts.write(row.id, trained)
        changes["log"] = write_log(self._home, self._study, replace(row, **changes), report)
        metrics = [] if report is None else self._new_metrics(row, report.metrics)
        again = _again(row, at)

        def write(writer: Writer) -> TrialRow | None:
            writer.update_trial(row.id, **changes)
            if report is not None:
                writer.add_metrics(row.id, metrics)
                writer.add_gates(row.id, report.gates)
                writer.add_costs(row.id, report.costs)
                writer.add_events(self._study.id, row.id, at, report.events)
            writer.add_artifacts(row.id, files)
            return writer.add_trial(again) if retry else None

        waiting = self._store.write(write, durable=True)
        self._rows[row.id] = replace(row, **changes)
        if waiting is not None:
            self._rows[waiting.id] = waiting
        self._reported.pop(row.id, None)
        self._saved.pop(row.id, None)
        self._tell(self._rows[row.id])

    def retry(self, row: TrialRow, at: float) -> TrialRow:
        """A new attempt at a trial that has failed; it waits."""
        again = self._store.write(lambda writer: writer.add_trial(_again(row, at)))
        self._rows[again.id] = again
        return again

    def cancel(self, row: TrialRow, at: float) -> None:
        """Ends a waiting or running attempt for good."""
        self.end(self.enter(row), "fail", at=at, reason=CANCELLED)

    def orphan(self, row: TrialRow, reason: str, at: float) -> None:
        """Ends a running attempt whose driver is gone; a new attempt waits."""
        self._artifacts.discard_trial(row.id)
        event = Event("driver.lost", f"trial {row.id}: {reason}; it is run again.", "warning")
        report = TrialReport("fail", row.budget or 0, row.budget_max or 0, events=(event,))
        self.end(row, "fail", at=at, reason=f"{DRIVER_LOST}: {reason}", report=report, retry=True)

    def retries_used(self, row: TrialRow) -> int:
        """How many earlier attempts at the same trial were lost with a worker, a node, or for want of memory."""
        lost = (WORKER_LOST, OUT_OF_MEMORY)
        return sum((earlier.reason or "").startswith(lost) for earlier in self.earlier(row))

    def was_lost(self, row: TrialRow) -> bool:
        """Whether this attempt ended through no fault of its own, so that the next one goes on from its checkpoints."""
        return (row.reason or "").startswith((WORKER_LOST, DRIVER_LOST, OUT_OF_MEMORY))

    def left_checkpoints(self, row: TrialRow, saved: Collection[int]) -> bool:
        """Whether this attempt or an earlier one at the same trial may have left checkpoints where it ran.

        `saved` are the attempts that have told of any.
        """
        if row.state == "pruned" and row.id in saved:
            return True  # its driver may have been killed before its worker removed them
        attempts = (*self.earlier(row), row)
        return any(self.was_lost(one) or (one.reason or "").startswith(CANCELLED) for one in attempts)

    def earlier(self, row: TrialRow) -> list[TrialRow]:
        """The attempts before this one at the same trial, the first one first."""
        found = []
        while row.retry_of is not None:
            row = self._rows[row.retry_of]
            found.append(row)
        return found[::-1]

    # ------------------------------------------------------------ after a crash

    def mend(self, lost: Holder | None, heard_of: float, now: float) -> None:
        """Brings rows and Optuna together after a driver has ended at whatever point.

        Args:
            lost: The driver before, if it was lost and did not give the study back.
            heard_of: When one was last heard of, by its own clock: attempts left running are charged until then.
            now: Present time.
        """
        if lost is not None:
            text = f"process {lost.pid} on {lost.host} ended in the middle of the study; this one goes on"
            event = Event("driver.took_over", text, "warning")
            self._store.write(lambda writer: writer.add_events(self._study.id, None, now, [event]))
        for row in self.rows:
            optuna = self._optuna[row.optuna_study]
            if row.state == "running":
                self.orphan(row, "the process that ran the study ended", _last_heard_of(row, lost, heard_of))
            elif row.state != "waiting":
                self._tell(row)
            elif row.number is not None and row.number != optuna.number_of(row.id):
                self._change(row, {"number": optuna.number_of(row.id)})
        for name, optuna in self._optuna.items():
            ours = {row.number for row in self._rows.values() if row.optuna_study == name}
            for number in optuna.unfinished():
                if number not in ours:
                    optuna.tell(number, OptunaState.FAIL, reason=NOT_ASKED)

    # ------------------------------------------------------------ parts

    def _change(self, row: TrialRow, changes: Mapping[str, Any]) -> None:
        self._store.write(lambda writer: writer.update_trial(row.id, **changes))
        self._rows[row.id] = replace(row, **changes)

    def _tell(self, row: TrialRow) -> None:
        optuna = self._optuna[row.optuna_study]
        if row.number is None or row.number >= len(optuna):
            return
        values = [value for name in self._objectives if (value := row.objective(name)) is not None]
        complete = row.state == "complete"
        bounds = excesses(self._constraints, row) if complete else {}
        optuna.tell(row.number, _OPTUNA_STATES[row.state], values if complete else None, row.reason, bounds)

    def _new_metrics(self, row: TrialRow, metrics: Iterable[MetricRow]) -> list[MetricRow]:
        """Those that an earlier report of the attempt did not store, remembered from now on.

        Nothing measured on the test split is stored outside `confirm`, whatever a worker sends.
        """
        seen = self._reported.setdefault(row.id, set())
        new = {}
        for metric in metrics:
            key = (metric.task, metric.split, metric.condition, metric.level, metric.metric, metric.step)
            if key not in seen and (metric.split != "test" or row.phase == "confirm"):
                new[key] = metric
        seen.update(new)
        return list(new.values())


def _last_heard_of(row: TrialRow, lost: Holder | None, heard_of: float) -> float:
    """Until when a running attempt of an earlier driver is charged.

    A driver that was lost itself before it had mended what the one before it left has not run the attempt.
    """
    began = row.started_at or 0.0
    return began if lost is not None and lost.since > began else max(heard_of, began)


def _again(row: TrialRow, at: float) -> TrialRow:
    """The next attempt at the same trial, not stored yet."""
    return replace(row, id=0, attempt=row.attempt + 1, retry_of=row.id, created_at=at, **_FRESH)


def spec_hash(spec: TrialSpec) -> str:
    """SHA-256 over the spec without its seeds (64 hexadecimal digits)."""
    plain = to_plain(replace(spec, seeds=type(spec.seeds)(0, 0)))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _attributes(row: TrialRow) -> dict[str, Any]:
    """What people see beside a trial in Optuna's dashboard."""
    attributes = {"phase": row.phase, "sampler": row.sampler, "role": row.role, "short": _short(row), OURS: row.id}
    if row.control_variant is not None:
        attributes["variant"] = row.control_variant
    if row.retry_of is not None:
        attributes["retry_of"] = row.retry_of
    return attributes


def _short(row: TrialRow) -> str:
    seed = f"seed {row.repeat + 1}"
    if row.phase == "design":
        return f"design point {row.point}, {seed}"
    if row.phase == "optimise":
        return "optimise" + (f", {seed}" if row.repeat else "")
    of = "" if row.pair_of is None else f" of trial {row.pair_of}"
    layout = "" if row.control_variant is None else f" {row.control_variant}"
    if row.phase == "tune" and row.point is not None:
        seed = f"tuning trial {row.point}" + (f", {seed}" if row.repeat else "")
    return f"{row.role.removeprefix('control:')}{layout}{of}, {seed}"
