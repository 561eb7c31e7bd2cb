"""`slasearch run FILE`."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slasearch.cli._output import emit_json, say, show_table, storage_option
from slasearch.errors import ConfigError, SlaSearchError, TaskError

if TYPE_CHECKING:
    from slasearch.config.schema import StudyConfig
    from slasearch.search.summary import StudySummary

INTERRUPTED = ("interrupted", "ended by SIGTERM", "cancelled")


def _address(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None or re.fullmatch(r"auto|[^:/]+:\d+|\[[0-9a-fA-F:]+\]:\d+", value):
        return value
    why = ""
    if value.startswith("ray://"):
        why = (
            ". Run the command on a machine of the cluster: a ray:// client would carry the database's password into it"
        )
    raise click.BadParameter(f"expected auto or HOST:PORT, got {value!r}{why}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@storage_option
@click.option(
    "--address", metavar="ADDR", callback=_address, help="Ray cluster, auto or HOST:PORT [default: this machine]."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="A.B=C",
    help="Change a field of the file, in YAML, such as tasks.0.limits.train=500; repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Check the file and say what would be run and downloaded; do neither.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and JSON events on stderr.")
def run(
    file: Path, storage: str | None, address: str | None, overrides: tuple[str, ...], dry_run: bool, as_json: bool
) -> int:
    """Run the study in FILE to its end, or go on with it.

    Running the same command again continues where the study stands, and does nothing once it is finished. The first
    Ctrl-C stops after the running trials, the second at once.

    With --json, stderr has one JSON object a line, whose `event` is `progress` (where the study stands), `note` or
    `error` (with a `text`), and stdout the document that `slasearch status NAME --json` prints.
    """
    if not as_json:
        return _run(file, storage, address, overrides, dry_run, as_json=False)
    from slasearch.cli.main import exit_code as code_of
    from slasearch.orchestrate.screens import write_event

    try:
        return _run(file, storage, address, overrides, dry_run, as_json=True)
    except SlaSearchError as error:
        write_event(sys.stderr, "error", text=str(error))
        return code_of(error)


def _run(
    file: Path, storage: str | None, address: str | None, overrides: tuple[str, ...], dry_run: bool, *, as_json: bool
) -> int:
    from slasearch.config.locations import PASSWORD_FILE, STORAGE, locate, redacted
    from slasearch.config.secrets import holds_secret
    from slasearch.space import load_checked

    if address and storage and holds_secret(storage):
        raise ConfigError(
            [
                "--storage: expected a URL without a password beside --address, as Ray keeps the command line of each "
                f"of its jobs, got one with a password. Put it into ${STORAGE}, ${PASSWORD_FILE} or ~/.pgpass"
            ]
        )
    config = load_checked(file, overrides, download=not dry_run)
    locations = locate(storage)
    data, alike = _data_of_a_program(config), list(_alike(config))
    if dry_run:
        lacking = [] if address else list(_too_small(config))
        _show_plan(config, [*data, *alike, *lacking], as_json=as_json)
        return 0
    if data:
        raise TaskError("\n".join(data))
    from slasearch.orchestrate.driver import run_study
    from slasearch.orchestrate.progress import ProgressPrinter

    printer = ProgressPrinter(events=as_json)
    for note in (f"study {config.name} in {redacted(locations.storage_url)}", *alike):
        printer.note(note)
    with redirect_stdout(sys.stderr):  # for what a user's own code prints: stdout is for results
        summary = run_study(config, locations, address=address, progress=printer)
    printer.note(_ending(summary))
    if as_json:
        emit_json(asdict(summary))
    elif summary.complete:
        from slasearch.report.table import result_table

        click.echo(result_table(locations.storage_url, config.name))
        say(_next_commands(config.name, storage))
    return exit_code(summary)


def exit_code(summary: StudySummary) -> int:
    """0 ok (a limit of the study counts as ok), 1 failed, 3 a trial failed for good, 130 interrupted."""
    if summary.state == "failed":
        return 1
    if summary.state == "finished":  # also where an interruption came while the last trials ended
        return 3 if summary.failed else 0
    return 130 if summary.stop_reason is not None and summary.stop_reason.startswith(INTERRUPTED) else 0


def _ending(summary: StudySummary) -> str:
    counts = f"{summary.complete} complete, {summary.pruned} pruned, {summary.failed} failed"
    if summary.state == "finished" and not summary.ran:
        return f"Nothing to do: the study is finished ({counts}). Raise a count in its file to add trials."
    if summary.state == "finished":
        return f"Finished: {counts}."
    reason = f": {summary.stop_reason}" if summary.stop_reason else ""
    left = summary.planned - summary.ended
    return f"The study is {summary.state}{reason} ({counts}, {left} to go). {_advice(summary)}"


def _advice(summary: StudySummary) -> str:
    if summary.ended == summary.planned:
        return f"`slasearch trials {summary.name}` lists what became of each trial."
    if summary.stop_reason and not summary.ran:
        return "Nothing was run: raise that limit to go on."
    return "The same command goes on with it."


def _next_commands(name: str, storage: str | None) -> str:
    from slasearch.config.locations import redacted

    where = f" --storage {shlex.quote(redacted(storage))}" if storage else ""
    return "\n".join(
        (
            "Next (put the password in place of ***):" if "***" in where else "Next:",
            f"  slasearch report {name} --out report-{name}{where}",
            f"  slasearch export {name} --best score --out adapter-{name}{where}",
            f"  slasearch dashboard{where}",
        )
    )


def _data_of_a_program(config: StudyConfig) -> list[str]:
    """What this command cannot run, as only a Python program has the data."""
    names = [task.source.partition(":")[2] for task in config.tasks if task.source.startswith("object:")]
    return [
        f"study {config.name}: expected data that a command can read, got object:{name}, which a program hands over. "
        f"Run the study from Python: slasearch.run_study(…, tasks={{{name!r}: {{'train': …}}}})."
        for name in dict.fromkeys(names)
    ]


def _alike(config: StudyConfig) -> Iterator[str]:
    """Trials that can only repeat one another."""
    from slasearch.space import parameters

    optimise = config.phases.optimise
    if optimise is not None and optimise.trials > optimise.seeds and not parameters(config):
        yield (
            f"phases.optimise: expected a field that is searched, got none: of {optimise.trials} trials all beyond the "
            f"first {optimise.seeds} repeat earlier ones. Put a distribution in place of a value, or raise "
            "phases.optimise.seeds."
        )


def _too_small(config: StudyConfig) -> Iterator[str]:
    """What a trial needs and this machine lacks."""
    import torch

    wanted, cores, gpus = config.resources, len(os.sched_getaffinity(0)), torch.cuda.device_count()
    if wanted.gpus_per_trial > gpus:
        yield (
            f"resources.gpus_per_trial: expected at most the {gpus} GPUs of this machine, got "
            f"{wanted.gpus_per_trial:g}. Lower it, or run the study on a cluster with --address."
        )
    if wanted.cpus_per_trial > cores:
        yield (
            f"resources.cpus_per_trial: expected at most the {cores} cores of this machine, got "
            f"{wanted.cpus_per_trial}. Lower it, since threads would wait for one another, or run the study on a "
            "cluster with --address."
        )


def _show_plan(config: StudyConfig, notes: list[str], *, as_json: bool) -> None:
    from slasearch.search.plan import planned
    from slasearch.space import design_points, downloads, parameters

    counts = {phase: count for phase, count in planned(config, (), design_points(config)).items() if count}
    searched = {parameter.name: parameter.words for parameter in parameters(config)}
    waiting = downloads(config)
    if as_json:
        plan = {"study": config.name, "trials": counts, "searched": searched, "downloads": waiting, "notes": notes}
        emit_json(plan)
        return
    click.echo(f"study {config.name}: at most {sum(counts.values())} trials")
    show_table(("phase", "trials"), counts.items())
    click.echo()
    show_table(("searched", "values"), searched.items())
    if waiting:
        click.echo()
        show_table(("downloaded first",), [(name,) for name in waiting])
    for note in notes:
        say(note)
