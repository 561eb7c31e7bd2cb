"""`slasearch export NAME`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slasearch.cli._output import emit_json, json_option, say, storage_option

if TYPE_CHECKING:
    from slasearch.report.choice import Objective
    from slasearch.report.export import Export
    from slasearch.report.model_card import ExportFormat


@click.command()
@click.argument("name")
@click.option(
    "--best",
    "objective",
    type=click.Choice(["score", "exported_parameters", "robustness"]),
    help="The best trial by this objective, on validation.",
)
@click.option("--trial", "label", metavar="N", help="This trial: 12, or c3 for a trial of tune or confirm.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write into.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["slasearch", "peft", "merged"]),
    default="slasearch",
    show_default=True,
    help="slasearch: its own. peft: stock PEFT, for structures of lora and lora_xs. merged: the whole backbone with "
    "the modules in its weights, for one task.",
)
@click.option("--task", help="This task's modules and head alone [default: all tasks; with peft a folder for each].")
@click.option("--backbone", help="Where the backbone lies now, as path:DIR [default: as it was trained on].")
@click.option("--no-measure", is_flag=True, help="Leave time and memory on this machine out of the model card.")
@storage_option
@json_option
def export(
    name: str,
    objective: Objective | None,
    label: str | None,
    out: Path,
    form: ExportFormat,
    task: str | None,
    backbone: str | None,
    no_measure: bool,
    storage: str | None,
    as_json: bool,
) -> None:
    """Write a trained adapter of the study NAME to a folder, with a model card.

    The default format is the one that `slasearch predict` reads.
    """
    from transformers.utils.logging import disable_progress_bar

    from slasearch.config.load import stored_study
    from slasearch.config.locations import locate
    from slasearch.report.choice import best_trial, find_trial
    from slasearch.report.export import ExportOptions, export_adapter
    from slasearch.search.winners import finalist_count
    from slasearch.storage.store import Store

    if (objective is None) == (label is None):
        raise click.UsageError("expected exactly one of --best and --trial")
    disable_progress_bar()
    locations = locate(storage)
    store = Store(locations.storage_url)
    study = store.study(name)
    trials = store.trials(study.id)
    if objective:
        config = stored_study(study.config)
        trial = best_trial(trials, objective, config.constraints, finalist_count(config))
    else:
        trial = find_trial(trials, label or "")
    options = ExportOptions(form, task, backbone, measured=not no_measure)
    _show(export_adapter(locations, name, trial, out, options), as_json=as_json)


def _show(done: Export, *, as_json: bool) -> None:
    if as_json:
        facts: dict[str, Any] = {"trial": done.trial, "role": done.role, "format": done.form, "tasks": done.tasks}
        facts |= {"exported_parameters": done.exported_parameters, "files": [str(file) for file in done.files]}
        emit_json(facts)
        return
    score = "-" if done.score is None else f"{done.score:.4f}"
    say(
        f"Trial {done.trial} ({done.role}): validation score {score}, {done.exported_parameters:,} exported parameters "
        f"for {', '.join(done.tasks)}."
    )
    for file in done.files:
        click.echo(file)
