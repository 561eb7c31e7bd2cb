"""Tables of the page as files that the page itself holds: CSV for programs, from the cells that people read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from slasearch.report.tables import Table

__all__ = ["MOST_ROWS", "Download", "csv_of_frame", "csv_of_table", "file_stem"]

MOST_ROWS = 2_000
"""Rows of one file that the page holds; the files beside the page have them all."""

_SPACES = dict.fromkeys(map(ord, "\u202f\u00a0\u2009"), " ")
_NUMBER = re.compile(r"[+−-]?\d{1,3}(?:[  ]\d{3})+(?:\.\d+)?|[+−-]?\d*\.?\d+(?:e[+-]?\d+)?")
_PAIR = re.compile(r"(.+) ± (.+)")


@dataclass(frozen=True)
class Download:
    """A file that the page hands out: its name, its kind, and its text."""

    name: str
    kind: str
    text: str


def file_stem(title: str) -> str:
    """A title as a file name: `Trial 15: best by score` is `trial-15-best-by-score`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "table"


def csv_of_frame(frame: pd.DataFrame) -> str:
    """The first rows of a figure's table, as the file beside the page has them."""
    return frame.head(MOST_ROWS).to_csv(index=False, lineterminator="\n")


def csv_of_table(table: Table) -> str:
    """The cells with numbers as numbers: without spaces between digits, `0.842 ± 0.011` in two columns."""
    columns = [
        [_cell(row[index]) if index < len(row) else "" for row in table.rows] for index in range(len(table.columns))
    ]
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    split = [_split(name, cells) for name, cells in zip(table.columns, columns, strict=True)]
    write([name for part in split for name, _ in part])
    for row in zip(*(cells for part in split for _, cells in part), strict=True):
        write(row)
    return out.getvalue()


def _cell(text: str) -> str:
    text = text.translate(_SPACES).strip()
    pair = _PAIR.fullmatch(text)
    if pair:
        return f"{_number(pair[1])} ± {_number(pair[2])}"
    return "" if text == "–" else _number(text)


def _number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        return text
    return text.replace(" ", "").replace("−", "-").removeprefix("+")


def _split(name: str, cells: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    pairs = [_PAIR.fullmatch(cell) for cell in cells]
    if not any(pairs):
        return [(name, cells)]
    means = [pair[1] if pair else cell for pair, cell in zip(pairs, cells, strict=True)]
    return [(name, means), (f"{name} ±", [pair[2] if pair else "" for pair in pairs])]
