"""Noise on tensors: what disturbs a batch's token embeddings, and an adapter's weights for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from slasearch.perturb.apply import embedding_change, weight_change
from slasearch.records import ConditionSpec
from slasearch.registry import CONDITIONS
from slasearch.tasks.batches import Batch, moved
from slasearch.trial.backbone import Backbone

__all__ = ["EmbeddingNoise", "family_of", "noise_for", "noisy_weights"]


def family_of(condition: ConditionSpec) -> str:
    """What a condition disturbs: `embedding`, `token`, `text`, `label` or `weights`."""
    return str(CONDITIONS.get(condition.kind).facts.family)


@dataclass(frozen=True, eq=False)
class EmbeddingNoise:
    """What disturbs the token embeddings e of a batch: e' = factor·e + added, in the embeddings' own units.

    Args:
        factor: `n x t x 1`; None: 1 everywhere.
        added: `n x t x d`; None: 0 everywhere.
    """

    factor: Tensor | None
    added: Tensor | None

    def to(self, device: torch.device | str) -> EmbeddingNoise:
        """The same noise on a device."""
        return EmbeddingNoise(*(None if part is None else moved(part, device) for part in (self.factor, self.added)))

    def on(self, embeddings: Tensor) -> Tensor:
        """The disturbed embeddings, `n x t x d`, in their own precision."""
        if self.factor is not None:
            embeddings = embeddings * self.factor.to(embeddings.dtype)
        return embeddings if self.added is None else embeddings + self.added.to(embeddings.dtype)

    def then(self, later: EmbeddingNoise) -> EmbeddingNoise:
        """This noise, and another on what it gives."""
        added = self.added if self.added is None or later.factor is None else later.factor * self.added
        return EmbeddingNoise(
            _both(self.factor, later.factor, torch.mul),
            _both(added, later.added, torch.add),
        )


def _both(first: Tensor | None, second: Tensor | None, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return join(first, second)


def noise_for(
    batch: Batch, conditions: Sequence[ConditionSpec], names: Sequence[str], backbone: Backbone, epoch: int | None
) -> EmbeddingNoise | None:
    """What conditions of the embedding family do to a batch, one after the other, made on the CPU; None without any.

    Args:
        batch: n examples of t tokens, on the CPU.
        conditions: Conditions of any family; at level 0 they do nothing.
        names: Names of the tasks, in the order of their numbers.
        backbone: Its vocabulary says which tokens are special, its embeddings give the unit of noise.
        epoch: Number of the training epoch, or None in evaluation.
    """
    found = [condition for condition in conditions if family_of(condition) == "embedding" and condition.level > 0]
    if not found:
        return None
    tasks = [names[number] for number in batch.task_index.tolist()]
    lengths = batch.attention_mask.sum(1).tolist()
    ordinary = backbone.vocabulary.ordinary[batch.input_ids.numpy()]
    total = EmbeddingNoise(None, None)
    for condition in found:
        change = embedding_change(
            batch.example_ids,
            lengths,
            ordinary,
            backbone.shapes.embedding,
            condition,
            rms=backbone.embedding_rms,
            tasks=tasks,
            epoch=epoch,
        )
        factor = None if change.factor is None else torch.from_numpy(change.factor).unsqueeze(-1)
        total = total.then(EmbeddingNoise(factor, None if change.added is None else torch.from_numpy(change.added)))
    return total


@contextmanager
def noisy_weights(weights: Mapping[tuple[str, str], Tensor], condition: ConditionSpec | None) -> Iterator[None]:
    """Weights with noise on them for a while; afterwards every bit is as it was, whatever happens in between.

    Args:
        weights: The tensors by (slot, name in the slot), which seed their noise.
        condition: A condition of the weights family; None or level 0: nothing is touched.

    Raises:
        RegistryError: The condition disturbs no weights.
    """
    if condition is None or condition.level == 0:
        yield
        return
    kept = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        for (slot, name), weight in weights.items():
            noise = torch.from_numpy(weight_change(slot, name, tuple(weight.shape), condition)).to(weight.device)
            rms = weight.detach().float().square().mean().sqrt()
            weight.detach().add_((noise * rms).to(weight.dtype))
        yield
    finally:
        for place, weight in weights.items():
            weight.detach().copy_(kept[place])
