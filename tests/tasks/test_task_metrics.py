"""Scores against values worked out by hand."""

from functools import partial
from unittest import TestCase

import numpy as np
import pytest

from slasearch.errors import RegistryError, TaskError
from slasearch.registry import METRICS, extension_modules
from slasearch.tasks.metrics import metric_places, register_metric, register_places, score

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


# ---------------------------------------------------------------- a user's own


@pytest.fixture
def registered(monkeypatch):
    """Whatever a test registers is forgotten after it."""
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    monkeypatch.setattr(METRICS, "extensions", set(METRICS.extensions))


def recall_of_one(labels, predictions):
    assert labels.dtype.kind == predictions.dtype.kind == "i"
    return (predictions[labels == 1] == 1).mean()


def nothing(labels, predictions):
    return None


def not_a_number(labels, predictions):
    return np.float64("nan")


def test_a_registered_metric_scores(registered):
    assert register_metric("recall")(recall_of_one) is recall_of_one
    assert score("recall", TRUTH, PREDICTED) == 0.5
    assert metric_places() == {"recall": f"{__name__}:recall_of_one"}
    assert __name__ in extension_modules()
    register_metric("recall")(recall_of_one)


def test_another_process_registers_the_same(registered):
    places = {"recall": f"{__name__}:recall_of_one"}
    register_places(places)
    register_places(places)
    assert score("recall", TRUTH, PREDICTED) == 0.5


@pytest.mark.parametrize("name", ["Recall", "", "a b", "loss", "x" * 41])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(RegistryError, match="expected a name of lower-case letters"):
        register_metric(name)


def test_a_name_stands_for_one_function(registered):
    register_metric("recall")(recall_of_one)
    with pytest.raises(RegistryError, match="metric 'recall': expected a new name"):
        register_metric("recall")(nothing)
    with pytest.raises(RegistryError, match="metric 'mcc': expected a new name"):
        register_metric("mcc")(nothing)


def test_what_workers_cannot_import_is_refused(registered, monkeypatch):
    def inner(labels, predictions):
        return 1.0

    message = "expected a function at the top level of a module that workers can import"
    for function in (lambda labels, predictions: 1.0, inner, partial(nothing), "accuracy", TestCase().assertEqual):
        with pytest.raises(RegistryError, match=message):
            register_metric("own")(function)
    monkeypatch.setattr(nothing, "__module__", "__main__")
    with pytest.raises(RegistryError, match="got one in the script that is run"):
        register_metric("own")(nothing)
    assert "own" not in METRICS.names()


@pytest.mark.parametrize(("function", "got"), [(nothing, "None"), (not_a_number, "nan")])
def test_a_metric_must_give_a_finite_number(registered, function, got):
    register_metric("own")(function)
    with pytest.raises(TaskError, match=rf"metric 'own': expected a finite number, got .*{got}"):
        score("own", TRUTH, PREDICTED)
