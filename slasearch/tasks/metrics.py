"""Scores of a classification task: built-in ones by scikit-learn, and a user's own. Higher is better, always."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from slasearch.errors import RegistryError, TaskError
from slasearch.registry import METRICS

__all__ = ["metric_places", "register_metric", "register_places", "score"]

F = TypeVar("F", bound=Callable[..., Any])

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LOSS = "loss"
"""What trials store beside every metric."""


def register_metric(name: str) -> Callable[[F], F]:
    """Decorator that makes a function known as the metric `name`, so that a study's tasks can be scored by it.

    The function takes the true and the predicted label numbers, two numpy arrays of n whole numbers, and returns a
    number. Higher must be better: every search maximises it. It has to stand at the top level of a module that workers
    can import. Registering the same function again changes nothing.

        @slasearch.register_metric("recall_of_spam")
        def recall_of_spam(labels, predictions):
            return (predictions[labels == 1] == 1).mean()

    Raises:
        RegistryError: The name is taken or none, or workers could not import the function.
    """
    if _NAME.fullmatch(name) is None or name == _LOSS:
        raise RegistryError(
            f"metric {name!r}: expected a name of lower-case letters, digits and _ (at most 40), other than "
            f"{_LOSS}, got {name!r}."
        )

    def register(function: F) -> F:
        place = _place(name, function)
        if metric_places().get(name) != place:
            METRICS.register(name, function, module=function.__module__)
        return function

    return register


def _place(name: str, function: Any) -> str:
    """Where workers find a function, as `module:function`."""
    module, own = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if callable(function) and module and own.isidentifier() and module != "__main__":
        return f"{module}:{own}"
    got = "one in the script that is run" if module == "__main__" else f"{function!r:.80}"
    raise RegistryError(
        f"metric {name!r}: expected a function at the top level of a module that workers can import, got {got}. "
        "Define it with `def` in a file of its own and import that."
    )


def metric_places() -> dict[str, str]:
    """Where the registered metrics that are not built in stand, as `module:function` by name."""
    return {name: _place(name, function) for name, function in METRICS.added().items()}


def register_places(places: Mapping[str, str]) -> None:
    """Registers, in another process, what `metric_places` gave in the first."""
    for name, place in places.items():
        module, _, function = place.partition(":")
        register_metric(name)(getattr(importlib.import_module(module), function))


def score(metric: str, labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """The score of `predictions` (n label numbers) against `labels` (n label numbers).

    Args:
        metric: `accuracy`; `macro_f1`, the mean F1 of the classes that occur; `mcc`, Matthews' correlation; or the name
            of a registered one.
        labels: The truth.
        predictions: What was predicted.

    Returns:
        From 0 to 1, `mcc` from -1 to 1 (0 if truth or prediction is constant); a user's own: any finite number.

    Raises:
        TaskError: There is nothing to score, or a user's own metric gives no finite number.
        RegistryError: The metric is unknown.
    """
    truth, predicted = np.asarray(labels), np.asarray(predictions)
    if truth.size == 0 or truth.shape != predicted.shape:
        raise TaskError(
            f"score: expected as many predictions as labels, at least one, got {predicted.size} and {truth.size}."
        )
    found = METRICS.get(metric)(truth, predicted)
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise TaskError(f"metric {metric!r}: expected a finite number, got {found!r:.60}. Mend the function.")
    return value


# ---------------------------------------------------------------- built in


@register_metric("accuracy")
def accuracy(labels: npt.NDArray[np.int64], predictions: npt.NDArray[np.int64]) -> float:
    """The share of labels that were predicted."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, predictions))


@register_metric("macro_f1")
def macro_f1(labels: npt.NDArray[np.int64], predictions: npt.NDArray[np.int64]) -> float:
    """The mean F1 of the classes that occur."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="macro", zero_division=0))


@register_metric("mcc")
def mcc(labels: npt.NDArray[np.int64], predictions: npt.NDArray[np.int64]) -> float:
    """Matthews' correlation, from -1 to 1; 0 if labels or predictions are constant."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))
