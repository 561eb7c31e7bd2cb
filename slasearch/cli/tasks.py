"""`slasearch tasks`."""

from __future__ import annotations

import click

from slasearch.cli._output import emit_json, json_option, show_table


@click.command()
@json_option
def tasks(as_json: bool) -> None:
    """List the task sources that are available here, and what others need."""
    from slasearch.tasks.load import describe_sources

    sources = describe_sources()
    if as_json:
        emit_json(sources)
        return
    columns = tuple(sources[0])
    show_table(columns, [tuple(source.get(column) for column in columns) for source in sources])
