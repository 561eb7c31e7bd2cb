"""`slasearch compare NAME…`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from click.core import ParameterSource

from slasearch.cli._output import emit_json, json_option, say, show_table

if TYPE_CHECKING:
    from slasearch.analysis.frames import StudyFrames
    from slasearch.analysis.measure import Measure
    from slasearch.report.compare_text import ComparisonTable

_FIGURES = (".png", ".svg", ".pdf")

Pair = tuple[str, str]

Studies = dict[str, tuple[str, int | None]]
"""Names and confirmed trials by the labels that tables give them."""


def _studies(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> Studies:
    """What was typed, as label, with `#2` behind it where it was typed before."""
    found: Studies = {}
    for place, text in enumerate(value):
        name, at, trial = text.partition("@")
        if not name or (at and not trial.isdecimal()):
            raise click.BadParameter(f"expected NAME or NAME@TRIAL, such as mine@12, got {text!r}")
        count = 1 + value[:place].count(text)
        found[text if count == 1 else f"{text}#{count}"] = (name, int(trial) if at else None)
    return found


def _against(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Pair | None:
    if value is None:
        return None
    name, _, role = value.partition(":")
    if not name or not role:
        raise click.BadParameter(f"expected NAME:ROLE, such as mine:lora, got {value!r}")
    return name, role


def _margin(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"expected a loss of score, such as 0.005, got {value}")
    return value


def _condition(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, float] | None:
    if value is None:
        return None
    kind, _, level = value.partition(":")
    try:
        number = float(level)
    except ValueError:
        number = math.nan
    if not kind or not math.isfinite(number):
        raise click.BadParameter(f"expected KIND:LEVEL, such as typos:0.2, got {value!r}")
    return kind, number


@click.command()
@click.argument("studies", metavar="NAME...", nargs=-1, required=True, callback=_studies)
@click.option(
    "--against",
    metavar="NAME:ROLE",
    callback=_against,
    help="Compare every other arm with this one, such as mine:lora.",
)
@click.option(
    "--role",
    metavar="ROLE",
    help="Compare this role between the studies, or with the others of one study [default: winner].",
)
@click.option(
    "--pooled",
    is_flag=True,
    help="The winner (or --role) beside each other role, averaged over the studies, whose tasks may differ; "
    "intervals over seeds and test examples.",
)
@click.option(
    "--by-size",
    is_flag=True,
    help="Scores and sizes of all arms of the studies, those of the same tasks together: one study a size.",
)
@click.option(
    "--figure",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --by-size: draw score against size into this file (.png, .svg, .pdf).",
)
@click.option("--metric", help="Only the tasks that are scored by this metric [default: all, each with its own].")
@click.option(
    "--margin",
    default=0.005,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    callback=_margin,
    help="Loss of score that does not matter, for non-inferiority.",
)
@click.option(
    "--condition",
    metavar="KIND:LEVEL",
    callback=_condition,
    help="Scores under a measured condition, such as typos:0.2.",
)
@click.option("--split", default="test", show_default=True, type=click.Choice(["test", "validation"]))
@click.option(
    "--storage",
    "storages",
    metavar="URL",
    multiple=True,
    help="Database [default: $SLASEARCH_STORAGE, else SQLite in ./.slasearch]; once for all, or once for each NAME.",
)
@json_option
def compare(
    studies: Studies,
    against: Pair | None,
    role: str | None,
    pooled: bool,
    by_size: bool,
    figure: Path | None,
    metric: str | None,
    margin: float,
    condition: tuple[str, float] | None,
    split: Literal["test", "validation"],
    storages: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare confirmed structures with their controls, or with those of other studies.

    Of one study, each winner is compared with its controls; of several, the winner of each with that of the first, or,
    with --pooled, the winners with their controls on average over the studies. --by-size compares nothing: it lists
    what each scores at its size, and how much of the trade-off of both it covers.
    NAME@TRIAL takes the structures that were confirmed of that trial.
    """
    from slasearch.analysis.measure import Measure

    if against and role:
        raise click.UsageError("expected at most one of --against and --role")
    if against and pooled:
        raise click.UsageError("expected at most one of --against and --pooled")
    given = click.get_current_context().get_parameter_source("margin") is not ParameterSource.DEFAULT
    if by_size and (against or role or pooled or given):
        raise click.UsageError("expected --by-size without --against, --role, --pooled and --margin")
    if figure and not by_size:
        raise click.UsageError("expected --by-size with --figure")
    if figure and figure.suffix not in _FIGURES:
        raise click.UsageError(f"--figure: expected a file {', '.join(_FIGURES)}, got {figure.name}")
    kind, level = condition or ("clean", 0.0)
    measure = Measure(split, kind, level, metric)
    frames = _frames(studies, storages)
    trials = {label: trial for label, (_, trial) in studies.items() if trial is not None}
    if by_size:
        tables = _by_size(frames, trials, measure, figure)
    elif pooled:
        tables = [_pooled(frames, role or "winner", trials, measure, margin)]
    elif len(studies) > 1 or against or role:
        tables = [_between(frames, against, role or "winner", trials, measure, margin)]
    else:
        ((label, (_, trial)),) = studies.items()
        tables = _within(frames[label], trial, measure, margin)
    if as_json:
        emit_json({"margin": margin, "tables": [table.data for table in tables]})
        return
    for number, table in enumerate(tables):
        if number:
            click.echo()
        click.echo(table.title)
        show_table(table.columns, table.cells)
    for note in dict.fromkeys(note for table in tables for note in table.notes):
        say(note)


