"""Levels that begin at 0 and are then spaced by factors stand apart on the axis, in print and on the page."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from slasearch.analysis.curves import Curve, CurvePoint, Scale, Series
from slasearch.analysis.intervals import t_interval
from slasearch.report.figures.curves import CurveGrid, draw_grid, grid_panels, place_of, zero_apart
from slasearch.report.style import series_marks

LAMBDAS = (0.0, 0.1, 0.3, 1.0, 3.0, 5.0, 10.0)


def curve(levels: Sequence[float], scale: Scale = "linear") -> Curve:
    values = ((0.8, 0.82, 0.81), (0.7, 0.72, 0.71))
    points = tuple(
        CurvePoint(level, t_interval(values[i % 2]), values[i % 2], (1, 2, 3)) for i, level in enumerate(levels)
    )
    return Curve("size_control.sparsity_weight", "score", scale, (Series("mean", points),), 3 * len(levels), 0, "m")


def grid(item: Curve) -> CurveGrid:
    return CurveGrid((item,), ("",), ("Sparsity weight",), "Score", series_marks([]), (), "note", ("mean",))


def test_factors_of_a_field_that_may_be_0_are_equal_steps_and_0_is_one_more() -> None:
    item = curve(LAMBDAS)
    assert zero_apart(item)
    places = [place_of(item, level) for level in LAMBDAS]
    assert places[1:] == pytest.approx([-1, -0.523, 0, 0.477, 0.699, 1], abs=1e-3)
    assert places[1] - places[0] == pytest.approx(2 / 5)
    (axes,) = draw_grid(grid(item)).axes[:1]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["0", "0.1", "0.3", "1", "3", "10"]  # 5 has no room
    (panel,) = grid_panels(grid(item))
    assert list(panel.figure.layout.xaxis.tickvals) == pytest.approx(places)
    assert list(panel.figure.layout.xaxis.ticktext) == ["0", "0.1", "0.3", "1", "3", "5", "10"]
    assert list(panel.figure.data[-1].x) == pytest.approx(places)


@pytest.mark.parametrize(
    "levels", [(0.0, 0.05, 0.1, 0.15, 0.2, 0.3), (0.0, 0.1, 10.0), (0.1, 0.3, 1.0, 10.0), tuple(range(50))]
)
def test_other_levels_stand_where_they_are(levels: tuple[float, ...]) -> None:
    item = curve(levels)
    assert not zero_apart(item)
    assert [place_of(item, level) for level in levels] == list(levels)


def test_a_logarithmic_field_keeps_its_own_axis() -> None:
    item = curve((0.01, 0.1, 1.0, 10.0), "log")
    assert not zero_apart(item)
    (axes,) = draw_grid(grid(item)).axes[:1]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01", "0.1", "1", "10"]
