"""Progress lines, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from slasearch.orchestrate.progress import PLAIN_SECONDS, ProgressPrinter, duration, progress_line, time_left
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
    return StudySummary("s", "running", planned, complete, 0, failed, 0, 2, phases, best)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def seconds() -> list[float]:
    return [0.0]


def printer(stream: io.StringIO, seconds: list[float], **more: bool) -> ProgressPrinter:
    return ProgressPrinter(stream, concurrency=2, clock=lambda: seconds[0], **more)


def test_a_line_tells_counts_best_and_times() -> None:
    line = progress_line(summary_of((3, 3), (2, 10), failed=1), 83.0, 250.0)
    assert line == ("1:23, about 4:10 left · design 3/3 · optimise 2/10 · failed 1 · best score 0.8765 · running 2")


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
    seconds[0] += PLAIN_SECONDS
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


def test_a_terminal_gets_one_line_that_renews_itself(seconds: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "70")
    stream = Terminal()
    progress = printer(stream, seconds)
    progress.tick(lambda: summary_of((1, 3), (0, 10)), "design")
    progress.tick(lambda: summary_of((2, 3), (0, 10)), "design")
    seconds[0] += 1.0
    progress.tick(lambda: summary_of((3, 3), (4, 10), failed=1), "design")
    progress.note("A word.")
    text = stream.getvalue()
    assert text.count("\n") == 2
    assert text.endswith("\nA word.\n")
    first, second = text.split("\r\x1b[K")[1:]
    assert first.startswith("0:00 · design 1/3")
    assert len(second.split("\n")[0]) == 69 + len("\x1b[31m\x1b[0m")
    assert "\x1b[31mfailed 1\x1b[0m" in second


@pytest.mark.parametrize(("variable", "value", "codes"), [("NO_COLOR", "1", 1), ("TERM", "dumb", 0)])
def test_no_colour_where_none_is_wanted(
    seconds: list[float], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, codes: int
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, value)
    stream = Terminal()
    printer(stream, seconds).tick(lambda: summary_of((3, 3), (4, 10), failed=1), "optimise")
    assert stream.getvalue().count("\x1b") == codes


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
