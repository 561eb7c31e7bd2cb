"""Batches: what is in them, in which order, and how little of them is padding."""

import hashlib
from collections import Counter
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from slasearch.tasks.batches import batch_count, draws_per_task, eval_batches, single_batches, train_batches
from slasearch.tasks.encoding import EncodedSplit

PAD = 99


def split_of(lengths, name, first=1):
    lengths = np.asarray(lengths, dtype=np.int64)
    offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
    numbers = np.arange(first, first + offsets[-1], dtype=np.int32)
    return EncodedSplit(
        input_ids=numbers,
        type_ids=(numbers % 2).astype(np.int8),
        offsets=offsets,
        labels=np.arange(len(lengths), dtype=np.int64) % 3,
        example_ids=tuple(f"{name}{number}" for number in range(len(lengths))),
    )


def many(count, name, seed=0):
    return split_of(np.random.default_rng(seed).integers(1, 60, count), name, first=1000 * (seed + 1))


def check_rows(batch, splits):
    """Every row of a batch is what its split holds."""
    n, t = batch.input_ids.shape
    assert len(batch) == n
    assert batch.attention_mask.sum(dim=1).max() == t, "padded to the longest and no further"
    for number, identity in enumerate(batch.example_ids):
        split = splits[int(batch.task_index[number])]
        row = split.example_ids.index(identity)
        start, end = split.offsets[row], split.offsets[row + 1]
        length = int(end - start)
        assert batch.input_ids[number].tolist() == [*split.input_ids[start:end].tolist(), *[PAD] * (t - length)]
        assert batch.attention_mask[number].tolist() == [1] * length + [0] * (t - length)
        assert batch.token_type_ids[number].tolist() == [*split.type_ids[start:end].tolist(), *[0] * (t - length)]
        assert batch.labels[number] == split.labels[row]
    for tensor in (batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.labels, batch.task_index):
        assert tensor.dtype == torch.int64


