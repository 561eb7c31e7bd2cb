"""A report on many trials: as many queries as on few, a page that a browser can open, words on what it leaves out."""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import sqlalchemy as sa

from slasearch.analysis.frames import StudyFrames, load_frames
from slasearch.analysis.learning import load_learning
from slasearch.report.figures.all import all_figures
from slasearch.report.html import render
from slasearch.report.results import Results, analyse
from slasearch.report.thin import thin

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FEW, MANY = 60, 5_000


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    """What the benchmark of reports defines; it writes large studies without training them."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return runpy.run_path(str(BENCHMARKS / "report_scale.py"))
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def url_of(benchmark: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    made: dict[int, str] = {}

    def make(trials: int) -> str:
        if trials not in made:
            made[trials] = f"sqlite:///{tmp_path_factory.mktemp('scale') / 'study.db'}"
            benchmark["write"](made[trials], trials, points=16)
        return made[trials]

    return make


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every SQL statement of the block, whatever its connection, but for SQLite's settings."""
    heard: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith("PRAGMA"):
            heard.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", hear)


@pytest.fixture(scope="module")
def loaded(url_of: Callable[[int], str]) -> tuple[StudyFrames, list[str]]:
    url = url_of(MANY)
    with counted() as heard:
        frames = load_frames(url, "scale")
        load_learning(url, "scale")
    return frames, heard


@pytest.fixture(scope="module")
def many(loaded: tuple[StudyFrames, list[str]]) -> tuple[Results, list[str]]:
    with counted() as heard, pytest.MonkeyPatch.context() as patch:
        patch.setattr("slasearch.analysis.fanova._LARGEST", 100)  # its time does not depend on the trials above this
        results = analyse(loaded[0])
    return results, heard


def test_the_study_has_the_size_that_is_asked_for(loaded: tuple[StudyFrames, list[str]]) -> None:
    frames = loaded[0]
    assert len(frames.trials) == MANY
    assert len(frames.params.columns) == 1 + 20
    complete = frames.search_trials("complete")
    counts = frames.metrics.groupby("trial_id").size()
    assert set(counts.loc[complete["trial_id"]]) == {30}
    assert frames.metrics["value"].dtype == np.float64
    assert frames.trials["score"].dtype == np.float64


def test_as_many_queries_for_many_trials_as_for_few(
    url_of: Callable[[int], str], loaded: tuple[StudyFrames, list[str]], many: tuple[Results, list[str]]
) -> None:
    url = url_of(FEW)
    with counted() as few:
        load_frames(url, "scale")
        load_learning(url, "scale")
    assert loaded[1] == few
    tables = re.compile(r"SELECT sla_(trial|metric|gate|cost|artifact|event)\.")
    views = [statement for statement in few if tables.match(statement)]
    assert len(views) == len(set(views)) == 8, "one for each view: seven frames, and scores on the way"
    assert many[1] == [], "analyses read frames, never the database"


def test_means_over_tasks_are_those_of_each_trial(loaded: tuple[StudyFrames, list[str]]) -> None:
    frames = loaded[0]
    scores = frames.scores
    first = int(frames.search_trials("complete")["trial_id"].iloc[0])
    mine = scores[(scores["trial_id"] == first) & (scores["condition"] == "typos") & (scores["level"] == 0.3)]
    own = mine.loc[mine["series"] != "mean", "value"]
    assert len(own) == 3
    assert mine.loc[mine["series"] == "mean", "value"].item() == pytest.approx(own.mean())
    complete = (frames.trials["state"] == "complete").sum()
    assert (scores["series"] == "mean").sum() == 5 * (complete + 9), "five conditions, and those of confirm on test too"


def test_the_page_stays_small_and_says_what_it_leaves_out(many: tuple[Results, list[str]]) -> None:
    results = many[0]
    figures = all_figures(results)
    page = render(results, figures)
    assert len(page.encode()) < 12e6
    rows = len(next(figure.table for figure in figures if figure.name == "history"))
    assert rows > 4_900
    said = r"The chart shows [2-4]\u202f\d{3} of 4\u202f9\d\d points; the table&#39;s file has all"
    assert re.search(said, page)
    assert "first 2\u202f000 of 4\u202f9" in page
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert max(len(trace.get("x", ())) for chart in charts for trace in chart["data"]) <= 4_001


def test_a_cloud_is_thinned_with_all_that_belongs_to_its_points() -> None:
    count = 10_000
    figure = go.Figure(
        go.Scatter(
            x=list(range(count)), y=list(range(count)), mode="markers", text=[str(index) for index in range(count)],
            marker={"size": [index % 7 for index in range(count)], "color": "#000000"},
        )
    )  # fmt: skip
    shown, total = thin(figure, 1_000)
    trace = figure.data[0]
    assert (shown, total) == (len(trace.x), count) == (1_001, count)
    assert (trace.x[0], trace.x[-1]) == (0, count - 1)
    assert [str(x) for x in trace.x] == list(trace.text)
    assert [x % 7 for x in trace.x] == list(trace.marker.size)
    assert trace.marker.color == "#000000"


def test_a_line_of_steps_keeps_its_corners_and_small_charts_are_left_alone() -> None:
    steps = go.Figure(go.Scatter(x=list(range(9_000)), y=[index // 3_000 for index in range(9_000)], mode="lines"))
    assert thin(steps, 100) == (0, 0), "a line is not a number of points"
    assert list(steps.data[0].x) == [0, 2_999, 3_000, 5_999, 6_000, 8_999]
    small = go.Figure([go.Scatter(x=[1, 2], y=[1, 2]), go.Bar(x=list(range(200)), y=list(range(200)))])
    before = small.to_json()
    assert thin(small, 100) == (0, 0)
    assert small.to_json() == before


def test_the_benchmark_runs_at_its_smallest_size() -> None:
    command = [sys.executable, str(BENCHMARKS / "report_scale.py"), "--smoke", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (row,) = found["cells"].values()
    assert row["trials"] == FEW
    assert min(row["report_s"], row["cpu_s"], row["memory_mib"], row["largest_rss_mib"], row["page_mib"]) > 0
    assert set(found["verdicts"].values()) == {"not judged"}
