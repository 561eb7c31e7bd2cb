"""One log file for each attempt of a trial: what it was, how it ended, why, and its traceback."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from slasearch.records import TrialReport
from slasearch.storage.places import Folder, disk_errors
from slasearch.storage.rows import StudyRow, TrialRow

__all__ = ["discard_logs", "write_log"]


def write_log(home: Path, study: StudyRow, row: TrialRow, report: TrialReport | None) -> str:
    """Writes the log of an ended attempt; returns its path relative to `home`.

    Raises:
        StorageError: The disk refuses.
    """
    path = home / "logs" / study.folder / f"{row.id}-{row.attempt}.log"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_text(study.name, row, report), encoding="utf-8", errors="backslashreplace")
    return path.relative_to(home).as_posix()


def discard_logs(home: Path, study: StudyRow) -> None:
    """Removes the logs of a study's trials.

    Raises:
        StorageError: The disk refuses.
    """
    Folder(home).remove(f"logs/{study.folder}")


def _text(study: str, row: TrialRow, report: TrialReport | None) -> str:
    label = f"{'c' if row.optuna_study == 'confirm' else ''}{row.number}"
    lines = [
        f"study: {study}",
        f"trial: {label}, attempt {row.attempt} ({row.phase}, {row.role})",
        f"parameters: {row.params}",
        f"seeds: init {row.init_seed}, data {row.data_seed}",
        f"worker: {row.worker or '-'}, Ray trial {row.ray_trial_id or '-'}",
        f"time: {_time(row.started_at)} to {_time(row.ended_at)}",
        f"steps: {row.budget or 0} of {row.budget_max or '?'}",
        f"state: {row.state}",
    ]
    if row.reason:
        lines.append(f"reason: {row.reason}")
    if report is not None:
        lines += [f"event: {event.level} {event.kind}: {event.message}" for event in report.events]
        if report.traceback:
            lines += ["", report.traceback.rstrip()]
    return "\n".join(lines) + "\n"


def _time(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
