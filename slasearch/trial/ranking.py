"""Ranks the slots of a gated pool on held-out batches, for finalisation under a budget.

    saliency   Σ|w·∂L_t/∂w| over the slot's weights, divided by their number        (first order, per parameter)
    ablation   S(all) − S(all without s) + S(s alone),  S = −cross entropy          (ALoRA, arXiv 2403.16187)

Both are taken for each task on its own examples, with the gates at their values, and slots are compared by their place
among their task's: losses of different tasks have different scales [ours]. ALoRA's S is a score; the cross
entropy tells more apart on few examples [ours].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Literal

import torch
from torch import Tensor, nn

from slasearch.adapters.pool import Pool
from slasearch.tasks.batches import Batch
from slasearch.trial.data import TrainingData
from slasearch.trial.model import TaskModel
from slasearch.trial.noise import EmbeddingNoise

__all__ = ["first_order", "rank_slots", "within_tasks"]

Batches = Sequence[tuple[Batch, EmbeddingNoise | None]]
Lower = Callable[[Batch], tuple[int, Tensor] | None]
"""What the frozen layers below the pool give for a batch, where that is known."""


def rank_slots(
    model: TaskModel, gates: Tensor, alive: Tensor, data: TrainingData, how: Literal["saliency", "ablation"]
) -> Tensor:
    """The worth of each slot to each task, larger is better, on the CPU.

    Args:
        model: The gated model.
        gates: z, `T x S`.
        alive: `T x S` of bool: which gates may still be open; the others rank −∞.
        data: Held-out examples, of which one epoch is taken.
        how: `saliency` costs a forward and backward pass a task; `ablation` two forward passes a slot whose z is not 0.

    Returns:
        `T x S`.
    """
    rank = _saliency if how == "saliency" else _ablation
    count = data.batches_per_epoch
    worth = rank(model, gates, list(islice(data, count)), partial(data.lower, model, steps_left=count))
    return within_tasks(worth, alive.cpu())


def within_tasks(worth: Tensor, alive: Tensor) -> Tensor:
    """Each slot's place among its task's, from 0 (the least worth) to 1: losses of tasks have scales of their own.

    Of equals the earlier slot has the higher place, as `adapters.budget.by_strength` takes them.

    Args:
        worth: `T x S`, larger is better.
        alive: `T x S` of bool: which gates may still be open.

    Returns:
        `T x S`, −∞ where closed for good.
    """
    backwards = worth.masked_fill(~alive, -torch.inf).flip(1)
    places = backwards.argsort(dim=1, stable=True).argsort(dim=1).flip(1)
    closed = (~alive).sum(dim=1, keepdim=True)
    last = (alive.sum(dim=1, keepdim=True) - 1).clamp(min=1)
    return ((places - closed) / last).masked_fill(~alive, -torch.inf)


def _saliency(model: TaskModel, gates: Tensor, batches: Batches, lower: Lower) -> Tensor:
    pool = model.pool
    worth = torch.zeros(len(pool.tasks), len(pool.candidates))
    for task in range(len(pool.tasks)):
        pool.zero_grad(set_to_none=True)
        only = [float(task == number) for number in range(len(pool.tasks))]
        for batch, noise in batches:
            examples = int((batch.task_index == task).sum())
            if examples:  # the loss is a mean over them, and batches have unlike numbers of them
                loss = model.loss(batch, only, gates, noise, lower(batch))
                (examples * loss).backward()  # type: ignore[no-untyped-call]
        columns = [column for column, slot in enumerate(pool.candidates) if slot in pool.present]
        costs = torch.tensor([float(pool.costs[slot].parameters) for slot in pool.slots])
        worth[task, columns] = first_order(pool).cpu() / costs
    pool.zero_grad(set_to_none=True)
    for head in model.heads.values():
        head.zero_grad(set_to_none=True)
    return worth


def first_order(pool: Pool) -> Tensor:
    """Σ|w·∂L/∂w| over the weights of each slot that is there, in their order, on the pool's device.

    Weights without a gradient count nothing. All slots are taken together: one after the other they would be hundreds
    of small operations a step.
    """
    modules = [(row, module) for row, slot in enumerate(pool.slots) for module in pool.modules_of(slot)]
    weights = [(row, weight) for row, module in modules for weight in module.parameters()]
    found = [(row, weight.detach(), weight.grad) for row, weight in weights if weight.grad is not None]
    worth = torch.zeros(len(pool.slots), device=weights[0][1].device)
    if not found:
        return worth
    changes = torch._foreach_mul([weight for _, weight, _ in found], [grad for _, _, grad in found])
    sums = torch.stack(torch._foreach_norm(changes, 1))
    rows = torch.tensor([row for row, _, _ in found]).to(worth.device, non_blocking=True)
    return worth.index_add_(0, rows, sums)


def _ablation(model: TaskModel, gates: Tensor, batches: Batches, lower: Lower) -> Tensor:
    losses = partial(_losses, model, batches=batches, lower=lower)
    everything, nothing = losses(gates), losses(torch.zeros_like(gates))
    worth = (-nothing).unsqueeze(1).repeat(1, gates.shape[1])  # of a slot whose z is 0
    for column, slot in enumerate(model.pool.candidates):
        if slot in model.pool.present and bool(gates[:, column].any()):
            alone, without = torch.zeros_like(gates), gates.clone()
            alone[:, column] = gates[:, column]
            without[:, column] = 0
            worth[:, column] = losses(without) - everything - losses(alone)
    return worth


def _losses(model: TaskModel, gates: Tensor, batches: Batches, lower: Lower) -> Tensor:
    """Mean cross entropy of each task over the batches, `T` on the CPU."""
    total, count = torch.zeros(len(model.tasks)), torch.zeros(len(model.tasks))
    for batch, noise in batches:
        below = lower(batch)
        with torch.inference_mode():
            for number, rows, logits in model.forward(batch, gates, noise, lower=below):
                labels = batch.labels.to(logits.device)[rows]
                total[number] += nn.functional.cross_entropy(logits, labels, reduction="sum").cpu()
                count[number] += len(rows)
    return total / count.clamp(min=1)
