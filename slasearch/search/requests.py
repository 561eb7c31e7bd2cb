"""What commands ask of a study that may be running, carried out by whoever holds its lease.

A command only adds a row to `sla_request`. Carrying it out again after a crash in between changes nothing: a trial that
is waiting for a new attempt has not failed, and one that was cancelled is not open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from slasearch.search.book import CANCELLED, Book
from slasearch.search.winners import last_attempts, last_attempts_at
from slasearch.storage.rows import RequestRow, TrialRow
from slasearch.storage.store import Store
from slasearch.storage.writer import Writer

__all__ = ["NOT_RUNNING", "Carried", "carry_out", "failed_trials"]

NOT_RUNNING = "nobody runs the study"
"""The outcome of a request to stop a study that does not run."""


@dataclass(frozen=True)
class Carried:
    """What is left to do for whoever runs the trials.

    Args:
        stop: Hand out no more trials; `at_once`: do not wait for those that run.
        cancelled: Ids of trials that have been told failed while a worker may be at them.
    """

    stop: bool = False
    at_once: bool = False
    cancelled: tuple[int, ...] = ()


def carry_out(store: Store, book: Book, requests: Iterable[RequestRow], now: float, *, at_work: bool) -> Carried:
    """Carries out what is asked of a study.

    Args:
        store: The database.
        book: The study's trials.
        requests: What is asked, the oldest first.
        now: Present time.
        at_work: Whether trials are being run, so that there is something to stop.
    """
    stop = at_once = False
    cancelled: list[int] = []
    for request in requests:
        if request.trials is None:
            stop, at_once = at_work, at_once or (at_work and request.at_once)
            outcome = "the study stops" if at_work else NOT_RUNNING
        elif request.verb == "cancel":
            ended = [row for row in last_attempts_at(book.rows, request.trials) if row.open]
            for row in ended:
                book.cancel(row, now)
            cancelled += [row.id for row in ended]
            outcome = _count(ended, request, "cancelled", "had ended before")
        else:
            again = [row for row in last_attempts_at(book.rows, request.trials) if row.state == "fail"]
            for row in again:
                book.retry(row, now)
            outcome = _count(again, request, "waiting for a new attempt", "had not failed")
        store.write(partial(Writer.end_request, request_id=request.id, at=now, outcome=outcome))
    return Carried(stop, at_once, tuple(cancelled))


def failed_trials(rows: Iterable[TrialRow]) -> list[TrialRow]:
    """The trials that have failed for good, but for those that a person has cancelled."""
    return [row for row in last_attempts(rows) if row.state == "fail" and row.reason != CANCELLED]


def _count(done: Sequence[TrialRow], request: RequestRow, what: str, otherwise: str) -> str:
    assert request.trials is not None
    rest = len(request.trials) - len(done)
    trials = "1 trial is" if len(done) == 1 else f"{len(done)} trials are"
    return f"{trials} {what}" + (f"; {rest} {otherwise}" if rest else "")
