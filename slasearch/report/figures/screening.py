"""Morris screening: how much each field moves a response, and how unevenly; what lies at the origin does nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from slasearch.analysis.morris import ONE_WAY, MorrisScreening
from slasearch.report.figures._base import LegendItem, Panel, ReportFigure, note
from slasearch.report.figures._fields import SPOKEN
from slasearch.report.figures._screening_plot import (
    RESTS,
    WAYS,
    ScreeningPlot,
    draw_screening,
    screening_panel,
    screening_plot,
    ways_of,
)
from slasearch.report.labels import percent, short_factor
from slasearch.report.results import Results

__all__ = ["figures", "screening_table"]


def figures(results: Results) -> list[ReportFigure]:
    """One figure with a panel for each response; none without a screening."""
    found = results.screenings
    if not found:
        return []
    plots = tuple(screening_plot(item) for item in found)
    text = note(
        "bars: 95 % bootstrap intervals of μ*",
        "; ".join(dict.fromkeys(f"{item.trajectories} trajectories, {item.n} trials" for item in found)),
        *dict.fromkeys(item.method for item in found),
        *dict.fromkeys(warning for item in found for warning in item.warnings),
        f"raises, lowers: |μ| is at least {percent(ONE_WAY)} of μ*",
        f"at the origin: μ* and σ below {percent(RESTS)} of the largest" * any(plot.resting for plot in plots),
        max(plot.across.note for plot in plots),
        "design: " + results.counts_of("design").text(),
    )
    return [
        ReportFigure(
            name="screening",
            section="sensitivity",
            title="Which fields do anything",
            caption="Right: a change over the field's range moves the response more. Above the dashed line σ = μ* the "
            "effect depends on the other fields, or bends; at the origin a field does nothing.",
            note=text,
            alt="Morris screening. " + " ".join(_spoken(plot) for plot in plots),
            table=screening_table(found),
            draw=lambda: draw_screening(plots, text),
            panels=lambda: tuple(Panel(plot.title, screening_panel(plot)) for plot in plots),
            legend=tuple(LegendItem(way, *WAYS[way], line=False) for way in ways_of(plots)),
        )
    ]


def screening_table(found: Sequence[MorrisScreening]) -> pd.DataFrame:
    """Tidy: one row for each response and field."""
    rows = [
        (item.response, one.field, one.mu_star, one.low, one.high, one.mu, one.sigma, item.trajectories, item.n)
        for item in found
        for one in item.effects
    ]
    columns = ["response", "field", "mu_star", "low", "high", "mu", "sigma", "trajectories", "n"]
    return pd.DataFrame(rows, columns=columns)


def _spoken(plot: ScreeningPlot) -> str:
    """`Score: sparsity weight λ 0.12 (lowers, σ 0.05), …`: the largest effects, then what the rest reach at most."""
    parts = [
        f"{short_factor(one.field)} {one.mu_star:.3g} ({WAYS[one.way][0]}, σ {one.sigma:.3g})"
        for one in plot.effects[:SPOKEN]
    ]
    rest = plot.effects[SPOKEN:]
    if rest:
        parts.append(f"{len(rest)} more with at most {rest[0].mu_star:.3g}")
    return f"{plot.title}, mean size of effects: {', '.join(parts)}."
