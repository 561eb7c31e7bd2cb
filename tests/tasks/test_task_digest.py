"""The identity of a task's data: it changes with any example, and with nothing else."""

from dataclasses import replace

import pytest

from slasearch.records import Example, TaskData, TaskSpec
from slasearch.tasks.digest import data_digest

DATA = TaskData(
    TaskSpec("spam", "file:spam.csv"),
    ("ham", "spam"),
    {"train": (Example("1", "a", 0), Example("2", "b", 1, "pair")), "validation": (Example("3", "c", 0),), "test": ()},
)


def test_the_same_examples_have_the_same_digest_wherever_they_come_from() -> None:
    moved = replace(
        DATA, spec=replace(DATA.spec, source="file:elsewhere.csv"), splits=dict(reversed(DATA.splits.items()))
    )
    assert data_digest(moved) == data_digest(DATA)
    assert len(data_digest(DATA)) == 64


@pytest.mark.parametrize(
    "splits",
    [
        {"train": (Example("1", "a", 1), Example("2", "b", 1, "pair"))},
        {"train": (Example("1", "A", 0), Example("2", "b", 1, "pair"))},
        {"train": (Example("1", "a", 0), Example("2", "b", 1))},
        {"train": (Example("2", "b", 1, "pair"), Example("1", "a", 0))},
        {"validation": (), "test": (Example("3", "c", 0),)},
    ],
)
def test_any_other_example_changes_it(splits: dict[str, tuple[Example, ...]]) -> None:
    assert data_digest(replace(DATA, splits={**DATA.splits, **splits})) != data_digest(DATA)


def test_other_names_of_the_labels_change_it() -> None:
    assert data_digest(replace(DATA, labels=("spam", "ham"))) != data_digest(DATA)
