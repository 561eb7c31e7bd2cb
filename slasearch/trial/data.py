"""Batches of a trial: training batches under the trial's conditions, evaluation batches under the study's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from slasearch.perturb.apply import perturb_examples, substitute_tokens
from slasearch.records import ConditionSpec, Split, Structure, TaskData
from slasearch.tasks.batches import Batch, eval_batches, train_batches
from slasearch.tasks.encoding import EncodedSplit, encode_split
from slasearch.trial.backbone import Backbone
from slasearch.trial.model import TaskModel
from slasearch.trial.noise import EmbeddingNoise, family_of, noise_for, noisy_weights

__all__ = ["EvaluationData", "TrainingData"]

_EVALUATION_BATCH = 128


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
        task_temperature: τ ≥ 1 of the mixture of tasks, whose examples are drawn in proportion to n^(1/τ).
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
        task_temperature: float = 1.0,
    ) -> None:
        self._tasks, self._split, self._backbone, self._cache = tuple(tasks), split, backbone, cache
        self._task_temperature = task_temperature
        self._conditions = tuple(conditions)
        self._names = [task.spec.name for task in tasks]
        self._batch_size, self._seed = batch_size, seed
        self._text = [c for c in conditions if family_of(c) in ("text", "label") and c.level > 0]
        self._tokens = [c for c in conditions if family_of(c) == "token" and c.level > 0]
        self._fixed = None if self._text else self._encode(epoch=0)
        self.examples = sum(len(task.splits[split]) for task in tasks)

    @property
    def batches_per_epoch(self) -> int:
        """Steps that draw as many examples as there are."""
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

    def _splits(self, epoch: int) -> list[EncodedSplit]:
        """The examples of an epoch: texts disturbed first, then tokens."""
        splits = self._fixed if self._fixed is not None else self._encode(epoch)
        for condition in self._tokens:
            splits = [
                _substituted(split, condition, self._backbone, task.spec.name, epoch)
                for split, task in zip(splits, self._tasks, strict=True)
            ]
        return splits

    def __iter__(self) -> Iterator[tuple[Batch, EmbeddingNoise | None]]:
        """Batches with their embedding noise, epoch after epoch."""
        pad = self._backbone.tokenizer.pad_token_id
        for epoch in itertools.count():
            batches = train_batches(
                self._splits(epoch),
                self._batch_size,
                seed=self._seed,
                epoch=epoch,
                pad_token_id=pad,
                temperature=self._task_temperature,
            )
            for batch in batches:
                yield batch, noise_for(batch, self._conditions, self._names, self._backbone, epoch)


def _substituted(
    split: EncodedSplit, condition: ConditionSpec, backbone: Backbone, task: str, epoch: int | None = None
) -> EncodedSplit:
    """The split with its tokens as a condition of the token family has them."""
    tokens = substitute_tokens(
        split.input_ids, split.offsets, split.example_ids, condition, backbone.vocabulary, task=task, epoch=epoch
    )
    return replace(split, input_ids=tokens)


class EvaluationData:
    """Evaluation batches under each condition, and what the frozen lower layers make of them; trials share both.

    Args:
        tasks: The tasks, in the order of their numbers.
        backbone: Tokeniser and embedding width.
        cache: Folder for encoded splits, or None.
        memory: Most bytes of hidden states that are kept; what does not fit is computed again each time.
    """

    def __init__(
        self, tasks: Sequence[TaskData], backbone: Backbone, cache: Path | None, *, memory: int = 512 * 2**20
    ) -> None:
        self._tasks, self._backbone, self._cache = tuple(tasks), backbone, cache
        self._names = [task.spec.name for task in tasks]
        self._batches: dict[tuple[int, Split, ConditionSpec | None], list[Batch]] = {}
        self._lower: dict[tuple[int, Split, ConditionSpec | None, int, int], Tensor] = {}
        self._memory = memory

    def logits(
        self,
        model: TaskModel,
        number: int,
        split: Split,
        condition: ConditionSpec | None,
        gates: Tensor | Structure | None,
    ) -> tuple[Tensor, Tensor]:
        """Labels (`n`) and logits (`n x labels`) of one task under one condition (None: clean), on the CPU."""
        labels, logits = [], []
        noisy = condition if condition is not None and family_of(condition) == "weights" else None
        if noisy is not None:
            condition = None  # the inputs are the clean ones
        with noisy_weights(model.adapter_weights(), noisy), torch.inference_mode():
            for place, batch in enumerate(self._batches_of(number, split, condition)):
                lower = self._lower_of(model, batch, (number, split, condition, model.depth, place))
                if lower is None:
                    ((_, _, part),) = model.forward(batch, gates, self._noise(batch, condition))
                else:
                    ((_, _, part),) = model.forward(batch, gates, lower=(model.depth, lower))
                labels.append(batch.labels)
                logits.append(part.cpu())
        return torch.cat(labels), torch.cat(logits)

    def _noise(self, batch: Batch, condition: ConditionSpec | None) -> EmbeddingNoise | None:
        return noise_for(batch, () if condition is None else (condition,), self._names, self._backbone, None)

    def _lower_of(
        self, model: TaskModel, batch: Batch, key: tuple[int, Split, ConditionSpec | None, int, int]
    ) -> Tensor | None:
        condition, depth = key[2], key[3]
        if depth == 0:
            return None
        if key not in self._lower:
            lower = model.lower(batch, depth, self._noise(batch, condition))
            size = lower.numel() * lower.element_size()
            if size > self._memory:
                return lower
            self._memory -= size
            self._lower[key] = lower
        return self._lower[key]

    def _batches_of(self, number: int, split: Split, condition: ConditionSpec | None) -> list[Batch]:
        changing = condition if condition is not None and family_of(condition) in ("text", "token") else None
        key = (number, split, changing)
        if key not in self._batches:
            self._batches[key] = self._make(number, split, changing)
        return self._batches[key]

    def _make(self, number: int, split: Split, condition: ConditionSpec | None) -> list[Batch]:
        task = self._tasks[number]
        examples = task.splits[split]
        if condition is not None and family_of(condition) == "text":
            examples = perturb_examples(examples, condition, task=task.spec.name, n_labels=len(task.labels))
        encoded = encode_split(self._backbone.tokenizer, examples, task.spec.max_tokens, self._cache)
        if condition is not None and family_of(condition) == "token":
            encoded = _substituted(encoded, condition, self._backbone, task.spec.name)
        pad = self._backbone.tokenizer.pad_token_id
        return list(eval_batches(encoded, number, _EVALUATION_BATCH, pad_token_id=pad))
