"""`slasearch trials NAME`."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from slasearch.cli._output import emit_json, json_option, say, show_table, storage_option

if TYPE_CHECKING:
    from slasearch.config.locations import Locations
    from slasearch.records import Event
    from slasearch.storage.rows import EventRow, StudyRow, TrialRow
    from slasearch.storage.store import Store

LATENCY = "latency (ms)"
"""A column where the study bounds it."""
COLUMNS = (
    "trial", "phase", "role", "state", "score", "exported_parameters", "robustness", LATENCY, "seconds", "attempt",
)  # fmt: skip


@click.command()
@click.argument("name")
@click.option("--log", "label", metavar="N", help="Print the log of trial N: 12, or c3 for a trial of tune or confirm.")
@click.option("--structure", metavar="N", help="Print the path of each task through the modules of trial N.")
@storage_option
@json_option
def trials(name: str, label: str | None, structure: str | None, storage: str | None, as_json: bool) -> None:
    """List the trials of the study NAME, or print the log or the structure of one."""
    from slasearch.config.locations import locate
    from slasearch.report.choice import find_trial
    from slasearch.storage.store import Store

    if label is not None and (structure is not None or as_json):
        raise click.UsageError("expected --log without --structure and --json: a log is printed as it is")
    locations = locate(storage)
    store = Store(locations.storage_url)
    study = store.study(name)
    rows = store.trials(study.id)
    if label is not None:
        click.echo(_log(locations, find_trial(rows, label)), nl=False)
    elif structure is not None:
        _show_structure(store, study, find_trial(rows, structure), as_json=as_json)
    else:
        _show_trials(rows, store.events(study.id), as_json=as_json)


def _show_trials(rows: Sequence[TrialRow], events: Sequence[EventRow], *, as_json: bool) -> None:
    from slasearch.analysis.health import gate_health
    from slasearch.records import Event

    heard = [(row.trial_id, Event(row.kind, row.message, row.level)) for row in events]
    warnings: dict[int | None, list[Event]] = {}
    for trial, event in heard:
        if event.level != "info":
            warnings.setdefault(trial, []).append(event)
    found = [_described(row, warnings.get(row.id, [])) for row in rows]
    if as_json:
        emit_json(found)
        return
    names = _endings({name for row in found for name in row["parameters"]})
    columns = [name for name in COLUMNS if name != LATENCY or any(row["latency"] is not None for row in found)]
    show_table(
        (*columns, "warnings", "parameters"),
        [[_cell(row, column) for column in columns] + [_kinds(row), _short(row, names)] for row in found],
    )
    for row in found:
        if row["state"] == "fail":
            click.echo(f"trial {row['trial']} failed: {row['reason']}")
    for warning in gate_health(heard):
        say(warning.text)


def _cell(row: dict[str, Any], column: str) -> Any:
    """`control:lora (qv)`: a role stands with the layout of a control that has several."""
    if column == "role" and row["control_variant"] is not None:
        return f"{row['role']} ({row['control_variant']})"
    return row["latency" if column == LATENCY else column]


def _kinds(row: dict[str, Any]) -> str | None:
    """What the trial was warned of, each kind once."""
    from slasearch.analysis.health import short_kind

    return ", ".join(dict.fromkeys(short_kind(event["kind"]) for event in row["warnings"])) or None


def _show_structure(store: Store, study: StudyRow, row: TrialRow, *, as_json: bool) -> None:
    from slasearch.analysis.paths import paths_of
    from slasearch.config.load import stored_study
    from slasearch.report.choice import trial_label
    from slasearch.report.path_text import path_data, path_text

    tasks = [task.name for task in stored_study(study.config).tasks]
    paths = paths_of(store.gates(row.id), tasks, label=trial_label(row))
    if as_json:
        emit_json(path_data(paths))
    else:
        click.echo(path_text(paths, width=shutil.get_terminal_size((100, 24)).columns), nl=False)


def _described(row: TrialRow, warnings: Sequence[Event]) -> dict[str, Any]:
    from slasearch.report.choice import trial_label

    seconds = None if row.started_at is None or row.ended_at is None else row.ended_at - row.started_at
    facts = ("phase", "role", "state", "reason", "score", "exported_parameters", "robustness", "latency")
    places = ("id", "optuna_study", "number", "repeat", "init_seed", "data_seed", "budget", "budget_max", "log")
    compared = ("attempt", "sampler", "pair_of", "control_size", "control_variant")
    return {
        "trial": trial_label(row),
        **{name: getattr(row, name) for name in facts + places + compared},
        "seconds": seconds,
        "parameters": row.values,
        "warnings": [{"kind": event.kind, "message": event.message} for event in warnings],
    }


def _endings(names: Collection[str]) -> dict[str, str]:
    """For each dotted name its shortest end that no other has: `ranks`, but `gates.learning_rate` beside training's."""
    found = {}
    for name in names:
        parts = name.split(".")
        ends = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        found[name] = next((end for end in ends if sum(f".{other}".endswith(f".{end}") for other in names) == 1), name)
    return found


def _short(row: dict[str, Any], names: Mapping[str, str]) -> str:
    """The values that act on the trial: a control has the others too, of the winner that it stands beside."""
    from slasearch.search.felt import acts_on

    return " ".join(
        f"{names[name]}={value:.3g}" if isinstance(value, float) else f"{names[name]}={value}"
        for name, value in row["parameters"].items()
        if acts_on(row["role"], name)
    )


def _log(locations: Locations, row: TrialRow) -> str:
    from slasearch.errors import ArtifactError
    from slasearch.report.choice import trial_label
    from slasearch.storage.places import Folder

    try:
        if row.log is None:
            raise FileNotFoundError
        return Folder(locations.home).read(row.log).decode("utf-8", "replace")
    except OSError as error:
        got = f"{row.log}: {error}" if row.log else "nothing was written"
        raise ArtifactError(
            f"trial {trial_label(row)}: expected a log file, got none ({got}). "
            "Logs lie beside the database; set SLASEARCH_HOME if they were moved."
        ) from error
