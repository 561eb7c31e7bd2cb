"""Between Ray Tune's hooks and the study's session: which Ray trial is which trial of the study.

Ray swallows or rewrites what its hooks raise. So nothing that the session raises goes through them: the desk keeps the
first error, gives out no more trials, and the next tick ends the run, so that the driver raises the error as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol

from slasearch.errors import ClusterError, SlaSearchError
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.records import CheckpointPlan, Event, Progress, TrialReport, TrialSpec
from slasearch.search.requests import Carried
from slasearch.search.study import Ask, StudySummary

__all__ = ["RENEW_SECONDS", "RunEnded", "Session", "TrialDesk", "idle_study"]

RENEW_SECONDS = 5.0
"""How often the lease is renewed."""
LOOK_SECONDS = 1.0
"""How often the desk looks for what commands ask of the study."""
ASK_AGAIN_SECONDS = 1.0


class RunEnded(BaseException):
    """Leaves Ray Tune's loop at once; no `Exception`, so that Ray does not wait for busy workers first."""


class Session(Protocol):
    """What the desk needs of `slasearch.search.study.StudySession`. Called from one thread only."""

    def next(self) -> Ask | Literal["wait", "done"]:
        """The next trial."""

    def started(self, trial_id: int, *, ray_trial_id: str, worker: str = "") -> None:
        """A worker begins the trial."""

    def progress(self, trial_id: int, progress: Progress) -> bool:
        """An intermediate report; True: prune now."""

    def finish(self, trial_id: int, report: TrialReport) -> None:
        """The trial's own last word."""

    def prune(self, trial_id: int, progress: Progress | None) -> None:
        """The trial was stopped early, as `progress` answered."""

    def lost(self, trial_id: int, reason: str) -> None:
        """The trial's worker is gone."""

    def requests(self) -> Carried:
        """What commands ask of the study, as far as it is left to do here."""

    def tell(self, event: Event) -> bool:
        """Something about the study as a whole; True: it was not told before."""

    def renew(self) -> None:
        """Heartbeat of the lease."""

    def stop(self, reason: str) -> None:
        """No new trials."""

    def summary(self) -> StudySummary:
        """Where the study stands."""


