"""`slasearch init [FILE]`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Literal

import click

from slasearch.cli._output import say
from slasearch.errors import ConfigError


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default="study.yaml")
@click.option("--task", "tasks", multiple=True, metavar="NAME=PATH", help="A task and its table; repeatable.")
@click.option(
    "--backbone",
    metavar="ID_OR_PATH",
    default="bundled:minilm",
    show_default=True,
    help="A folder with a saved model, or an id such as hub:ORG/NAME@REVISION.",
)
@click.option(
    "--goal",
    type=click.Choice(["structure", "sensitivity"]),
    default="structure",
    show_default=True,
    help="Search the best structure, or vary one field at a time.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def init(
    file: Path, tasks: tuple[str, ...], backbone: str, goal: Literal["structure", "sensitivity"], force: bool
) -> None:
    """Write a commented study file for your own data and model into FILE [default: study.yaml].

    Looks at each table (CSV, TSV, JSONL or Parquet, or a folder with one for each split) for its columns, classes and
    lengths. What it chose stands in the file, to be changed there.
    """
    from slasearch.service.data_facts import look_at
    from slasearch.service.new_study import backbone_id, new_study

    if os.path.lexists(file) and not force:
        raise ConfigError(
            [f"{file}: expected no such file yet, got one. Choose another name, or overwrite it: --force"]
        )
    wanted = [_named(task) for task in tasks]
    facts = [look_at(name, path) for name, path in wanted]
    text = new_study(file, facts, backbone_id(backbone), goal)
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise ConfigError([f"{file}: expected a file that can be written, got: {error.strerror}"]) from error
    for task in facts:
        pair = f" and {task.text_pair!r}" if task.text_pair else ""
        say(
            f"{task.name}: {sum(task.counts.values())} examples, text {task.text!r}{pair}, {len(task.counts)} classes "
            f"in {task.label!r}, scored by {task.metric}"
        )
    command = f"slasearch run {shlex.quote(str(file))}"
    say(f"Written: {file}. Next:\n  {command} --dry-run\n  {command}")


def _named(task: str) -> tuple[str, str]:
    name, found, path = task.partition("=")
    if not (name and found and path):
        raise ConfigError([f"--task: expected NAME=PATH, such as tickets=data/tickets.csv, got {task!r}"])
    return name, path
