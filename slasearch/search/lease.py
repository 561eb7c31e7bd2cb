"""One driver for a study: who holds it, whether that process still lives, and a token that fences off a late writer.

The token also numbers the holder's writes: each moves it on by one in its own transaction. So a write whose answer was
lost with the connection is known to be committed, or not to be, by the token alone.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from slasearch.config.plain import stored_json
from slasearch.errors import ConnectionLostError, LeaseError
from slasearch.storage.engine import storage_errors
from slasearch.storage.models import SlaLease
from slasearch.storage.store import AlreadyWritten, Store
from slasearch.storage.writer import Writer

__all__ = ["RENEW_SECONDS", "STALE_SECONDS", "Holder", "Lease", "has_driver", "is_dead", "this_process"]

RENEW_SECONDS = 10.0
"""A lease younger than this is not written again."""
STALE_SECONDS = 60.0
"""A lease older than this is free if its holder cannot be looked at from here (another host, boot, user, container)."""

_MINE = (SlaLease.study_id == sa.bindparam("study"), SlaLease.holder == sa.bindparam("mine"))
_MOVE = sa.update(SlaLease).where(*_MINE, SlaLease.token == sa.bindparam("expected")).values(token=SlaLease.token + 1)
_TOKEN = sa.select(SlaLease.token).where(*_MINE)
# Built once: a driver executes the first with each of its writes, and building takes longer than the database does.

_HELD: set[str] = set()
"""Nonces of the leases that this process holds."""


@dataclass(frozen=True)
class Holder:
    """A process, so described that no later one is taken for it.

    `since` is when it took the lease (epoch seconds); the nonce tells several leases of one process apart.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    since: float
    nonce: str = ""


def this_process(now: float) -> Holder:
    """The running process as a holder."""
    pid = os.getpid()
    return Holder(socket.gethostname(), _boot(), _namespace(), pid, _start(pid) or "", now)


def is_dead(holder: Holder, renewed_at: float, now: float) -> bool:
    """Whether the holder has ended: known, if its process can be looked at from here; else silent for too long.

    Another boot of a host of this name may be another host that lives.
    """
    if (holder.host, holder.boot, holder.namespace) == (socket.gethostname(), _boot(), _namespace()):
        with suppress(PermissionError):
            return _start(holder.pid) != holder.started
    return now - renewed_at > STALE_SECONDS