class _FirstError:
    """A `with` block that keeps the first exception raised under it and lets none out."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if isinstance(error, Exception):
            self.error = self.error or error
            return True
        return False


@dataclass
class _Live:
    """A trial that Ray holds: what was asked for, since when, its last report, and whether it is to be pruned."""

    ask: Ask
    since: float
    last: Progress | None = None
    pruned: bool = False


class TrialDesk:
    """Hands out trials and takes back their reports. Not thread-safe: used from Ray Tune's loop only.

    Args:
        session: The study.
        printer: Told of every change.
        first: A trial that the session has handed out already.
        heartbeat: Called every few seconds, beside the renewal of the session's lease.
        clock: Seconds on a clock that never goes back.

    Attributes:
        at_once: Whether a command wants the study to stop without waiting for running trials.
        cancelled: Ray's ids of trials that were told failed while they ran: their workers are to be ended.
    """

    def __init__(
        self,
        session: Session,
        printer: ProgressPrinter,
        *,
        first: Ask | None = None,
        heartbeat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._printer = printer
        self._first = first
        self._heartbeat = heartbeat
        self._clock = clock
        self._live: dict[str, _Live] = {}
        self._watched = _FirstError()
        self._refusal: ClusterError | None = None
        self._stopping = False
        self._phase = first.phase if first else ""
        self._renewed = self._looked = clock()
        self._ask_again = 0.0
        self.at_once = False
        self.cancelled: set[str] = set()

    @property
    def error(self) -> Exception | None:
        """What ends the run: the first thing that the session raised, or, once no trial runs, a worker's refusal."""
        return self._watched.error or (None if self._live else self._refusal)

    def next(self, ray_id: str) -> TrialSpec | Literal["wait", "done"]:
        """The next trial, known to Ray as `ray_id`; `wait` while others run, `done` when no more will come."""
        if self._stopping or self.error is not None:
            return "done"
        if self._live and self._clock() < self._ask_again:
            return "wait"
        answer = self._ask()
        if answer == "done":
            return "done"
        if answer == "wait":
            self._ask_again = self._clock() + ASK_AGAIN_SECONDS
            return "wait"
        self._live[ray_id] = _Live(answer, self._clock())
        self._phase = answer.phase
        return answer.spec

    def checkpoints(self, ray_id: str) -> CheckpointPlan | None:
        """Where a trial that was handed out leaves checkpoints, and may find some."""
        return self._live[ray_id].ask.checkpoints

    def started(self, ray_id: str, worker: str) -> None:
        """Ray has a worker for the trial."""
        with self._watched:
            self._session.started(self._live[ray_id].ask.trial_id, ray_trial_id=ray_id, worker=worker)

    def report(self, ray_id: str, progress: Progress) -> bool:
        """An intermediate report. True: the trial is to stop now."""
        if ray_id in self.cancelled:
            return True
        live = self._live[ray_id]
        live.last = progress
        with self._watched:
            live.pruned = self._session.progress(live.ask.trial_id, progress)
        return live.pruned

    def ended(self, ray_id: str, report: TrialReport | None) -> None:
        """The trial's end: with its own report, or None when it was stopped before."""
        live = self._release(ray_id)
        if live is None:
            return
        with self._watched:
            if report is not None:
                self._session.finish(live.ask.trial_id, report)
            elif live.pruned:
                self._session.prune(live.ask.trial_id, live.last)
            else:
                self._session.lost(live.ask.trial_id, "stopped before its end")
        events = () if report is None else report.events
        self._printer.trial_ended(live.ask.phase, self._clock() - live.since, events)

    def lost(self, ray_id: str, reason: str) -> None:
        """The trial's worker is gone; the study decides whether the trial is tried again."""
        live = self._release(ray_id)
        if live is not None:
            with self._watched:
                self._session.lost(live.ask.trial_id, reason)

    def refused(self, ray_id: str, why: str) -> None:
        """The trial's worker may not run it: nothing is handed out any more, and the run ends with an error.

        What runs elsewhere goes on to its end. The trial is left as it is: the session's end puts it back to wait.
        """
        self._release(ray_id)
        if self._refusal is None:
            self._refusal = ClusterError(why)
            self._stopping = True
            with self._watched:
                self._session.stop(why)
            if self._live:
                self._printer.note(f"{why} {len(self._live)} trials that run elsewhere end first.")

    def tell(self, event: Event) -> None:
        """A worker has something to tell of itself."""
        with self._watched:
            if self._session.tell(event):
                self._printer.note(event.message)

    def stop(self, reason: str, how_at_once: str = "once more") -> None:
        """No new trials; those that run go on to their end. `how_at_once` tells people how not to wait for them."""
        if self._stopping:
            return
        self._stopping = True
        with self._watched:
            self._session.stop(reason)
        self._printer.note(f"{reason}: stopping after {len(self._live)} running trials; {how_at_once} stops at once")

    def tick(self) -> None:
        """Renews the lease, looks for requests and moves the progress on; to be called several times a second."""
        with self._watched:
            if self._clock() - self._renewed >= RENEW_SECONDS:
                self._renewed = self._clock()
                self._session.renew()
                self._heartbeat()
            if self._clock() - self._looked >= LOOK_SECONDS:
                self._looked = self._clock()
                self._follow(self._session.requests())
            self._printer.tick(self._session.summary, self._phase)

    def _follow(self, carried: Carried) -> None:
        """Does what is left of requests: ends workers and the study."""
        if self._first is not None and self._first.trial_id in carried.cancelled:
            self._first = None
        self.cancelled |= {ray_id for ray_id, live in self._live.items() if live.ask.trial_id in carried.cancelled}
        self.at_once = self.at_once or carried.at_once
        if carried.stop:
            self.stop("cancelled by command", "`slasearch cancel` with --now")

    def _ask(self) -> Ask | Literal["wait", "done"]:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        with self._watched:
            answer = self._session.next()
            if answer == "wait" and not self._live:
                raise idle_study()
            return answer
        return "done"

    def _release(self, ray_id: str) -> _Live | None:
        self._ask_again = 0.0
        self.cancelled.discard(ray_id)
        return self._live.pop(ray_id, None)


def idle_study() -> SlaSearchError:
    """The error of a study that waits for trials that nobody runs; without it Ray Tune would wait too."""
    return SlaSearchError(
        "study: expected a trial to run or the end of the study, got a study that waits although no trial runs. "
        "Run the same command again; it looks over the stored trials first."
    )
