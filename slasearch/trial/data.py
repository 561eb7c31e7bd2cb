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
from slasearch.tasks.batches import Batch, eval_batches, evaluation_tokens, single_batches, train_batches
from slasearch.tasks.encoding import EncodedSplit, encode_split
from slasearch.trial.backbone import Backbone
from slasearch.trial.model import TaskModel
from slasearch.trial.noise import EmbeddingNoise, family_of, noise_for, noisy_weights
from slasearch.trial.prefix import HiddenStates
from slasearch.trial.reuse import Reuse, gathered

__all__ = ["EvaluationData", "TrainingData"]

_WORTH = 0.5
"""Share of an epoch that must be left for hidden states to be computed for all of it; other trials find them then."""


class TrainingData:
    """Endless training batches: each epoch shuffled anew, and disturbed anew where the trial asks for it.

    Args:
        tasks: The tasks, in the order of their numbers.
        splits: `train`, `gate` (for gates that learn on held-out examples), or both together.
        backbone: Tokeniser and embedding width.
        conditions: What to train under.
        batch_size: Examples in a batch.
        seed: Seed of the order.
        cache: Folder for encoded splits, or None.
        reuse: Where hidden states of the frozen layers come from.
        recurring: Other trials disturb their inputs alike: hidden states of an epoch are worth keeping.
        task_temperature: τ ≥ 1 of the mixture of tasks, whose examples are drawn in proportion to n^(1/τ).
    """

    def __init__(
        self,
        tasks: Sequence[TaskData],
        splits: Sequence[Split],
        backbone: Backbone,
        conditions: Sequence[ConditionSpec],
        *,
        batch_size: int,
        seed: int,
        cache: Path | None,
        reuse: Reuse,
        recurring: bool = False,
        task_temperature: float = 1.0,
    ) -> None:
        self._tasks, self._backbone, self._cache, self._reuse = tuple(tasks), backbone, cache, reuse
        self._examples = [sum((task.splits[split] for split in splits), ()) for task in tasks]
        self._task_temperature = task_temperature
        self._conditions = tuple(conditions)
        self._names = [task.spec.name for task in tasks]
        self.batch_size, self._seed = batch_size, seed
        active = [condition for condition in conditions if condition.level > 0]
        self._text = [c for c in active if family_of(c) == "text"]
        self._labels = [c for c in active if family_of(c) == "label"]  # an example keeps its wrong label
        self._tokens = [c for c in active if family_of(c) == "token"]
        self._embedding = [c for c in active if family_of(c) == "embedding"]
        self._fixed = None if self._text else self._encode(epoch=0)
        self._changing = any(family_of(c) != "label" for c in active)
        self._kept = recurring or not self._changing
        self._now: list[EncodedSplit] = []
        self._epoch = self._place = 0
        self._states: list[HiddenStates | None] = []
        self._states_of = (0, 0)
        self._depth = 0
        self.examples = sum(len(examples) for examples in self._examples)

    @property
    def batches_per_epoch(self) -> int:
        """Steps that draw as many examples as there are."""
        return -(-self.examples // self.batch_size)

    def _encode(self, epoch: int) -> list[EncodedSplit]:
        encoded = []
        for task, examples in zip(self._tasks, self._examples, strict=True):
            for condition in (*self._text, *self._labels):
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
        """All batches, from the first one on."""
        return self.batches()

    def batches(self, start: int = 0) -> Iterator[tuple[Batch, EmbeddingNoise | None]]:
        """Batches with their embedding noise, epoch after epoch, without the first `start` ones."""
        pad = self._backbone.tokenizer.pad_token_id
        first, skipped = divmod(start, self.batches_per_epoch)
        for epoch in itertools.count(first):
            splits = self._splits(epoch)
            batches = train_batches(
                splits,
                self.batch_size,
                seed=self._seed,
                epoch=epoch,
                pad_token_id=pad,
                temperature=self._task_temperature,
            )
            for place, batch in itertools.islice(enumerate(batches), skipped if epoch == first else 0, None):
                self._now, self._epoch, self._place = splits, epoch, place
                yield batch, noise_for(batch, self._conditions, self._names, self._backbone, epoch)

    def lower(self, model: TaskModel, batch: Batch, steps_left: int) -> tuple[int, Tensor] | None:
        """What the frozen layers below the model's first slot give for a batch, to go on from; None: nothing is kept.

        Hidden states are computed for the whole split once, if enough steps are left to pay for it, and again further
        up when slots below have closed. Inputs that are disturbed anew in each epoch are kept for other trials only,
        and epoch by epoch; with them the depth moves up where an epoch begins.
        What other trials have left plays no part in that choice: rounding depends on it, and results must not.

        Args:
            model: The trial's model.
            batch: The last batch drawn from this data, or any of them where inputs stay as they are.
            steps_left: Steps that are still to come, this one included.
        """
        if not self._kept:
            return None
        epoch, place = (self._epoch, self._place) if self._changing else (0, 0)
        pays = (steps_left + place) * self.batch_size >= _WORTH * self.examples
        if model.depth < self._depth:  # other slots, as after retraining from fresh modules
            self._depth = 0
        if model.depth > self._depth and pays and place == 0:
            self._depth = model.depth
        if self._depth == 0 or (self._changing and not pays):
            return None
        if self._states_of != (epoch, self._depth):
            self._states, self._states_of = self._reused(model, epoch), (epoch, self._depth)
        states = gathered(self._states, batch, batch.input_ids.shape[1])
        return None if states is None else (self._depth, states)

    @property
    def depth(self) -> int:
        """Number of layers below which hidden states are reused now."""
        return self._depth

    def go_on(self, depth: int) -> None:
        """Reuses hidden states from `depth` on, as before an interruption: which depth it is decides on rounding."""
        self._depth = depth

    def _reused(self, model: TaskModel, epoch: int) -> list[HiddenStates | None]:
        named = zip(self._now, self._names, strict=True)
        return [
            self._reuse.states(model, split, name, self._depth, self._embedding, epoch if self._embedding else None)
            for split, name in named
        ]


def _substituted(
    split: EncodedSplit, condition: ConditionSpec, backbone: Backbone, task: str, epoch: int | None = None
) -> EncodedSplit:
    """The split with its tokens as a condition of the token family has them."""
    tokens = substitute_tokens(
        split.input_ids, split.offsets, split.example_ids, condition, backbone.vocabulary, task=task, epoch=epoch
    )
    return replace(split, input_ids=tokens)


class EvaluationData:
    """Evaluation batches under each condition; trials share them, and what the frozen lower layers make of them.

    Args:
        tasks: The tasks, in the order of their numbers.
        backbone: Tokeniser and embedding width.
        cache: Folder for encoded splits, or None.
        reuse: Where hidden states of the frozen layers come from.
    """

    def __init__(self, tasks: Sequence[TaskData], backbone: Backbone, cache: Path | None, reuse: Reuse) -> None:
        self._tasks, self._backbone, self._cache, self._reuse = tuple(tasks), backbone, cache, reuse
        self._names = [task.spec.name for task in tasks]
        self._encoded: dict[tuple[int, Split, ConditionSpec | None], EncodedSplit] = {}

    def logits(
        self,
        model: TaskModel,
        number: int,
        split: Split,
        condition: ConditionSpec | None,
        gates: Tensor | Structure | None,
    ) -> tuple[Tensor, Tensor]:
        """Labels (`n`) and logits (`n x labels`) of one task under one condition (None: clean), on the CPU.

        In the order of the split's examples, whatever batches they were computed in.
        """
        family = None if condition is None else family_of(condition)
        changing = condition if family in ("text", "token") else None
        noisy = condition if family == "weights" else None
        noise = condition if family == "embedding" else None
        encoded = self.encoded(number, split, changing)
        pad, tokens = self._backbone.tokenizer.pad_token_id, evaluation_tokens(self._backbone.device)
        batches = list(eval_batches(encoded, number, pad_token_id=pad, tokens=tokens))
        states = None
        if model.depth:
            added = () if noise is None else (noise,)
            states = self._reuse.states(model, encoded, self._names[number], model.depth, added)
        labels, logits = [], []
        with noisy_weights(model.adapter_weights(), noisy), torch.inference_mode():
            for batch in batches:
                if states is None:
                    ((_, _, part),) = model.forward(batch, gates, self._noise(batch, noise))
                else:
                    hidden = states.gather(batch.rows.numpy(), batch.input_ids.shape[1])
                    ((_, _, part),) = model.forward(batch, gates, lower=(model.depth, hidden))
                labels.append(batch.labels)
                logits.append(part.cpu())
        order = torch.cat([batch.rows for batch in batches]).argsort()
        return torch.cat(labels)[order], torch.cat(logits)[order]

    def singles(self, number: int, split: Split, count: int) -> list[Batch]:
        """At most `count` undisturbed examples of one task as batches of one, evenly spread from short to long."""
        encoded = self.encoded(number, split, None)
        return single_batches(encoded, number, count=count, pad_token_id=self._backbone.tokenizer.pad_token_id)

    def _noise(self, batch: Batch, condition: ConditionSpec | None) -> EmbeddingNoise | None:
        return noise_for(batch, () if condition is None else (condition,), self._names, self._backbone, None)

    def encoded(self, number: int, split: Split, condition: ConditionSpec | None) -> EncodedSplit:
        """The tokens of one task, disturbed by a condition that changes texts or tokens; kept, unlike batches of them.

        Those take five times the memory, under many conditions too much of it, and are made at six millionths of a
        second an example.
        """
        key = (number, split, condition)
        if key not in self._encoded:
            self._encoded[key] = self._make(number, split, condition)
        return self._encoded[key]

    def _make(self, number: int, split: Split, condition: ConditionSpec | None) -> EncodedSplit:
        task = self._tasks[number]
        examples = task.splits[split]
        if condition is not None and family_of(condition) == "text":
            examples = perturb_examples(examples, condition, task=task.spec.name, n_labels=len(task.labels))
        encoded = encode_split(self._backbone.tokenizer, examples, task.spec.max_tokens, self._cache)
        if condition is not None and family_of(condition) == "token":
            encoded = _substituted(encoded, condition, self._backbone, task.spec.name)
        return encoded
