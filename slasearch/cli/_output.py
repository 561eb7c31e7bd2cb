"""What verbs share: options, messages on stderr, JSON and tables on stdout."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from slasearch.config.plain import digits, finite

__all__ = ["emit_json", "json_option", "say", "show_table", "storage_option"]

F = TypeVar("F", bound=Callable[..., Any])


def storage_option(function: F) -> F:
    """Adds `--storage URL`."""
    return click.option(
        "--storage",
        metavar="URL",
        help="Database [default: $SLASEARCH_STORAGE, else SQLite in ./.slasearch].",
    )(function)


def json_option(function: F) -> F:
    """Adds `--json`, as every reading verb has it."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def say(message: str) -> None:
    """A message for people, on stderr."""
    click.echo(message, err=True)


def emit_json(data: Any) -> None:
    """One JSON document on stdout, with letters beyond ASCII as they are where its encoding has all of them."""
    escaped = codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8"
    click.echo(json.dumps(finite(data), indent=2, ensure_ascii=escaped, allow_nan=False))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return digits(value) if isinstance(value, float) else str(value)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """An aligned table on stdout: numbers to the right, text to the left."""
    rows = [tuple(row) for row in rows]
    cells = [tuple(columns), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    numeric = [
        bool(rows) and all(row[i] is None or (isinstance(row[i], (int, float)) and row[i] is not True) for row in rows)
        for i in range(len(columns))
    ]
    for line in cells:
        parts = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        click.echo("  ".join(parts).rstrip())
