"""Scores against values worked out by hand."""

import numpy as np
import pytest

import slasearch.tasks
from slasearch.errors import RegistryError, TaskError
from slasearch.registry import METRICS
from slasearch.tasks import score

TRUTH = [0, 0, 0, 0, 1, 1, 2, 2]
PREDICTED = [0, 0, 0, 1, 1, 0, 2, 2]


def test_scores_by_hand():
    assert score("accuracy", TRUTH, PREDICTED) == pytest.approx(6 / 8)
    assert score("macro_f1", TRUTH, PREDICTED) == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    truth, predicted = np.array([1, 1, 1, 0, 0, 0]), np.array([1, 1, 0, 0, 0, 1])
    assert score("mcc", truth, predicted) == pytest.approx((2 * 2 - 1 * 1) / 9)


@pytest.mark.parametrize("metric", METRICS.names())
def test_every_metric_knows_perfect_and_constant(metric):
    assert score(metric, TRUTH, TRUTH) == 1.0
    constant = score(metric, TRUTH, [0] * 8)
    assert isinstance(constant, float)
    assert constant == pytest.approx({"accuracy": 0.5, "macro_f1": 2 / 9, "mcc": 0.0}[metric])


def test_nothing_to_score_and_unknown_metrics_are_refused():
    with pytest.raises(TaskError, match="at least one, got 0 and 0"):
        score("accuracy", [], [])
    with pytest.raises(TaskError, match="got 1 and 2"):
        score("accuracy", [0, 1], [0])
    with pytest.raises(RegistryError, match="metric: expected one of accuracy, macro_f1, mcc, got 'bleu'"):
        score("bleu", [0], [0])


def test_public_names_of_tasks_exist_and_others_do_not():
    for name in slasearch.tasks.__all__:
        assert getattr(slasearch.tasks, name).__module__.startswith("slasearch.tasks.")
    with pytest.raises(AttributeError, match="no attribute 'load_tasks'"):
        slasearch.tasks.load_tasks  # noqa: B018
