"""`slasearch delete NAME`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from slasearch.cli._output import emit_json, json_option, say, storage_option

_SHOWN = 10
"""Folders that are named."""


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
    deleted = delete_study(locations, name)
    if as_json:
        emit_json({"study": name, "trials": deleted.trials, "deleted": True, "astray": deleted.astray})
        return
    say(f"study {name}: deleted, with {deleted.trials} trials")
    if deleted.astray:
        say(_words(deleted.astray))


def _words(astray: Sequence[str]) -> str:
    """What is to be known of files that were not found."""
    folders = list(dict.fromkeys(path.rpartition("/")[0] for path in astray))
    shown = ", ".join(folders[:_SHOWN]) + (", …" if len(folders) > _SHOWN else "")
    count = "1 file of its adapters was" if len(astray) == 1 else f"{len(astray)} files of its adapters were"
    where = "not where resources.storage_path and the home folder are now"
    return f"{count} {where}. What was written elsewhere stays there: {shown}"
