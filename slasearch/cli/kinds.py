"""`slasearch kinds`."""

from __future__ import annotations

from typing import Any

import click

from slasearch.cli._output import emit_json, json_option, show_table
from slasearch.registry import GATES, KINDS

COLUMNS = {"conditions": ("name", "level", "where", "summary")}
"""What the table shows where JSON holds more than a line takes."""


@click.command()
@json_option
def kinds(as_json: bool) -> None:
    """List adapter kinds, gate families and conditions, with equation and source."""
    from slasearch.perturb import describe_conditions

    found: dict[str, list[dict[str, Any]]] = {
        "kinds": [_kind(name) for name in KINDS.names()],
        "gates": [_gate(name) for name in GATES.names()],
        "conditions": describe_conditions(),
    }
    if as_json:
        emit_json(found)
        return
    for what, rows in found.items():
        click.echo(f"{what}:")
        columns = COLUMNS.get(what, tuple(rows[0]))
        show_table(columns, [[_text(row[column]) for column in columns] for row in rows])
        click.echo()


def _kind(name: str) -> dict[str, Any]:
    entry = KINDS.get(name)
    return {
        "name": name,
        "sites": list(entry.sites),
        "equation": entry.equation,
        "parameters": entry.cost,
        "source": entry.source,
    }


def _gate(name: str) -> dict[str, Any]:
    entry = GATES.get(name)
    return {"name": name, "equation": entry.equation, "source": entry.source}


def _text(value: Any) -> Any:
    return " ".join(value) if isinstance(value, (list, tuple)) else value
