"""`slasearch validate FILE…`."""

from __future__ import annotations

from pathlib import Path

import click

from slasearch.cli._output import emit_json, json_option, say
from slasearch.errors import ConfigError


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Change a field before checking; repeatable.")
@json_option
def validate(files: tuple[Path, ...], overrides: tuple[str, ...], as_json: bool) -> int:
    """Check study files; print every problem that can be told at once. Nothing is downloaded.

    Each problem is a line `file:line: field: expected …, got …`. What stands in a section of a wrong name is checked
    once its name is right, and how fields go together once each is right by itself.
    """
    from slasearch.space import downloads, load_checked

    problems: dict[str, list[str]] = {}
    for file in files:
        try:
            waiting = downloads(load_checked(file, overrides))
            problems[str(file)] = []
            if waiting:
                say(f"{file}: of what a run will download first, only names are checked: {', '.join(waiting)}")
        except ConfigError as error:
            problems[str(file)] = error.problems
    if as_json:
        emit_json([{"file": file, "valid": not found, "problems": found} for file, found in problems.items()])
    else:
        _show(problems)
    return 2 if any(problems.values()) else 0


def _show(problems: dict[str, list[str]]) -> None:
    for file, found in problems.items():
        if not found:
            click.echo(f"{file}: ok")
        for line in found:
            say(line)
