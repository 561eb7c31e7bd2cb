"""`slasearch kinds`."""

from __future__ import annotations

from typing import Any

import click

from slasearch.cli._output import emit_json, json_option, show_table

COLUMNS = {
    "kinds": ("name", "sites", "equation", "parameters", "source"),
    "presets": ("name", "kinds", "sites", "ranks"),
    "gates": ("name", "equation", "source"),
    "finalisers": ("name", "field", "equation", "cost"),
    "conditions": ("name", "level", "where", "summary"),
    "controls": ("name", "size", "summary"),
}
"""What the table shows where JSON holds more than a line takes."""


@click.command()
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown tables, as in docs/method.md.")
@json_option
def kinds(as_markdown: bool, as_json: bool) -> None:
    """List adapter kinds, pool presets, gates, finalisers, conditions and controls, with equation, source and cost."""
    from slasearch.service.catalogue import catalogue, markdown

    if as_markdown and as_json:
        raise click.UsageError("expected --markdown or --json, got both")
    if as_markdown:
        click.echo(markdown(), nl=False)
        return
    found = catalogue()
    if as_json:
        emit_json(found)
        return
    for what, rows in found.items():
        click.echo(f"{what}:")
        show_table(COLUMNS[what], [[_text(row[column]) for column in COLUMNS[what]] for row in rows])
        click.echo()


def _text(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
