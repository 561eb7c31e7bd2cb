"""Activation paths: for each task the modules that its examples pass, from the input up to the head."""

from __future__ import annotations

import pandas as pd

from slasearch.analysis.paths import TaskPath, TrialPaths
from slasearch.analysis.structure import WinnerPaths
from slasearch.registry import UNRANKED_KINDS
from slasearch.report.figures._base import LegendItem, ReportFigure, note
from slasearch.report.figures._path_grid import kind_marks
from slasearch.report.figures._path_page import draw_paths, draws_numbers
from slasearch.report.figures._path_panel import path_panels
from slasearch.report.labels import slots_label, thousands
from slasearch.report.results import Results

__all__ = ["figures", "path_table"]


def figures(results: Results) -> list[ReportFigure]:
    """One figure for each winner; none without stored gates."""
    return [_figure(item, _chosen(results, item)) for item in results.paths]


def _chosen(results: Results, item: WinnerPaths) -> str:
    labels = {found.number: found.label for found in results.comparisons}
    return f" ({labels[item.number]})" if item.number in labels else ""


def _figure(item: WinnerPaths, chosen: str) -> ReportFigure:
    paths = item.paths
    marks = kind_marks(paths.kinds)
    several = len(paths.tasks) > 1
    text = note(
        f"trial {item.number}{chosen}: {item.method}",
        f"{slots_label(paths.slots)} with {thousands(paths.parameters)} parameters in all",
        "bars: a task's slots by who else passes them" if several else "",
        _on_ranks(paths),
    )
    return ReportFigure(
        name=f"paths_{item.number}",
        section="structure",
        title=f"Paths of the tasks, trial {item.number}{chosen}",
        caption=_caption(len(paths.tasks)),
        note=text,
        alt=" ".join(["Paths of tasks through the layers.", *(_spoken(task) for task in paths.tasks)]),
        table=path_table(item),
        draw=lambda: draw_paths(paths, marks, text),
        panels=lambda: path_panels(item, marks),
        legend=tuple(LegendItem(kind, kind, mark, line=False) for kind, mark in marks.items()),
    )


def _caption(tasks: int) -> str:
    """What is seen; with several tasks also what the inside of a mark says."""
    some = "by some of them, or in part" if tasks > 2 else "in part"
    return (
        "Layers upwards, sites in forward order. Marks are open modules, numbers their rank (slots of one kind at one "
        "place are added up); grey dots are candidates that closed."
    ) + (f" Filled: shared by all tasks; pale: {some}; outlined: this task alone." if tasks > 1 else "")


def _on_ranks(paths: TrialPaths) -> str:
    if not draws_numbers(paths):
        return "larger marks: higher rank"
    return "no number: the kind has no rank" if UNRANKED_KINDS & set(paths.kinds) else ""


def path_table(item: WinnerPaths) -> pd.DataFrame:
    """One row for each open slot of each task in the run that is shown, in forward order.

    `runs_open` is the share of the winner's `n` runs in which the slot was open for the task.
    """
    shares = {found.task: found.shares for found in item.steadiness}
    rows = [
        (item.paths.label, path.task, slot.layer, slot.site, slot.kind, slot.rank, slot.index,
         item.paths.users(slot), shares[path.task][slot], item.n)
        for path in item.paths.tasks
        for module in path.modules
        for slot in module.slots
    ]  # fmt: skip
    columns = ["trial", "task", "layer", "site", "kind", "rank", "index", "tasks_open", "runs_open", "n"]
    return pd.DataFrame(rows, columns=columns)


def _spoken(path: TaskPath) -> str:
    if not path.modules:
        return f"{path.task}: no module, only its head."
    kinds = ", ".join(f"{count} {kind}" for kind, count in path.kinds.items())
    return (
        f"{path.task}: {slots_label(path.slots)}, {thousands(path.parameters)} parameters, from layer "
        f"{path.layers[0]} to {path.layers[-1]} ({kinds}); {path.sharing['own']} of its own."
    )
