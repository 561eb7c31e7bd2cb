"""How two fields act together: a response over both, hatched where the interval is too wide to read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from slasearch.analysis.coordinates import DesignResponse
from slasearch.analysis.curves import Level, Scale
from slasearch.analysis.shape import ResponseSurface
from slasearch.report.figures._base import ReportFigure, note
from slasearch.report.figures._fields import by_response, choice_keys, response_stem, response_title
from slasearch.report.figures._surface_maps import SurfaceMaps, draw_maps, map_panels
from slasearch.report.labels import objective_label, percent, short_factor, spoken_level, thousands
from slasearch.report.results import Results

__all__ = ["figures", "surface_table"]


def figures(results: Results) -> list[ReportFigure]:
    """One figure for each response with a map for each pair of fields; none without surfaces."""
    return [_figure(results, response, surfaces) for response, surfaces in by_response(results.surfaces)]


def _figure(results: Results, response: DesignResponse, surfaces: tuple[ResponseSurface, ...]) -> ReportFigure:
    counts = response == "exported_parameters"
    label = objective_label(results.frames.config, response)
    maps = SurfaceMaps(surfaces, label, counts=counts)
    hatched = any(faded.any() for faded in maps.faded)
    text = note(
        "averages of sizes are geometric" if counts else "",
        "hatched: the 95 % interval spans more than half of the colour scale" if hatched else "",
        surfaces[0].method,
        *choice_keys(
            (field, levels)
            for one in surfaces
            for field, levels, scale in (
                (one.x_field, one.x_levels, one.x_scale),
                (one.y_field, one.y_levels, one.y_scale),
            )
            if scale == "category"
        ),
        *dict.fromkeys(warning for surface in surfaces for warning in surface.warnings),
        "design: " + results.counts_of("design").text(),
    )
    return ReportFigure(
        name=f"surface_{response_stem(response)}",
        section="sensitivity",
        title=f"{'Size' if counts else response_title(response)} over two fields",
        caption="Where colours do not run straight across a map, the best value of one field depends on the other.",
        note=text,
        alt=f"{label} over two fields. " + " ".join(_spoken(maps, index) for index in range(len(surfaces))),
        table=surface_table(maps),
        draw=lambda: draw_maps(maps, text),
        panels=lambda: map_panels(maps),
    )


def surface_table(maps: SurfaceMaps) -> pd.DataFrame:
    """Tidy: one row for each pair of levels. A number is a `level`, a category a `choice`.

    `unsure` is half of the 95 % interval (of sizes a factor), `faded` whether that is too wide to read.
    """
    rows = [
        (one.response, one.x_field, *x, one.y_field, *y, one.mean[i][j], one.unsure[i][j], bool(faded[i, j]))
        for one, faded in zip(maps.surfaces, maps.faded, strict=True)
        for i, y in enumerate(_places(one.y_levels, one.y_scale))
        for j, x in enumerate(_places(one.x_levels, one.x_scale))
    ]
    columns = [
        "response", "x_field", "x_level", "x_choice", "y_field", "y_level", "y_choice", "mean", "unsure", "faded"
    ]  # fmt: skip
    kinds = {"x_level": "float64", "y_level": "float64", "x_choice": "str", "y_choice": "str"}
    return pd.DataFrame(rows, columns=columns).astype(kinds)


def _places(levels: Sequence[Level], scale: Scale) -> Iterator[tuple[Level, Level | None]]:
    for level in levels:
        yield (math.nan, level) if scale == "category" else (level, None)


def _spoken(maps: SurfaceMaps, index: int) -> str:
    """Where the best and the worst average lie, and how much of the map is unsure, in a sentence."""
    one = maps.surfaces[index]
    best, worst = ("fewest", "most") if maps.counts else ("best", "worst")
    ends = f"{best} {_at(maps, index, *maps.best(index))}, {worst} {_at(maps, index, *maps.worst(index))}"
    unsure = f"; {percent(float(maps.faded[index].mean()))} of the map is unsure" if maps.faded[index].any() else ""
    name = f"{short_factor(one.x_field)} and {short_factor(one.y_field)}"
    return f"{name[:1].upper()}{name[1:]}: {ends}{unsure}."


def _at(maps: SurfaceMaps, index: int, row: int, column: int) -> str:
    """`0.84 at 0.1 and 0.001`."""
    one = maps.surfaces[index]
    value = thousands(one.mean[row][column]) if maps.counts else f"{one.mean[row][column]:.3g}"
    return f"{value} at {spoken_level(one.x_levels[column])} and {spoken_level(one.y_levels[row])}"
