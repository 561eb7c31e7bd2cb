"""Rows of the time line: workers that are stored, slots where none is or where they are many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import START

from slasearch.analysis.ledger import PAUSE, cost_ledger
from slasearch.report.figures import timeline
from slasearch.report.figures._base import Panel, ReportFigure, panel_figure
from slasearch.report.figures._timeline_rows import MOST_WORKERS, timeline_rows
from slasearch.report.results import Results
from slasearch.report.views import Assembly

Row = tuple[str | None, float, float]


def ran(results: Results, rows: Sequence[Row]) -> Results:
    """The results with a ledger of these attempts alone: worker, start, end."""
    trials = pd.DataFrame(rows, columns=["worker", "started_at", "ended_at"])
    count = np.arange(len(trials))
    times = {name: trials[name] + START for name in ("started_at", "ended_at")}
    common = {"phase": "optimise", "role": "search", "state": "complete", "attempt": 1, "retry_of": np.nan}
    trials = trials.assign(
        **times, **common, worker=trials["worker"].astype("str"), trial_id=count + 1, number=count.astype(float)
    )
    return replace(results, ledger=cost_ledger(replace(results.frames, trials=trials)))


def figure_of(results: Results) -> ReportFigure:
    (figure,) = timeline.figures(results)
    return figure


def words(figure: ReportFigure) -> str:
    return figure.note.replace("\u00a0", " ").replace("\n", " ")


REPLACED: list[Row] = [("aa11", 0.0, 10.0), ("bb22", 0.0, 12.0), ("bb22", 12.0, 20.0), ("cc33", 13.0, 20.0)]
"""Two slots; on the first one worker takes the place of another."""


def test_a_row_is_a_worker_in_the_order_of_first_starts(results: Results) -> None:
    figure = figure_of(ran(results, REPLACED))
    (panel,) = figure.panels()
    (bars,) = [trace for trace in panel.figure.data if trace.type == "bar"]
    found = sorted(zip(bars.y, bars.base, bars.x, bars.text, strict=True))
    assert [row[0] for row in found] == [1, 2, 2, 3]
    assert [row[1:3] for row in found] == [(0.0, 10.0), (0.0, 12.0), (12.0, 8.0), (13.0, 7.0)]
    assert found[3][3] == "trial 3 (optimise), complete, worker cc33"
    assert panel.figure.layout.yaxis.ticktext == ("aa11", "bb22", "cc33")
    assert panel.figure.layout.yaxis.title.text == "Worker"
    (ax,) = figure.draw().axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["aa11", "bb22", "cc33"]
    assert ax.get_ylabel() == "Worker"


def test_the_page_does_not_take_marks_for_all_that_is_shown(results: Results) -> None:
    (figure,) = timeline.figures(results)
    assert len(figure.table) == 98
    assert sum(len(trace.y) for trace in figure.panels()[0].figure.data if trace.type == "bar") == 98
    assert Assembly().figure(figure).left_out == ""


def test_a_trial_in_two_charts_is_shown_once() -> None:
    def panel() -> Panel:
        return Panel("", panel_figure("x", "y").add_scatter(x=[1, 2, 3], y=[1, 2, 3], mode="markers"))

    figure = ReportFigure(
        "made_up", "tradeoff", "", "", "", "", pd.DataFrame({"trial_id": range(5)}), Figure, lambda: (panel(), panel())
    )
    assert Assembly().figure(figure).left_out == "The chart shows 3 of 5 points; the table's file has all."


def test_the_note_and_the_table_tell_workers(results: Results) -> None:
    figure = figure_of(ran(results, REPLACED))
    assert figure.table["worker"].tolist() == ["aa11", "bb22", "bb22", "cc33"]
    assert figure.table["slot"].tolist() == [1, 2, 2, 1]
    assert "worker use: 92 % of 2 slots over 20 s" in words(figure)
    assert "3 workers, one a row: a process that held a slot from its first start to its last end" in words(figure)
    assert "on its worker" in figure.caption


def test_attempts_without_a_worker_lie_on_slots_below(results: Results) -> None:
    rows = [*REPLACED, (None, 2.0, 4.0), ("", 5.0, 6.0)]
    figure = figure_of(ran(results, rows))
    assert "2 attempts without a stored worker on slots, packed from start and end times" in words(figure)
    assert figure.panels()[0].figure.layout.yaxis.ticktext == ("aa11", "bb22", "cc33", "slot 3")
    found = ran(results, rows).ledger
    assert found is not None
    row = pd.Series(timeline_rows(found).row, index=found.timeline["start"])
    assert row.loc[[2.0, 5.0]].tolist() == [4, 4]


def test_without_any_worker_rows_are_slots(results: Results) -> None:
    figure = figure_of(ran(results, [(None, start, end) for _, start, end in REPLACED]))
    (panel,) = figure.panels()
    assert panel.figure.layout.yaxis.ticktext == ("1", "2")
    assert panel.figure.layout.yaxis.title.text == "Slot"
    assert "worker" not in "".join(panel.figure.data[0].text)
    assert "a slot is a place where one trial at a time ran, packed from start and end times" in words(figure)


def test_many_workers_share_the_rows_of_those_that_have_gone(results: Results) -> None:
    count = MOST_WORKERS + 1
    rows: list[Row] = [(f"w{index}", 10.0 * index, 10.0 * index + 9) for index in range(count)]
    few, many = (figure_of(ran(results, rows[:size])) for size in (MOST_WORKERS, count))
    assert set(few.panels()[0].figure.data[0].y) == set(range(1, MOST_WORKERS + 1))
    assert set(many.panels()[0].figure.data[0].y) == {1}
    assert f"{count} workers on slots: one takes the slot of another that has gone" in words(many)
    assert many.table["worker"].nunique() == count


def test_a_long_id_is_cut_off_on_the_axis_and_whole_in_the_table(results: Results) -> None:
    name = "node-17.cluster.example:4711"
    figure = figure_of(ran(results, [(name, 0.0, 5.0)]))
    assert figure.panels()[0].figure.layout.yaxis.ticktext == ("node-17.clust…",)
    assert figure.panels()[0].figure.data[0].text[0].endswith(f"worker {name}")
    assert figure.table["worker"].tolist() == [name]


def test_a_worker_that_lived_through_a_pause_keeps_its_row(results: Results) -> None:
    later = 10.0 + PAUSE + 1
    figure = figure_of(
        ran(results, [("a", 0.0, 10.0), ("b", 0.0, 10.0), ("b", later, later + 5), ("c", later, later + 5)])
    )
    bars = figure.panels()[0].figure.data[0]
    assert sorted(zip(bars.y, bars.x, strict=True)) == [
        (1, 10.0),
        (2, pytest.approx(5.0)),
        (2, 10.0),
        (3, pytest.approx(5.0)),
    ]
    assert "pauses of more than 10 min are cut out (dashed): 1" in words(figure)
