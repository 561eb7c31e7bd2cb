"""Progress on a terminal, elsewhere, and for a program."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from slasearch.orchestrate.progress import ProgressPrinter, time_left
from slasearch.orchestrate.screens import Display, Lines, State, duration, progress_line
from slasearch.records import Event
from slasearch.search.summary import Best, PhaseCount, StudySummary


def summary_of(design: tuple[int, int], optimise: tuple[int, int], failed: int = 0) -> StudySummary:
    """Each pair is (ended, planned)."""
    phases = {
        "design": PhaseCount(design[1], design[0], 0, 0, 0, 0),
        "optimise": PhaseCount(optimise[1], optimise[0] - failed, 0, failed, 0, 2),
        "confirm": PhaseCount(0, 0, 0, 0, 0, 0),
    }
    best = (Best("exported_parameters", 1, 0, 120.0), Best("score", 2, 1, 0.87654))
    planned, complete = design[1] + optimise[1], design[0] + optimise[0] - failed
    failure = "trial 7: worker lost: gone" if failed else None
    summary = StudySummary("s", "running", planned, complete, 0, failed, 0, 2, phases, best)
    return replace(summary, front=4, device_seconds=900.0, last_failure=failure)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def seconds() -> list[float]:
    return [0.0]


def printer(stream: io.StringIO, seconds: list[float], **more: Any) -> ProgressPrinter:
    return ProgressPrinter(stream, concurrency=2, clock=lambda: seconds[0], **more)


def test_a_line_tells_counts_best_and_times() -> None:
    line = progress_line(State(summary_of((3, 3), (2, 10), failed=1), 83.0, 250.0))
    assert line == (
        "1:23, about 4:10 left · design 3/3 · optimise 2/10 · failed 1 · best score 0.8765 · Pareto front 4 · "
        "running 2 · 0.25 device hours"
    )


def test_time_left_uses_the_median_of_each_phase_over_the_concurrency() -> None:
    summary = summary_of((1, 3), (0, 4))
    assert time_left(summary, {}, 2) is None
    assert time_left(summary, {"design": [10.0, 12.0, 100.0]}, 2) == (2 * 12 + 4 * 12) / 2
    assert time_left(summary, {"design": [10.0], "optimise": [20.0]}, 2) == (2 * 10 + 4 * 20) / 2
    assert time_left(summary_of((3, 3), (3, 4)), {"optimise": [20.0]}, 2) == 20.0
    assert time_left(summary_of((3, 3), (4, 4)), {"optimise": [20.0]}, 2) is None


def test_elsewhere_a_plain_line_comes_now_and_then_and_when_the_phase_changes(seconds: list[float]) -> None:
    stream = io.StringIO()
    progress = printer(stream, seconds)
    for _ in range(10):
        progress.tick(lambda: summary_of((1, 3), (0, 10)), "design")
        seconds[0] += 1.0
    progress.tick(lambda: summary_of((3, 3), (1, 10), failed=1), "optimise")
    seconds[0] += Lines.seconds
    progress.trial_ended("optimise", 2.0)
    progress.tick(lambda: summary_of((3, 3), (5, 10), failed=1), "optimise")
    progress.end(summary_of((3, 3), (10, 10), failed=1))
    lines = stream.getvalue().splitlines()
    assert [line.split(" · ")[2] for line in lines] == [
        "optimise 0/10",
        "optimise 1/10",
        "optimise 5/10",
        "optimise 10/10",
    ]
    assert "0:25, about 0:05 left" in lines[2]
    assert "left" not in lines[3]
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


def test_a_terminal_gets_lines_that_renew_themselves(seconds: list[float], terminal: Terminal) -> None:
    progress = printer(terminal, seconds)
    progress.tick(lambda: summary_of((1, 3), (0, 10)), "design")
    seconds[0] += Display.seconds / 2
    progress.tick(lambda: pytest.fail("expected no summary before a second has passed"), "design")
    seconds[0] += Display.seconds
    progress.tick(lambda: summary_of((3, 3), (4, 10), failed=1), "design")
    progress.note("A word [with] brackets.")
    progress.close()
    first, *later = plain(terminal).split("s · 0:0")[1:]
    assert "design 1/3 1 complete" in first
    assert "last failure" not in first
    assert "optimise 4/10 3 complete, 1 failed, 2 running" in later[-1]
    assert "best exported parameters 120 (trial 0) · score 0.8765 (trial 1) · Pareto front of 4 trials" in later[-1]
    assert "last failure: trial 7: worker lost: gone" in later[-1]
    assert "A word [with] brackets." in plain(terminal)
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l"), "expected a cursor"


def plain(terminal: Terminal) -> str:
    """The words on the terminal, without codes, bars and white space more than one."""
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[━╺╸]", "", terminal.getvalue()).split())


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_none_is_wanted(
    seconds: list[float], terminal: Terminal, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    progress = printer(terminal, seconds)
    progress.tick(lambda: summary_of((3, 3), (4, 10), failed=1), "optimise")
    progress.close()
    assert "failed" in terminal.getvalue()
    assert re.findall(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", terminal.getvalue()) == []


def test_a_program_gets_a_json_object_a_line(seconds: list[float]) -> None:
    stream = io.StringIO()
    progress = printer(stream, seconds, events=True)
    progress.note("study s")
    progress.tick(lambda: replace(summary_of((1, 3), (0, 10)), device_seconds=float("nan")), "design")
    seconds[0] += 2.0
    progress.trial_ended("design", 2.0)
    progress.end(summary_of((3, 3), (4, 10), failed=1))
    note, first, last = map(json.loads, stream.getvalue().splitlines())
    assert note == {"event": "note", "text": "study s"}
    assert (first["event"], first["left_seconds"], first["device_seconds"]) == ("progress", None, None)
    assert (last["elapsed_seconds"], last["phases"]["optimise"]["complete"]) == (2.0, 3)
    assert (last["left_seconds"], last["front"], last["best"][1]["value"]) == (6 * 2.0 / 2, 4, 0.87654)
    assert last["last_failure"] == "trial 7: worker lost: gone"


def test_a_summary_that_takes_long_is_made_less_often(seconds: list[float]) -> None:
    asked = []

    def slow() -> StudySummary:
        asked.append(seconds[0])
        seconds[0] += 0.5
        return summary_of((1, 3), (0, 10))

    progress = printer(io.StringIO(), seconds, events=True)
    while seconds[0] < 25.0:
        progress.tick(slow, "design")
        seconds[0] += 0.25
    assert len(asked) == 3, "expected one in ten seconds, a twentieth of the time"


def test_nothing_is_printed_at_the_end_of_nothing(seconds: list[float]) -> None:
    stream = io.StringIO()
    printer(stream, seconds).end(summary_of((3, 3), (4, 4)))
    assert stream.getvalue() == ""


def test_durations() -> None:
    assert [duration(value) for value in (0.4, 59.6, 61, 3600, 3725)] == ["0:00", "1:00", "1:01", "1:00:00", "1:02:05"]


def test_gate_health_is_told_at_the_first_trial_and_in_numbers_at_the_end(seconds: list[float]) -> None:
    stream = io.StringIO()
    progress = printer(stream, seconds)
    well = Event("gate_health.mixed", "3 of 8 gates open.")
    open_, lost = Event("gate_health.all_open", "Raise λ.", "warning"), Event("driver.lost", "gone", "warning")
    bare = Event("gate_health.task_without_slots", "Task a has no open slot.", "warning")
    for events in ((well,), (open_, lost), (), (open_,), (well, bare)):
        progress.trial_ended("design", 1.0, events)
    progress.end(summary_of((5, 5), (0, 4)))
    assert stream.getvalue().splitlines() == [
        "gate health: 1 of 2 trials all open — Raise λ.",
        "gate health: 1 of 4 trials with a task without slots — Task a has no open slot.",
        "gate health: 2 of 4 trials all open — Raise λ.",
    ]
