"""The temperature of the mixture of tasks, from the spec of a trial to its batches."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest

from slasearch.records import (
    BackboneSpec,
    Example,
    GateSpec,
    PoolSpec,
    SeedPair,
    SizeSpec,
    TaskData,
    TaskSpec,
    TrainingSpec,
    TrialSpec,
)
from slasearch.trial.resources import Resources

SIZES = {"large": 90, "small": 10}
TRAINING = TrainingSpec(8, 1e-3, 1e-3, 0.0, "constant", steps=1)


def task(name: str, count: int) -> TaskData:
    examples = tuple(Example(f"{name}{number}", f"{name} text {number}", number % 2) for number in range(count))
    splits = {"train": examples, "gate": (), "validation": examples[:2], "test": examples[:2]}
    return TaskData(TaskSpec(name, "file:unused", max_tokens=8), ("a", "b"), splits)


@pytest.mark.parametrize(("temperature", "drawn"), [(1.0, (90, 10)), (2.0, (75, 25)), (1e9, (50, 50))])
def test_a_trials_epochs_draw_tasks_as_its_temperature_says(temperature: float, drawn: tuple[int, int]) -> None:
    tasks = [task(name, count) for name, count in SIZES.items()]
    spec = TrialSpec(
        study="s",
        backbone=BackboneSpec("bundled:minilm"),
        tasks=tuple(data.spec for data in tasks),
        pool=PoolSpec(("attn.q",), ("lora",), (1,)),
        gates=GateSpec("sigmoid", 0.05, 0.1, 0.9, 0.5),
        size=SizeSpec("penalty"),
        training=replace(TRAINING, task_temperature=temperature),
        train_conditions=(),
        measured=(),
        seeds=SeedPair(0, 0),
    )
    resources = Resources(tasks, cache=None, device="cpu")
    data = resources.training(tasks, ("train",), resources.backbone(spec.backbone), spec)
    assert data.batches_per_epoch == 13
    batches = itertools.islice(data, data.batches_per_epoch)
    counts = Counter(int(number) for batch, _ in batches for number in batch.task_index)
    assert (counts[0], counts[1]) == drawn
