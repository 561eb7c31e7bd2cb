"""A trial that goes on from a checkpoint ends as if it had never been interrupted, to the last bit."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from slasearch.adapters.kinds._base import SlotContext
from slasearch.adapters.kinds.bottleneck import Bottleneck
from slasearch.records import (
    BackboneSpec,
    Checkpoint,
    CheckpointPlan,
    ConditionSpec,
    EarlyStopSpec,
    FinalisationSpec,
    GateSpec,
    PoolSpec,
    Progress,
    SizeSpec,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)
from slasearch.registry import KINDS
from slasearch.testing.tiny import save_tiny
from slasearch.trial.checkpoints import Checkpoints
from slasearch.trial.run import TrialWorker

Spec = Callable[..., TrialSpec]
STEPS = 12
TRAINING = TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=STEPS, reports=4)


class KilledError(BaseException):
    """Stands for SIGKILL: nothing in the code under test catches it."""


class DropoutBottleneck(Bottleneck):
    """A kind of a user's own, with dropout that draws from torch's own generator."""

    drawn: ClassVar[int] = 0

    def delta(self, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        if not torch.is_grad_enabled():
            return super().delta(x, y, context)
        DropoutBottleneck.drawn += 1
        return torch.nn.functional.dropout(super().delta(x, y, context), 0.3)

    @classmethod
    def combine(cls, modules: Any, coefficients: Any, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        parts = [module.delta(x, y, context) for module in modules]
        return sum((part if z is None else z * part for part, z in zip(parts, coefficients, strict=True)), y * 0)


@pytest.fixture(autouse=True)
def dropout_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = dataclasses.replace(KINDS.get("bottleneck"), name="dropout_bottleneck", module=DropoutBottleneck)
    monkeypatch.setitem(KINDS._entries, "dropout_bottleneck", entry)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BackboneSpec:
    """A random BERT of 2 layers of width 16."""
    return BackboneSpec(f"path:{save_tiny('bert', tmp_path_factory.mktemp('bert'))}")


@pytest.fixture
def make_spec(make_spec: Spec, tiny: BackboneSpec) -> Spec:
    """Specs on the tiny backbone, whose lower layer is frozen and reused."""
    pool = PoolSpec(("attn.v", "ffn.out"), ("lora", "bottleneck", "bias"), (2,), layers=(1,))
    return lambda **changes: make_spec(**{"backbone": tiny, "pool": pool, **changes})


def killed_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step leaves a checkpoint; right after that of `step` the process is gone."""
    save = Checkpoints.save

    def saving(checkpoints: Checkpoints, done: int, state: Any) -> Checkpoint | None:
        written = save(checkpoints, done, state)
        if done >= step:
            raise KilledError
        return written

    monkeypatch.setattr(Checkpoints, "save", saving)
    monkeypatch.setattr(Checkpoints, "discard", lambda checkpoints: None)


def items(running: Iterator[Progress | TrialReport]) -> list[Progress | TrialReport]:
    """All reports without wall times, checkpoints and what is told of them."""
    found: list[Progress | TrialReport] = []
    for item in running:
        if isinstance(item, Progress):
            found.append(dataclasses.replace(item, checkpoint=None))
        else:
            costs = tuple(cost for cost in item.costs if cost.unit != "s")
            events = tuple(event for event in item.events if not event.kind.startswith("checkpoint."))
            found.append(dataclasses.replace(item, costs=costs, events=events))
    return found


