"""`slasearch cancel NAME`."""

from __future__ import annotations

import click

from slasearch.cli._output import json_option, storage_option
from slasearch.cli._requests import named, show_request, trial_option


@click.command()
@click.argument("name")
@trial_option("End this trial only, at once and for good")
@click.option("--now", "at_once", is_flag=True, help="Stop the study without waiting for its running trials.")
@storage_option
@json_option
def cancel(name: str, labels: tuple[str, ...], at_once: bool, storage: str | None, as_json: bool) -> None:
    """Stop the running study NAME after its running trials, or end single trials.

    A stopped study goes on when it is run again. A cancelled trial counts as failed and is not tried again, unless
    `slasearch retry` names it.
    """
    from slasearch.config.locations import locate
    from slasearch.search.command import send
    from slasearch.storage.rows import OPEN_STATES
    from slasearch.storage.store import Store

    if labels and at_once:
        raise click.UsageError("--now: expected it without --trial, got both. A single trial always ends at once.")
    locations = locate(storage)
    store = Store(locations.storage_url)
    study = store.study(name)
    trials = named(store.trials(study.id), labels, "waits or runs", OPEN_STATES)
    request = send(locations, study, "cancel", [row.id for row in trials] if labels else None, at_once=at_once)
    show_request(name, trials, request, as_json=as_json)
