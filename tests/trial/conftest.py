"""Two small real tasks on the real bundled backbone; a trial takes about two seconds."""

import dataclasses
from collections.abc import Callable

import pytest

from slasearch.records import (
    BackboneSpec,
    ConditionSpec,
    Example,
    GateSpec,
    PoolSpec,
    Progress,
    SeedPair,
    SizeSpec,
    TaskData,
    TaskSpec,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)
from slasearch.trial.run import TrialWorker

ANIMALS = ["cat", "dog", "horse", "cow", "sheep", "goat", "pig", "duck"]
TOOLS = ["hammer", "saw", "drill", "wrench", "pliers", "screwdriver", "chisel", "axe"]
GOOD = ["lovely", "great", "wonderful", "superb", "fine", "excellent", "splendid", "nice"]
BAD = ["awful", "terrible", "horrid", "poor", "nasty", "dreadful", "bad", "lousy"]


def _split(first: list[str], second: list[str], frame: str, pick: slice) -> tuple[Example, ...]:
    words = [(word, 0) for word in first[pick]] + [(word, 1) for word in second[pick]]
    return tuple(Example(f"{word}-{frame}", frame.format(word), label) for word, label in words)


def _task(name: str, first: list[str], second: list[str], labels: tuple[str, str], gate: bool) -> TaskData:
    frames = ["I saw a {} today.", "There was one {} over there by the door."]
    train = sum((_split(first, second, frame, slice(0, 4)) for frame in frames), ())
    splits = {
        "train": train,
        "gate": _split(first, second, frames[0], slice(4, 6)) if gate else (),
        "validation": _split(first, second, frames[1], slice(4, 8)),
        "test": _split(first, second, frames[0], slice(6, 8)),
    }
    return TaskData(TaskSpec(name, "file:unused", max_tokens=16), labels, splits)


def make_tasks(*, gate: bool = False) -> list[TaskData]:
    return [
        _task("things", ANIMALS, TOOLS, ("animal", "tool"), gate),
        _task("mood", GOOD, BAD, ("good", "bad"), gate),
    ]


@pytest.fixture(scope="session")
def worker() -> TrialWorker:
    return TrialWorker(make_tasks(), cache=None, threads=1, device="cpu")


@pytest.fixture(scope="session")
def gate_worker() -> TrialWorker:
    """The same tasks with a gate split."""
    return TrialWorker(make_tasks(gate=True), cache=None, threads=1, device="cpu")


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., TrialSpec]:
    base = TrialSpec(
        study="test",
        backbone=BackboneSpec("bundled:minilm"),
        tasks=tuple(task.spec for task in make_tasks()),
        pool=PoolSpec(("attn.v", "ffn.out"), ("lora", "bottleneck", "bias"), (2,), layers=(4, 5)),
        gates=GateSpec("hard_concrete", 0.3, 0.1, 0.9, 0.5, temperature=2 / 3),
        size=SizeSpec("penalty", sparsity_weight=1.0),
        training=TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=10, reports=2),
        train_conditions=(),
        measured=(ConditionSpec("typos", 0.5, "eval"), ConditionSpec("embedding_gaussian", 0.5, "eval", scale=1.0)),
        seeds=SeedPair(1, 2),
    )
    return lambda **changes: dataclasses.replace(base, **changes)


@pytest.fixture(scope="session")
def finish(worker: TrialWorker) -> Callable[..., TrialReport]:
    """Runs a trial to its report; on the session's worker unless another is given."""

    def run(spec: TrialSpec, by: TrialWorker | None = None) -> TrialReport:
        items = list((by or worker).run(spec))
        assert all(isinstance(item, Progress) for item in items[:-1])
        assert isinstance(items[-1], TrialReport)
        return items[-1]

    return run
