"""A part of a split, the same for everybody, and how far a score on it may be off.

    SE = √((n−1)/n · Σ_i (θ_(i) − θ̄)²)        jackknife: θ_(i) is the score without example i, θ̄ the mean of all n

Examples with the same label and the same prediction have the same θ_(i), so there is one term for each such pair. For
accuracy it is the binomial √(p·(1−p)/(n−1)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from slasearch.records import Split, TaskData
from slasearch.tasks.splits import stratified_order

__all__ = ["left_out", "sampled", "standard_error"]

Numbers = npt.NDArray[np.float64]


def sampled(task: TaskData, split: Split, share: float) -> TaskData:
    """The task with a share of one split's examples: ⌈share·n⌉ of them, labels in proportion, by the task's own seed.

    A smaller share takes a part of what a larger one takes.
    """
    examples = task.splits[split]
    count = math.ceil(share * len(examples) - 1e-9)
    chosen = tuple(stratified_order(examples, task.spec.seed, "conditions")[:count])
    return replace(task, splits={**task.splits, split: chosen})


def standard_error(metric: str, labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float | None:
    """The standard error of a score over the examples that it was measured on, in the score's own unit.

    Takes what `left_out` takes, and is None where that is.
    """
    values = left_out(metric, labels, predictions)
    if values is None:
        return None
    n = len(values)
    return math.sqrt((n - 1) / n * float(((values - values.mean()) ** 2).sum()))


def left_out(metric: str, labels: npt.ArrayLike, predictions: npt.ArrayLike) -> Numbers | None:
    """θ_(i), the score without example i, for each of the n examples (`n`).

    Args:
        metric: Name of a built-in metric; of others nothing is known.
        labels: n label numbers.
        predictions: n label numbers.

    Returns:
        None for other metrics, and for fewer than two examples.
    """
    pairs = np.stack([np.asarray(labels), np.asarray(predictions)])
    formula = _FORMULAS.get(metric)
    if formula is None or pairs.shape[1] < 2:
        return None
    cells, places, counts = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
    classes, codes = np.unique(cells, return_inverse=True)
    truth, predicted = codes.reshape(cells.shape)
    one = np.eye(len(classes))
    right = (truth == predicted)[:, None]
    hits, true, said = (
        (counts[:, None] * part).sum(0) - part for part in (one[truth] * right, one[truth], one[predicted])
    )
    return formula(hits, true, said)[places.reshape(-1)]


# Each takes for m confusion matrices of k classes, all `m x k`: right predictions, labels and predictions of a class.


def _accuracy(hits: Numbers, true: Numbers, said: Numbers) -> Numbers:
    return np.asarray(hits.sum(1) / true.sum(1))


def _macro_f1(hits: Numbers, true: Numbers, said: Numbers) -> Numbers:
    occurs = true + said > 0
    scores = 2 * hits / np.where(occurs, true + said, 1)
    return np.asarray(scores.sum(1) / occurs.sum(1))


def _mcc(hits: Numbers, true: Numbers, said: Numbers) -> Numbers:
    n = true.sum(1)
    above = hits.sum(1) * n - (true * said).sum(1)
    below = np.sqrt((n**2 - (said**2).sum(1)) * (n**2 - (true**2).sum(1)))
    return np.asarray(np.where(below > 0, above / np.where(below > 0, below, 1), 0.0))


_FORMULAS: Mapping[str, Callable[[Numbers, Numbers, Numbers], Numbers]] = {
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    "mcc": _mcc,
}
