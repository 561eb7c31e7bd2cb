"""One driver for a study: who holds it, whether that process still lives, and a token that fences off a late writer."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from slasearch.errors import LeaseError
from slasearch.storage.engine import storage_errors
from slasearch.storage.models import SlaLease
from slasearch.storage.store import Store

__all__ = ["RENEW_SECONDS", "STALE_SECONDS", "Holder", "Lease", "has_driver", "is_dead", "this_process"]

RENEW_SECONDS = 10.0
"""A lease younger than this is not written again."""
STALE_SECONDS = 60.0
"""A lease older than this is free, if its holder cannot be looked at from here (another host, boot or container)."""


@dataclass(frozen=True)
class Holder:
    """A process, so described that no later one is taken for it. `since` is when it took the lease (epoch seconds)."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    since: float


def this_process(now: float) -> Holder:
    """The running process as a holder."""
    pid = os.getpid()
    return Holder(socket.gethostname(), _boot(), _namespace(), pid, _start(pid) or "", now)


def is_dead(holder: Holder, renewed_at: float, now: float) -> bool:
    """Whether the holder has ended: known, if its process can be looked at from here; else silent for too long.

    Another boot of a host of this name may be another host that lives.
    """
    if (holder.host, holder.boot, holder.namespace) != (socket.gethostname(), _boot(), _namespace()):
        return now - renewed_at > STALE_SECONDS
    return _start(holder.pid) != holder.started


class Lease:
    """A held lease.

    Args:
        study_id: The study.
        token: Larger than that of every earlier holder.
        previous: What was known of a dead holder that it was taken from, and when that was last heard of.

    Attributes:
        lost: Whether a check has found another holder: nothing more can be written then.
    """

    def __init__(self, study_id: int, token: int, renewed_at: float, previous: tuple[Holder, float] | None) -> None:
        self.study_id = study_id
        self.token = token
        self.previous = previous
        self.lost = False
        self._renewed_at = renewed_at

    @classmethod
    def take(cls, store: Store, study_id: int, study: str, now: float) -> Lease:
        """Takes the lease of a study.

        Raises:
            LeaseError: A living process holds it; the text says which and since when.
        """
        held = json.dumps(asdict(this_process(now)))
        with store.write() as writer:
            connection = writer.connection
            row = connection.execute(sa.select(SlaLease.__table__).where(SlaLease.study_id == study_id)).one_or_none()
            if row is None:
                try:
                    connection.execute(
                        sa.insert(SlaLease).values(study_id=study_id, token=1, holder=held, renewed_at=now)
                    )
                except sa.exc.IntegrityError:
                    raise LeaseError(f"study {study}: another driver has just started on it. Wait for it.") from None
                return cls(study_id, 1, now, None)
            previous = Holder(**json.loads(row.holder)) if row.holder else None
            if previous is not None and not is_dead(previous, row.renewed_at, now):
                raise LeaseError(_held(study, previous))
            result = connection.execute(
                sa.update(SlaLease)
                .where(SlaLease.study_id == study_id, SlaLease.token == row.token)
                .values(token=row.token + 1, holder=held, renewed_at=now)
            )
            if result.rowcount != 1:
                raise LeaseError(f"study {study}: another driver has just started on it. Wait for it.")
            return cls(study_id, row.token + 1, now, None if previous is None else (previous, row.renewed_at))

    def check(self, connection: sa.Connection) -> None:
        """Refuses a write of a driver that has lost the lease; called inside the writing transaction.

        Raises:
            LeaseError: Another driver has taken the study.
        """
        query = sa.select(SlaLease.token).where(SlaLease.study_id == self.study_id).with_for_update(read=True)
        if connection.execute(query).scalar() != self.token:
            self.lost = True
            raise LeaseError(
                "study: expected to hold its lease, got a newer holder: another driver has taken the study over. "
                "This one stops; what it had not written yet is run again there."
            )

    def renew(self, store: Store, now: float) -> None:
        """Says that the holder lives, at most every `RENEW_SECONDS`.

        Raises:
            LeaseError: Another driver has taken the study.
        """
        if now - self._renewed_at >= RENEW_SECONDS:
            self._update(store, renewed_at=now)
            self._renewed_at = now

    def release(self, store: Store) -> None:
        """Gives the lease back, unless it is lost; the token stays."""
        if not self.lost:
            self._update(store, holder=None)

    def _update(self, store: Store, **values: float | str | None) -> None:
        mine = (SlaLease.study_id == self.study_id, SlaLease.token == self.token)
        with store.write() as writer:
            writer.connection.execute(sa.update(SlaLease).where(*mine).values(**values))
            self.check(writer.connection)


def has_driver(store: Store, study_id: int, now: float) -> bool:
    """Whether a process that lives, as far as can be known, runs the study."""
    with storage_errors(store.url), store.engine.connect() as connection:
        row = connection.execute(sa.select(SlaLease.__table__).where(SlaLease.study_id == study_id)).one_or_none()
    if row is None or row.holder is None:
        return False
    return not is_dead(Holder(**json.loads(row.holder)), row.renewed_at, now)


def _held(study: str, holder: Holder) -> str:
    since = datetime.fromtimestamp(holder.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"study {study}: expected nobody to run it, got process {holder.pid} on {holder.host} since {since}. "
        f"Wait for it, or end it with `kill {holder.pid}` there and run the same command again."
    )


def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.is_file() else ""


def _namespace() -> str:
    path = Path("/proc/self/ns/pid")
    return str(path.readlink()) if path.is_symlink() else ""


def _start(pid: int) -> str | None:
    """When a process started, in the system's own count; None if it has ended (or waits to be reaped).

    Where the system does not tell (no /proc), empty for every process that lives.
    """
    try:
        if not Path("/proc/self/stat").is_file():
            os.kill(pid, 0)
            return ""
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else fields[18]
    except (ProcessLookupError, FileNotFoundError):
        return None
