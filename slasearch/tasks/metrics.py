"""Scores of a classification task, by scikit-learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from slasearch.errors import TaskError
from slasearch.registry import METRICS

__all__ = ["score"]


def score(metric: str, labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """The score of `predictions` (n label numbers) against `labels` (n label numbers).

    Args:
        metric: `accuracy`; `macro_f1`, the mean F1 of the classes that occur; or `mcc`, Matthews' correlation.
        labels: The truth.
        predictions: What was predicted.

    Returns:
        From 0 to 1, `mcc` from -1 to 1 (0 if truth or prediction is constant).

    Raises:
        TaskError: The metric is unknown, or there is nothing to score.
    """
    truth, predicted = np.asarray(labels), np.asarray(predictions)
    if truth.size == 0 or truth.shape != predicted.shape:
        raise TaskError(
            f"score: expected as many predictions as labels, at least one, got {predicted.size} and {truth.size}."
        )
    if metric == "accuracy":
        return float(accuracy_score(truth, predicted))
    if metric == "macro_f1":
        return float(f1_score(truth, predicted, average="macro", zero_division=0))
    if metric == "mcc":
        return float(matthews_corrcoef(truth, predicted))
    raise TaskError(f"metric: expected one of {', '.join(METRICS)}, got {metric!r}.")
