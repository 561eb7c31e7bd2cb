"""Tables of a report: plain cells, made once, for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from slasearch.analysis.compare import Arm, Comparisons
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import MEAN
from slasearch.analysis.roles import layout_label, role_label
from slasearch.analysis.tuning import finalist_terms
from slasearch.report.labels import (
    NOT_TOLD_APART,
    arm_label,
    level_label,
    margin_rule,
    number,
    p_label,
    sentences,
    series_label,
    short_factor,
    short_number,
    thousands,
)
from slasearch.report.results import Results
from slasearch.report.settings import best_settings, by_settings
from slasearch.search.felt import FELT, acts_on

__all__ = [
    "Table",
    "best_trials",
    "controls_tables",
    "event_table",
    "failure_table",
    "tuning_table",
    "winners_table",
]

BEST = 10
MOST_NAMED = 20
"""Trials that a cell names; more are counted."""


@dataclass(frozen=True)
class Table:
    """Cells as text; the first `text_columns` are set to the left, the rest to the right.

    A row of one cell is a heading of those below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    note: str = ""


def controls_tables(results: Results) -> list[Table]:
    """One table for each winner: what every arm scores on test, its size, its robustness, and paired differences."""
    return [_controls(results, item) for item in results.comparisons]


def _controls(results: Results, item: Comparisons) -> Table:
    tasks = results.frames.tasks
    robust = any(arm.robustness.n for arm in item.arms)
    means = (series_label(MEAN, tasks),) if len(tasks) > 1 else ()
    columns = ("test scores", *means, *tasks, "exported parameters", "trials to choose from")
    columns += (("robustness (validation)",) if robust else ()) + ("winner − control", *_EVIDENCE)
    return Table(
        title=f"Trial {item.number}: {item.label}",
        columns=columns,
        rows=tuple(_arm(item, arm, tasks, robust=robust) for arm in item.arms),
        note=sentences(item.method, *item.terms, *_legend(item), *item.warnings),
    )


_EVIDENCE = ("p (Holm)", "the winner is", "detectable", "effect", "IQM")
"""Columns of what there is to say of a difference beside the difference itself; `_legend` says what they are."""


def _legend(item: Comparisons) -> Iterator[str]:
    """What the columns of evidence hold, as clauses."""
    if not item.controls:
        return
    one = item.difference(item.controls[0].role).evidence
    yield "better, worse: p below .05 after Holm's adjustment over all winners and controls"
    yield f"non-inferior: {one.non_inferiority.method}"
    yield NOT_TOLD_APART
    yield f"detectable: the smallest true difference that these seeds would have shown; {one.detectable.method}"
    yield f"effect: {one.effect.method.partition(';')[0]}"
    if one.iqm is not None:
        yield f"IQM: {one.iqm.method.partition(';')[0]}, winner − control, over all tasks and runs at once"


def _arm(item: Comparisons, arm: Arm, tasks: tuple[str, ...], *, robust: bool) -> tuple[str, ...]:
    cells = [arm_label(arm), *(arm.score(name).text() for name in ((MEAN, *tasks) if len(tasks) > 1 else tasks))]
    cells.append(thousands(arm.parameters.mean))
    cells.append(str(item.searched if arm.tuning is None else arm.tuning.trials))
    if robust:
        cells.append(arm.robustness.text())
    if arm is item.winner:
        return (*cells, "", *("" for _ in _EVIDENCE))
    one = item.difference(arm.role)
    return (
        *cells,
        one.difference.text(signed=True),
        p_label(one).removeprefix("p ").removesuffix(" (Holm)"),
        one.evidence.standing,
        number(one.evidence.detectable.estimate),
        number(one.evidence.effect.estimate, 2, signed=True),
        "–" if one.evidence.iqm is None else number(one.evidence.iqm.estimate, signed=True),
    )


def winners_table(results: Results) -> Table | None:
    """All winners with their controls in one narrow table; None where nothing has been confirmed."""
    found = results.comparisons
    if not found:
        return None
    rows: list[tuple[str, ...]] = []
    for item in found:
        rows.append((f"trial {item.number} ({item.label})",))
        for arm in item.arms:
            name = f"  {arm_label(arm)}"
            size = thousands(arm.parameters.mean)
            ends = ("", "")
            if arm is not item.winner:
                one = item.difference(arm.role)
                ends = (one.difference.text(signed=True), one.evidence.standing)
            rows.append((name, arm.score().text(), size, arm.robustness.text(), *ends))
    tasks = len(results.frames.tasks)
    return Table(
        title=f"Test split, mean of {tasks} task{'s' if tasks > 1 else ''}, {pairs_of_seeds(found[0].winner.complete)}",
        columns=("", "score", "parameters", "robustness (validation)", "winner − control", ""),
        rows=tuple(rows),
        note=sentences(
            *dict.fromkeys(clause for item in found for clause in item.terms),
            *margin_rule(found),
            *dict.fromkeys(warning for item in found for warning in item.warnings),
        ),
    )


