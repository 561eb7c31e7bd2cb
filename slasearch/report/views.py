"""Figures and tables as the page's template sees them, and what the page embeds for its script: charts and files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from slasearch.report.downloads import MOST_ROWS, Download, csv_of_frame, csv_of_table, file_stem
from slasearch.report.figures._base import LegendItem, Panel, ReportFigure
from slasearch.report.labels import short_number, thousands
from slasearch.report.tables import Table
from slasearch.report.thin import thin

__all__ = ["Assembly", "FigureView", "PanelView", "TableView"]

_SHOWN_ROWS = 60
"""Rows of a figure's table that the page shows."""


@dataclass(frozen=True)
class PanelView:
    """One chart: its index among the embedded ones, its height in pixels."""

    title: str
    index: int
    height: int


@dataclass(frozen=True)
class TableView:
    """A table, and the index of its file among the embedded ones; `file_rows` says what is in it."""

    table: Table
    download: int
    file_rows: str


@dataclass(frozen=True)
class FigureView:
    """A figure with its charts and the first rows of its table; `left_out` says what the charts do not show."""

    name: str
    title: str
    caption: str
    note: str
    left_out: str
    alt: str
    wide: bool
    panels: tuple[PanelView, ...]
    legend: tuple[LegendItem, ...]
    table: TableView


class Assembly:
    """Collects what the page embeds; views refer to it by index.

    Attributes:
        charts: The charts as plotly's JSON.
        downloads: The files.
    """

    def __init__(self) -> None:
        self.charts: list[str] = []
        self.downloads: list[Download] = []

    def file(self, name: str, kind: str, text: str) -> int:
        """Adds a file, returns its index."""
        self.downloads.append(Download(name, kind, text))
        return len(self.downloads) - 1

    def table(self, table: Table) -> TableView:
        """A table whose cells were made for people."""
        text = csv_of_table(table)
        return TableView(table, self.file(f"{file_stem(table.title)}.csv", "text/csv", text), _rows(len(table.rows)))

    def figure(self, figure: ReportFigure) -> FigureView:
        """A figure; its file holds the table as the file beside the page does, at most so many rows of it."""
        panels, left_out = self._panels(figure)
        count = len(figure.table)
        rows = f"first {thousands(MOST_ROWS)} of {_rows(count)}" if count > MOST_ROWS else _rows(count)
        download = self.file(f"{figure.name}.csv", "text/csv", csv_of_frame(figure.table))
        return FigureView(
            name=figure.name,
            title=figure.title,
            caption=figure.caption,
            note=figure.note.replace("\n", " "),
            left_out=left_out,
            alt=figure.alt,
            wide=any(panel.wide for panel in panels),
            panels=tuple(self._panel(panel) for panel in panels),
            legend=figure.legend,
            table=TableView(_numbers(figure.table), download, rows),
        )

    def _panels(self, figure: ReportFigure) -> tuple[tuple[Panel, ...], str]:
        """The charts with few enough points, and a sentence on what they leave out."""
        panels = figure.panels()
        thinned = [thin(panel.figure) for panel in panels]
        shown, total = (sum(counts) for counts in zip(*thinned, strict=True)) if thinned else (0, 0)
        if _a_row_a_trial(figure.table) and not _has_bars(panels):
            # Some figures choose themselves which trials their charts show, the same in each.
            drawn = max(map(_markers, panels), default=0)
            if 0 < drawn < len(figure.table):
                shown, total = drawn, len(figure.table)
        if shown == total:
            return panels, ""
        return panels, f"The chart shows {thousands(shown)} of {thousands(total)} points; the table's file has all."

    def _panel(self, panel: Panel) -> PanelView:
        self.charts.append(str(panel.figure.to_json()))
        return PanelView(panel.title, len(self.charts) - 1, int(panel.figure.layout.height))

    def embedded(self) -> str:
        """Files as a JSON array."""
        return json.dumps([[item.name, item.kind, item.text] for item in self.downloads], ensure_ascii=False)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{thousands(count)} rows"


def _a_row_a_trial(table: pd.DataFrame) -> bool:
    return "trial_id" in table and "what" not in table and table["trial_id"].is_unique


def _has_bars(panels: Iterable[Panel]) -> bool:
    """Whether trials are bars, so that markers are no more than signs on them."""
    return any(trace.type == "bar" for panel in panels for trace in panel.figure.data)


def _markers(panel: Panel) -> int:
    return sum(
        len(trace.x)
        for trace in panel.figure.data
        if trace.type == "scatter" and trace.x is not None and "markers" in (trace.mode or "markers")
    )


def _numbers(table: pd.DataFrame) -> Table:
    """The means of a figure's table (all its rows where it has none), the first 60 of them."""
    means = table[table["what"] == "mean"].drop(columns=["what"]) if "what" in table else table
    shown = means.head(_SHOWN_ROWS).dropna(axis="columns", how="all")
    title = "Means" if "what" in table else "Rows"
    title += f" (first {len(shown)} of {thousands(len(means))})" if len(shown) < len(means) else ""
    numeric = [pd.api.types.is_numeric_dtype(shown[name]) for name in shown.columns]
    return Table(
        title=title,
        columns=tuple(str(name).replace("_", " ") for name in shown.columns),
        rows=tuple(tuple(_cell(value) for value in row) for row in shown.itertuples(index=False)),
        text_columns=numeric.index(True) if True in numeric else len(numeric),
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return "" if pd.isna(value) else short_number(value)
    return "" if pd.isna(value) else str(value)
