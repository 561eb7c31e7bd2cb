"""The shape of a response along each field: partial dependence, how unsure the surrogate is, single points faint."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from slasearch.analysis.coordinates import DesignResponse
from slasearch.analysis.shape import ResponseLine
from slasearch.report.figures._base import AxisRange, ReportFigure, axis_range, note
from slasearch.report.figures._fields import SPOKEN, by_response, choice_keys, response_stem, response_title
from slasearch.report.figures._shape_sheet import SHEET_LEGEND, ShapeSheet, draw_sheet, sheet_panels
from slasearch.report.labels import objective_label, short_factor, spoken_level, thousands
from slasearch.report.results import Results

__all__ = ["figures", "shape_table"]


def figures(results: Results) -> list[ReportFigure]:
    """One figure for each response with a panel for each field; none without lines."""
    return [_figure(results, response, lines) for response, lines in by_response(results.lines)]


def _figure(results: Results, response: DesignResponse, lines: tuple[ResponseLine, ...]) -> ReportFigure:
    counts = response == "exported_parameters"
    ordered = tuple(sorted(lines, key=lambda line: -_moves(line, counts=counts)))
    shown = _y_range(ordered, counts=counts)
    text = note(
        "averages of sizes are geometric" if counts else "",
        ordered[0].method,
        *choice_keys((line.field, line.levels) for line in ordered if line.scale == "category"),
        *dict.fromkeys(warning for line in ordered for warning in line.warnings),
        shown.note,
        "design: " + results.counts_of("design").text(),
    )
    sheet = ShapeSheet(ordered, objective_label(results.frames.config, response), shown, counts, text)
    return ReportFigure(
        name=f"shape_{response_stem(response)}",
        section="sensitivity",
        title=f"{'Size' if counts else response_title(response)} along each field, the others averaged over",
        caption="What the design's surrogate says of each field, the largest effect first. Where grey lines run apart, "
        "the effect depends on the other fields.",
        note=text,
        alt=f"{sheet.y_label} along each field. {_spoken(sheet)}",
        table=shape_table(ordered),
        draw=lambda: draw_sheet(sheet),
        panels=lambda: sheet_panels(sheet),
        legend=SHEET_LEGEND,
    )


def shape_table(lines: Sequence[ResponseLine]) -> pd.DataFrame:
    """Tidy: one row for each field and level of the average (`what` is `mean`) and of each single point (`single`).

    A number is a `level`, a category a `choice`; `point` counts the single points of a field from 0.
    """
    rows: list[tuple[object, ...]] = []
    for line in lines:
        for index, level in enumerate(line.levels):
            place = (math.nan, level) if line.scale == "category" else (level, None)
            key = (line.response, line.field, *place)
            rows.append((*key, "mean", pd.NA, line.mean[index], line.low[index], line.high[index]))
            rows.extend((*key, "single", point, one[index], None, None) for point, one in enumerate(line.ice))
    columns = ["response", "field", "level", "choice", "what", "point", "value", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"choice": "str", "point": "Int64", **dict.fromkeys(["level", "low", "high"], "float64")})


def _moves(line: ResponseLine, *, counts: bool) -> float:
    """How far the average goes; of sizes as a ratio."""
    return max(line.mean) / min(line.mean) if counts else max(line.mean) - min(line.mean)


def _y_range(lines: Sequence[ResponseLine], *, counts: bool) -> AxisRange:
    """The axis that all fields share; with `counts` in decades, for a logarithm."""
    values = [value for line in lines for found in (line.mean, *line.ice) for value in found]
    ends = [end for line in lines for end in (*line.low, *line.high)]
    if not counts:
        return axis_range(values, ends)
    # At least a factor of two, so that equal sizes look equal.
    decades = [math.log10(value) + shift for value in values for shift in (-0.15, 0.15)]
    return axis_range(decades, [math.log10(end) for end in ends if end > 0])


def _spoken(sheet: ShapeSheet) -> str:
    """`Sparsity weight λ: 0.84 at 0.01, 0.80 at 1, highest 0.85 at 0.1.`: what it comes from and goes to."""
    parts = []
    for line in sheet.lines[:SPOKEN]:
        name = short_factor(line.field)
        chosen = range(len(line.levels)) if line.scale == "category" else (0, len(line.levels) - 1)
        values = [_at(sheet, line, index) for index in chosen]
        for word, extreme in (("highest", max(line.mean)), ("lowest", min(line.mean))):
            index = line.mean.index(extreme)
            if index not in chosen:
                values.append(f"{word} {_at(sheet, line, index)}")
        parts.append(f"{name[:1].upper()}{name[1:]}: {', '.join(values)}.")
    rest = sheet.lines[SPOKEN:]
    if rest:
        most = _moves(rest[0], counts=sheet.counts)
        words = f"{len(rest)} more field{'' if len(rest) == 1 else 's'}: at most "
        parts.append(words + (f"a factor of {most:.3g}." if sheet.counts else f"{most:.3g} from lowest to highest."))
    return " ".join(parts)


def _at(sheet: ShapeSheet, line: ResponseLine, index: int) -> str:
    """`0.84 at 0.1`, `12,400 at 0.1`."""
    value = thousands(line.mean[index]) if sheet.counts else f"{line.mean[index]:.3g}"
    return f"{value} at {spoken_level(line.levels[index])}"
