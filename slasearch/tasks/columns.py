"""Whether the columns that a study names are in its tables, as far as that can be told without reading them."""

from __future__ import annotations

from collections.abc import Iterator

from slasearch.config.document import Problem
from slasearch.config.fields import did_you_mean
from slasearch.config.schema import StudyConfig, TaskConfig
from slasearch.errors import TaskError
from slasearch.registry import SOURCES

__all__ = ["column_problems"]

_ROLES = ("text", "text_pair", "label")


def column_problems(config: StudyConfig) -> Iterator[Problem]:
    """Columns that a table lacks, and tables that cannot be read; nothing is downloaded."""
    for number, task in enumerate(config.tasks):
        scheme, _, place = task.source.partition(":")
        try:
            tables = SOURCES.get(scheme).columns(place, task.splits)
        except TaskError as error:
            yield Problem(("tasks", number, "source"), "data that can be read", str(error).removesuffix("."))
            continue
        for table, columns in tables.items():
            for role, expected, got in _missing(task, table, columns):
                yield Problem(("tasks", number, role), expected, got)


def _missing(task: TaskConfig, table: str, columns: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    for role in _ROLES:
        column = getattr(task, role)
        if column is not None and column not in columns:
            got = f"{column!r}{did_you_mean(column, columns)}"
            yield role, f"one of the columns of {table} ({', '.join(columns) or 'none'})", got
