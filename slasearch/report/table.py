"""The result table that a run ends with: plain text, aligned, winners and controls with their intervals."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from slasearch.analysis.frames import load_frames
from slasearch.report.findings import findings
from slasearch.report.results import analyse
from slasearch.report.tables import Table, best_trials, failure_table, winners_table

__all__ = ["WIDTH", "aligned", "result_table"]

WIDTH = 100
"""Columns of a terminal that sentences are wrapped to."""

HEADER = 6
"""A header is wrapped to this, or to the widest cell below it where that is wider; words stay whole."""

CELL = 44
"""Longer cells are cut off."""


def result_table(url: str, study_name: str) -> str:
    """Winners beside controls on the test split; without a confirm phase the best trials; and what failed.

    Args:
        url: SQLAlchemy URL of the database.
        study_name: Name of the study.

    Raises:
        ReportError: The study has no trial yet.
        StudyNotFoundError: No study of this name.
        StorageError: The database cannot be read.
    """
    results = analyse(load_frames(url, study_name), whole_design=False)
    tables = [winners_table(results) or best_trials(results), failure_table(results)]
    blocks = [f"{study_name}: {results.counts.text()}"]
    for table in tables:
        blocks += [aligned(table), table.note] if table else []
    blocks += [item.text for item in findings(results) if item.topic == "Controls" and item.kind == "result"]
    return "\n\n".join(_wrapped(block) for block in blocks if block) + "\n"


def _wrapped(block: str) -> str:
    """Sentences of a block without lines of its own, their numbers held together."""
    if "\n" in block:
        return block
    joined = re.sub("(?<=; p) | (?=±)|(?<=±) ", "\u00a0", block)
    return "\n".join(textwrap.wrap(joined, WIDTH)).replace("\u00a0", " ")


def aligned(table: Table) -> str:
    """The table as text: columns padded to their widest cell, numbers to the right, long headers on several lines."""
    body = [row if len(row) == 1 else tuple(_short(cell) for cell in row) for row in table.rows]
    full = [row for row in body if len(row) == len(table.columns)]
    widest = [max(len(row[index]) for row in full) for index in range(len(table.columns))]
    heads = [
        textwrap.wrap(name, max(width, HEADER), break_long_words=False)
        for name, width in zip(table.columns, widest, strict=True)
    ]
    widths = [max(width, *map(len, head)) if head else width for width, head in zip(widest, heads, strict=True)]
    header = zip_longest(*heads, fillvalue="")
    lines = [[_line(row, widths, table.text_columns) for row in rows] for rows in (header, body)]
    rule = "─" * max(len(line) for line in (*lines[0], *lines[1]))
    return "\n".join([table.title, rule, *lines[0], rule, *lines[1]])


def _short(cell: str) -> str:
    """Cells of a terminal have an end; the page has them whole."""
    return cell if len(cell) <= CELL else f"{cell[: CELL - 1].rstrip()}…"


def _line(row: Sequence[str], widths: Sequence[int], text_columns: int) -> str:
    cells = [
        cell.ljust(width) if index < text_columns else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    return "  ".join(cells).rstrip()
