"""Where the arms of a performance drop stand: rows by condition, axes in percent, shared by print and screen."""

from __future__ import annotations

from collections.abc import Sequence

from slasearch.analysis.drops import Drop, PerformanceDrops
from slasearch.analysis.intervals import Estimate
from slasearch.report.figures._base import MANY, AxisRange, axis_range
from slasearch.report.labels import condition_label

__all__ = [
    "DIFFERENCE", "RATE", "crowded", "difference_range", "in_percent", "place_of", "rate_range", "row_labels",
    "rows_height", "told_apart",
]  # fmt: skip

RATE = "Drop (% of the clean score)"
DIFFERENCE = "Searched structures minus control (percentage points)"


def crowded(item: PerformanceDrops) -> bool:
    """Whether there are so many arms that controls have no bars."""
    return len(item.roles) > MANY + 1


def in_percent(estimate: Estimate) -> tuple[float, float | None, float | None]:
    """Mean and ends in percent."""
    low, high = (None if end is None else 100 * end for end in (estimate.low, estimate.high))
    return 100 * estimate.mean, low, high


def rate_range(drops: Sequence[Drop]) -> AxisRange:
    """The axis of rates, in percent; it holds 0."""
    found = [in_percent(drop.rate) for drop in drops if drop.rate.n]
    return axis_range([0.0, *(mean for mean, _, _ in found)], [end for _, *ends in found for end in ends])


def difference_range(drops: Sequence[Drop]) -> AxisRange:
    """The axis of differences, in percentage points; it holds 0."""
    found = [in_percent(drop.difference) for drop in drops if drop.difference and drop.difference.n]
    return axis_range([0.0, *(mean for mean, _, _ in found)], [end for _, *ends in found for end in ends])


def _shift(item: PerformanceDrops, role: str) -> float:
    """Where in its row an arm stands: below each other, in the order of the study file."""
    return (item.roles.index(role) - (len(item.roles) - 1) / 2) * 0.76 / len(item.roles)


def row_labels(item: PerformanceDrops) -> list[str]:
    """`typos 0.2` for each row."""
    return [f"{condition_label(kind)} {level:g}" for kind, level in item.conditions]


def rows_height(item: PerformanceDrops) -> float:
    """Height of all rows in inches."""
    row = min(0.95, 0.075 * len(item.roles)) if crowded(item) else max(0.34, 0.115 * len(item.roles))
    return len(item.conditions) * row


def place_of(item: PerformanceDrops, drop: Drop) -> float:
    """Where a drop stands on the vertical axis, whose rows are 1 high."""
    return item.conditions.index((drop.condition, drop.level)) + _shift(item, drop.role)


def told_apart(drop: Drop) -> bool:
    """Whether the winner is told apart from this control here."""
    return drop.verdict in ("better", "worse")
