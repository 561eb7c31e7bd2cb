"""Disturbs examples, tokens, embeddings and weights under one condition. Paired: equal arguments, equal results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from slasearch.errors import RegistryError
from slasearch.perturb._base import (
    Condition,
    EmbeddingChange,
    EmbeddingCondition,
    Floats,
    LabelCondition,
    TextCondition,
    TokenCondition,
    WeightCondition,
    sample_rng,
)
from slasearch.perturb.vocabulary import Int32s, Vocabulary
from slasearch.records import ConditionSpec, Example
from slasearch.registry import CONDITIONS

__all__ = ["describe_conditions", "embedding_change", "perturb_examples", "substitute_tokens", "weight_change"]


def perturb_examples(
    examples: Sequence[Example], condition: ConditionSpec, *, task: str, n_labels: int, epoch: int | None = None
) -> tuple[Example, ...]:
    """The examples as they are seen under a condition of the text or label family: same ids, same order.

    Args:
        examples: The examples of one task; left as they are.
        condition: What to do; at level 0 the very same examples come back.
        task: Name of the task.
        n_labels: Number of labels of the task.
        epoch: Number of the training epoch, which seeds text anew; without effect on a condition of evaluation.

    Raises:
        RegistryError: The kind is unknown, or disturbs neither texts nor labels.
    """
    entry = CONDITIONS.get(condition.kind)
    if not isinstance(entry, (TextCondition, LabelCondition)):
        raise _misfit(entry, "texts or labels")
    if condition.level == 0:
        return tuple(examples)
    if isinstance(entry, LabelCondition):
        return tuple(_relabelled(entry, example, condition, task, n_labels) for example in examples)
    return tuple(_retyped(entry, example, condition, task, epoch) for example in examples)


def _relabelled(entry: LabelCondition, example: Example, condition: ConditionSpec, task: str, n_labels: int) -> Example:
    rng = sample_rng(condition.kind, task, example.id, condition.seed)
    label = entry.relabel(example.label, n_labels, condition.level, rng)
    return example if label == example.label else replace(example, label=label)


def _retyped(entry: TextCondition, example: Example, condition: ConditionSpec, task: str, epoch: int | None) -> Example:
    rng = sample_rng(condition.kind, task, example.id, condition.seed, _epoch(condition, epoch))
    text = entry.disturb(example.text, condition.level, rng)
    pair = None if example.text_pair is None else entry.disturb(example.text_pair, condition.level, rng)
    same = text == example.text and pair == example.text_pair
    return example if same else replace(example, text=text, text_pair=pair)


def embedding_change(
    example_ids: Sequence[str],
    lengths: Sequence[int],
    ordinary: npt.NDArray[np.bool_],
    dim: int,
    condition: ConditionSpec,
    *,
    rms: float,
    tasks: Sequence[str],
    epoch: int | None = None,
) -> EmbeddingChange:
    """What to do to a batch of token embeddings: e' = factor·e + added, in the embeddings' own units.

    What an example gets does not depend on the batch that it stands in, nor on the padding.

    Args:
        example_ids: The n examples of the batch.
        lengths: Their numbers of tokens, special ones included; none above `width`.
        ordinary: `n x width` of the padded batch, False on special tokens, which are left alone.
        dim: Width of an embedding.
        condition: A condition of the embedding family; at level 0 nothing changes.
        rms: Root mean square of the backbone's table of token embeddings.
        tasks: For each example the name of its task.
        epoch: Number of the training epoch; without effect on a condition of evaluation.

    Returns:
        Factors `n x width`, 1 on what is left alone, and what is added, `n x width x dim`, 0 there; or None for both.

    Raises:
        RegistryError: The kind is unknown, or disturbs no embeddings.
    """
    entry = CONDITIONS.get(condition.kind)
    if not isinstance(entry, EmbeddingCondition):
        raise _misfit(entry, "embeddings")
    if condition.level == 0:
        return EmbeddingChange()
    scale = entry.facts.default_scale if condition.scale is None else condition.scale
    factor = added = None
    for row, (example_id, length, task) in enumerate(zip(example_ids, lengths, tasks, strict=True)):
        rng = sample_rng(condition.kind, task, example_id, condition.seed, _epoch(condition, epoch))
        change = entry.change(length, dim, condition.level, 1.0 if scale is None else scale, rms, rng)
        touched = ordinary[row, :length]
        if change.factor is not None:
            factor = np.ones(ordinary.shape, np.float32) if factor is None else factor
            factor[row, :length] = np.where(touched, change.factor, np.float32(1))
        if change.added is not None:
            added = np.zeros((*ordinary.shape, dim), np.float32) if added is None else added
            np.multiply(change.added, touched[:, None], out=added[row, :length])
    return EmbeddingChange(factor, added)


def substitute_tokens(
    input_ids: Int32s,
    offsets: npt.NDArray[np.int64],
    example_ids: Sequence[str],
    condition: ConditionSpec,
    vocabulary: Vocabulary,
    *,
    task: str,
    epoch: int | None = None,
) -> Int32s:
    """The tokens of a split as they are seen under a condition of the token family.

    Args:
        input_ids: `t`, the tokens of the n examples one after another; left as they are.
        offsets: `n + 1`, where each example begins, and the end.
        example_ids: The n examples.
        condition: What to do; at level 0 the very same array comes back.
        vocabulary: The backbone's tokens.
        task: Name of the task.
        epoch: Number of the training epoch; without effect on a condition of evaluation.

    Returns:
        `t`; special tokens are the same.

    Raises:
        RegistryError: The kind is unknown, or disturbs no tokens.
    """
    entry = CONDITIONS.get(condition.kind)
    if not isinstance(entry, TokenCondition):
        raise _misfit(entry, "tokens")
    if condition.level == 0:
        return input_ids
    vocabulary.prepare(input_ids)
    disturbed = input_ids.copy()
    for example_id, start, end in zip(example_ids, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        rng = sample_rng(condition.kind, task, example_id, condition.seed, _epoch(condition, epoch))
        disturbed[start:end] = entry.substitute(input_ids[start:end], vocabulary, condition.level, rng)
    return disturbed


def weight_change(slot: str, tensor: str, shape: tuple[int, ...], condition: ConditionSpec) -> Floats:
    """What is added to one tensor of an adapter, in units of its root mean square.

    Args:
        slot: Name of the slot, or of whatever else holds the tensor.
        tensor: Name of the tensor in it.
        shape: The tensor's shape.
        condition: A condition of the weights family.

    Returns:
        An array of that shape; 0 at level 0.

    Raises:
        RegistryError: The kind is unknown, or disturbs no weights.
    """
    entry = CONDITIONS.get(condition.kind)
    if not isinstance(entry, WeightCondition):
        raise _misfit(entry, "weights")
    if condition.level == 0:
        return np.zeros(shape, np.float32)
    return entry.noise(shape, condition.level, sample_rng(condition.kind, slot, tensor, condition.seed))


_FUNCTIONS = {
    "embedding": "embedding_change",
    "token": "substitute_tokens",
    "text": "perturb_examples",
    "label": "perturb_examples",
    "weights": "weight_change",
}
"""What applies a condition of each family."""


def _misfit(entry: Condition, expected: str) -> RegistryError:
    family = entry.facts.family
    return RegistryError(
        f"condition {entry.name!r}: expected one that disturbs {expected}, got one of the family {family!r}. "
        f"Use {_FUNCTIONS[family]} for it."
    )


def _epoch(condition: ConditionSpec, epoch: int | None) -> int | None:
    return epoch if condition.where == "train" else None


def describe_conditions() -> list[dict[str, Any]]:
    """Every known kind as a plain dict of its facts with its `name`, in the order of the registry."""
    return [{"name": name, **asdict(CONDITIONS.get(name).facts)} for name in CONDITIONS.names()]
