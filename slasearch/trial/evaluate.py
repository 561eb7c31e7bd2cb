"""Scores a model on splits, clean and under conditions, and reads the objectives off the scores.

Conditions are measured once, at the end: a trial that is pruned on the way never pays for them. Those that come to the
end are all measured under the same grid on the same examples, in the search on a part of the validation split if the
study says so. A race over conditions (`slasearch.search.race`) may stop a trial between two conditions; those that
complete have been measured under all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn

from slasearch.records import CLEAN_SAMPLE, ConditionSpec, MetricRow, Split, Structure, TaskSpec, TrialSpec
from slasearch.tasks.metrics import score
from slasearch.tasks.predictions import packed
from slasearch.tasks.sample import standard_error
from slasearch.trial.data import EvaluationData
from slasearch.trial.model import TaskModel

__all__ = ["evaluate", "evaluate_at_the_end", "mean_score", "robustness"]


def evaluate_at_the_end(
    model: TaskModel,
    data: EvaluationData,
    sample: EvaluationData | None,
    spec: TrialSpec,
    gates: torch.Tensor | Structure | None,
) -> Iterator[list[MetricRow]]:
    """All of a trial's splits: clean first, then under each measured condition, one at a time.

    In a race the highest levels of all kinds come first, which tell trials apart best.

    Args:
        model: Backbone, pool and heads.
        data: All examples.
        sample: The same with that part of the validation split on which conditions are measured; None: all of it.
        spec: The trial.
        gates: As for `evaluate`.
    """
    measured = _hardest_first(spec.measured) if spec.race else spec.measured
    for split in spec.splits:
        yield evaluate(model, data, spec.tasks, split, [None], gates)
        if sample is None or split != "validation":
            for condition in measured:
                yield evaluate(model, data, spec.tasks, split, [condition], gates)
        else:
            for one in (None, *measured):
                yield evaluate(model, sample, spec.tasks, split, [one], gates, sampled=True)


def _hardest_first(conditions: Sequence[ConditionSpec]) -> list[ConditionSpec]:
    """The highest level of each kind, then the second highest of each, and so on."""
    levels: dict[str, list[float]] = {}
    for condition in conditions:
        levels.setdefault(condition.kind, []).append(condition.level)
    ranks = {kind: sorted(found, reverse=True) for kind, found in levels.items()}
    return sorted(conditions, key=lambda condition: ranks[condition.kind].index(condition.level))


def evaluate(
    model: TaskModel,
    data: EvaluationData,
    tasks: Sequence[TaskSpec],
    split: Split,
    conditions: Iterable[ConditionSpec | None],
    gates: torch.Tensor | Structure | None,
    *,
    step: int | None = None,
    sampled: bool = False,
) -> list[MetricRow]:
    """Each task's own metric under each condition (None: clean), and on clean inputs the loss too.

    On the test split each score holds the labels and predictions that it was computed from.

    Args:
        model: Backbone, pool and heads.
        data: Where the batches come from.
        tasks: The tasks in the order of their numbers.
        split: What is scored.
        conditions: What it is scored under.
        gates: z of each (task, slot), a structure's paths, or None for all slots open.
        step: Optimiser step for a report in mid-training; None at the end.
        sampled: The data hold a sample of the split: the clean score is told apart from that of the whole split, and
            scores have their standard errors.
    """
    rows = []
    for condition in conditions:
        for number, task in enumerate(tasks):
            labels, logits = data.logits(model, number, split, condition, gates)
            kind, level = ("clean", 0.0) if condition is None else (condition.kind, condition.level)
            truth, predicted = labels.numpy(), logits.argmax(1).numpy()
            value, error = score(task.metric, truth, predicted), None
            if sampled:
                kind = CLEAN_SAMPLE if condition is None else kind
                error = standard_error(task.metric, truth, predicted)
            kept = (packed(truth), packed(predicted)) if split == "test" else ()
            rows.append(MetricRow(task.name, split, kind, level, task.metric, value, step, len(truth), error, *kept))
            if condition is None and not sampled:
                loss = float(nn.functional.cross_entropy(logits, labels))
                rows.append(MetricRow(task.name, split, kind, level, "loss", loss, step, len(truth)))
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

    Where conditions were measured on a sample of the split, so was the clean score that they are compared with.

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
    clean = _clean(rows, split)
    return noisy / clean if clean > 0 else float("nan")


def _clean(rows: Sequence[MetricRow], split: Split) -> float:
    """The clean score on the examples on which conditions were measured."""
    told_apart = any(row.condition == CLEAN_SAMPLE and row.split == split for row in rows)
    return mean_score(rows, split, CLEAN_SAMPLE if told_apart else "clean")


def _mean_area(rows: Sequence[MetricRow], split: Split, conditions: Sequence[ConditionSpec]) -> float:
    """∫ score d(level / highest measured level) from 0 to 1 by trapezoids, the clean score at 0; mean over kinds.

    It has the scale of the score, weights levels by how far they lie apart, and is the clean score where nothing drops.
    """
    areas = []
    for kind in dict.fromkeys(condition.kind for condition in conditions):
        levels = sorted(condition.level for condition in conditions if condition.kind == kind)
        scores = [_clean(rows, split), *(mean_score(rows, split, kind, level) for level in levels)]
        areas.append(np.trapezoid(scores, np.array([0.0, *levels]) / levels[-1]))
    return float(np.mean(areas))
