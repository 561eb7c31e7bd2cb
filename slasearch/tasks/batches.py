"""Batches of several tasks: bucketed by length, padded to the longest example, ordered by seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slasearch.tasks.encoding import EncodedSplit

__all__ = ["Batch", "batch_count", "eval_batches", "train_batches"]

_BATCHES_IN_A_CHUNK = 16
"""Examples are sorted by length within chunks of this many batches: enough to save padding, few enough to mix."""

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """n examples padded to t tokens; rows of different tasks stand side by side.

    Args:
        input_ids: `n x t` int64, padded on the right.
        attention_mask: `n x t` int64, 1 on tokens and 0 on padding.
        token_type_ids: `n x t` int64.
        labels: `n` int64, label numbers of each row's own task.
        task_index: `n` int64, the number of each row's task.
        example_ids: The n examples.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    labels: Tensor
    task_index: Tensor
    example_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.example_ids)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        return Batch(
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            token_type_ids=self.token_type_ids.to(device),
            labels=self.labels.to(device),
            task_index=self.task_index.to(device),
            example_ids=self.example_ids,
        )


def batch_count(splits: Sequence[EncodedSplit], batch_size: int) -> int:
    """How many batches `train_batches` gives in an epoch, or `eval_batches` of one split: ⌈examples / size⌉."""
    return -(-sum(len(split) for split in splits) // batch_size)


def train_batches(
    splits: Sequence[EncodedSplit], batch_size: int, *, seed: int, epoch: int, pad_token_id: int
) -> Iterator[Batch]:
    """One epoch: every example of every task once, tasks mixed in proportion to their sizes.

    All examples are shuffled together, sorted by length within chunks, and cut into batches, which are shuffled.
    Nothing but the splits' lengths, `batch_size`, `seed` and `epoch` decides which examples meet.

    Args:
        splits: The training examples of each task; a row's `task_index` is the position here.
        batch_size: Examples in a batch; one batch has the rest.
        seed: Seed of the order of the data, ≥ 0.
        epoch: Number of the epoch, ≥ 0.
        pad_token_id: What rows are padded with.
    """
    rng = np.random.default_rng([seed, epoch])
    tasks = np.repeat(np.arange(len(splits)), [len(split) for split in splits])
    rows = np.concatenate([np.arange(len(split)) for split in splits])
    lengths = np.concatenate([split.lengths for split in splits])
    order = rng.permutation(len(rows))
    chunk = batch_size * _BATCHES_IN_A_CHUNK
    order = np.concatenate([_by_length(order[start : start + chunk], lengths) for start in range(0, len(order), chunk)])
    for number in rng.permutation(batch_count(splits, batch_size)):
        chosen = order[number * batch_size : (number + 1) * batch_size]
        yield _batch(dict(enumerate(splits)), tasks[chosen], rows[chosen], pad_token_id)


def eval_batches(split: EncodedSplit, task_index: int, batch_size: int, *, pad_token_id: int) -> Iterator[Batch]:
    """Every example of one task once, longest first, so that the batch that needs most memory comes first.

    Args:
        split: The examples.
        task_index: Number of their task.
        batch_size: Examples in a batch; the last batch has the rest.
        pad_token_id: What rows are padded with.
    """
    order = _by_length(np.arange(len(split)), split.lengths)[::-1]
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield _batch({task_index: split}, np.full(len(rows), task_index), rows, pad_token_id)


def _by_length(rows: Int64s, lengths: Int64s) -> Int64s:
    return rows[np.argsort(lengths[rows], kind="stable")]


def _batch(splits: Mapping[int, EncodedSplit], tasks: Int64s, rows: Int64s, pad_token_id: int) -> Batch:
    chosen = [(splits[task], row) for task, row in zip(tasks.tolist(), rows.tolist(), strict=True)]
    bounds = [(split.offsets[row], split.offsets[row + 1]) for split, row in chosen]
    lengths = np.array([end - start for start, end in bounds])
    mask = np.arange(lengths.max()) < lengths[:, None]
    input_ids = np.full(mask.shape, pad_token_id, dtype=np.int64)
    type_ids = np.zeros(mask.shape, dtype=np.int64)
    for number, ((split, _), (start, end)) in enumerate(zip(chosen, bounds, strict=True)):
        input_ids[number, : end - start] = split.input_ids[start:end]
        type_ids[number, : end - start] = split.type_ids[start:end]
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(mask.astype(np.int64)),
        token_type_ids=torch.from_numpy(type_ids),
        labels=torch.tensor([int(split.labels[row]) for split, row in chosen]),
        task_index=torch.from_numpy(tasks.astype(np.int64)),
        example_ids=tuple(split.example_ids[row] for split, row in chosen),
    )
