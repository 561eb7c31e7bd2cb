"""`slasearch status [NAME]`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from slasearch.cli._output import emit_json, json_option, say, show_table, storage_option

if TYPE_CHECKING:
    from slasearch.search.summary import StudySummary
    from slasearch.storage.rows import StudyRow
    from slasearch.storage.store import Store


@click.command()
@click.argument("name", required=False)
@storage_option
@json_option
def status(name: str | None, storage: str | None, as_json: bool) -> None:
    """Say where the study NAME stands, or list all studies."""
    from slasearch.config.locations import locate
    from slasearch.search.summary import read_summary
    from slasearch.storage.store import Store

    store = Store(locate(storage).storage_url)
    if name is not None:
        summary = read_summary(store, name)
        if as_json:
            emit_json(asdict(summary))
        else:
            _show(summary)
        return
    listed = [_listed(store, study) for study in store.studies()]
    if as_json:
        emit_json([facts for facts, _ in listed])
    else:
        show_table(("study", "state", "trials", "failed", "changed"), [cells for _, cells in listed])


def _listed(store: Store, study: StudyRow) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """A study among all, as JSON and as a line; one that cannot be read here does not hide the others."""
    from slasearch.errors import StudyConflictError
    from slasearch.search.summary import read_summary

    changed = _time(study.updated_at)
    try:
        summary = read_summary(store, study.name)
    except StudyConflictError as error:
        say(str(error))
        facts = {"name": study.name, "state": "unreadable", "reason": str(error)}
        return facts, (study.name, "unreadable", None, None, changed)
    trials = f"{summary.ended}/{summary.planned}"
    return asdict(summary), (study.name, _state(summary), trials, summary.failed, changed)


def _state(summary: StudySummary) -> str:
    return f"{summary.state}, unsettled" if summary.unsettled else summary.state


def _show(summary: StudySummary) -> None:
    click.echo(f"study {summary.name}: {_state(summary)}")
    fields = ("planned", "complete", "pruned", "failed", "running", "waiting")
    counts = {phase: count for phase, count in summary.phases.items() if count.planned}
    rows = [(phase, *(getattr(count, field) for field in fields)) for phase, count in counts.items()]
    show_table(("phase", *fields), rows)
    if summary.best:
        click.echo()
        several = any(best.runs > 1 for best in summary.best)
        columns = ("best by", "trial", "value", *(["seed pairs"] if several else []))
        found = [(best.objective, best.number, best.value, best.runs) for best in summary.best]
        show_table(columns, [cells[: len(columns)] for cells in found])
    if summary.constraints:
        click.echo()
        bounds = [(bound.name, bound.min, bound.max, bound.unit, bound.broken_by) for bound in summary.constraints]
        show_table(("constraint", "min", "max", "unit", "broken by"), bounds)
    click.echo()
    click.echo(f"{summary.device_seconds / 3600:.2f} device hours")
    if summary.front:
        click.echo(f"Pareto front over {', '.join(best.objective for best in summary.best)}: {summary.front} trials")
    if summary.last_failure is not None:
        click.echo(f"last failure: {summary.last_failure}")
    if summary.unsettled:
        one = summary.unsettled == 1
        say(
            f"{summary.unsettled} {'trial has' if one else 'trials have'} another state in Optuna's tables, as after a "
            "full disk. Rely neither on these counts nor on the dashboard until `slasearch run FILE` has repaired it."
        )
    elif summary.state in ("stopped", "interrupted"):
        say("slasearch run FILE goes on with it.")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")
