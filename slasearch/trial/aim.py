"""Where modules look at their start: along the gradient, in place of a direction drawn at random.

    G = ∂L/∂W of the host's weight, d_out x d_in, over some examples;   A ← the leading right singular vectors of G

With B = 0 the first step moves B along G·Aᵀ, and of all A of its rank this one keeps most of G (the start of LoRA-GA,
Wang et al. 2024, arXiv 2407.05000, which moves B and W as well). A head of random weights asks for nothing in
particular, so gradients are taken under a provisional one: ridge regression of the labels on what the frozen backbone
makes of the same examples. G itself is never made: its rows are mixed at random as they come (Halko, Martinsson and
Tropp 2011, arXiv 0909.4061), 64 mixtures a task, so that the cost is that of a few training steps and memory is
`64·d_in` numbers for each host and task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from slasearch.adapters.attach import input_of
from slasearch.adapters.sites import Host, hidden_states, hosts_of
from slasearch.records import Slot
from slasearch.registry import KINDS
from slasearch.tasks.batches import Batch
from slasearch.trial.data import TrainingData
from slasearch.trial.model import TaskModel
from slasearch.trial.noise import EmbeddingNoise

__all__ = ["aim"]

_EXAMPLES = 512
"""Of each task; in batches as they are trained on."""
_MIXTURES = 64

Place = tuple[int, str]
Batches = Sequence[tuple[Batch, EmbeddingNoise | None]]


def aim(
    model: TaskModel,
    data: TrainingData,
    *,
    weights: Sequence[float],
    steps: int,
    uses: Callable[[str, Slot], bool],
    generator: torch.Generator,
) -> None:
    """Turns the input projections of fresh modules along the gradient; their norms stay.

    Modules of one place take one singular vector after the other, in the order of their slots. Kinds without an input
    projection stay as they are, and so do projections at places that the loss does not reach. Heads are as before.

    Args:
        model: Its modules are at their start, where they change nothing.
        data: What will be trained on.
        weights: Weight of each task's loss.
        steps: Steps that are still to come.
        uses: Whether a task may use a slot: only the gradients of those that do count.
        generator: Source of the mixtures, on the CPU.
    """
    slots = [slot for slot in model.pool.slots if KINDS.get(slot.kind).aimable]
    count = min(-(-_EXAMPLES * len(model.tasks) // data.batch_size), data.batches_per_epoch)
    batches = list(islice(data.batches(), count if slots else 0))
    lower = partial(data.lower, model, steps_left=steps)
    with _provisional_heads(model, batches, lower), _mixing(model, slots, generator) as mixtures:
        for batch, noise in batches:
            mixtures.task_index = batch.task_index
            model.loss(batch, weights, None, noise, lower(batch)).backward()  # type: ignore[no-untyped-call]
    model.pool.zero_grad(set_to_none=True)
    for place in dict.fromkeys((slot.layer, slot.site) for slot in slots):
        _turn(model, place, [slot for slot in slots if (slot.layer, slot.site) == place], mixtures, uses)


# ---------------------------------------------------------------- a head that asks for something


@contextmanager
def _provisional_heads(
    model: TaskModel, batches: Batches, lower: Callable[[Batch], tuple[int, Tensor] | None]
) -> Iterator[None]:
    """Ridge regression of the labels in place of the heads; the ridge is the vectors' mean variance."""
    heads = model.heads
    vectors: dict[int, list[Tensor]] = {}
    labels: dict[int, list[Tensor]] = {}
    try:
        model.heads = {task: nn.Identity() for task in heads}  # type: ignore[misc]
        with torch.no_grad():
            for batch, noise in batches:
                for number, rows, found in model.forward(batch, None, noise, lower=lower(batch)):
                    vectors.setdefault(number, []).append(found)
                    labels.setdefault(number, []).append(batch.labels.to(found.device)[rows])
        model.heads = dict(heads)
        for number in vectors:
            task = model.tasks[number]
            model.heads[task] = _ridge(torch.cat(vectors[number]), torch.cat(labels[number]), heads[task].out_features)
        yield
    finally:
        model.heads = heads


