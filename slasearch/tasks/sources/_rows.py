"""From a record of a table to a row of a task: its columns picked out, checked and cleaned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slasearch.errors import TaskError
from slasearch.records import TaskSpec
from slasearch.tasks.encoding import lone_surrogate
from slasearch.tasks.sources._base import Row

__all__ = ["columns_of", "label_of", "named", "row_of", "value_of"]


def columns_of(spec: TaskSpec) -> tuple[str, ...]:
    """The columns that a task reads."""
    return tuple(column for column in (spec.text, spec.text_pair, spec.label) if column is not None)


def row_of(record: Mapping[str, Any], spec: TaskSpec, place: str) -> Row:
    """The row that a record holds; messages call the record `place`.

    Raises:
        TaskError: A column is missing, empty or of the wrong type.
    """
    text = _text(record, spec.text, place)
    pair = None if spec.text_pair is None else _text(record, spec.text_pair, place)
    return Row(text, label_of(value_of(record, spec.label, place), spec.label, place), pair)


def value_of(record: Mapping[str, Any], column: str, place: str) -> Any:
    """What a record has in a column. Raises TaskError if it has no such column."""
    if column not in record:
        columns = ", ".join(str(name) for name in record) or "none"
        raise TaskError(f"{place}: expected a column {column!r}, got the columns {columns}. Name it in the study file.")
    return record[column]


def label_of(value: Any, column: str, place: str) -> str:
    """The name of a class: text, a whole number, or a boolean as `true` and `false`. Raises TaskError for all else."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)) and value == value // 1:
        return str(int(value))
    if not isinstance(value, str):
        raise TaskError(f"{place}: expected a class (text or a whole number) in {column!r}, got {value!r:.60}.")
    if not value.strip():
        raise TaskError(f"{place}: expected a class in {column!r}, got an empty one.")
    return value.strip()


def named(record: Mapping[str, Any], column: str, names: Sequence[str] | None, place: str) -> Mapping[str, Any]:
    """The record with the name of its class in place of the class's number; as it is where there are no names.

    Raises:
        TaskError: The number has no name, or the text is none of the names.
    """
    value = value_of(record, column, place)
    if names is None or (isinstance(value, str) and value.strip() in names):
        return record
    label = label_of(value, column, place)
    if not label.isdecimal() or int(label) >= len(names):
        raise TaskError(f"{place}: expected one of the {len(names)} classes {', '.join(names)}, got {label!r}.")
    return {**record, column: names[int(label)]}


def _text(record: Mapping[str, Any], column: str, place: str) -> str:
    value = value_of(record, column, place)
    if not isinstance(value, str):
        raise TaskError(f"{place}: expected text in {column!r}, got {type(value).__name__} {value!r:.60}.")
    text = value.strip()
    if not text:
        raise TaskError(f"{place}: expected text in {column!r}, got an empty one. Remove the row or fill it in.")
    if lone_surrogate(text):
        raise TaskError(f"{place}: expected text in {column!r}, got a lone surrogate, which is no character.")
    return text
