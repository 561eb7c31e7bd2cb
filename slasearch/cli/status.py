"""`slasearch status [NAME]`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from slasearch.cli._output import emit_json, json_option, say, show_table, storage_option

if TYPE_CHECKING:
    from slasearch.search.summary import StudySummary


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
    studies = store.studies()
    summaries = {study.name: read_summary(store, study.name) for study in studies}
    if as_json:
        emit_json([asdict(summary) for summary in summaries.values()])
        return
    rows = [
        (study.name, counts.state, f"{counts.ended}/{counts.planned}", counts.failed, _time(study.updated_at))
        for study, counts in zip(studies, summaries.values(), strict=True)
    ]
    show_table(("study", "state", "trials", "failed", "changed"), rows)


def _show(summary: StudySummary) -> None:
    say(f"study {summary.name}: {summary.state}")
    fields = ("planned", "complete", "pruned", "failed", "running", "waiting")
    counts = {phase: count for phase, count in summary.phases.items() if count.planned}
    rows = [(phase, *(getattr(count, field) for field in fields)) for phase, count in counts.items()]
    show_table(("phase", *fields), rows)
    if summary.best:
        click.echo()
        show_table(("best by", "trial", "value"), [(best.objective, best.number, best.value) for best in summary.best])
    if summary.constraints:
        click.echo()
        bounds = [(bound.name, bound.min, bound.max, bound.unit, bound.broken_by) for bound in summary.constraints]
        show_table(("constraint", "min", "max", "unit", "broken by"), bounds)
    say(f"{summary.device_seconds / 3600:.2f} device hours")
    if summary.front is not None:
        say(f"Pareto front: {summary.front} trials")
    if summary.last_failure is not None:
        say(f"last failure: {summary.last_failure}")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")
