"""A frozen backbone with a pool attached and one head for each task: from a batch to logits and loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from slasearch.adapters.attach import attach
from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import hidden_states
from slasearch.records import Slot, Structure
from slasearch.tasks.batches import Batch, moved
from slasearch.trial.backbone import Backbone, pooled_places
from slasearch.trial.controls._base import Adaptation
from slasearch.trial.halves import run_between, run_lower, run_upper
from slasearch.trial.noise import EmbeddingNoise
from slasearch.trial.top import can_stand_alone, top_alone

__all__ = ["TaskModel", "make_heads"]


def make_heads(labels: Mapping[str, int], hidden: int, *, generator: torch.Generator) -> dict[str, nn.Linear]:
    """For each task a linear head, `labels x hidden`, with small normal weights and zero bias."""
    heads = {}
    for task, size in labels.items():
        head = nn.Linear(hidden, size)
        with torch.no_grad():
            head.weight.normal_(0.0, 0.02, generator=generator)
            head.bias.zero_()
        heads[task] = head
    return heads


class TaskModel:
    """Backbone, pool and heads as one; a context manager, after which the backbone is as it was.

    Args:
        backbone: Shared, frozen; its weights are never changed.
        pool: Modules to attach; replaced by `swap`.
        heads: For each task its head, in the order of the tasks' numbers.
        adaptation: A control's own method; `backbone` is then its private copy, and the pool is empty.
    """

    def __init__(
        self,
        backbone: Backbone,
        pool: Pool,
        heads: Mapping[str, nn.Linear],
        *,
        adaptation: Adaptation | None = None,
    ) -> None:
        self.backbone = backbone
        self.adaptation = adaptation
        self.tasks = tuple(heads)
        self._noise: EmbeddingNoise | None = None
        self._load(pool, heads)  # may refuse: no hook may stand before
        embeddings = backbone.model.get_input_embeddings()  # type: ignore[operator]
        self._noise_hook = embeddings.register_forward_hook(self._add_noise)

    def _load(self, pool: Pool, heads: Mapping[str, nn.Linear]) -> None:
        self.pool = pool.to(self.backbone.device)
        self.heads = {task: head.to(self.backbone.device) for task, head in heads.items()}
        self._attachment = attach(self.backbone.model, pool)

    def swap(self, pool: Pool, heads: Mapping[str, nn.Linear]) -> None:
        """Takes the present modules out and puts fresh ones in."""
        self._attachment.detach()
        self._load(pool, heads)

    def weights_by_kind(self) -> dict[str, list[nn.Parameter]]:
        """What is trained besides the heads, by adapter kind; of a control's own method by its own groups."""
        if self.adaptation is not None:
            return self.adaptation.weights()
        weights: dict[str, list[nn.Parameter]] = {}
        for slot in self.pool.slots:
            for module in self.pool.modules_of(slot):
                weights.setdefault(slot.kind, []).extend(module.parameters())
        return weights

    @property
    def rates(self) -> dict[str, float]:
        """Factors on the learning rate that a control's own method asks for, by the names of `weights_by_kind`."""
        return {} if self.adaptation is None else dict(self.adaptation.rates)

    def adapter_weights(self) -> dict[tuple[str, str], Tensor]:
        """What noise on weights falls on, by slot and name in the slot: everything but backbone and heads."""
        if self.adaptation is not None:
            groups = self.adaptation.weights().items()
            return {(group, str(place)): weight for group, found in groups for place, weight in enumerate(found)}
        return {
            (slot.name, f"{part}.{name}"): weight
            for slot in self.pool.slots
            for part, module in enumerate(self.pool.modules_of(slot))
            for name, weight in module.named_parameters()
        }

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of every module in the pool, by slot and part, and of the heads, by task."""
        parts = {f"{slot.name}/{number}": module for slot, number, module in self._parts()}
        modules = parts | {f"heads/{task}": head for task, head in self.heads.items()}
        return {name: dict(module.state_dict()) for name, module in modules.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Takes the tensors that `state_dict` gave of a model with the same slots and heads."""
        for slot, number, module in self._parts():
            module.load_state_dict(state[f"{slot.name}/{number}"])
        for task, head in self.heads.items():
            head.load_state_dict(state[f"heads/{task}"])

    def _parts(self) -> Iterator[tuple[Slot, int, nn.Module]]:
        for slot in self.pool.slots:
            for number, module in enumerate(self.pool.modules_of(slot)):
                yield slot, number, module

    def after_step(self, step: int, total: int) -> None:
        """Tells a control's own method that `step` of `total` optimiser steps are done."""
        if self.adaptation is not None:
            self.adaptation.after_step(step, total)

    @property
    def exported_parameters(self) -> int:
        """What an export holds without the heads."""
        return self.pool.parameter_count() if self.adaptation is None else self.adaptation.exported_parameters()

    def close(self) -> None:
        """Removes every hook from the backbone."""
        self._attachment.detach()
        self._noise_hook.remove()

    def __enter__(self) -> TaskModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add_noise(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        return None if self._noise is None else self._noise.on(output)

    @property
    def depth(self) -> int:
        """How many layers lie below every slot, so that what they give follows from the input alone.

        0 where a control has a method of its own.
        """
        if self.adaptation is not None:
            return 0
        return min([layer for layer, _ in self.pool.places] + [self.backbone.shapes.layers])

    def lower(
        self,
        batch: Batch,
        depth: int,
        noise: EmbeddingNoise | None = None,
        below: tuple[int, Tensor] | None = None,
    ) -> Tensor:
        """Hidden states that enter layer `depth` ≥ 1, `n x t x d`, on the CPU; for `forward(lower=…)`.

        Args:
            batch: n examples of t tokens.
            depth: Number of layers to run; at most `self.depth`.
            noise: What disturbs the batch's token embeddings.
            below: A smaller depth and the hidden states there, to go on from; noise is in them already.
        """
        batch = batch.to(self.backbone.device)
        model, inputs = self.backbone.model, self.backbone.inputs(batch)
        if below is not None:
            start, hidden = below
            with torch.no_grad():
                return run_between(model, start, depth, moved(hidden, self.backbone.device), inputs).cpu()
        with self._noisy(noise):
            return run_lower(model, depth, inputs).cpu()

    def forward(
        self,
        batch: Batch,
        gates: Tensor | Structure | None = None,
        noise: EmbeddingNoise | None = None,
        *,
        lower: tuple[int, Tensor] | None = None,
    ) -> list[tuple[int, Tensor, Tensor]]:
        """Logits of a batch that may mix tasks.

        Args:
            batch: n examples of t tokens.
            gates: z of each (task, slot), `T x S`; or a structure's paths; None: all slots open.
            noise: What disturbs the batch's token embeddings.
            lower: A depth and what `self.lower` gave for it: the layers below are not run, and noise is in it already.

        Returns:
            For each task in the batch its number, its row numbers (`m`), and logits (`m x labels`, fp32).
        """
        tasks = batch.task_index.cpu()  # as made: asking a device which tasks there are would wait for it
        batch = batch.to(self.backbone.device)
        if self.adaptation is not None:
            self.adaptation.before_batch(tasks)
        if isinstance(gates, Structure):
            self.pool.route_paths(tasks, gates, device=self.backbone.device)
        else:
            self.pool.route(batch.task_index, gates)
        vectors = self._vectors(batch, noise, lower)
        parts = []
        for number in sorted(set(tasks.tolist())):
            rows = (tasks == number).nonzero().flatten().to(self.backbone.device, non_blocking=True)
            parts.append((number, rows, self.heads[self.tasks[number]](vectors[rows])))
        return parts

    def _vectors(self, batch: Batch, noise: EmbeddingNoise | None, lower: tuple[int, Tensor] | None) -> Tensor:
        """One vector for each example, `n x d`."""
        pooling, mask = self.backbone.pooling, batch.attention_mask
        all_known = lower is not None and lower[0] == self.backbone.shapes.layers
        alone = not all_known and self.adaptation is None and can_stand_alone(self.backbone, self.pool)
        if pooling != "mean" and alone:
            with top_alone(self.backbone.model, pooled_places(mask, pooling)):
                return self._hidden(batch, noise, lower)[:, 0].float()
        return self.backbone.pool_tokens(self._hidden(batch, noise, lower).float(), mask)

    def _hidden(self, batch: Batch, noise: EmbeddingNoise | None, lower: tuple[int, Tensor] | None) -> Tensor:
        model, inputs = self.backbone.model, self.backbone.inputs(batch)
        if lower is None:
            with self._noisy(noise):
                return hidden_states(model(**inputs)[0])
        depth, below = lower
        return run_upper(model, depth, moved(below, self.backbone.device), inputs)

    @contextmanager
    def _noisy(self, noise: EmbeddingNoise | None) -> Iterator[None]:
        self._noise = None if noise is None else noise.to(self.backbone.device)
        try:
            yield
        finally:
            self._noise = None

    def loss(
        self,
        batch: Batch,
        weights: Sequence[float],
        gates: Tensor | Structure | None,
        noise: EmbeddingNoise | None = None,
        lower: tuple[int, Tensor] | None = None,
    ) -> Tensor:
        """Cross entropy as the mean over the batch's examples, each weighted by its task's weight.

        `gates`, `noise` and `lower` are as for `forward`.
        """
        total = torch.zeros((), device=self.backbone.device)
        norm = 0.0
        labels = batch.labels.to(self.backbone.device, non_blocking=True)
        for number, rows, logits in self.forward(batch, gates, noise, lower=lower):
            total = total + weights[number] * nn.functional.cross_entropy(logits, labels[rows], reduction="sum")
            norm += weights[number] * len(rows)
        more = None if self.adaptation is None else self.adaptation.loss()
        return total / norm if more is None else total / norm + more