def interrupted(
    worker: TrialWorker, spec: TrialSpec, folder: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> CheckpointPlan:
    """A plan whose folder holds what a trial leaves that was killed after `step`."""
    plan = CheckpointPlan(str(folder), 0.0)
    with monkeypatch.context() as patched:
        killed_after(step, patched)
        with pytest.raises(KilledError):
            list(worker.run(spec, plan))
    return plan


NOISY_POOL = PoolSpec(("attn.v", "ffn.out"), ("lora", "dropout_bottleneck", "bias"), (2,), layers=(0, 1))
NOISY = {
    "pool": NOISY_POOL,
    "train_conditions": (
        ConditionSpec("token_dropout", 0.3, "train"),
        ConditionSpec("embedding_gaussian", 0.2, "train", scale=1.0),
    ),
    "training": TRAINING,
    "gates": GateSpec("hard_concrete", 0.3, 0.2, 0.9, 0.5, temperature=2 / 3),
}
"""Dropout of activations and of tokens, noise of gates and of embeddings, two tasks mixed; 2 of 7 gated steps warm."""

CASES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "dropout, mixed tasks": (NOISY, (1, 4, 6, 9)),
    "clean data with hidden states reused": ({"training": TRAINING}, (4, 9)),
    "words left out as in other trials": (
        {"training": TRAINING, "train_conditions": (ConditionSpec("word_drop", 0.3, "train"),), "recurring": True},
        (4, 9),
    ),
    "retrained": ({**NOISY, "finalisation": FinalisationSpec(finish="retrain")}, (9,)),
    "retrained along the gradient": (
        {
            **NOISY,
            "pool": dataclasses.replace(NOISY_POOL, start="gradient"),
            "finalisation": FinalisationSpec(finish="retrain"),
        },
        (4, 9),
    ),
    "progressive, saliency": (
        {
            "training": TRAINING,
            "size": SizeSpec("budget", budget=150),
            "gates": GateSpec("budget", 0.3, 0.2, 0.9, 0.5, temperature=0.5),
            "finalisation": FinalisationSpec("saliency", "progressive"),
        },
        (5, 10),
    ),
    "progressive, with slots dearer than the budget": (
        {
            "training": TRAINING,
            "size": SizeSpec("budget", budget=60),
            "gates": GateSpec("budget", 0.3, 0.2, 0.9, 0.5, temperature=0.5),
            "finalisation": FinalisationSpec("saliency", "progressive"),
        },
        (1, 3, 5),
    ),
    "penalty along a path": (
        {"training": TRAINING, "size": SizeSpec("penalty", 2.0, path=(0.5, 2.0)), "measured": ()},
        (5,),
    ),
    "independent tasks that may stop early": (
        {"training": dataclasses.replace(TRAINING, multitask="independent", early_stop=EarlyStopSpec(2, 0.0))},
        (4, 8),
    ),
    "a control": ({"training": TRAINING, "control": "lora", "control_size": 200}, (5,)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_trial_ends_as_an_uninterrupted_one(
    name: str, make_spec: Spec, worker: TrialWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, steps = CASES[name]
    spec = make_spec(**changes)
    torch.manual_seed(5)
    expected = items(worker.run(spec))
    assert isinstance(expected[-1], TrialReport)
    assert expected[-1].state == "complete", expected[-1].reason
    for step in steps:
        torch.manual_seed(5)
        plan = interrupted(worker, spec, tmp_path / str(step), step, monkeypatch)
        torch.manual_seed(99)
        resumed = list(worker.run(spec, dataclasses.replace(plan, minutes=60)))
        report = resumed[-1]
        assert isinstance(report, TrialReport)
        assert f"Went on from step {step}," in " ".join(event.message for event in report.events)
        assert items(iter(resumed)) == expected
        assert not Path(plan.folder).exists(), "expected a trial that has ended to leave no checkpoint"


def test_gates_that_learn_on_held_out_examples_go_on_too(
    make_spec: Spec, gate_worker: TrialWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(training=TRAINING)
    expected = items(gate_worker.run(spec))
    for step in (4, 9):
        plan = interrupted(gate_worker, spec, tmp_path / str(step), step, monkeypatch)
        assert items(gate_worker.run(spec, dataclasses.replace(plan, minutes=60))) == expected


def test_dropout_of_a_users_kind_was_drawn(make_spec: Spec, worker: TrialWorker) -> None:
    before = DropoutBottleneck.drawn
    torch.manual_seed(5)
    first = items(worker.run(make_spec(**NOISY)))
    assert DropoutBottleneck.drawn > before
    torch.manual_seed(6)
    assert items(worker.run(make_spec(**NOISY))) != first, "expected torch's own generator to play a part"


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    suffix: str, make_spec: Spec, worker: TrialWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(training=TRAINING)
    plan = interrupted(worker, spec, tmp_path / "checkpoints", 5, monkeypatch)
    names = sorted(path.name for path in Path(plan.folder).iterdir())
    assert names == [f"{step:09d}{end}" for step in (4, 5) for end in (".json", ".safetensors")]
    damage(Path(plan.folder) / f"{5:09d}{suffix}")
    *_, report = worker.run(spec, dataclasses.replace(plan, minutes=60))
    assert isinstance(report, TrialReport)
    told = {event.kind: event for event in report.events if event.kind.startswith("checkpoint.")}
    assert told.keys() == {"checkpoint.damaged", "checkpoint.resumed"}
    assert told["checkpoint.damaged"].level == "warning"
    assert "Went on from step 4," in told["checkpoint.resumed"].message
    assert items(iter([report])) == items(worker.run(spec))[-1:]


def test_what_does_not_match_the_stored_sum_or_another_trial_wrote_is_passed_over(
    make_spec: Spec, worker: TrialWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(training=TRAINING)
    plan = interrupted(worker, spec, tmp_path / "checkpoints", 5, monkeypatch)
    known = (Checkpoint(4, "0" * 64, "here"), Checkpoint(5, "0" * 64, "here"))
    stored = Checkpoints(dataclasses.replace(plan, known=known), spec)
    assert stored.newest() is None
    assert [event.kind for event in stored.events] == ["checkpoint.damaged"] * 2 + ["checkpoint.none"]
    other = Checkpoints(plan, make_spec(training=TRAINING, splits=("validation", "test")))
    assert other.newest() is None
    assert Checkpoints(plan, spec).newest() is not None
    others = {"slasearch.trial.checkpoints.code_digest": lambda: "0", "torch.__version__": "0.0.1"}
    for name, other_one in others.items():  # other code would take other steps from there on
        with monkeypatch.context() as patch:
            patch.setattr(name, other_one)
            assert Checkpoints(plan, spec).newest() is None


def test_those_passed_over_do_not_count_among_the_newest(
    make_spec: Spec, worker: TrialWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that begins again after an update of the code writes lower steps than what it has found."""
    spec = make_spec(training=TRAINING)
    plan = interrupted(worker, spec, tmp_path / "checkpoints", 5, monkeypatch)
    monkeypatch.setattr("slasearch.trial.checkpoints.code_digest", lambda: "of an update")
    again = Checkpoints(plan, spec)
    assert again.newest() is None
    for step in (1, 2, 3):
        assert again.save(step, {"step": step}) is not None
    assert Checkpoints(plan, spec).newest() == {"step": 3}
    kept = sorted({path.stem for path in Path(plan.folder).iterdir()})
    assert kept == [f"{step:09d}" for step in (2, 3)]


def test_on_another_node_a_trial_begins_again_and_says_so(make_spec: Spec, worker: TrialWorker, tmp_path: Path) -> None:
    spec = make_spec(training=TRAINING)
    plan = CheckpointPlan(str(tmp_path / "nothing here"), 60.0, (Checkpoint(5, "0" * 64, "node-7"),))
    *_, report = worker.run(spec, plan)
    assert isinstance(report, TrialReport)
    (told,) = (event for event in report.events if event.kind == "checkpoint.none")
    assert "Began again: an earlier attempt had come to step 5 on node-7" in told.message
    assert items(iter([report])) == items(worker.run(spec))[-1:]


def test_progress_names_the_newest_checkpoint_by_its_sum(make_spec: Spec, worker: TrialWorker, tmp_path: Path) -> None:
    running = worker.run(make_spec(training=TRAINING), CheckpointPlan(str(tmp_path / "checkpoints"), 0.0))
    progress = [next(running) for _ in range(2)][-1]
    assert isinstance(progress, Progress)
    assert progress.checkpoint is not None
    assert progress.checkpoint.step == progress.budget - 1
    content = json.loads((tmp_path / "checkpoints" / f"{progress.checkpoint.step:09d}.json").read_text())
    assert content["format"] == 1
    running.close()
    assert not (tmp_path / "checkpoints").exists()


def test_a_trial_without_memory_leaves_its_checkpoints_and_a_full_disk_costs_only_them(
    make_spec: Spec, worker: TrialWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(training=TRAINING)
    folder = tmp_path / "checkpoints"

    def full(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patched:
        patched.setattr("slasearch.trial.course.finalise", full)
        *_, report = worker.run(spec, CheckpointPlan(str(folder), 0.0))
    assert isinstance(report, TrialReport)
    assert report.out_of_memory
    assert folder.is_dir()
    shutil.rmtree(folder)
    folder.write_text("no folder")
    *_, report = worker.run(spec, CheckpointPlan(str(folder), 0.0))
    assert isinstance(report, TrialReport)
    assert report.state == "complete"
    assert {event.kind for event in report.events if event.level == "warning"} >= {"checkpoint.not_written"}


def test_a_signal_that_ends_the_process_leaves_checkpoints(
    make_spec: Spec, worker: TrialWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray turns SIGTERM into SystemExit, wherever the worker is: in a step, or between two."""

    def leaves(*args: object, **kwargs: object) -> None:
        raise SystemExit(1)

    spec, folder = make_spec(training=TRAINING), tmp_path / "checkpoints"
    with monkeypatch.context() as patched:
        patched.setattr("slasearch.trial.course.finalise", leaves)
        with pytest.raises(SystemExit):
            list(worker.run(spec, CheckpointPlan(str(folder), 0.0)))
    assert any(folder.iterdir())
    between = """
import sys
from slasearch.records import CheckpointPlan
from slasearch.trial import run
class Course:
    def __init__(self, *args):
        pass
    def run(self):
        yield "a report"
run.Course = Course
worker = object.__new__(run.TrialWorker)
worker.resources = None
reports = worker.run(None, CheckpointPlan(sys.argv[1], 0.0))
next(reports)
if sys.argv[2] == "closed":
    reports.close()
held = [reports]
held.append(held)  # a ring, as actors hold theirs: it goes at the very end, while modules are still whole
del reports, held
"""
    for how, left in (("ended", True), ("closed", False)):
        subprocess.run([sys.executable, "-c", between, str(folder), how], check=True, timeout=120)
        assert folder.exists() == left


def test_a_control_with_modules_of_its_own_begins_again(make_spec: Spec, worker: TrialWorker, tmp_path: Path) -> None:
    plan = CheckpointPlan(str(tmp_path / "checkpoints"), 0.0)
    running = worker.run(make_spec(training=TRAINING, control="adalora", control_size=400), plan)
    progress = next(running)
    assert isinstance(progress, Progress)
    assert progress.checkpoint is None
    running.close()