class Lease:
    """A held lease; the guard of its store's writes.

    Args:
        study_id: The study.
        holder: This holder as it stands in the database; no other has the same.
        token: Larger than that of every earlier holder; grows with each write.
        renewed_at: When it was taken (epoch seconds).
        previous: What was known of a dead holder that it was taken from; None: there was none, or it gave it back.

    Attributes:
        lost: Whether a check has found another holder: nothing more can be written then.
    """

    def __init__(self, study_id: int, holder: str, token: int, renewed_at: float, previous: Holder | None) -> None:
        self.study_id = study_id
        self.holder = holder
        self.token = token
        self.previous = previous
        self.lost = False
        self._renewed_at = renewed_at
        self._unsure = False

    @classmethod
    def take(cls, store: Store, study_id: int, study: str, now: float) -> Lease:
        """Takes the lease of a study.

        Raises:
            LeaseError: A living process holds it; the text says which and since when.
        """
        holder = replace(this_process(now), nonce=secrets.token_hex(8))
        held = json.dumps(asdict(holder))
        tried: list[Lease] = []

        def write(writer: Writer) -> Lease:
            execute = writer.connection.execute
            row = execute(sa.select(SlaLease.__table__).where(SlaLease.study_id == study_id)).one_or_none()
            if row is not None and row.holder == held:
                return tried[-1]
            token, previous = _free(row, study, now)
            tried.append(cls(study_id, held, token, now, previous))
            values = {"token": token, "holder": held, "renewed_at": now}
            try:
                if row is None:
                    execute(sa.insert(SlaLease).values(study_id=study_id, **values))
                    return tried[-1]
                mine = (SlaLease.study_id == study_id, SlaLease.token == row.token)
                taken = execute(sa.update(SlaLease).where(*mine).values(**values)).rowcount == 1
            except sa.exc.IntegrityError:
                taken = False
            if not taken:
                raise LeaseError(f"study {study}: another driver has just started on it. Wait for it.")
            return tried[-1]

        _HELD.add(holder.nonce)
        try:
            return store.write(write)
        except BaseException:
            _HELD.discard(holder.nonce)
            raise

    def check(self, connection: sa.Connection) -> None:
        """Refuses a write of a driver that has lost the lease; called inside the writing transaction.

        Raises:
            LeaseError: Another driver has taken the study.
            AlreadyWritten: The same write was committed before.
        """
        mine = {"study": self.study_id, "mine": self.holder}

        def moved() -> bool:
            return connection.execute(_MOVE, {**mine, "expected": self.token}).rowcount == 1

        held = moved()
        if not held and connection.execute(_TOKEN, mine).scalar() == self.token + 1:
            self.written()
            if not self._unsure:
                raise AlreadyWritten
            held = moved()
        self._unsure = False
        if not held:
            self.lost = True
            raise LeaseError(
                "study: expected to hold its lease, got a newer holder: another driver has taken the study over. "
                "This one stops; what it had not written yet is run again there."
            )

    def written(self) -> None:
        """The write that was checked last is committed."""
        self.token += 1

    def unsure(self) -> None:
        """The write that was checked last was given up, and may be committed: the next write is another one."""
        self._unsure = True

    def renew(self, store: Store, now: float, heard_of: float) -> None:
        """Says that the holder lives, at most every `RENEW_SECONDS`; `store` is guarded by this lease.

        Args:
            store: The study's.
            now: The system's clock, by which others judge; where that is set back, renewals go on.
            heard_of: The driver's own, on which the times of its trials are: what it leaves running is charged until
                then.

        Raises:
            LeaseError: Another driver has taken the study.
        """
        if abs(now - self._renewed_at) >= RENEW_SECONDS:

            def write(writer: Writer) -> None:
                self._update(writer, renewed_at=now)
                writer.update_study(self.study_id, updated_at=heard_of)

            store.write(write)
            self._renewed_at = now

    def release(self, store: Store) -> None:
        """Gives the lease back, unless it is lost; the token stays. A database that does not answer keeps it."""
        _HELD.discard(Holder(**stored_json(self.holder)).nonce)
        if not self.lost:
            store.guard(None)
            with suppress(ConnectionLostError):
                store.write(lambda writer: self._update(writer, holder=None))

    def _update(self, writer: Writer, **values: float | str | None) -> None:
        mine = (SlaLease.study_id == self.study_id, SlaLease.holder == self.holder)
        writer.connection.execute(sa.update(SlaLease).where(*mine).values(**values))


def has_driver(store: Store, study_id: int, now: float) -> bool:
    """Whether a process that lives, as far as can be known, runs the study."""
    with storage_errors(store.url), store.engine.connect() as connection:
        row = connection.execute(sa.select(SlaLease.__table__).where(SlaLease.study_id == study_id)).one_or_none()
    if row is None or row.holder is None:
        return False
    return not _is_over(Holder(**stored_json(row.holder)), row.renewed_at, now)


def _free(row: Any, study: str, now: float) -> tuple[int, Holder | None]:
    """The next token of a lease that may be taken, and what `Lease.previous` says of it; `row` None: no lease yet."""
    if row is None:
        return 1, None
    if row.holder is None:
        return row.token + 1, None
    holder = Holder(**stored_json(row.holder))
    if not _is_over(holder, row.renewed_at, now):
        raise LeaseError(_held(study, holder))
    return row.token + 1, holder


def _is_over(holder: Holder, renewed_at: float, now: float) -> bool:
    """Whether nobody holds the lease any more: an earlier run of this very process may have left it too."""
    mine = replace(holder, since=now, nonce="") == this_process(now) and holder.nonce not in _HELD
    return mine or is_dead(holder, renewed_at, now)


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

    Raises:
        PermissionError: The process lives, and is another user's that cannot be looked at (/proc with hidepid).
    """
    try:
        if not Path("/proc/self/stat").is_file():
            os.kill(pid, 0)
            return ""
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else fields[18]
    except FileNotFoundError:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)  # one that is only hidden refuses
        return None
    except ProcessLookupError:
        return None
