"""Tasks in your own files: `file:PATH` of one table, or of a folder with one table for each split.

Tables are JSON lines (`.jsonl`, `.ndjson`), CSV (`.csv`) or TSV (`.tsv`, no quoting) in UTF-8, gzipped or not. A folder
holds `train.*` and, if it has them, `validation.*` and `test.*`; other files in it are ignored. A relative path starts
at the working folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slasearch.errors import TaskError
from slasearch.records import TaskSpec
from slasearch.tasks.sources._base import UNSPLIT, Row, Source, register_source
from slasearch.tasks.sources._tables import SUFFIXES, read_records, table_suffix

__all__ = ["FileSource"]

_SPLIT_FILES = ("train", "validation", "test")


@register_source("file")
class FileSource(Source):
    """Reads tables from the file system."""

    def read(self, place: str, spec: TaskSpec) -> Mapping[str, Sequence[Row]]:
        """One part `all` of a single file, or the parts of a folder."""
        path = Path(place).expanduser()
        if path.is_dir():
            return {split: _rows(file, spec) for split, file in _split_files(path).items()}
        if not path.exists():
            raise TaskError(f"{path}: expected a file or a folder, got nothing there. Check tasks.source.")
        return {UNSPLIT: _rows(path, spec)}

    def describe(self) -> list[dict[str, Any]]:
        """The two forms of data."""
        rest = {"rows": None, "classes": None, "licence": "yours", "available": True, "extra": None}
        kinds = ", ".join(SUFFIXES)
        return [
            {"name": "file:FILE", "what": f"one table ({kinds}, also .gz), split 70/15/15 by the seed", **rest},
            {"name": "file:FOLDER", "what": "tables train.*, validation.*, test.* in one folder", **rest},
        ]


def _split_files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    names = sorted(file for file in folder.iterdir() if file.is_file() and table_suffix(file))
    for file in names:
        split = file.name.partition(".")[0]
        if split in _SPLIT_FILES:
            if split in found:
                raise TaskError(f"{folder}: expected one file for {split}, got {found[split].name} and {file.name}.")
            found[split] = file
    if "train" not in found:
        got = ", ".join(file.name for file in names) or "no table"
        raise TaskError(f"{folder}: expected a file train.jsonl, train.csv or train.tsv (also .gz), got {got}.")
    return found


def _rows(path: Path, spec: TaskSpec) -> list[Row]:
    rows = []
    for line, record in read_records(path):
        place = f"{path}:{line}"
        text = _text(record, spec.text, place)
        pair = None if spec.text_pair is None else _text(record, spec.text_pair, place)
        rows.append(Row(text, _label(record, spec.label, place), pair))
    if not rows:
        raise TaskError(f"{path}: expected at least one row, got none.")
    return rows


def _value(record: Mapping[str, Any], column: str, place: str) -> Any:
    if column not in record:
        columns = ", ".join(str(name) for name in record) or "none"
        raise TaskError(f"{place}: expected a column {column!r}, got the columns {columns}. Name it in the study file.")
    return record[column]


def _text(record: Mapping[str, Any], column: str, place: str) -> str:
    value = _value(record, column, place)
    if not isinstance(value, str):
        raise TaskError(f"{place}: expected text in {column!r}, got {type(value).__name__} {value!r:.60}.")
    text = value.strip()
    if not text:
        raise TaskError(f"{place}: expected text in {column!r}, got an empty one. Remove the row or fill it in.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise TaskError(f"{place}: expected text in {column!r}, got a lone surrogate, which is no character.")
    return text


def _label(record: Mapping[str, Any], column: str, place: str) -> str:
    value = _value(record, column, place)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)) and value == value // 1:
        return str(int(value))
    if not isinstance(value, str):
        raise TaskError(f"{place}: expected a class (text or a whole number) in {column!r}, got {value!r:.60}.")
    if not value.strip():
        raise TaskError(f"{place}: expected a class in {column!r}, got an empty one.")
    return value.strip()
