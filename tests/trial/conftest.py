"""Trials of two small real tasks on the real bundled backbone; one takes about two seconds."""

import dataclasses
from collections.abc import Callable

import pytest
from word_tasks import make_tasks

from slasearch.records import (
    BackboneSpec,
    ConditionSpec,
    GateSpec,
    PoolSpec,
    Progress,
    SeedPair,
    SizeSpec,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)
from slasearch.trial.run import TrialWorker


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
