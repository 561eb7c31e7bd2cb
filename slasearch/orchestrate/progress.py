"""Progress of a run on stderr: when it is shown, how much time is left, and what is wrong with gates."""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TextIO

from slasearch.analysis.health import HEALTH, gate_health
from slasearch.orchestrate.screens import Display, Events, Lines, Screen, State, is_terminal
from slasearch.records import Event
from slasearch.search.summary import StudySummary

__all__ = ["ProgressPrinter", "time_left"]

_PATIENCE = 20.0
"""How many times as long as a summary takes the next one waits: of 10,000 trials it takes a moment."""


class ProgressPrinter:
    """Shows where a study stands, and what is wrong with gates: once at the first trial, and for how many at the end.

    Args:
        stream: Where to; stderr by default.
        terminal: Whether lines renew themselves; looked up by default (a dumb terminal counts as none).
        events: Whether JSON is written for a program instead.
        concurrency: Trials at a time, for the time left.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        terminal: bool | None = None,
        events: bool = False,
        concurrency: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.concurrency = concurrency
        stream = stream or sys.stderr
        terminal = is_terminal(stream) if terminal is None else terminal
        self._screen: Screen = Events(stream) if events else Display(stream) if terminal else Lines(stream)
        self._clock = clock
        self._began = clock()
        self._due = self._began
        self._phase: str | None = None
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._events: list[tuple[int, Event]] = []
        self._warned: dict[str, str] = {}

    def trial_ended(self, phase: str, seconds: float, events: Iterable[Event] = ()) -> None:
        """One more duration (s) to estimate the time left from, and what the trial had to say."""
        self._seconds[phase].append(seconds)
        trial = sum(map(len, self._seconds.values()))
        heard = [event for event in events if event.kind.startswith(HEALTH)]
        self._events += [(trial, event) for event in heard]
        if any(event.level != "info" and event.kind not in self._warned for event in heard):
            self._warn(again=False)

    def tick(self, summary: Callable[[], StudySummary], phase: str) -> None:
        """Shows the study if it is time to, or if the phase is another one; only then is the summary asked for."""
        began = self._clock()
        if began >= self._due or phase != self._phase:
            self._phase = phase
            self.show(summary())
            ended = self._clock()
            self._due = ended + max(self._screen.seconds, _PATIENCE * (ended - began))

    def show(self, summary: StudySummary) -> None:
        """Shows it now."""
        left = time_left(summary, self._seconds, self.concurrency)
        self._screen.show(State(summary, self._clock() - self._began, left))

    def end(self, summary: StudySummary) -> None:
        """Shows the last state, if anything was shown before."""
        if self._phase is not None:
            self.show(summary)
        self.close()
        self._warn(again=True)

    def note(self, text: str) -> None:
        """A sentence to be kept."""
        self._screen.note(text)

    def close(self) -> None:
        """Leaves the last state standing, so that what follows comes after it."""
        self._screen.close()

    def _warn(self, *, again: bool) -> None:
        """Prints warnings about gates that are new, or `again` those whose numbers have changed since."""
        for warning in gate_health(self._events):
            if warning.kind not in self._warned or (again and self._warned[warning.kind] != warning.text):
                self._warned[warning.kind] = warning.text
                self.note(warning.text)


def time_left(summary: StudySummary, seconds: dict[str, list[float]], concurrency: int) -> float | None:
    """Seconds to the end: trials not ended yet times the median of their phase (or of all), over the concurrency."""
    every = [value for values in seconds.values() for value in values]
    if not every:
        return None
    open_trials = {phase: max(0, count.planned - count.ended) for phase, count in summary.phases.items()}
    if not any(open_trials.values()):
        return None
    work = sum(count * statistics.median(seconds.get(phase) or every) for phase, count in open_trials.items())
    return work / min(concurrency, sum(open_trials.values()))
