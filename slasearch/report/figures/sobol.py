"""Sobol indices as bars with intervals: what each field explains alone, what with others, and which pairs do."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import pandas as pd

from slasearch.analysis.sobol import Index, PairIndex, SobolIndices
from slasearch.report.figures._base import AxisRange, ReportFigure, note
from slasearch.report.figures._fields import SPOKEN, response_title
from slasearch.report.figures._share_bars import (
    Bar,
    BarSeries,
    ShareBars,
    draw_shares,
    share_legend,
    share_panels,
    share_range,
)
from slasearch.report.labels import percent, short_factor
from slasearch.report.results import Results
from slasearch.report.style import BLUE, GREEN, ORANGE, Mark

__all__ = ["figures", "pair_table", "sobol_table"]

K = TypeVar("K", bound=Hashable)

_ALONE, _TOGETHER, _PAIR = Mark(BLUE, "s", "square"), Mark(ORANGE, "s", "square"), Mark(GREEN, "s", "square")
_X_LABEL = "Share of variance"
_MOST_PAIRS = 12
"""Pairs that are drawn; the table has all of them."""


def figures(results: Results) -> list[ReportFigure]:
    """One figure with a panel for each response, and one of pairs where there are any; none without indices."""
    found = results.sobol
    if not found:
        return []
    counts = "design: " + results.counts_of("design").text()
    return [_fields(found, counts), *([_pairs(found, counts)] if any(item.second for item in found) else [])]


def _fields(found: tuple[SobolIndices, ...], counts: str) -> ReportFigure:
    names = _largest_first([(index.field, index.estimate) for item in found for index in item.total])
    first = tuple(_in_order(names, {one.field: _bar(one) for one in item.first}) for item in found)
    total = tuple(_in_order(names, {one.field: _bar(one) for one in item.total}) for item in found)
    series = (BarSeries("first", "S1: alone", _ALONE, first), BarSeries("total", "ST: with others", _TOGETHER, total))
    chart = _chart(found, tuple(short_factor(name) for name in names), series, counts)
    caption = (
        "Share of the response's variance that a field explains alone (S1) and with all its interactions (ST); ST well "
        "above S1: the field acts together with others."
    )
    return ReportFigure(
        name="sobol",
        section="sensitivity",
        title="Which fields matter",
        caption=" ".join(filter(None, [caption, _on_pairs(found)])),
        note=chart.note,
        alt="Sobol indices. " + " ".join(_spoken(item) for item in found),
        table=sobol_table(found),
        draw=lambda: draw_shares(chart),
        panels=lambda: share_panels(chart),
        legend=share_legend(chart),
    )


def _pairs(found: tuple[SobolIndices, ...], counts: str) -> ReportFigure:
    answered = tuple(item for item in found if item.second)
    ordered = _largest_first([(pair.fields, pair.estimate) for item in answered for pair in item.second])
    names = ordered[:_MOST_PAIRS]
    bars = tuple(_in_order(names, {pair.fields: _bar(pair) for pair in item.second}) for item in answered)
    chosen = f"the {len(names)} largest of {len(ordered)} pairs; the table has all" if len(names) < len(ordered) else ""
    rows = tuple(_pair(fields) for fields in names)
    chart = _chart(answered, rows, (BarSeries("second", "S2: two together", _PAIR, bars),), counts, chosen)
    return ReportFigure(
        name="sobol_pairs",
        section="sensitivity",
        title="Which fields act together",
        caption="Share of the response's variance that two fields explain together, beyond what each explains alone.",
        note=chart.note,
        alt="Second order Sobol indices. " + " ".join(_spoken_pairs(item) for item in answered),
        table=pair_table(answered),
        draw=lambda: draw_shares(chart),
        panels=lambda: share_panels(chart),
        legend=share_legend(chart),
    )


def _chart(
    found: Sequence[SobolIndices], rows: tuple[str, ...], series: tuple[BarSeries, ...], counts: str, chosen: str = ""
) -> ShareBars:
    shown = share_range(series)
    return ShareBars(
        titles=tuple(response_title(item.response) for item in found),
        rows=rows,
        series=series,
        x_label=_X_LABEL,
        shown=shown,
        note=_note(found, shown, counts, chosen),
    )


def _note(found: Sequence[SobolIndices], shown: AxisRange, counts: str, chosen: str) -> str:
    return note(
        chosen,
        "; ".join(_basis(item) for item in found),
        *dict.fromkeys(item.method for item in found),
        *dict.fromkeys(warning for item in found for warning in item.warnings),
        shown.note,
        counts,
    )


def _basis(item: SobolIndices) -> str:
    """`score: n = 128, surrogate R² 0.91`: from what the indices come, and how far it can be trusted."""
    trusted = f"surrogate R²\u00a0{item.r2:.2f}" if item.r2 is not None else "from the trials themselves"
    return f"{response_title(item.response).lower()}: n\u00a0=\u00a0{item.n}, {trusted}"


def sobol_table(found: Sequence[SobolIndices]) -> pd.DataFrame:
    """Tidy: one row for each response and field."""
    rows = [
        (item.response, first.field, first.estimate, first.low, first.high, total.estimate, total.low, total.high,
         item.n, item.source, item.r2)
        for item in found
        for first, total in zip(item.first, item.total, strict=True)
    ]  # fmt: skip
    columns = [
        "response", "field", "first", "first_low", "first_high", "total", "total_low", "total_high", "n", "source", "r2"
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).astype({"r2": "float64"})


def pair_table(found: Sequence[SobolIndices]) -> pd.DataFrame:
    """Tidy: one row for each response and pair of fields."""
    rows = [
        (item.response, *pair.fields, pair.estimate, pair.low, pair.high, item.n, item.source, item.r2)
        for item in found
        for pair in item.second
    ]
    columns = ["response", "field", "other_field", "second", "low", "high", "n", "source", "r2"]
    return pd.DataFrame(rows, columns=columns).astype({"r2": "float64"})


def _largest_first(estimates: Sequence[tuple[K, float]]) -> list[K]:
    """Each name once, by its largest estimate."""
    largest: dict[K, float] = {}
    for name, estimate in estimates:
        largest[name] = max(estimate, largest.get(name, estimate))
    return sorted(largest, key=lambda name: -largest[name])


def _bar(index: Index | PairIndex) -> Bar:
    return Bar(index.estimate, index.low, index.high)


def _in_order(names: Sequence[K], bars: Mapping[K, Bar]) -> tuple[Bar | None, ...]:
    return tuple(bars.get(name) for name in names)


def _pair(fields: tuple[str, str]) -> str:
    return f"{short_factor(fields[0])} × {short_factor(fields[1])}"


def _on_pairs(found: Sequence[SobolIndices]) -> str:
    """A sentence on each response's strongest pair; only pairs whose interval lies above 0 are named."""
    strongest = [(item, max(item.second, key=lambda pair: pair.estimate)) for item in found if item.second]
    named = [
        f"{_pair(pair.fields)}, {_share(pair.estimate)} of {response_title(item.response).lower()}"
        for item, pair in strongest
        if pair.low > 0
    ]
    if strongest and not named:
        return "No pair is told apart from 0."
    return f"Strongest pair: {'; '.join(named)}." if named else ""


