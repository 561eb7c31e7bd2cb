"""Tables of a report on paths: what each task passes, and how much any two tasks share."""

from __future__ import annotations

from slasearch.analysis.paths import TaskPath
from slasearch.analysis.structure import Steadiness, WinnerPaths
from slasearch.report.labels import sentences, thousands
from slasearch.report.results import Results
from slasearch.report.tables import Table

__all__ = ["path_tables"]


def path_tables(results: Results) -> list[Table]:
    """For each winner its tasks' paths and, with several tasks, their overlap; none without stored gates."""
    return [table for item in results.paths for table in (_tasks(item), _overlap(item)) if table is not None]


def _tasks(item: WinnerPaths) -> Table:
    several, repeated = len(item.paths.tasks) > 1, item.n > 1
    columns: tuple[str, ...] = ("task", "modules", "layers", "lowest layer", "slots", "parameters")
    columns += ("shared by all", "by some", "its own") if several else ()
    columns += ("runs agree", "slots in every run", "slots in any run") if repeated else ()
    rows = [
        _row(path, steadiness, several=several, repeated=repeated)
        for path, steadiness in zip(item.paths.tasks, item.steadiness, strict=True)
    ]
    if several:
        whole = ("all tasks", "", "", "", str(item.paths.slots), thousands(item.paths.parameters))
        rows.append((*whole, *[""] * (len(columns) - len(whole))))
    return Table(
        title=f"Paths in trial {item.number}",
        columns=columns,
        rows=tuple(rows),
        text_columns=3,
        note=sentences(
            item.method,
            *(("slots that several tasks pass count once in the last row",) if several else ()),
            *(("runs agree: mean Jaccard index of a task's slots in any two runs",) if repeated else ()),
        ),
    )


def _row(path: TaskPath, steadiness: Steadiness, *, several: bool, repeated: bool) -> tuple[str, ...]:
    cells = [
        path.task,
        ", ".join(f"{count} {kind}" for kind, count in path.kinds.items()) or "head only",
        ", ".join(_runs(path.layers)),
        str(path.layers[0]) if path.layers else "–",
        str(path.slots),
        thousands(path.parameters),
    ]
    if several:
        cells += [str(path.sharing[sharing]) for sharing in ("all", "some", "own")]
    if repeated:
        agreement = steadiness.agreement
        cells += ["–" if agreement is None else f"{agreement:.2f}", str(steadiness.always), str(len(steadiness.shares))]
    return tuple(cells)


def _runs(layers: tuple[int, ...]) -> list[str]:
    """Layers with neighbours taken together: `0`, `3–5`."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]


def _overlap(item: WinnerPaths) -> Table | None:
    """A square of tasks: slots that both pass, with their Jaccard index; a task's own number on the diagonal."""
    tasks = item.paths.tasks
    if len(tasks) < 2:
        return None
    cells = {(path.task, path.task): str(path.slots) for path in tasks}
    for pair in item.paths.overlap:
        text = f"{pair.shared} ({pair.jaccard:.2f})"
        cells[pair.one, pair.other] = cells[pair.other, pair.one] = text
    names = [path.task for path in tasks]
    return Table(
        title=f"Slots that two tasks share in trial {item.number}",
        columns=("task", *names),
        rows=tuple((row, *(cells[row, column] for column in names)) for row in names),
        note=sentences(
            "in brackets the Jaccard index: slots that both pass, as a share of those that at least one passes",
            "on the diagonal a task's own slots",
        ),
    )
