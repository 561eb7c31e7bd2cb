"""How long one example takes through a trained model, as its exported adapter would serve it on this machine.

The finalised modules stay modules, attached to the frozen backbone, as `Predictor`, `load_adapter` and PEFT run them.
Merged into the weights they would cost nothing, and every structure would have the backbone's own latency.
"""

from __future__ import annotations

import statistics
from time import perf_counter

import torch
from torch import Tensor

from slasearch.records import Structure
from slasearch.tasks.batches import Batch
from slasearch.trial.data import EvaluationData
from slasearch.trial.model import TaskModel

__all__ = ["forward_seconds", "latency"]

TEXTS = 9
"""Validation texts of each task that are timed."""
_WARM_UP, _ROUNDS, _SECONDS = 3, 5, 0.5


def latency(model: TaskModel, data: EvaluationData, structure: Structure) -> float:
    """Milliseconds of a forward pass over one example: of each task the median over passes, then the mean over tasks.

    Each task's texts are the same for every trial, from short to long. They are passed once or more, up to five times
    within about half a second for all tasks, after passes that do not count.

    Args:
        model: The finalised model; its modules are attached anew, as those of an export are.
        data: Where the validation texts come from.
        structure: The tasks' paths.
    """
    model.swap(model.pool, model.heads)  # in training hooks stand where slots have closed, too
    with torch.inference_mode():
        return statistics.fmean(
            1000 * _median_seconds(model, data.singles(number, "validation", TEXTS), structure)
            for number in range(len(model.tasks))
        )


def _median_seconds(model: TaskModel, texts: list[Batch], structure: Structure) -> float:
    for batch in (texts * _WARM_UP)[:_WARM_UP]:
        forward_seconds(model, batch, structure)
    seconds: list[float] = []
    until = perf_counter() + _SECONDS / len(model.tasks)
    for _ in range(_ROUNDS):
        seconds += [forward_seconds(model, batch, structure) for batch in texts]
        if perf_counter() > until:
            break
    return statistics.median(seconds)


def forward_seconds(model: TaskModel, batch: Batch, gates: Tensor | Structure | None) -> float:
    """Wall time of one forward pass (s), the device's own work included; `gates` as for `TaskModel.forward`."""
    device = model.backbone.device
    _wait(device)
    started = perf_counter()
    model.forward(batch, gates)
    _wait(device)
    return perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
