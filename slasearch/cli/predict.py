"""`slasearch predict DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from slasearch.cli._output import emit_json, json_option, say, show_table


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("file", required=False, type=click.File(encoding="utf-8-sig"))
@click.option("--task", help="Task to predict [default: the only one].")
@click.option("--backbone", help="Where the backbone lies now, as path:DIR [default: as it was trained on].")
@click.option("--text", "texts", multiple=True, help="A text; repeatable.")
@click.option("--pairs", is_flag=True, help="Each text is a pair, separated by a tab.")
@json_option
def predict(
    folder: Path,
    file: TextIO | None,
    task: str | None,
    backbone: str | None,
    texts: tuple[str, ...],
    pairs: bool,
    as_json: bool,
) -> None:
    """Label texts with an exported adapter.

    FOLDER is what `slasearch export` wrote. Texts are given by --text, or one a line in FILE (`-` is stdin).
    """
    from transformers.utils.logging import disable_progress_bar

    from slasearch.trial.predict import Predictor

    disable_progress_bar()
    try:
        written = [line.rstrip("\r\n") for line in file or ()]
    except UnicodeDecodeError as error:
        got = f"the byte 0x{error.object[error.start]:02x}. Convert it, for example with iconv -t utf-8"
        raise click.UsageError(f"FILE: expected text in UTF-8, got {got}") from None
    lines = [*texts, *(line for line in written if line.strip())]
    if not lines:
        raise click.UsageError("expected texts by --text or a FILE with one a line, got none")
    if blank := len(texts) + len(written) - len(lines):
        say(f"lines without text, left out: {blank}")
    predictor = Predictor.load(folder, backbone=backbone)
    task = _task(task, predictor.tasks)
    found = predictor.predict(task, [_pair(line) if pairs else line for line in lines])
    if as_json:
        emit_json(
            [
                {"text": line, "label": answer.label, "probability": answer.probability}
                for line, answer in zip(lines, found, strict=True)
            ]
        )
        return
    say(f"task {task}")
    show_table(
        ("label", "probability", "text"),
        [(answer.label, answer.probability, line) for line, answer in zip(lines, found, strict=True)],
    )


def _task(task: str | None, known: tuple[str, ...]) -> str:
    if task is None and len(known) == 1:
        return known[0]
    if task not in known:
        raise click.UsageError(f"--task: expected one of {', '.join(known)}, got {task or 'none'}")
    return task


def _pair(line: str) -> tuple[str, str]:
    first, tab, second = line.partition("\t")
    if not tab:
        raise click.UsageError(f"--pairs: expected two texts separated by a tab, got {line!r}")
    return first, second
