"""`slasearch schema`."""

from __future__ import annotations

import click

from slasearch.cli._output import emit_json


@click.command()
def schema() -> None:
    """Print the JSON Schema of a study file."""
    from slasearch.config.json_schema import study_schema

    emit_json(study_schema())
