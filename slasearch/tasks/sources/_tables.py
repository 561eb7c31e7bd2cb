"""Reads JSON lines, CSV and TSV files, gzipped or not, and Parquet, as records with the line that each starts on."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from slasearch.errors import TaskError

__all__ = ["SUFFIXES", "read_columns", "read_records", "table_suffix"]

SUFFIXES: tuple[str, ...] = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_SEPARATED: dict[str, dict[str, Any]] = {
    ".csv": {"strict": True},
    ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}
"""How the csv module reads the formats whose columns stand in a header."""
csv.field_size_limit(2**31 - 1)  # a text of more than 131,072 characters is no mistake: it is cut where it is read
_GZIP_MAGIC = b"\x1f\x8b"
_ROWS_AT_A_TIME = 10_000

Records = Iterator[tuple[int, dict[str, Any]]]


def table_suffix(path: Path) -> str | None:
    """The suffix that tells the format, without `.gz` and in lower case; None if it is not a known one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else None


def read_records(path: Path, columns: Collection[str]) -> Records:
    """Yields (line number from 1, record by column name). Blank lines are skipped. TSV knows no quoting.

    Args:
        path: The file; a Parquet file has rows in place of lines.
        columns: Those of interest; others may be left out, unless one of these is missing.

    Raises:
        TaskError: The file cannot be read, is not UTF-8, or a line is malformed; the text names the line.
    """
    suffix = _known_suffix(path)
    if suffix == ".parquet":
        return _parquet(path, columns)
    text = _read_text(path)
    return _csv(path, text, suffix) if suffix in _SEPARATED else _json_lines(path, text.split("\n"))


def read_columns(path: Path) -> tuple[str, ...]:
    """The columns that a table names, of JSON lines those of the first record; no more of it is read than they need.

    Raises:
        TaskError: They cannot be read.
    """
    suffix = _known_suffix(path)
    if suffix == ".parquet":
        return _parquet_columns(path)
    try:
        with path.open("rb") as file:
            zipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            file.seek(0)
            newline = "" if suffix in _SEPARATED else "\n"
            with io.TextIOWrapper(gzip.open(file) if zipped else file, "utf-8-sig", newline=newline) as lines:
                if suffix in _SEPARATED:
                    rows = csv.reader(lines, **_SEPARATED[suffix])
                    return tuple(_header(path, 1, next(filter(None, rows), [])))
                return tuple(next((record for _, record in _json_lines(path, lines)), {}))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise TaskError(f"{path}: expected a readable table, got {type(error).__name__}: {error}.") from error


def _parquet_columns(path: Path) -> tuple[str, ...]:
    import pyarrow as pa
    from pyarrow.parquet import read_schema

    try:
        return tuple(read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise TaskError(f"{path}: expected a Parquet file, got {type(error).__name__}: {error}.") from error


def _known_suffix(path: Path) -> str:
    suffix = table_suffix(path)
    if suffix is None:
        raise TaskError(f"{path}: expected a file named {', '.join(SUFFIXES)} (also with .gz), got {path.name!r}.")
    return suffix


def _parquet(path: Path, columns: Collection[str]) -> Records:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            whole = not set(columns) <= set(file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(_ROWS_AT_A_TIME, columns=None if whole else list(columns)):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except (OSError, pa.ArrowException) as error:
        raise TaskError(f"{path}: expected a Parquet file, got {type(error).__name__}: {error}.") from error


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP_MAGIC):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"{path}: expected a readable file, got {type(error).__name__}: {error}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise TaskError(
            f"{path}:{line}: expected UTF-8 text, got the byte 0x{data[error.start]:02x}. Convert the file, "
            "for example with iconv -t utf-8."
        ) from error


def _json_lines(path: Path, lines: Iterable[str]) -> Records:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TaskError(f"{path}:{number}: expected a JSON object, got {_short(line)} ({error}).") from error
        if not isinstance(record, dict):
            raise TaskError(f"{path}:{number}: expected a JSON object, got {_short(line)}.")
        yield number, record


def _csv(path: Path, text: str, suffix: str) -> Records:
    reader = csv.reader(io.StringIO(text, newline=""), **_SEPARATED[suffix])
    header: list[str] | None = None
    start = 1
    try:
        for fields in reader:
            if fields and header is None:
                header = _header(path, start, fields)
            elif fields and header is not None:
                if len(fields) != len(header):
                    raise TaskError(f"{path}:{start}: expected {len(header)} fields, got {len(fields)}.")
                yield start, dict(zip(header, fields, strict=True))
            start = reader.line_num + 1
    except csv.Error as error:
        raise TaskError(f"{path}:{start}: expected a row of comma- or tab-separated fields, got: {error}.") from error


def _header(path: Path, line: int, fields: list[str]) -> list[str]:
    header = [field.strip() for field in fields]
    if len(set(header)) != len(header):
        raise TaskError(f"{path}:{line}: expected different column names, got {', '.join(header)}.")
    return header


def _short(line: str) -> str:
    line = line.strip()
    return repr(line if len(line) <= 60 else f"{line[:57]}…")
