"""`slasearch delete NAME`."""

from __future__ import annotations

import sys

import click

from slasearch.cli._output import emit_json, json_option, say, storage_option


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@storage_option
@json_option
def delete(name: str, yes: bool, storage: str | None, as_json: bool) -> None:
    """Delete the study NAME: its rows, its trained adapters and its logs.

    Refused while a run command is at it.
    """
    from slasearch.config.locations import locate
    from slasearch.search.command import delete_study
    from slasearch.storage.store import Store

    locations = locate(storage)
    store = Store(locations.storage_url)
    trials = len(store.trials(store.study(name).id))
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("--yes: expected it where nobody can be asked, got none.")
        click.confirm(f"Delete study {name} with {trials} trials and their files?", abort=True, err=True)
    trials = delete_study(locations, name)
    if as_json:
        emit_json({"study": name, "trials": trials, "deleted": True})
    else:
        say(f"study {name}: deleted, with {trials} trials")
