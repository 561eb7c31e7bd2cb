"""Live progress on stderr: one line that renews itself on a terminal, else a line now and then."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TextIO

from slasearch.analysis.health import HEALTH, gate_health
from slasearch.records import Event
from slasearch.search.summary import StudySummary

__all__ = ["ProgressPrinter", "duration", "progress_line"]

TERMINAL_SECONDS = 0.5
PLAIN_SECONDS = 15.0


class ProgressPrinter:
    """Prints where a study stands, and what is wrong with gates: once at the first trial, and for how many at the end.

    Args:
        stream: Where to; stderr by default.
        terminal: Whether the line renews itself; looked up by default (a dumb terminal counts as none).
        concurrency: Trials at a time, for the time left.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        terminal: bool | None = None,
        concurrency: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.concurrency = concurrency
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb" if terminal is None else terminal
        self._colour = self._terminal and not os.environ.get("NO_COLOR")
        self._clock = clock
        self._began = clock()
        self._due = self._began
        self._phase: str | None = None
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._line_open = False
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
        """Prints if it is time to, or if the phase is another one; only then is the summary asked for."""
        if self._clock() >= self._due or phase != self._phase:
            self._due = self._clock() + (TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS)
            self._phase = phase
            self.show(summary())

    def show(self, summary: StudySummary) -> None:
        """Prints now."""
        left = time_left(summary, self._seconds, self.concurrency)
        line = progress_line(summary, self._clock() - self._began, left)
        if not self._terminal:
            self._write(line + "\n")
            return
        line = line[: self._width() - 1]
        if self._colour and summary.failed:
            line = line.replace(f"failed {summary.failed}", f"\x1b[31mfailed {summary.failed}\x1b[0m")
        self._write(f"\r\x1b[K{line}")
        self._line_open = True

    def end(self, summary: StudySummary) -> None:
        """Prints the last state, if anything was printed before."""
        if self._phase is not None:
            self.show(summary)
        self.close()
        self._warn(again=True)

    def note(self, text: str) -> None:
        """Prints a sentence on a line of its own."""
        self.close()
        self._write(text + "\n")

    def close(self) -> None:
        """Ends the open line, so that what follows begins on a new one."""
        if self._line_open:
            self._write("\n")
            self._line_open = False

    def _warn(self, *, again: bool) -> None:
        """Prints warnings about gates that are new, or `again` those whose numbers have changed since."""
        for warning in gate_health(self._events):
            if warning.kind not in self._warned or (again and self._warned[warning.kind] != warning.text):
                self._warned[warning.kind] = warning.text
                self.note(warning.text)

    def _width(self) -> int:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except OSError:
            columns = 0
        return columns or shutil.get_terminal_size().columns

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def progress_line(summary: StudySummary, elapsed: float, left: float | None) -> str:
    """Times (s), counts by phase, what went wrong, the best so far, what runs; a narrow terminal loses the end."""
    parts = [duration(elapsed) + (f", about {duration(left)} left" if left is not None else "")]
    parts += [f"{phase} {count.ended}/{count.planned}" for phase, count in summary.phases.items() if count.planned]
    parts += [f"{name} {count}" for name, count in (("failed", summary.failed), ("pruned", summary.pruned)) if count]
    if summary.best:
        best = next((best for best in summary.best if best.objective == "score"), summary.best[0])
        parts.append(f"best {best.objective.replace('_', ' ')} {best.value:.4g}")
    parts.append(f"running {summary.running}")
    return " · ".join(parts)


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


def duration(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
