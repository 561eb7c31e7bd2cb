"""`slasearch export NAME`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from slasearch.cli._output import emit_json, json_option, say, storage_option

if TYPE_CHECKING:
    from slasearch.report.export import Objective


@click.command()
@click.argument("name")
@click.option(
    "--best",
    "objective",
    type=click.Choice(["score", "exported_parameters", "robustness"]),
    help="The best trial by this objective, on validation.",
)
@click.option("--trial", "label", metavar="N", help="This trial: 12, or c3 for a trial of confirm.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write into.")
@storage_option
@json_option
def export(
    name: str, objective: Objective | None, label: str | None, out: Path, storage: str | None, as_json: bool
) -> None:
    """Copy a trained adapter of the study NAME to a folder, ready for `slasearch predict`."""
    from slasearch.config.locations import locate
    from slasearch.report.export import best_trial, export_adapter, find_trial
    from slasearch.storage.store import Store

    if (objective is None) == (label is None):
        raise click.UsageError("expected exactly one of --best and --trial")
    locations = locate(storage)
    store = Store(locations.storage_url)
    trials = store.trials(store.study(name).id)
    trial = best_trial(trials, objective) if objective else find_trial(trials, label or "")
    done = export_adapter(locations, trial, out)
    if as_json:
        emit_json({"trial": done.trial, "role": done.role, "files": [str(file) for file in done.files]})
        return
    size = "-" if done.exported_parameters is None else f"{done.exported_parameters:,.0f}"
    score = "-" if done.score is None else f"{done.score:.4f}"
    say(f"Trial {done.trial} ({done.role}): validation score {score}, {size} exported parameters.")
    for file in done.files:
        click.echo(file)
