"""The contract of a task source, as checks to run on a task that it gives.

    @pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(TaskSpec("reviews", "mysource:reviews"))

The task should have at least 200 examples, and `limits` at their defaults.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from slasearch.records import SPLITS, SplitLimits, TaskData, TaskSpec
from slasearch.registry import SOURCES
from slasearch.tasks.load import load_task
from slasearch.tasks.sources._base import Source
from slasearch.tasks.splits import example_id

__all__ = ["SOURCE_CHECKS"]

_FACTS = {"name", "what", "rows", "classes", "licence", "available", "extra"}
_SMALL = SplitLimits(train=60, gate=12, validation=12, test=12)


def _ids(data: TaskData, split: str) -> list[str]:
    return [example.id for example in data.splits[split]]


def source_describes_itself(spec: TaskSpec) -> None:
    """The source is registered, and lists what it has with all facts."""
    scheme = spec.source.partition(":")[0]
    source = SOURCES.get(scheme)
    assert isinstance(source, Source)
    assert source.name == scheme
    entries = source.describe()
    assert entries
    for entry in entries:
        assert set(entry) == _FACTS
        assert entry["name"].startswith(f"{scheme}:")


def names_are_told_from_others_without_reading(spec: TaskSpec) -> None:
    """Nothing is wrong with the name, and once the task was read there is nothing left to download."""
    scheme, _, place = spec.source.partition(":")
    source = SOURCES.get(scheme)
    assert source.problem(place) is None
    load_task(spec)
    assert source.download(place, dict(spec.splits)) is None


def loading_twice_gives_the_same(spec: TaskSpec) -> None:
    """The same spec gives the same data, in the same order."""
    assert load_task(spec) == load_task(spec)


def splits_are_complete_and_disjoint(spec: TaskSpec) -> None:
    """Four splits; only `gate` may be empty; no text stands in two of them, nor twice in one."""
    data = load_task(spec)
    assert set(data.splits) == set(SPLITS)
    assert all(data.splits[split] for split in SPLITS if split != "gate")
    ids = [identity for split in SPLITS for identity in _ids(data, split)]
    assert len(set(ids)) == len(ids)


def labels_are_sorted_and_used(spec: TaskSpec) -> None:
    """Label names are sorted (whole numbers as such), each occurs, and train has at least two."""
    data = load_task(spec)
    whole = all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in data.labels)
    assert list(data.labels) == sorted(data.labels, key=(lambda name: (int(name), name)) if whole else None)
    used = Counter(example.label for examples in data.splits.values() for example in examples)
    assert sorted(used) == list(range(len(data.labels)))
    assert len({example.label for example in data.splits["train"]}) > 1


def texts_are_clean(spec: TaskSpec) -> None:
    """No text is empty or has white space around it; short texts give the ids; pairs are pairs throughout."""
    examples = [example for split in load_task(spec).splits.values() for example in split]
    assert len({example.text_pair is None for example in examples}) == 1
    for example in examples:
        assert example.text == example.text.strip() != ""
        assert example.text_pair is None or example.text_pair == example.text_pair.strip() != ""
        if len(f"{example.text} {example.text_pair}".split()) < spec.max_tokens:
            assert example.id == example_id(example.text, example.text_pair)


def limits_choose_and_change_nothing_else(spec: TaskSpec) -> None:
    """Limited splits hold what the limits say, are part of larger ones, and keep labels, ids and texts."""
    full = load_task(replace(spec, limits=SplitLimits()))
    small = load_task(replace(spec, limits=_SMALL))
    less = load_task(replace(spec, limits=replace(_SMALL, train=30, test=6)))
    assert small.labels == full.labels
    assert [len(small.splits[split]) for split in SPLITS] == [48, 12, 12, 12]
    for split in ("validation", "test"):
        assert set(small.splits[split]) <= set(full.splits[split])
    assert set(small.splits["train"]) | set(small.splits["gate"]) <= set(full.splits["train"])
    assert not set(_ids(small, "train")) & set(_ids(small, "gate"))
    for split in ("train", "test"):
        assert set(less.splits[split]) <= set(small.splits[split])
    assert less.splits["gate"] == small.splits["gate"]


def limits_are_stratified(spec: TaskSpec) -> None:
    """A limited train split has the labels in the proportions of the whole, up to one example of each."""
    full, small = load_task(spec), load_task(replace(spec, limits=SplitLimits(train=60)))
    whole = Counter(example.label for example in full.splits["train"])
    part = Counter(example.label for example in small.splits["train"])
    for label, count in whole.items():
        expected = 60 * count / len(full.splits["train"])
        assert abs(part[label] - expected) <= 1 + len(whole) / 2


SOURCE_CHECKS: tuple[Callable[[TaskSpec], None], ...] = (
    source_describes_itself,
    names_are_told_from_others_without_reading,
    loading_twice_gives_the_same,
    splits_are_complete_and_disjoint,
    labels_are_sorted_and_used,
    texts_are_clean,
    limits_choose_and_change_nothing_else,
    limits_are_stratified,
)
"""Each takes a task of the source and fails with AssertionError."""
