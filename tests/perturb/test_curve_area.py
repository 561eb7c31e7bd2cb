"""The area under the curve of score against level."""

import pytest

from slasearch.records import ConditionSpec, MetricRow
from slasearch.trial.evaluate import robustness

CONDITIONS = [ConditionSpec("typos", level, "eval") for level in (0.4, 0.1)] + [ConditionSpec("neftune", 15.0, "eval")]


def area(
    clean: float, typos: dict[float, float], neftune: float, conditions: list[ConditionSpec] = CONDITIONS
) -> float:
    rows = [MetricRow("t", "validation", "clean", 0.0, "accuracy", clean)]
    rows += [MetricRow("t", "validation", "typos", level, "accuracy", value) for level, value in typos.items()]
    rows += [MetricRow("t", "validation", "neftune", 15.0, "accuracy", neftune)]
    rows += [MetricRow("t", "test", row.condition, row.level, "accuracy", 0.0) for row in rows]
    return robustness(rows, "validation", conditions or CONDITIONS, "curve_area")


def test_trapezoids_over_the_share_of_the_highest_level_and_the_mean_over_kinds() -> None:
    typos = 0.25 * (0.9 + 0.7) / 2 + 0.75 * (0.7 + 0.5) / 2
    assert area(0.9, {0.1: 0.7, 0.4: 0.5}, 0.6) == pytest.approx((typos + (0.9 + 0.6) / 2) / 2)


def test_a_score_that_does_not_drop_has_its_own_size_as_area() -> None:
    assert area(0.8, {0.1: 0.8, 0.4: 0.8}, 0.8) == pytest.approx(0.8)


def test_a_kind_counts_once_however_many_levels_it_has() -> None:
    one_level = [condition for condition in CONDITIONS if condition.level != 0.1]
    assert area(0.9, {0.1: 0.7, 0.4: 0.5}, 0.9, one_level) == pytest.approx((0.7 + 0.9) / 2)


def test_tasks_are_averaged_before_the_area_is_taken() -> None:
    rows = [
        MetricRow(task, "validation", kind, level, "accuracy", value)
        for task, values in {"a": (1.0, 0.8), "b": (0.6, 0.2)}.items()
        for (kind, level), value in zip([("clean", 0.0), ("typos", 0.4)], values, strict=True)
    ]
    assert robustness(rows, "validation", CONDITIONS[:1], "curve_area") == pytest.approx((0.8 + 0.5) / 2)
