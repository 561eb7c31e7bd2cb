"""Modules that start along the gradient, on the real bundled backbone."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from word_tasks import make_tasks

from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.adapters.sites import hosts_of
from slasearch.records import (
    FinalisationSpec,
    PoolSpec,
    SizeSpec,
    Slot,
    Structure,
    TaskData,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)
from slasearch.trial.aim import aim
from slasearch.trial.data import TrainingData
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.run import TrialWorker
from slasearch.trial.seeds import generator

Spec = Callable[..., TrialSpec]
Finish = Callable[..., TrialReport]
POOL = PoolSpec(("attn.v", "ffn.out"), ("lora", "bias"), (2,), layers=(4, 5), start="gradient")


@contextmanager
def model_of(
    worker: TrialWorker, spec: TrialSpec, slots: Sequence[Slot], tasks: Sequence[TaskData]
) -> Iterator[tuple[TaskModel, TrainingData]]:
    resources = worker.resources
    backbone = resources.backbone(spec.backbone)
    names = [task.spec.name for task in tasks]
    pool = Pool(slots, backbone.shapes.hosts, names, generator=generator(0, "modules"))
    heads = make_heads(
        {task.spec.name: len(task.labels) for task in tasks}, backbone.shapes.hidden, generator=generator(0, "heads")
    )
    data = resources.training(tasks, ("train",), backbone, spec)
    with TaskModel(backbone, pool, heads) as model:
        yield model, data


def everyone(task: str, slot: Slot) -> bool:
    return True


def aimed(
    model: TaskModel, data: TrainingData, weights: Sequence[float], uses: Callable[[str, Slot], bool] = everyone
) -> None:
    aim(model, data, weights=weights, steps=10, uses=uses, generator=generator(0, "directions"))


def downs(model: TaskModel) -> dict[Slot, Tensor]:
    pool = model.pool
    return {
        slot: pool.modules_of(slot)[0].get_parameter("down").detach().clone()
        for slot in pool.slots
        if slot.kind == "lora"
    }


def full_gradient(model: TaskModel, data: TrainingData, place: tuple[int, str], task: int) -> Tensor:
    """∂L/∂W of a host on one task's examples, under scikit-learn's ridge regression of its labels."""
    batches = [batch for (batch, _), _ in zip(data, range(data.batches_per_epoch), strict=False)]
    weight = hosts_of(model.backbone.model, *place)[0].module.weight
    assert isinstance(weight, nn.Parameter)
    heads, model.heads = model.heads, dict.fromkeys(model.heads, nn.Identity())  # type: ignore[arg-type]
    weight.requires_grad_()
    parts = [
        (found, batch.labels[rows], len(batch.labels))
        for batch in batches
        for number, rows, found in model.forward(batch)
        if number == task
    ]
    model.heads = heads
    vectors, labels = torch.cat([found for found, _, _ in parts]).detach(), torch.cat([own for _, own, _ in parts])
    one_hot = nn.functional.one_hot(labels).double()
    ridge = Ridge(alpha=float(vectors.double().var(0, unbiased=False).mean()) * len(vectors))
    fitted = torch.from_numpy(ridge.fit(vectors.double().numpy(), one_hot.numpy()).coef_).float()
    shares = torch.log((one_hot.sum(0) + 1) / (len(labels) + one_hot.shape[1])).float()
    losses = [
        nn.functional.cross_entropy((found - vectors.mean(0)) @ fitted.T + shares, own, reduction="sum") / size
        for found, own, size in parts
    ]
    (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), [weight])
    weight.requires_grad_(False)
    return gradient


def leading(gradient: Tensor, count: int) -> Tensor:
    return torch.linalg.svd(gradient).Vh[:count]


def share_of(gradient: Tensor, down: Tensor) -> float:
    """How much of ‖G‖² passes the directions, 1 being what the best directions of this number let pass."""
    rows = nn.functional.normalize(down, dim=1)
    best = leading(gradient, len(down))
    return float((gradient @ rows.T).square().sum() / (gradient @ best.T).square().sum())


def test_modules_start_along_the_leading_directions_of_their_hosts_gradient(
    worker: TrialWorker, make_spec: Spec
) -> None:
    tasks = make_tasks()[:1]
    slots = candidate_slots(POOL, layers=6)
    with model_of(worker, make_spec(), slots, tasks) as (model, data):
        before, heads = downs(model), {task: head.weight.detach().clone() for task, head in model.heads.items()}
        gradients = {slot: full_gradient(model, data, (slot.layer, slot.site), 0) for slot in before}
        aimed(model, data, [1.0])
        for slot, down in downs(model).items():
            torch.testing.assert_close(down.norm(dim=1), before[slot].norm(dim=1))
            torch.testing.assert_close(down @ down.T, torch.diag(down.norm(dim=1) ** 2), atol=1e-5, rtol=0)
            assert share_of(gradients[slot], down) > 0.98
            assert share_of(gradients[slot], before[slot]) < 0.1
        assert all(torch.equal(model.heads[task].weight, weight) for task, weight in heads.items())
        others = [
            w
            for slot in model.pool.slots
            for m in model.pool.modules_of(slot)
            for n, w in m.named_parameters()
            if n != "down"
        ]
        assert not any(weight.any() for weight in others), "only input projections move"
        assert all(weight.grad is None for weight in model.pool.parameters())


def test_modules_of_one_place_share_the_directions_out(worker: TrialWorker, make_spec: Spec) -> None:
    pool = dataclasses.replace(POOL, sites=("attn.v",), kinds=("lora",), ranks=(3,), layers=(5,), gating="rank")
    with model_of(worker, make_spec(), candidate_slots(pool, layers=6), make_tasks()[:1]) as (model, data):
        gradient = full_gradient(model, data, (5, "attn.v"), 0)
        aimed(model, data, [1.0])
        found = torch.cat(list(downs(model).values()))
    assert found.shape[0] == 3
    assert share_of(gradient, found) > 0.98
    assert share_of(gradient, found[:1]) > 0.95, "the first one has the first direction"


def test_the_gradients_of_the_tasks_that_use_a_module_count(worker: TrialWorker, make_spec: Spec) -> None:
    """Of one task alone its own, of both what lies in the rows of either: they must not cancel out."""
    tasks = make_tasks()
    slots = tuple(Slot(5, "attn.v", "lora", 1, index) for index in range(3))

    def uses(task: str, slot: Slot) -> bool:
        return slot.index == 2 or task == ("things", "mood")[slot.index]

    with model_of(worker, make_spec(), slots, tasks) as (model, data):
        own = [full_gradient(model, data, (5, "attn.v"), number) for number in (0, 1)]
        aimed(model, data, [1.0, 1.0], uses)
        found = downs(model)
    gradients = (*own, torch.cat(own))
    shares = [share_of(gradient, found[slot]) for gradient, slot in zip(gradients, slots, strict=True)]
    assert min(shares) > 0.95
    assert share_of(gradients[0], found[slots[1]]) < shares[0] - 0.05, "the other task looks elsewhere"


def test_what_starts_along_the_gradient_is_the_studys_choice_and_loras_own(make_spec: Spec, finish: Finish) -> None:
    def adapter(start: str, control: str | None) -> dict[str, bytes]:
        pool = dataclasses.replace(POOL, start=start)
        spec = make_spec(pool=pool, training=TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=4), measured=())
        report = finish(dataclasses.replace(spec, control=control, control_size=6000))
        assert report.state == "complete", report.traceback
        assert report.artifact is not None
        return dict(report.artifact)

    for control in (None, "random", "all_open"):
        assert adapter("random", control) != adapter("gradient", control), control
    assert adapter("random", "lora") == adapter("gradient", "lora") != adapter("random", "lora_gradient")
    assert adapter("random", "lora_gradient") == adapter("gradient", "lora_gradient")


@pytest.mark.parametrize("finish_by", ["retrain", "progressive"])
def test_fresh_modules_of_a_structure_start_along_the_gradient_too(
    finish_by: str, make_spec: Spec, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Structure] = []

    def watched(model: TaskModel, *args: object, **kwargs: Any) -> None:
        uses, slots = kwargs["uses"], model.pool.slots
        seen.append(Structure(tuple((task, tuple(s for s in slots if uses(task, s))) for task in ("things", "mood"))))
        aim(model, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("slasearch.trial.course.aim", watched)
    spec = make_spec(
        pool=POOL,
        size=SizeSpec("budget", budget=3000),
        training=TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=10),
        finalisation=FinalisationSpec("gate", finish_by, 0.5),
        measured=(),
    )
    report = finish(spec)
    assert report.state == "complete", report.traceback
    used = {task: {row.slot for row in report.gates if row.open and row.task == task} for task in ("things", "mood")}
    found = [{task: set(structure.slots_of(task)) == used[task] for task in used} for structure in seen]
    assert found == [dict.fromkeys(used, same) for same in ([False, True] if finish_by == "retrain" else [False])]
