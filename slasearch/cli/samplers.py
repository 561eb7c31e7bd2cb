"""`slasearch samplers`."""

from __future__ import annotations

from typing import Any

import click

from slasearch.cli._output import emit_json, json_option, show_table
from slasearch.registry import DESIGN_SAMPLERS, OPTIMISE_SAMPLERS, PRUNERS, SAMPLERS


@click.command()
@json_option
def samplers(as_json: bool) -> None:
    """List samplers and pruners."""
    phases = {"design": DESIGN_SAMPLERS, "optimise": OPTIMISE_SAMPLERS}
    rows: list[dict[str, Any]] = [
        {"name": name, "for": [phase for phase, names in phases.items() if name in names], "what": what}
        for name, what in SAMPLERS.items()
    ]
    pruners = [{"name": name, "what": what} for name, what in PRUNERS.items()]
    if as_json:
        emit_json({"samplers": rows, "pruners": pruners})
        return
    show_table(("sampler", "phase", "what"), [(row["name"], ", ".join(row["for"]), row["what"]) for row in rows])
    click.echo()
    show_table(("pruner", "what"), [tuple(row.values()) for row in pruners])
