"""Batches of several tasks: mixed, bucketed by length, padded to the longest example; seed and epoch give the order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slasearch.tasks.encoding import EncodedSplit

__all__ = [
    "Batch",
    "batch_count",
    "draws_per_task",
    "eval_batches",
    "evaluation_tokens",
    "moved",
    "single_batches",
    "train_batches",
]

_EVALUATION_TOKENS = {"cpu": 1024, "cuda": 32768}
"""Tokens of an evaluation batch: enough to keep the device busy, few enough that a CPU core has them in its cache."""
_BATCHES_IN_A_CHUNK = 16
"""Examples are sorted by length within chunks of this many batches: enough to save padding, few enough to mix."""

_ORDER_OF_A_TASK = 1
"""Tells the seed of a task's order from the seed of an epoch, which has two numbers."""

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
        rows: `n` int64, on the CPU: the position of each example in its task's split.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    labels: Tensor
    task_index: Tensor
    example_ids: tuple[str, ...]
    rows: Tensor

    def __len__(self) -> int:
        return len(self.example_ids)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device; to a GPU from pinned memory, without waiting."""
        return Batch(
            input_ids=moved(self.input_ids, device),
            attention_mask=moved(self.attention_mask, device),
            token_type_ids=moved(self.token_type_ids, device),
            labels=moved(self.labels, device),
            task_index=moved(self.task_index, device),
            example_ids=self.example_ids,
            rows=self.rows,
        )


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on a device; to a GPU from pinned memory, so that nobody waits until it is there."""
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def batch_count(splits: Sequence[EncodedSplit], batch_size: int) -> int:
    """How many batches `train_batches` gives in an epoch: ⌈examples / size⌉."""
    return -(-sum(len(split) for split in splits) // batch_size)


def draws_per_task(sizes: Sequence[int], temperature: float) -> list[int]:
    """How many examples of each task an epoch draws: n^(1/τ) of Σ n^(1/τ) of all, rounded by largest remainders.

    They add up to Σ n. No task that has examples goes without: N·n^(1/τ)/Σ n^(1/τ) ≥ 1 as τ ≥ 1.

    Args:
        sizes: Examples of each task, together at least one.
        temperature: τ ≥ 1; 1 gives `sizes`, and the higher it is, the more alike are the draws.
    """
    weights = np.asarray(sizes, dtype=np.float64) ** (1 / temperature)
    exact = sum(sizes) * weights / weights.sum()
    draws = np.floor(exact).astype(np.int64)
    left = sum(sizes) - int(draws.sum())
    draws[np.argsort(draws - exact, kind="stable")[:left]] += 1
    return [int(count) for count in draws]


def train_batches(
    splits: Sequence[EncodedSplit],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    pad_token_id: int,
    temperature: float = 1.0,
) -> Iterator[Batch]:
    """One epoch: as many examples as there are, tasks mixed in proportion to n^(1/τ) of their sizes n.

    With τ = 1 every example comes once. Else each task has an order of its own, in which its epochs go round and
    round: all examples of a small task come once more before one comes twice more, and those of a large task that one
    epoch leaves out come in the next.

    The examples are shuffled together, sorted by length within chunks, and cut into batches, which are shuffled.
    Nothing but the splits' lengths, `batch_size`, `seed`, `epoch` and τ decides which examples meet.

    Args:
        splits: The training examples of each task; a row's `task_index` is the position here.
        batch_size: Examples in a batch; one batch has the rest.
        seed: Seed of the order of the data, ≥ 0.
        epoch: Number of the epoch, ≥ 0.
        pad_token_id: What rows are padded with.
        temperature: τ ≥ 1 of the mixture of tasks.
    """
    rng = np.random.default_rng([seed, epoch])
    draws = draws_per_task([len(split) for split in splits], temperature)
    chosen_rows = [
        _drawn(len(split), count, seed, epoch, task)
        for task, (split, count) in enumerate(zip(splits, draws, strict=True))
    ]
    tasks = np.repeat(np.arange(len(splits)), draws)
    rows = np.concatenate(chosen_rows)
    lengths = np.concatenate([split.lengths[drawn] for split, drawn in zip(splits, chosen_rows, strict=True)])
    order = rng.permutation(len(rows))
    chunk = batch_size * _BATCHES_IN_A_CHUNK
    order = np.concatenate([_by_length(order[start : start + chunk], lengths) for start in range(0, len(order), chunk)])
    for number in rng.permutation(batch_count(splits, batch_size)):
        chosen = order[number * batch_size : (number + 1) * batch_size]
        yield _batch(dict(enumerate(splits)), tasks[chosen], rows[chosen], pad_token_id)


def evaluation_tokens(device: torch.device) -> int:
    """Most tokens of an evaluation batch, padding included, on a device."""
    return _EVALUATION_TOKENS.get(device.type, _EVALUATION_TOKENS["cuda"])


def eval_batches(split: EncodedSplit, task_index: int, *, pad_token_id: int, tokens: int) -> Iterator[Batch]:
    """Every example of one task once, longest first, so that the batch that needs most memory comes first.

    Args:
        split: The examples.
        task_index: Number of their task.
        pad_token_id: What rows are padded with.
        tokens: Most tokens of a batch, padding included; an example that has more is a batch by itself.
    """
    order = _by_length(np.arange(len(split)), split.lengths)[::-1]
    start = 0
    while start < len(order):
        rows = order[start : start + max(1, tokens // int(split.lengths[order[start]]))]
        yield _batch({task_index: split}, np.full(len(rows), task_index), rows, pad_token_id)
        start += len(rows)


def single_batches(split: EncodedSplit, task_index: int, *, count: int, pad_token_id: int) -> list[Batch]:
    """Some examples of one task as batches of one: `count` of them, or all, evenly spread from short to long.

    Args:
        split: The examples.
        task_index: Number of their task.
        count: How many, at most.
        pad_token_id: As for other batches; a single example has no padding.
    """
    order, count = _by_length(np.arange(len(split)), split.lengths), min(count, len(split))
    places = [(2 * number + 1) * len(order) // (2 * count) for number in range(count)]
    return [_batch({task_index: split}, np.array([task_index]), order[[place]], pad_token_id) for place in places]


def _drawn(size: int, count: int, seed: int, epoch: int, task: int) -> Int64s:
    """The `count` rows of a task of `size` that an epoch draws, sorted: its piece of an order that is repeated."""
    order = np.random.default_rng([seed, task, _ORDER_OF_A_TASK]).permutation(size)
    return np.sort(order[np.arange(epoch * count, (epoch + 1) * count) % max(size, 1)])


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
        rows=torch.from_numpy(rows.astype(np.int64)),
    )
