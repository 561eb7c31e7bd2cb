"""Tasks in your own files: `file:PATH` of one table, or of a folder with one table for each split.

Tables are Parquet (`.parquet`), or JSON lines (`.jsonl`, `.ndjson`), CSV (`.csv`) or TSV (`.tsv`, no quoting) in UTF-8,
gzipped or not. A folder holds `train` and, if it has them, `validation` and `test` with such a suffix, or tables of the
names that the task's `splits` give; other files in it are ignored. A relative path starts at the working folder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slasearch.errors import TaskError
from slasearch.files import existing
from slasearch.records import TaskSpec
from slasearch.tasks.sources._base import UNSPLIT, Problem, Row, Source, register_source, wanted_splits
from slasearch.tasks.sources._rows import columns_of, row_of
from slasearch.tasks.sources._tables import SUFFIXES, read_columns, read_records, table_suffix

__all__ = ["FileSource"]

_log = logging.getLogger(__name__)
_PAIR = "text_pair"


@register_source("file")
class FileSource(Source):
    """Reads tables from the file system."""

    def read(self, place: str, spec: TaskSpec) -> Mapping[str, Sequence[Row]]:
        """One part `all` of a single file, or the parts of a folder."""
        path = existing(place)
        if path is None:
            raise TaskError(f"{place}: expected a file or a folder, got nothing there. Check tasks.source.")
        return {part: _rows(file, spec) for part, file in _files(path, dict(spec.splits)).items()}

    def problem(self, place: str) -> Problem | None:
        """A path that leads nowhere."""
        if existing(place) is not None:
            return None
        return "an existing file or folder (a relative path starts at the working folder)", place

    def columns(self, place: str, splits: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
        """Those of the file, or of each split's file in the folder."""
        path = existing(place)
        if path is None:
            return {}
        return {str(file): read_columns(file) for file in _files(path, splits).values()}

    def describe(self) -> list[dict[str, Any]]:
        """The two forms of data."""
        rest = {"rows": None, "classes": None, "licence": "yours", "available": True, "extra": None}
        kinds = ", ".join(SUFFIXES)
        return [
            {"name": "file:FILE", "what": f"one table ({kinds}, also .gz), split 70/15/15 by the seed", **rest},
            {"name": "file:FOLDER", "what": "tables train.*, validation.*, test.* in one folder", **rest},
        ]


def _files(path: Path, splits: Mapping[str, str]) -> dict[str, Path]:
    """The table of each part: the file itself, or those of the folder."""
    if path.is_dir():
        return _split_files(path, splits)
    if not path.is_file():
        raise TaskError(f"{path}: expected a file or a folder, got something that is no plain file, such as a pipe.")
    if splits:
        raise TaskError(f"{path}: expected a folder of split files, as splits are named, got a single file.")
    return {UNSPLIT: path}


def _split_files(folder: Path, splits: Mapping[str, str]) -> dict[str, Path]:
    """The file of each of our splits that the folder has."""
    wanted = wanted_splits(splits, str(folder))
    try:
        tables = sorted(file for file in folder.iterdir() if file.is_file() and table_suffix(file))
    except OSError as error:
        raise TaskError(f"{folder}: expected a folder that can be listed, got {error.strerror}.") from error
    found: dict[str, Path] = {}
    for ours, theirs in wanted.items():
        files = [file for file in tables if _stem(file) == theirs]
        if len(files) > 1:
            names = " and ".join(file.name for file in files)
            raise TaskError(f"{folder}: expected one file for {ours}, got {names}.")
        if files:
            found[ours] = files[0]
        elif ours == "train" or ours in splits:
            got = ", ".join(file.name for file in tables) or "no table"
            kinds = f"{theirs}.jsonl, {theirs}.csv or {theirs}.tsv (also .gz)"
            raise TaskError(f"{folder}: expected a file {kinds} or {theirs}.parquet for {ours}, got {got}.")
    return found


def _stem(table: Path) -> str:
    """The name without `.gz` and the suffix of the format: it may have dots of its own."""
    return (table.with_suffix("") if table.suffix.lower() == ".gz" else table).stem


def _rows(path: Path, spec: TaskSpec) -> list[Row]:
    rows: list[Row] = []
    for line, record in read_records(path, columns_of(spec)):
        if not rows and spec.text_pair is None and _PAIR in record:
            _log.warning("%s: the column %s is left out. Name it as tasks.text_pair if texts are pairs.", path, _PAIR)
        rows.append(row_of(record, spec, f"{path}:{line}"))
    if not rows:
        raise TaskError(f"{path}: expected at least one row, got none.")
    return rows
