"""`slasearch doctor`."""

from __future__ import annotations

from dataclasses import asdict

import click

from slasearch.cli._output import emit_json, json_option, show_table, storage_option


@click.command()
@storage_option
@json_option
def doctor(storage: str | None, as_json: bool) -> int:
    """Say what is here and what is missing: Python, packages, devices, database, disk."""
    from slasearch.config.locations import locate
    from slasearch.service.doctor import examine

    checks = examine(locate(storage))
    if as_json:
        emit_json([asdict(check) for check in checks])
    else:
        show_table(("status", "what", "found", "do"), [(c.status, c.name, c.found, c.advice or None) for c in checks])
    problems = [check for check in checks if check.status == "problem"]
    if any(check.area == "storage" for check in problems):
        return 4
    return 1 if problems else 0