@given(
    st.lists(st.lists(st.integers(1, 9), max_size=30), min_size=1, max_size=3).filter(lambda tasks: any(tasks)),
    st.integers(1, 8),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_every_example_comes_once_an_epoch_whole(tasks, batch_size, epoch):
    splits = [split_of(lengths, f"t{number}e") for number, lengths in enumerate(tasks)]
    batches = list(train_batches(splits, batch_size, seed=0, epoch=epoch, pad_token_id=PAD))
    assert len(batches) == batch_count(splits, batch_size)
    for batch in batches:
        check_rows(batch, splits)
    seen = [identity for batch in batches for identity in batch.example_ids]
    assert sorted(seen) == sorted(identity for split in splits for identity in split.example_ids)
    assert sorted(len(batch) for batch in batches)[1:] == [batch_size] * (len(batches) - 1)


def order(splits, **options):
    return [batch.example_ids for batch in train_batches(splits, 8, pad_token_id=PAD, **options)]


def test_order_depends_on_seed_and_epoch_alone():
    splits = [many(100, "a"), many(60, "b", seed=1)]
    first = order(splits, seed=3, epoch=0)
    torch.manual_seed(5)
    assert order(splits, seed=3, epoch=0) == first
    assert order(splits, seed=3, epoch=1) != first
    assert order(splits, seed=4, epoch=0) != first
    assert order(splits, seed=0, epoch=3) != first


def test_the_order_of_the_data_is_the_one_that_studies_were_run_with():
    batches = order([many(100, "a"), many(60, "b", seed=1)], seed=3, epoch=2)
    assert hashlib.sha256(repr(batches).encode()).hexdigest()[:16] == "773fc3af995daaea"


def test_batches_mix_tasks_and_waste_little():
    splits = [many(400, "a"), many(400, "b", seed=1), many(200, "c", seed=2)]
    batches = list(train_batches(splits, 32, seed=0, epoch=0, pad_token_id=PAD))
    assert all(len(set(batch.task_index.tolist())) == 3 for batch in batches if len(batch) == 32)
    tokens = sum(int(batch.attention_mask.sum()) for batch in batches)
    assert tokens / sum(batch.attention_mask.numel() for batch in batches) > 0.85
    widths = [batch.input_ids.shape[1] for batch in batches]
    assert widths != sorted(widths), "batches come in random order"


def test_evaluation_goes_from_long_to_short():
    split = many(50, "a")
    batches = list(eval_batches(split, 2, pad_token_id=PAD, tokens=100))
    assert len(batches) > 2
    for batch in batches:
        check_rows(batch, {2: split})
        assert batch.input_ids.numel() <= 100
    for batch, after in pairwise(batches):
        assert (len(batch) + 1) * batch.input_ids.shape[1] > 100, "every batch but the last is full"
        assert len(after)
    lengths = [int(length) for batch in batches for length in batch.attention_mask.sum(dim=1)]
    assert all(longer >= shorter for longer, shorter in pairwise(lengths))
    assert sorted(identity for batch in batches for identity in batch.example_ids) == sorted(split.example_ids)
    assert {int(task) for batch in batches for task in batch.task_index} == {2}


def test_an_example_beyond_the_token_budget_is_a_batch_by_itself():
    sizes = [len(batch) for batch in eval_batches(split_of([9, 8, 2, 2], "a"), 0, pad_token_id=PAD, tokens=6)]
    assert sizes == [1, 1, 2]


def test_nothing_to_evaluate_gives_no_batch():
    assert list(eval_batches(split_of([], "a"), 0, pad_token_id=PAD, tokens=9)) == []


def test_a_batch_moves_to_a_device_as_a_whole():
    (batch,) = eval_batches(split_of([3, 2], "a"), 0, pad_token_id=PAD, tokens=9)
    moved = batch.to("meta")
    on = {name: t.device.type for name, t in vars(moved).items() if isinstance(t, torch.Tensor)}
    assert on.pop("rows") == "cpu", "what looks up examples stays where they are"
    assert set(on.values()) == {"meta"}
    assert moved.example_ids == batch.example_ids
    with pytest.raises(AttributeError):
        batch.labels = moved.labels


# ---------------------------------------------------------------- mixing

TASK_SIZES = st.lists(st.integers(0, 400), min_size=1, max_size=6).filter(any)


@given(TASK_SIZES, st.floats(1, 50))
def test_tasks_are_drawn_in_proportion_to_the_root_of_their_sizes(sizes, temperature):
    draws = draws_per_task(sizes, temperature)
    weights = [size ** (1 / temperature) for size in sizes]
    assert sum(draws) == sum(sizes)
    for size, drawn, weight in zip(sizes, draws, weights, strict=True):
        assert abs(drawn - sum(sizes) * weight / sum(weights)) < 1 + 1e-9
        assert (drawn > 0) == (size > 0)


@given(TASK_SIZES)
def test_without_a_temperature_every_example_is_drawn_once(sizes):
    assert draws_per_task(sizes, 1.0) == sizes


def test_draws_by_hand():
    assert draws_per_task([100, 900], 2.0) == [250, 750]
    assert draws_per_task([10, 10, 980], 1e9) == [333, 333, 334]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.floats(1, 10),
    st.integers(0, 3),
    st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_no_example_is_two_ahead_of_another_of_its_task(sizes, temperature, first_epoch, epochs):
    splits = [split_of([2] * size, f"t{number}e") for number, size in enumerate(sizes)]
    seen = Counter()
    for epoch in range(first_epoch, first_epoch + epochs):
        batches = list(train_batches(splits, 7, seed=1, epoch=epoch, pad_token_id=PAD, temperature=temperature))
        assert len(batches) == batch_count(splits, 7)
        in_epoch = Counter(int(task) for batch in batches for task in batch.task_index)
        assert [in_epoch[task] for task in range(len(sizes))] == draws_per_task(sizes, temperature)
        seen.update(identity for batch in batches for identity in batch.example_ids)
    for split in splits:
        counts = [seen[identity] for identity in split.example_ids]
        assert max(counts) - min(counts) <= 1


def test_a_mixture_depends_on_seed_and_epoch_alone_and_other_epochs_bring_the_rest():
    splits = [many(90, "a"), many(10, "b", seed=1)]
    assert draws_per_task([90, 10], 2.0) == [75, 25]
    first = order(splits, seed=3, epoch=0, temperature=2.0)
    torch.manual_seed(5)
    assert order(splits, seed=3, epoch=0, temperature=2.0) == first
    assert order(splits, seed=4, epoch=0, temperature=2.0) != first
    second = order(splits, seed=3, epoch=1, temperature=2.0)
    large = [{i for ids in epoch for i in ids if i[0] == "a"} for epoch in (first, second)]
    assert [len(rows) for rows in large] == [75, 75]
    assert large[0] | large[1] == set(splits[0].example_ids)


def test_a_mixture_repeats_rows_whole():
    splits = [many(60, "a"), many(6, "b", seed=1)]
    for batch in train_batches(splits, 8, seed=0, epoch=2, pad_token_id=PAD, temperature=4.0):
        check_rows(batch, splits)


def test_single_examples_are_spread_evenly_from_short_to_long():
    split = split_of([9, 1, 8, 2, 7, 3, 6, 4, 5], "a")
    batches = single_batches(split, 0, count=3, pad_token_id=PAD)
    assert [tuple(batch.input_ids.shape) for batch in batches] == [(1, 2), (1, 5), (1, 8)]
    for batch in batches:
        check_rows(batch, [split])
    assert len(single_batches(split, 0, count=20, pad_token_id=PAD)) == 9
    assert single_batches(split_of([], "a"), 0, count=3, pad_token_id=PAD) == []