def _share(value: float) -> str:
    """`12 %`, `−3 %`; what rounds to nothing has no sign."""
    return percent(value).replace("-0 %", "0 %").replace("-", "−")


def _spoken(item: SobolIndices) -> str:
    """`Score: sparsity weight λ 31 % alone, 56 % with others; …`: the largest, then what the rest reach at most."""
    alone = {index.field: index for index in item.first}
    ordered = sorted(item.total, key=lambda index: -index.estimate)
    parts = [
        f"{short_factor(index.field)} {_share(alone[index.field].estimate)} alone, {_share(index.estimate)} with others"
        for index in ordered[:SPOKEN]
    ]
    rest = ordered[SPOKEN:]
    if rest:
        parts.append(f"{len(rest)} more with at most {_share(rest[0].estimate)}")
    together = sum(index.estimate for index in item.first)
    return f"{response_title(item.response)}: {'; '.join(parts)}; all alone {_share(together)}."


def _spoken_pairs(item: SobolIndices) -> str:
    ordered: list[PairIndex] = sorted(item.second, key=lambda pair: -pair.estimate)
    parts = [
        f"{_pair(pair.fields)} {_share(pair.estimate)} ({_share(pair.low)} to {_share(pair.high)})"
        for pair in ordered[:SPOKEN]
    ]
    if len(ordered) > SPOKEN:
        parts.append(f"{len(ordered) - SPOKEN} more with at most {_share(ordered[SPOKEN].estimate)}")
    return f"{response_title(item.response)}: {'; '.join(parts)}."