def _ridge(vectors: Tensor, labels: Tensor, classes: int) -> nn.Linear:
    """`vectors`: `m x d`; `labels`: `m`. At the vectors' mean its logits are those of the labels' frequencies."""
    x, y = vectors.double(), nn.functional.one_hot(labels, classes).double()
    mean = x.mean(0)
    x = x - mean
    covariance = x.T @ x / len(x)
    ridge = covariance.diagonal().mean().clamp(min=1e-12) * torch.eye(x.shape[1]).to(covariance)
    weight = torch.linalg.solve(covariance + ridge, x.T @ (y - y.mean(0)) / len(x)).T
    shares = (y.sum(0) + 1) / (len(y) + classes)
    head = nn.Linear(vectors.shape[1], classes, device=vectors.device)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(shares.log() - weight @ mean)
    return head.requires_grad_(False)


# ---------------------------------------------------------------- what it asks for, host by host


class _Mixtures:
    """GᵀΩ of each host and task, `d_in x 64`, with Ω of independent normal numbers."""

    def __init__(self) -> None:
        self.task_index = torch.zeros(0, dtype=torch.int64)
        self.sums: dict[tuple[Place, int, int], Tensor] = {}
        self._random: dict[tuple[Place, int, int], Tensor] = {}

    def watch(self, place: Place, part: int, host: Host, d_out: int, tasks: int, generator: torch.Generator) -> Any:
        """A forward hook on the host, behind the pool's: adds what the backward pass brings."""
        for task in range(tasks):
            self._random[place, part, task] = torch.randn(d_out, _MIXTURES, generator=generator)

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            x, y = input_of(args, kwargs).detach(), hidden_states(output)
            present = sorted(set(self.task_index.tolist()))

            def add(gradient: Tensor) -> None:
                gradient = gradient[..., host.start : host.stop]
                for task in present:
                    rows = (self.task_index == task).nonzero().flatten().to(x.device)
                    random = self._random[place, part, task].to(x.device)
                    mixed = gradient[rows].float().flatten(0, -2) @ random
                    found = x[rows].float().flatten(0, -2).T @ mixed
                    key = (place, part, task)
                    self.sums[key] = self.sums[key] + found if key in self.sums else found

            y.register_hook(add)  # type: ignore[no-untyped-call]

        return hook


@contextmanager
def _mixing(model: TaskModel, slots: Sequence[Slot], generator: torch.Generator) -> Iterator[_Mixtures]:
    mixtures, handles = _Mixtures(), []
    try:
        for place in dict.fromkeys((slot.layer, slot.site) for slot in slots):
            shapes = model.backbone.shapes.hosts[place[1]]
            for part, host in enumerate(hosts_of(model.backbone.model, *place)):
                hook = mixtures.watch(place, part, host, shapes[part].d_out, len(model.tasks), generator)
                handles.append(host.module.register_forward_hook(hook, with_kwargs=True))
        yield mixtures
    finally:
        for handle in handles:
            handle.remove()


def _turn(
    model: TaskModel, place: Place, slots: Sequence[Slot], mixtures: _Mixtures, uses: Callable[[str, Slot], bool]
) -> None:
    """Gives the modules of one place their directions; modules that the same tasks use share them out."""
    by_users: dict[tuple[int, ...], list[Slot]] = {}
    for slot in slots:
        users = tuple(number for number, task in enumerate(model.tasks) if uses(task, slot))
        by_users.setdefault(users, []).append(slot)
    for users, mine in by_users.items():
        for part in range(len(model.backbone.shapes.hosts[place[1]])):
            sums = [mixtures.sums[place, part, task] for task in users if (place, part, task) in mixtures.sums]
            mixed = torch.cat(sums, 1) if sums else torch.zeros(0, 0)
            scale = float(mixed.abs().max()) if mixed.numel() else 0.0
            if not 0 < scale < math.inf:
                continue
            directions = iter(torch.linalg.svd(mixed / scale, full_matrices=False).U.T)
            with torch.no_grad():
                for slot in mine:
                    projection = model.pool.modules_of(slot)[part].get_parameter("down")
                    for row, direction in zip(projection, directions, strict=False):
                        row.copy_(direction * row.norm())