def _frames(studies: Studies, storages: tuple[str, ...]) -> dict[str, StudyFrames]:
    from slasearch.analysis.frames import load_frames
    from slasearch.config.locations import locate

    if len(storages) not in (0, 1, len(studies)):
        raise click.UsageError(f"expected --storage once or {len(studies)} times, got it {len(storages)} times")
    urls = [locate(storages[0] if storages else None).storage_url] * len(studies)
    if len(storages) > 1:
        urls = [locate(storage).storage_url for storage in storages]
    places = [(url, *study) for url, study in zip(urls, studies.values(), strict=True)]
    if len(set(places)) < len(places):
        raise click.UsageError("expected different studies or trials, got one of them twice")
    return {label: load_frames(url, name) for label, (url, name, _) in zip(studies, places, strict=True)}


def _between(
    frames: dict[str, StudyFrames],
    against: Pair | None,
    role: str,
    trials: dict[str, int],
    measure: Measure,
    margin: float,
) -> ComparisonTable:
    from slasearch.analysis.between import compare_studies
    from slasearch.report.compare_text import contrast_table

    return contrast_table(
        compare_studies(frames, role=role, against=against, trials=trials, measure=measure, margin=margin)
    )


def _pooled(
    frames: dict[str, StudyFrames], role: str, trials: dict[str, int], measure: Measure, margin: float
) -> ComparisonTable:
    from slasearch.analysis.pooled import compare_pooled
    from slasearch.report.compare_text import pooled_table

    return pooled_table(compare_pooled(frames, role=role, trials=trials, measure=measure, margin=margin))


def _by_size(
    frames: dict[str, StudyFrames], trials: dict[str, int], measure: Measure, figure: Path | None
) -> list[ComparisonTable]:
    from slasearch.analysis.by_size import arms_by_size, cautions_by_size
    from slasearch.analysis.size_fronts import fronts_by_size
    from slasearch.report.compare_text import front_table, size_table

    arms = arms_by_size(frames, trials=trials, measure=measure)
    if figure is not None:
        from slasearch.report.figures.sizes import write_sizes

        write_sizes(arms, measure, figure)
        say(f"Drawn: {figure}")
    fronts = fronts_by_size(frames, trials=trials, measure=measure)
    cautions = cautions_by_size(frames, trials=trials, measure=measure)
    return [size_table(arms, measure, cautions), *([front_table(fronts, measure)] if fronts else [])]


def _within(frames: StudyFrames, trial: int | None, measure: Measure, margin: float) -> list[ComparisonTable]:
    from slasearch.analysis.compare import compare as compare_winners
    from slasearch.errors import ReportError
    from slasearch.report.compare_text import winner_tables

    found = compare_winners(frames, measure, margin=margin)
    chosen = [item for item in found if trial in (None, item.number)]
    if not chosen:
        known = ", ".join(str(item.number) for item in found)
        raise ReportError(
            f"Comparison with controls: expected a trial that {frames.study.name} has confirmed ({known}), "
            f"got {trial}. Take one of these."
        )
    return winner_tables(frames.study.name, chosen)
