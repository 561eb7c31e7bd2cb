"""Batches of a trial: training batches under the trial's conditions, evaluation batches under the study's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from slasearch.perturb.apply import embedding_noise, perturb_examples
from slasearch.records import ConditionSpec, Split, TaskData
from slasearch.registry import CONDITIONS
from slasearch.tasks.batches import Batch, eval_batches, train_batches
from slasearch.tasks.encoding import EncodedSplit, encode_split
from slasearch.trial.backbone import Backbone

__all__ = ["EvaluationData", "TrainingData"]

_EVALUATION_BATCH = 128


def _family(condition: ConditionSpec) -> str:
    return str(CONDITIONS.get(condition.kind).facts.family)


def noise_for(
    batch: Batch, conditions: Sequence[ConditionSpec], names: Sequence[str], dim: int, epoch: int | None
) -> Tensor | None:
    """Sum of the embedding noises of the conditions on a batch, `n x t x d` in units of RMS; None without any."""
    total: Tensor | None = None
    tasks = [names[number] for number in batch.task_index.tolist()]
    lengths = batch.attention_mask.sum(1).tolist()
    for condition in conditions:
        if _family(condition) != "embedding" or condition.level == 0:
            continue
        width = batch.input_ids.shape[1]
        noise = torch.from_numpy(
            embedding_noise(batch.example_ids, lengths, width, dim, condition, tasks=tasks, epoch=epoch)
        )
        total = noise if total is None else total + noise
    return total


class TrainingData:
    """Endless training batches of one split: each epoch shuffled anew, and disturbed anew where the trial asks for it.

    Args:
        tasks: The tasks, in the order of their numbers.
        split: `train`, or `gate` for gates that learn on held-out examples.
        backbone: Tokeniser and embedding width.
        conditions: What to train under.
        batch_size: Examples in a batch.
        seed: Seed of the order.
        cache: Folder for encoded splits, or None.
    """

    def __init__(
        self,
        tasks: Sequence[TaskData],
        split: Split,
        backbone: Backbone,
        conditions: Sequence[ConditionSpec],
        *,
        batch_size: int,
        seed: int,
        cache: Path | None,
    ) -> None:
        self._tasks, self._split, self._backbone, self._cache = tuple(tasks), split, backbone, cache
        self._conditions = tuple(conditions)
        self._names = [task.spec.name for task in tasks]
        self._batch_size, self._seed = batch_size, seed
        self._text = [c for c in conditions if _family(c) in ("text", "label") and c.level > 0]
        self._fixed = None if self._text else self._encode(epoch=0)
        self.examples = sum(len(task.splits[split]) for task in tasks)

    @property
    def batches_per_epoch(self) -> int:
        """Steps that see every example once."""
        return -(-self.examples // self._batch_size)

    def _encode(self, epoch: int) -> list[EncodedSplit]:
        encoded = []
        for task in self._tasks:
            examples = task.splits[self._split]
            for condition in self._text:
                examples = perturb_examples(
                    examples, condition, task=task.spec.name, n_labels=len(task.labels), epoch=epoch
                )
            cache = None if self._text else self._cache
            encoded.append(encode_split(self._backbone.tokenizer, examples, task.spec.max_tokens, cache))
        return encoded

    def __iter__(self) -> Iterator[tuple[Batch, Tensor | None]]:
        """Batches with their embedding noise, epoch after epoch."""
        dim = self._backbone.shapes.hidden
        pad = self._backbone.tokenizer.pad_token_id
        for epoch in itertools.count():
            splits = self._fixed if self._fixed is not None else self._encode(epoch)
            for batch in train_batches(splits, self._batch_size, seed=self._seed, epoch=epoch, pad_token_id=pad):
                yield batch, noise_for(batch, self._conditions, self._names, dim, epoch)


class EvaluationData:
    """Evaluation batches, made once for each (task, split, condition) and kept: trials of a study share them."""

    def __init__(self, tasks: Sequence[TaskData], backbone: Backbone, cache: Path | None) -> None:
        self._tasks, self._backbone, self._cache = tuple(tasks), backbone, cache
        self._names = [task.spec.name for task in tasks]
        self._batches: dict[tuple[int, Split, ConditionSpec | None], list[Batch]] = {}

    def batches(
        self, number: int, split: Split, condition: ConditionSpec | None
    ) -> Iterator[tuple[Batch, Tensor | None]]:
        """One task's batches under one condition (None: clean), each with its embedding noise."""
        text = condition if condition is not None and _family(condition) == "text" else None
        key = (number, split, text)
        if key not in self._batches:
            self._batches[key] = self._make(number, split, text)
        conditions = () if condition is None else (condition,)
        for batch in self._batches[key]:
            yield batch, noise_for(batch, conditions, self._names, self._backbone.shapes.hidden, None)

    def _make(self, number: int, split: Split, condition: ConditionSpec | None) -> list[Batch]:
        task = self._tasks[number]
        examples = task.splits[split]
        if condition is not None:
            examples = perturb_examples(examples, condition, task=task.spec.name, n_labels=len(task.labels))
        encoded = encode_split(self._backbone.tokenizer, examples, task.spec.max_tokens, self._cache)
        pad = self._backbone.tokenizer.pad_token_id
        return list(eval_batches(encoded, number, _EVALUATION_BATCH, pad_token_id=pad))
