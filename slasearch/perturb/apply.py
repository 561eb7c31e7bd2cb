"""Disturbs the examples and embeddings of a task under one condition. Paired: equal arguments, equal results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from slasearch.errors import RegistryError
from slasearch.perturb._base import EmbeddingCondition, Floats, LabelCondition, TextCondition, sample_rng
from slasearch.records import ConditionSpec, Example
from slasearch.registry import CONDITIONS

__all__ = ["describe_conditions", "embedding_noise", "perturb_examples"]


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
        RegistryError: The kind is unknown, or disturbs embeddings.
    """
    entry = CONDITIONS.get(condition.kind)
    if not isinstance(entry, (TextCondition, LabelCondition)):
        raise RegistryError(
            f"condition {condition.kind!r}: expected one that disturbs texts or labels, got one that disturbs "
            "embeddings. Use embedding_noise for it."
        )
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


def embedding_noise(
    example_ids: Sequence[str],
    lengths: Sequence[int],
    width: int,
    dim: int,
    condition: ConditionSpec,
    *,
    tasks: Sequence[str],
    epoch: int | None = None,
) -> Floats:
    """Noise to add to a batch of token embeddings, in units of their RMS.

    What an example gets does not depend on the batch that it stands in, nor on the padding.

    Args:
        example_ids: The n examples of the batch.
        lengths: Their numbers of tokens, special ones included; none above `width`.
        width: Tokens in a row of the padded batch.
        dim: Width of an embedding.
        condition: A condition of the embedding family.
        tasks: For each example the name of its task.
        epoch: Number of the training epoch; without effect on a condition of evaluation.

    Returns:
        `n x width x dim`; 0 on undisturbed tokens and on padding.

    Raises:
        RegistryError: The kind is unknown, or disturbs no embeddings.
    """
    entry = CONDITIONS.get(condition.kind)
    if not isinstance(entry, EmbeddingCondition):
        raise RegistryError(
            f"condition {condition.kind!r}: expected one that disturbs embeddings, got one that disturbs "
            f"the {entry.facts.family}. Use perturb_examples for it."
        )
    noise = np.zeros((len(example_ids), width, dim), dtype=np.float32)
    if condition.level == 0:
        return noise
    scale = entry.facts.default_scale if condition.scale is None else condition.scale
    for row, example_id, length, task in zip(noise, example_ids, lengths, tasks, strict=True):
        rng = sample_rng(condition.kind, task, example_id, condition.seed, _epoch(condition, epoch))
        row[:length] = entry.noise(length, dim, condition.level, 1.0 if scale is None else scale, rng)
    return noise


def _epoch(condition: ConditionSpec, epoch: int | None) -> int | None:
    return epoch if condition.where == "train" else None


def describe_conditions() -> list[dict[str, Any]]:
    """Every known kind as a plain dict of its facts with its `name`, in the order of the registry."""
    return [{"name": name, **asdict(CONDITIONS.get(name).facts)} for name in CONDITIONS.names()]
