"""Shares of variance as bars with intervals: what each searched field does alone over the trials at hand (fANOVA)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from slasearch.analysis.fanova import Fanova
from slasearch.report.figures._base import AxisRange, ReportFigure, note
from slasearch.report.figures._fields import SPOKEN, response_title
from slasearch.report.figures._share_bars import (
    Bar,
    BarSeries,
    ShareBars,
    draw_shares,
    share_legend,
    share_panels,
)
from slasearch.report.labels import percent, short_factor
from slasearch.report.results import Results
from slasearch.report.style import BLUE, Mark

__all__ = ["figures", "shares_table"]

_ALONE = Mark(BLUE, "s", "square")
_WHOLE = AxisRange(0.0, 1.0, cut=False)
"""Shares and the ends of their intervals lie in it."""


def figures(results: Results) -> list[ReportFigure]:
    """One figure with a panel for each response; none with too few trials."""
    found = results.shares
    if not found:
        return []
    chart = _chart(found, "search: " + results.counts_of("design", "optimise").text())
    return [
        ReportFigure(
            name="variance_shares",
            section="importance",
            title="What moves the response at all (fANOVA)",
            caption="Share of variance over the whole ranges that each field explains alone, among good trials and "
            "bad: not what leads to the best.",
            note=chart.note,
            alt="Shares of variance. " + " ".join(_spoken(item) for item in found),
            table=shares_table(found),
            draw=lambda: draw_shares(chart),
            panels=lambda: share_panels(chart),
            legend=share_legend(chart),
        )
    ]


def shares_table(found: Sequence[Fanova]) -> pd.DataFrame:
    """Tidy: one row for each response and field."""
    rows = [
        (item.response, index.field, index.estimate, index.low, index.high, item.n, item.r2)
        for item in found
        for index in item.fields
    ]
    return pd.DataFrame(rows, columns=["response", "field", "share", "low", "high", "n", "r2"])


def _chart(found: Sequence[Fanova], counts: str) -> ShareBars:
    largest: dict[str, float] = {}
    for index in (index for item in found for index in item.fields):
        largest[index.field] = max(index.estimate, largest.get(index.field, 0.0))
    names = sorted(largest, key=lambda name: -largest[name])
    by_name = [{index.field: Bar(index.estimate, index.low, index.high) for index in item.fields} for item in found]
    bars = tuple(tuple(one.get(name) for name in names) for one in by_name)
    series = (BarSeries("alone", "alone", _ALONE, bars),)
    return ShareBars(
        titles=tuple(response_title(item.response) for item in found),
        rows=tuple(short_factor(name) for name in names),
        series=series,
        x_label="Share of variance",
        shown=_WHOLE,
        note=note(
            "; ".join(_basis(item) for item in found),
            "what the shares leave to 1 are interactions, and noise that the forest took for such",
            *dict.fromkeys(clause for item in found for clause in item.method.split("; ")),
            *_cautions(found),
            counts,
        ),
    )


def _basis(item: Fanova) -> str:
    """`score: n = 300, forest R² 0.91`: from what the shares come, and how far they can be trusted."""
    return f"{response_title(item.response).lower()}: n\u00a0=\u00a0{item.n}, forest R²\u00a0{item.r2:.2f}"


def _cautions(found: Sequence[Fanova]) -> Iterator[str]:
    """Every warning once; one that does not hold for all responses says for which."""
    for warning in dict.fromkeys(warning for item in found for warning in item.warnings):
        holding = [response_title(item.response).lower() for item in found if warning in item.warnings]
        yield warning if len(holding) == len(found) else f"{' and '.join(holding)}: {warning}"


def _spoken(item: Fanova) -> str:
    """`Score: sparsity weight λ 31 % (25 % to 38 %); …`: the largest, then what the rest reach at most."""
    ordered = sorted(item.fields, key=lambda index: -index.estimate)
    parts = [
        f"{short_factor(index.field)} {percent(index.estimate)} ({percent(index.low)} to {percent(index.high)})"
        for index in ordered[:SPOKEN]
    ]
    rest = ordered[SPOKEN:]
    if rest:
        parts.append(f"{len(rest)} more with at most {percent(rest[0].estimate)}")
    together = sum(index.estimate for index in item.fields)
    return f"{response_title(item.response)}: {'; '.join(parts)}; all alone {percent(together)}."
