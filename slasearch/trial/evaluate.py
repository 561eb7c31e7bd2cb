"""Scores a model on splits, clean and under conditions, and reads the objectives off the scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn

from slasearch.records import ConditionSpec, MetricRow, Split, Structure, TaskSpec
from slasearch.tasks.metrics import score
from slasearch.trial.data import EvaluationData
from slasearch.trial.model import TaskModel

__all__ = ["evaluate", "mean_score", "robustness"]


def evaluate(
    model: TaskModel,
    data: EvaluationData,
    tasks: Sequence[TaskSpec],
    split: Split,
    conditions: Iterable[ConditionSpec | None],
    gates: torch.Tensor | Structure | None,
    *,
    step: int | None = None,
) -> list[MetricRow]:
    """Each task's own metric under each condition (None: clean), and on clean inputs the loss too.

    Args:
        model: Backbone, pool and heads.
        data: Where the batches come from.
        tasks: The tasks in the order of their numbers.
        split: What is scored.
        conditions: What it is scored under.
        gates: z of each (task, slot), a structure's paths, or None for all slots open.
        step: Optimiser step for a report in mid-training; None at the end.
    """
    rows = []
    for condition in conditions:
        for number, task in enumerate(tasks):
            labels, logits = data.logits(model, number, split, condition, gates)
            kind, level = ("clean", 0.0) if condition is None else (condition.kind, condition.level)
            value = score(task.metric, labels.numpy(), logits.argmax(1).numpy())
            rows.append(MetricRow(task.name, split, kind, level, task.metric, value, step))
            if condition is None:
                loss = float(nn.functional.cross_entropy(logits, labels))
                rows.append(MetricRow(task.name, split, kind, level, "loss", loss, step))
    return rows


def mean_score(rows: Iterable[MetricRow], split: Split, condition: str = "clean", level: float = 0.0) -> float:
    """Mean over tasks of each task's own metric under one condition."""
    values = [
        row.value
        for row in rows
        if row.split == split and row.condition == condition and row.level == level and row.metric != "loss"
    ]
    return float(np.mean(values))


def robustness(
    rows: Sequence[MetricRow],
    split: Split,
    conditions: Sequence[ConditionSpec],
    measure: Literal["noisy_score", "relative", "worst", "curve_area"],
) -> float:
    """One number for how well the score holds under the measured conditions.

    `noisy_score`: mean score over conditions and levels. `worst`: the lowest of them. `relative`: the mean divided by
    the clean score, which is 1 − PDR (performance drop rate); not a number where the clean score is not positive.
    `curve_area`: the mean over kinds of the area under the curve of score against level.

    Args:
        rows: What `evaluate` gave, clean rows included.
        split: Which rows count.
        conditions: The measured conditions, at least one.
        measure: Which number.
    """
    if measure == "curve_area":
        return _mean_area(rows, split, conditions)
    scores = [mean_score(rows, split, condition.kind, condition.level) for condition in conditions]
    if measure == "worst":
        return min(scores)
    noisy = float(np.mean(scores))
    if measure == "noisy_score":
        return noisy
    clean = mean_score(rows, split)
    return noisy / clean if clean > 0 else float("nan")


def _mean_area(rows: Sequence[MetricRow], split: Split, conditions: Sequence[ConditionSpec]) -> float:
    """∫ score d(level / highest measured level) from 0 to 1 by trapezoids, the clean score at 0; mean over kinds.

    It has the scale of the score, weights levels by how far they lie apart, and is the clean score where nothing drops.
    """
    areas = []
    for kind in dict.fromkeys(condition.kind for condition in conditions):
        levels = sorted(condition.level for condition in conditions if condition.kind == kind)
        scores = [mean_score(rows, split), *(mean_score(rows, split, kind, level) for level in levels)]
        areas.append(np.trapezoid(scores, np.array([0.0, *levels]) / levels[-1]))
    return float(np.mean(areas))
