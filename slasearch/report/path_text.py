"""Paths of a trial as text for a terminal, and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from slasearch.analysis.paths import PathModule, TaskPath, TrialPaths
from slasearch.report.labels import slots_label, thousands

__all__ = ["path_data", "path_text"]

OWN = "*"
"""Stands behind a module that no other task passes."""

CLOSED = "·"


def path_text(paths: TrialPaths, *, width: int = 100) -> str:
    """A grid of layers and sites for each task, the highest layer first, and how much any two tasks share.

    Args:
        paths: The trial's paths.
        width: Columns of the terminal; where a grid would be wider, the modules of a place stand below each other.
    """
    several = len(paths.tasks) > 1
    whole = f"trial {paths.label}: {slots_label(paths.slots)}, {thousands(paths.parameters)} parameters"
    blocks = [f"{whole} in all" if several else whole]
    blocks += [f"{_heading(path, several=several)}\n{_grid(paths, path, width)}" for path in paths.tasks]
    if several:
        blocks += [_overlap(paths)]
    own = f"{OWN} this task alone   " if several else ""
    return "\n\n".join([*blocks, f"{own}{CLOSED} all candidates closed"]) + "\n"


def _heading(path: TaskPath, *, several: bool) -> str:
    if not path.slots:
        return f"{path.task}: no slot, only its head was trained"
    size = f"{path.task}: {slots_label(path.slots)}, {thousands(path.parameters)} parameters"
    counts = path.sharing
    shared = f"; {counts['all']} shared by all, {counts['some']} by some, {counts['own']} its own" if several else ""
    return size + shared


def _grid(paths: TrialPaths, path: TaskPath, width: int) -> str:
    rows = {layer: [_cell(paths, path, layer, site) for site in paths.sites] for layer in reversed(paths.layers)}
    beside = [[" + ".join(cell) for cell in cells] for cells in rows.values()]
    if sum(_widths(paths.sites, beside)) + 2 * len(paths.sites) + len("layer") <= width:
        lines = [[[cell] for cell in cells] for cells in beside]
    else:
        lines = list(rows.values())
    return "\n".join(_aligned(paths.sites, list(rows), lines))


def _cell(paths: TrialPaths, path: TaskPath, layer: int, site: str) -> list[str]:
    """Texts of the modules at one place; a dot where none is open, nothing where the pool has no slot."""
    found = [module for module in path.modules if (module.layer, module.site) == (layer, site)]
    if found:
        return [_named(module, several=len(paths.tasks) > 1) for module in found]
    return [CLOSED if any(place[:2] == (layer, site) for place in paths.pool) else ""]


def _named(module: PathModule, *, several: bool) -> str:
    return module.text + (OWN if several and module.sharing == "own" else "")


def _widths(sites: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(site), *(len(row[column]) for row in rows)) for column, site in enumerate(sites)]


def _aligned(sites: Sequence[str], layers: Sequence[int], rows: Sequence[Sequence[Sequence[str]]]) -> Iterator[str]:
    """Lines of a grid whose cells hold one or more lines."""
    flat = [[max(cell, key=len) for cell in row] for row in rows]
    widths = _widths(sites, flat)
    yield "  ".join(["layer", *(site.ljust(width) for site, width in zip(sites, widths, strict=True))]).rstrip()
    for layer, row in zip(layers, rows, strict=True):
        for line in range(max(map(len, row))):
            cells = [cell[line] if line < len(cell) else "" for cell in row]
            start = (str(layer) if line == 0 else "").rjust(len("layer"))
            yield "  ".join([start, *(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))]).rstrip()


def _overlap(paths: TrialPaths) -> str:
    pairs = sorted(paths.overlap, key=lambda pair: -pair.jaccard)
    names = [f"{pair.one} and {pair.other}" for pair in pairs]
    width = max(map(len, names))
    lines = [
        f"{name.ljust(width)}  {pair.shared:>4} of {pair.together:<4} {pair.jaccard:.2f}"
        for name, pair in zip(names, pairs, strict=True)
    ]
    return "\n".join(["shared slots, of those of either, and their ratio (Jaccard)", *lines])


def path_data(paths: TrialPaths) -> dict[str, Any]:
    """The same as plain data for JSON: tasks with their modules in forward order, and the overlap of any two."""
    return {
        "trial": paths.label,
        "slots": paths.slots,
        "parameters": paths.parameters,
        "layers": paths.layers,
        "sites": paths.sites,
        "tasks": [_task_data(path) for path in paths.tasks],
        "overlap": [vars(pair) for pair in paths.overlap],
    }


def _task_data(path: TaskPath) -> dict[str, Any]:
    return {
        "task": path.task,
        "slots": path.slots,
        "parameters": path.parameters,
        "layers": path.layers,
        "kinds": dict(path.kinds),
        "sharing": dict(path.sharing),
        "modules": [
            {
                "layer": module.layer,
                "site": module.site,
                "kind": module.kind,
                "rank": module.rank,
                "parameters": module.parameters,
                "sharing": module.sharing,
                "slots": [slot.name for slot in module.slots],
            }
            for module in path.modules
        ],
    }
