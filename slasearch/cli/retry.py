"""`slasearch retry NAME`."""

from __future__ import annotations

import click

from slasearch.cli._output import json_option, storage_option
from slasearch.cli._requests import named, show_request, trial_option


@click.command()
@click.argument("name")
@trial_option("Only this trial")
@storage_option
@json_option
def retry(name: str, labels: tuple[str, ...], storage: str | None, as_json: bool) -> None:
    """Try failed trials of the study NAME again, with the same parameters and seeds.

    Without --trial all that failed, but for those that were cancelled. A run command that is at work runs the new
    attempts; otherwise the next one does.
    """
    from slasearch.config.locations import locate
    from slasearch.search.command import send
    from slasearch.search.requests import failed_trials
    from slasearch.storage.store import Store

    locations = locate(storage)
    store = Store(locations.storage_url)
    study = store.study(name)
    rows = store.trials(study.id)
    trials = named(rows, labels, "has failed", ("fail",)) if labels else failed_trials(rows)
    request = send(locations, study, "retry", [row.id for row in trials]) if trials else None
    show_request(name, trials, request, as_json=as_json)