def tuning_table(results: Results) -> Table | None:
    """What tuning has picked for each control of each winner; None where no control was tuned."""
    trials = results.frames.trials.set_index("trial_id")
    params = results.frames.params.set_index("trial_id")
    felt = [str(name) for name in params.columns if str(name).startswith(FELT)]
    rows: dict[int, tuple[str, ...]] = {}
    seeds = max((one.seeds for item in results.comparisons for one in item.tunings.values()), default=1)
    for item in results.comparisons:
        for role, tuning in item.tunings.items():
            if tuning.best is None:
                continue
            trial = trials.loc[tuning.best]
            variant = trial["control_variant"]
            rows[tuning.best] = (
                role_label(role),
                "all" if pd.isna(trial["pair_of"]) else f"trial {item.number}",
                layout_label(str(variant)) if pd.notna(variant) else "",
                str(tuning.trials),
                str(tuning.trials - tuning.complete),
                f"{tuning.goal} {tuning.value:.3f}",
                *(_value(params.loc[tuning.best, name]) if acts_on(role, name) else "" for name in felt),
            )
    if not rows:
        return None
    columns = ("tuning", "beside", "layout", "trials", "failed", "best on validation by")
    by_mean = [f"settings were tried under {seeds} seed pairs and count by their mean"] if seeds > 1 else []
    by_mean += [clause for item in results.comparisons[:1] for clause in finalist_terms(item.tunings)]
    note = sentences(
        "on validation, over the searched fields that act on a control; layout and values of the best are confirmed",
        *by_mean,
    )
    return Table("What tuning has picked", (*columns, *map(short_factor, felt)), tuple(rows.values()), 3, note)


_MEASURED = (("robustness", "robustness", 3), ("latency", "latency (ms)", 2))
"""What some studies measure: column, heading, digits."""


def best_trials(results: Results) -> Table | None:
    """The best settings of the search by their mean score, with what they were made of; None without any."""
    settings = best_settings(results.frames)
    if settings.empty:
        return None
    best, repeated = settings.head(BEST), by_settings(settings)
    params = results.frames.params.set_index("trial_id").loc[best["trial_id"]]
    searched = [str(name) for name in params.columns if params[name].notna().any()]
    extra = [(name, label, digits) for name, label, digits in _MEASURED if best[name].notna().any()]
    on_front = dict(zip(results.front.trial_ids, results.front.on_front, strict=True)) if results.front else {}
    rows = []
    for (_, trial), (_, values) in zip(best.iterrows(), params.iterrows(), strict=True):
        cells = [f"{trial['number']:g}", str(trial["phase"]), f"{trial['score']:.3f}"]
        cells.append(thousands(trial["exported_parameters"]))
        cells += [str(trial["pairs"])] if repeated else []
        cells += [number(trial[name], digits) for name, _, digits in extra]
        cells.append("yes" if on_front.get(trial["trial_id"], False) else "")
        rows.append((*cells, *(_value(values[name]) for name in searched)))
    columns = ("trial", "phase", "score", "parameters", *(("seed pairs",) if repeated else ()))
    columns += (*(label for _, label, _ in extra), "on front")
    counted = "settings by mean validation score" if repeated else "complete trials by validation score"
    means = "numbers are means over a setting's seed pairs; trial, phase and front are those of its best trial"
    return Table(
        title=f"Best {len(rows)} of {len(settings)} {counted}",
        columns=(*columns, *(short_factor(name) for name in searched)),
        rows=tuple(rows),
        text_columns=2,
        note=sentences(means) if repeated else "",
    )


def _value(value: Any) -> str:
    if not isinstance(value, str) and pd.isna(value):
        return ""
    return level_label(value) if isinstance(value, str) else short_number(value, 3)


def failure_table(results: Results) -> Table | None:
    """Failed attempts by reason; None without any."""
    if not results.failures:
        return None
    rows = tuple(
        (failure.reason, str(len(failure.numbers)), _named(failure.numbers), str(failure.repeated))
        for failure in results.failures
    )
    return Table("Failures", ("reason", "attempts", "trials", "of them repeated"), rows)


def _named(numbers: tuple[str, ...]) -> str:
    more = f" and {thousands(len(numbers) - MOST_NAMED)} more" if len(numbers) > MOST_NAMED else ""
    return ", ".join(numbers[:MOST_NAMED]) + more


def event_table(results: Results) -> Table | None:
    """Warnings and errors by kind; None without any."""
    events = results.frames.events
    events = events[events["level"] != "info"]
    if events.empty:
        return None
    rows = tuple(
        (str(kind), str(group["message"].iloc[0]), str(group["trial_id"].nunique()), str(len(group)))
        for kind, group in events.groupby("kind", sort=False)
    )
    return Table("Warnings", ("kind", "first message", "trials", "times"), rows, text_columns=2)
