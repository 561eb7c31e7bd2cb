"""`slasearch trials NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from slasearch.cli._output import emit_json, json_option, say, show_table, storage_option

if TYPE_CHECKING:
    from slasearch.config.locations import Locations
    from slasearch.storage.rows import TrialRow

COLUMNS = ("trial", "phase", "role", "state", "score", "exported_parameters", "robustness", "seconds", "attempt")


@click.command()
@click.argument("name")
@click.option("--log", "label", metavar="N", help="Print the log of trial N: 12, or c3 for a trial of confirm.")
@storage_option
@json_option
def trials(name: str, label: str | None, storage: str | None, as_json: bool) -> None:
    """List the trials of the study NAME, or print the log of one."""
    from slasearch.config.locations import locate
    from slasearch.report.export import find_trial
    from slasearch.storage.store import Store

    locations = locate(storage)
    store = Store(locations.storage_url)
    rows = store.trials(store.study(name).id)
    if label is not None:
        click.echo(_log(locations, find_trial(rows, label)), nl=False)
        return
    found = [_described(row) for row in rows]
    if as_json:
        emit_json(found)
        return
    show_table((*COLUMNS, "parameters"), [[row[column] for column in COLUMNS] + [_short(row)] for row in found])
    reasons = [row for row in found if row["state"] == "fail"]
    for row in reasons:
        say(f"trial {row['trial']} failed: {row['reason']}")


def _described(row: TrialRow) -> dict[str, Any]:
    from slasearch.report.export import trial_label

    seconds = None if row.started_at is None or row.ended_at is None else row.ended_at - row.started_at
    facts = ("phase", "role", "state", "reason", "score", "exported_parameters", "robustness", "attempt", "sampler")
    places = ("id", "optuna_study", "number", "repeat", "init_seed", "data_seed", "budget", "budget_max", "log")
    return {
        "trial": trial_label(row),
        **{name: getattr(row, name) for name in facts + places},
        "seconds": seconds,
        "parameters": row.values,
    }


def _short(row: dict[str, Any]) -> str:
    return " ".join(
        f"{name.rsplit('.', 1)[-1]}={value:.3g}" if isinstance(value, float) else f"{name.rsplit('.', 1)[-1]}={value}"
        for name, value in row["parameters"].items()
    )


def _log(locations: Locations, row: TrialRow) -> str:
    from slasearch.errors import ArtifactError
    from slasearch.report.export import trial_label

    path = locations.home / (row.log or "")
    if row.log is None or not path.is_file():
        raise ArtifactError(
            f"trial {trial_label(row)}: expected a log file, got none ({row.log or 'nothing was written'}). "
            "Logs lie beside the database; set SLASEARCH_HOME if they were moved."
        )
    return path.read_text(encoding="utf-8", errors="replace")
