"""Where progress is shown: a display that renews itself on a terminal, plain lines elsewhere, or JSON for programs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from slasearch.config.plain import digits, finite
from slasearch.search.summary import Best, PhaseCount, StudySummary

__all__ = ["Display", "Events", "Lines", "Screen", "State", "duration", "is_terminal", "progress_line", "write_event"]

_BAR_COLUMNS = 28


@dataclass(frozen=True)
class State:
    """Where a study stands now; times in seconds, `left` an estimate."""

    summary: StudySummary
    elapsed: float
    left: float | None


class Screen(Protocol):
    """Shows progress to a person or a program. Called from one thread."""

    seconds: float
    """How long a state is shown at least."""

    def show(self, state: State) -> None:
        """Where the study stands now."""

    def note(self, text: str) -> None:
        """A sentence to be kept."""

    def close(self) -> None:
        """Leaves the last state standing; what others write comes after it."""


class Lines:
    """A line now and then."""

    seconds = 15.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, state: State) -> None:
        """One line."""
        self.note(progress_line(state))

    def note(self, text: str) -> None:
        """The sentence on a line of its own."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing is open."""


class Events:
    """One JSON object a line: `event` is `progress` or `note`."""

    seconds = 1.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, state: State) -> None:
        """The whole summary, with `elapsed_seconds` and `left_seconds`."""
        times = {"elapsed_seconds": round(state.elapsed, 3), "left_seconds": state.left}
        write_event(self._stream, "progress", **times, **asdict(state.summary))

    def note(self, text: str) -> None:
        """The sentence as `text`."""
        write_event(self._stream, "note", text=text)

    def close(self) -> None:
        """Nothing is open."""


class Display:
    """Some lines that renew themselves: phases with bars, the best, the last failure."""

    seconds = 1.0

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, force_terminal=True, highlight=False)
        self._live: Live | None = None

    def show(self, state: State) -> None:
        """Draws the state in the place of the last one."""
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
            self._console.show_cursor(True)  # it would stay hidden after a kill
        self._live.update(_drawn(state), refresh=True)

    def note(self, text: str) -> None:
        """The sentence above what renews itself."""
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Ends the renewal; the last state stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at it who can be shown lines that renew themselves."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def write_event(stream: TextIO, event: str, **fields: Any) -> None:
    """One event as a line of JSON."""
    stream.write(json.dumps({"event": event, **finite(fields)}, ensure_ascii=False, allow_nan=False) + "\n")
    stream.flush()


# ---------------------------------------------------------------- in words


def progress_line(state: State) -> str:
    """Times, counts by phase, what went wrong, the best so far, what runs."""
    summary = state.summary
    parts = [_times(state)]
    parts += [f"{phase} {count.ended}/{count.planned}" for phase, count in summary.phases.items() if count.planned]
    parts += [f"{name} {count}" for name, count in (("failed", summary.failed), ("pruned", summary.pruned)) if count]
    parts += [_best(summary)] if summary.best else []
    parts += [f"Pareto front {summary.front}"] if summary.front else []
    return " · ".join([*parts, f"running {summary.running}", _device(summary)])


def duration(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _times(state: State) -> str:
    return duration(state.elapsed) + (f", about {duration(state.left)} left" if state.left is not None else "")


def _device(summary: StudySummary) -> str:
    return f"{summary.device_seconds / 3600:.2f} device hours"


def _best(summary: StudySummary) -> str:
    best = next((best for best in summary.best if best.objective == "score"), summary.best[0])
    return f"best {_valued(best)}"


def _valued(best: Best) -> str:
    return f"{best.objective.replace('_', ' ')} {digits(best.value)}"


# ---------------------------------------------------------------- in lines


def _drawn(state: State) -> RenderableType:
    summary = state.summary
    phases = Table.grid(padding=(0, 2))
    for phase, count in summary.phases.items():
        if count.planned:
            bar = ProgressBar(count.planned, count.ended, width=_BAR_COLUMNS, complete_style="cyan")
            phases.add_row(Text(phase), bar, Text(f"{count.ended}/{count.planned}", justify="right"), _states(count))
    head = Text(" · ".join([summary.name, _times(state), _device(summary)]), no_wrap=True, overflow="ellipsis")
    lines: list[RenderableType] = [head, phases]
    if summary.best:
        words = [f"{_valued(best)} (trial {best.number})" for best in summary.best]
        words += [f"Pareto front of {summary.front} trials"] if summary.front else []
        lines.append(Text("best  " + " · ".join(words), no_wrap=True, overflow="ellipsis"))
    if summary.last_failure:
        lines.append(Text(f"last failure: {summary.last_failure}", style="red", no_wrap=True, overflow="ellipsis"))
    return Group(*lines)


def _states(count: PhaseCount) -> Text:
    named = {"complete": "green", "pruned": "yellow", "failed": "red", "running": "", "waiting": "dim"}
    shown = [(f"{getattr(count, name)} {name}", style) for name, style in named.items() if getattr(count, name)]
    return Text(", ").join([Text(words, style=style) for words, style in shown])
