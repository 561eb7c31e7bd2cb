"""Identity, order and splits of examples, as properties."""

import logging
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from slasearch.errors import TaskError
from slasearch.records import Example, SplitLimits, TaskSpec
from slasearch.tasks.load import load_task
from slasearch.tasks.sources._base import UNSPLIT, Row
from slasearch.tasks.splits import assign_splits, example_id, label_names, stratified_order, unique_examples

label_counts = st.lists(st.integers(1, 40), min_size=2, max_size=6)


def examples_of(counts):
    return [Example(f"{label}-{n}", "x", label) for label, count in enumerate(counts) for n in range(count)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Hello, World!", "hello   world", True),
        ("don't", "dont", True),
        (":)", ":(", False),
        ("good", "god", False),
        ("naïve", "NAÏVE", True),
        ("nai\u0308ve", "naïve", True),
        ("soft\u00adware", "software", True),
        ("¿Qué?", "qué", True),
        ("पिता", "पता", False),
        ("C++", "C#", False),
        ("I love it 😀", "I love it 😡", False),
        ("x < y", "x > y", False),
    ],
)
def test_ids_ignore_case_punctuation_and_spacing(one, other, same):
    assert (example_id(one, None) == example_id(other, None)) is same


def test_ids_tell_pairs_from_joined_texts():
    ids = {
        example_id("a b", None),
        example_id("a", "b"),
        example_id("b", "a"),
        example_id("a", ""),
        example_id("a", None),
    }
    assert len(ids) == 5


def test_ids_never_change_between_versions():
    assert example_id("Hello, World!", None) == "4f0840d4b65293454921"


def test_the_first_of_equal_texts_stays():
    parts = {UNSPLIT: [Row("Same text.", "b"), Row("same text", "a"), Row("other", "a")]}
    kept = unique_examples(parts, ("a", "b"))[UNSPLIT]
    assert [(example.text, example.label) for example in kept] == [("Same text.", 1), ("other", 0)]


def test_labels_are_numbers_only_if_all_are():
    assert label_names({UNSPLIT: [Row("x", "10"), Row("y", "9")]}) == ("9", "10")
    assert label_names({UNSPLIT: [Row("x", "10"), Row("y", "9"), Row("z", "a")]}) == ("10", "9", "a")


@given(label_counts, st.integers(0, 3), st.data())
@settings(max_examples=60, deadline=None)
def test_every_beginning_of_the_order_is_stratified(counts, seed, data):
    examples = examples_of(counts)
    order = stratified_order(examples, seed, "p")
    assert sorted(order, key=lambda e: e.id) == sorted(examples, key=lambda e: e.id)
    assert stratified_order(examples[::-1], seed, "p") == order
    length = data.draw(st.integers(0, len(order)))
    found = Counter(example.label for example in order[:length])
    assert len(found) == min(length, len(counts))
    for label, count in enumerate(counts):
        assert abs(found[label] - length * count / len(order)) <= 1 + len(counts) / 2


@given(st.lists(st.integers(8, 40), min_size=2, max_size=4), st.integers(0, 3), st.integers(0, 8))
@settings(max_examples=60, deadline=None)
def test_splits_share_out_every_example(counts, seed, gate):
    examples = examples_of(counts)
    splits = assign_splits({UNSPLIT: examples}, SplitLimits(gate=gate), seed)
    assert sorted(e.id for split in splits.values() for e in split) == sorted(e.id for e in examples)
    held_out = max(1, round(0.15 * len(examples)))
    assert [len(splits[name]) for name in ("gate", "validation", "test")] == [gate, held_out, held_out]
    ungated = assign_splits({UNSPLIT: examples}, SplitLimits(), seed)
    assert ungated["validation"] == splits["validation"]
    assert ungated["test"] == splits["test"]
    assert {*splits["train"], *splits["gate"]} == {*ungated["train"]}


def test_smaller_limits_take_a_part_of_what_larger_ones_take():
    examples = examples_of([60, 30, 10])
    small = assign_splits({UNSPLIT: examples}, SplitLimits(train=10, validation=5, test=5), 0)
    large = assign_splits({UNSPLIT: examples}, SplitLimits(train=40, validation=10, test=10), 0)
    for split in ("train", "validation", "test"):
        assert large[split][: len(small[split])] == small[split]


def spelt(train, test):
    return {
        "train": [{"text": f"text {n}", "label": train[n % len(train)]} for n in range(40)],
        "test": [{"text": f"more {n}", "label": test[n % len(test)]} for n in range(20)],
    }


def test_classes_that_train_writes_otherwise_are_refused():
    with pytest.raises(
        TaskError, match=r"classes of train in test \('0\.0', '1\.0'\), got '0', '1'\. Write them alike"
    ):
        load_task(TaskSpec("t", "object:t"), spelt(["0.0", "1.0"], ["0", "1"]))


def test_a_class_that_train_lacks_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        load_task(TaskSpec("t", "object:t"), spelt(["a", "b"], ["a", "b", "c", "c"]))
    assert "object:t: 10 of 20 texts of test have classes that no training example has: 'c'" in caplog.text
