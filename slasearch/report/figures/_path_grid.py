"""Where things stand in a picture of paths: places, the line through the open ones, and marks of kinds. No drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from slasearch.analysis.paths import PathModule, TrialPaths
from slasearch.report.style import BLUE, GREEN, INK, MUTED, ORANGE, PINK, SKY, VERMILION, Mark

__all__ = ["ROW", "SITE_GAP", "PathGrid", "kind_marks", "path_grid", "route"]

SITE_GAP = 0.55
"""Room between two sites, in widths of a mark."""

ROW = 1.55
"""Distance of two layers, in widths of a mark: the line turns between them."""

_CORNER = 0.34
_KIND_MARKS = {
    "lora": Mark(BLUE, "o", "circle"),
    "bottleneck": Mark(VERMILION, "s", "square"),
    "parallel": Mark(GREEN, "h", "hexagon"),
    "lora_xs": Mark(MUTED, "p", "pentagon"),
    "prefix": Mark(PINK, "D", "diamond"),
    "ia3": Mark(INK, "P", "cross"),
    "scale": Mark(SKY, "v", "triangle-down"),
    "bias": Mark(ORANGE, "^", "triangle-up"),
}
_SPARE_MARKS = (Mark(VERMILION, "H", "hexagon2"), Mark(GREEN, "*", "star"), Mark(BLUE, "d", "diamond-tall"))


def kind_marks(kinds: Sequence[str]) -> dict[str, Mark]:
    """A mark for each kind; kinds of extensions take what is left, in turn."""
    others = [kind for kind in kinds if kind not in _KIND_MARKS]
    spare = {kind: _SPARE_MARKS[index % len(_SPARE_MARKS)] for index, kind in enumerate(others)}
    return {kind: _KIND_MARKS.get(kind) or spare[kind] for kind in kinds}


@dataclass(frozen=True)
class PathGrid:
    """Positions in widths of a mark: a column for each kind of each site, a row for each layer.

    `pitch` is the distance of two columns. `columns` are the centres by (site, kind), `sites` the left and right end of
    each site, `rows` the centres by layer.
    """

    columns: dict[tuple[str, str], float]
    sites: dict[str, tuple[float, float]]
    rows: dict[int, float]
    pitch: float = 1.0

    @property
    def width(self) -> float:
        """From the left end of the first site to the right end of the last."""
        return max(right for _, right in self.sites.values())

    @property
    def height(self) -> float:
        """From below the lowest layer to above the highest."""
        return ROW * len(self.rows)

    def at(self, module: PathModule) -> tuple[float, float]:
        """Where a module stands."""
        return self.columns[module.site, module.kind], self.rows[module.layer]


def path_grid(paths: TrialPaths, pitch: float = 1.0) -> PathGrid:
    """The positions of a trial's pool; `pitch` is the distance of two columns, at least 1."""
    columns: dict[tuple[str, str], float] = {}
    sites: dict[str, tuple[float, float]] = {}
    left = 0.0
    for site in paths.sites:
        kinds = paths.kinds_at(site)
        columns |= {(site, kind): left + pitch * (0.5 + index) for index, kind in enumerate(kinds)}
        sites[site] = (left, left + pitch * len(kinds))
        left += pitch * (len(kinds) + SITE_GAP)
    rows = {layer: ROW * (index + 0.5) for index, layer in enumerate(paths.layers)}
    return PathGrid(columns, sites, rows, pitch)


def route(grid: PathGrid, modules: Sequence[PathModule]) -> list[tuple[float, float]]:
    """The line through a task's modules from the input at the bottom to the head at the top, its corners rounded.

    Within a layer it goes to the right; between two layers it goes back to the next layer's first module, in the gap
    below that layer.
    """
    stops = [[grid.at(module) for module in group] for _, group in groupby(modules, key=lambda module: module.layer)]
    if not stops:
        return []
    points = [(stops[0][0][0], 0.0)]
    for above, here in zip([*stops[1:], None], stops, strict=True):
        points += [here[0], here[-1]]
        if above is not None:
            (first, height), (last, _) = above[0], here[-1]
            points += [(last, height - ROW / 2), (first, height - ROW / 2)]
    points.append((stops[-1][-1][0], grid.height))
    return _rounded([*(point for point, later in pairwise(points) if point != later), points[-1]])


def _rounded(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same line with each corner replaced by five points of a quadratic curve."""
    found = [points[0]]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        start, end = _towards(corner, before), _towards(corner, after)
        for step in (0.0, 0.25, 0.5, 0.75, 1.0):
            a, b, c = (1 - step) ** 2, 2 * step * (1 - step), step**2
            found.append((a * start[0] + b * corner[0] + c * end[0], a * start[1] + b * corner[1] + c * end[1]))
    return [*found, points[-1]]


def _towards(corner: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    distance = math.dist(corner, other)
    part = min(_CORNER, distance / 2) / distance
    return corner[0] + part * (other[0] - corner[0]), corner[1] + part * (other[1] - corner[1])


def size_of_rank(rank: int, largest: int) -> float:
    """The size of a mark that holds no number, as a share of the largest rank's."""
    return 0.62 + 0.38 * math.log2(rank + 1) / math.log2(largest + 1)
