"""A program's own data: every form of a split gives the same rows, and every way it can be wrong."""

from collections import UserList

import numpy as np
import pandas as pd
import pytest

from slasearch.errors import TaskError
from slasearch.records import TaskSpec
from slasearch.registry import SOURCES
from slasearch.tasks.digest import data_digest
from slasearch.tasks.load import load_task

SPEC = TaskSpec("reviews", "object:reviews")
PAIRS = TaskSpec("pairs", "object:pairs", text="one", text_pair="two", label="same")
NAMES = ["bad", "good"]


def rows(count=60, start=0):
    return [{"text": f"Review {n}.", "label": NAMES[n % 2], "more": n} for n in range(start, start + count)]


class ClassLabel:
    names = NAMES


class Dataset(UserList):
    """What a data set of `datasets` has to offer: dicts one after another, and the names of classes beside numbers."""

    features = {"label": ClassLabel(), "text": None}  # noqa: RUF012


class OtherFrame(UserList):
    """A frame of another library than pandas, whose columns come one after another."""

    columns = ("text", "label")

    def to_dict(self):
        return {"text": ["x"], "label": ["y"]}


FORMS = {
    "list": rows(),
    "generator": (row for row in rows()),
    "frame": pd.DataFrame(rows()),
    "frame with an index": pd.DataFrame(rows()).set_index(pd.Index(range(100, 160))),
    "texts and labels": ([row["text"] for row in rows()], [row["label"] for row in rows()]),
    "arrays": (np.array([row["text"] for row in rows()]), np.array([row["label"] for row in rows()])),
    "dataset": Dataset([{**row, "label": NAMES.index(row["label"])} for row in rows()]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_split_gives_the_same_task(form):
    expected = load_task(SPEC, {"train": rows(), "test": rows(20, start=60)})
    found = load_task(SPEC, {"train": FORMS[form], "test": rows(20, start=60)})
    assert (found.labels, found.splits) == (expected.labels, expected.splits)
    assert data_digest(found) == data_digest(expected)
    assert {split: len(examples) for split, examples in found.splits.items()} == {
        "train": 51,
        "gate": 0,
        "validation": 9,
        "test": 20,
    }


@pytest.mark.parametrize("labels", [[0, 1], np.array([0, 1]), np.array([0.0, 1.0]), ["0", "1"]])
def test_labels_may_be_numbers_of_any_kind(labels):
    texts = [f"text {n}" for n in range(60)]
    assert load_task(SPEC, {"train": (texts, np.tile(np.asarray(labels), 30))}).labels == ("0", "1")


def test_labels_may_be_booleans():
    texts = [f"text {n}" for n in range(60)]
    assert load_task(SPEC, {"train": (texts, np.arange(60) % 2 == 0)}).labels == ("false", "true")


def test_pairs_of_texts():
    pairs = [(f"a {n}", f"b {n}") for n in range(60)]
    as_dicts = [{"one": one, "two": two, "same": n % 2} for n, (one, two) in enumerate(pairs)]
    found = load_task(PAIRS, {"train": (pairs, [n % 2 for n in range(60)])})
    assert found == load_task(PAIRS, {"train": as_dicts})
    assert {(e.text, e.text_pair) for e in found.splits["train"]} <= set(pairs)


def test_splits_may_have_other_names_and_those_given_away_are_not_read():
    spec = TaskSpec("reviews", "object:reviews", splits=(("test", "validation"),))
    data = {"train": rows(), "validation": rows(20, start=60), "test": [{"text": "x", "label": -1}]}
    found = load_task(spec, data)
    assert {e.text for e in found.splits["test"]} == {row["text"] for row in rows(20, start=60)}
    assert len(found.splits["validation"]) == 9


@pytest.mark.parametrize(
    ("spec", "data", "message"),
    [
        (SPEC, rows(), r"object:reviews: expected a dict of splits, such as .*, got list"),
        (
            SPEC,
            {"test": rows()},
            r"expected the splits train, validation, test \(train at least\), got test\. ",
        ),
        (SPEC, {"train": rows(), "dev": rows()}, r"got train, dev\. Name other splits in the study's tasks\.splits"),
        (
            SPEC,
            {"train": 3},
            r"expected the split 'train' as a list of dicts, a DataFrame, or \(texts, .*, got int",
        ),
        (SPEC, {"train": "text"}, r"expected the split 'train' as a list of dicts, .* got str"),
        (SPEC, {"train": ("text", 3)}, r"train\[0\]: expected a dict with the columns text, label, got 'text'"),
        (
            SPEC,
            {"train": OtherFrame([["x"]])},
            r"train\[0\]: expected a dict with the columns text, label, got \['x'\]",
        ),
        (SPEC, {"train": []}, r"expected at least one row in the split 'train', got none"),
        (SPEC, {"train": ["text"]}, r"train\[0\]: expected a dict with the columns text, label, got 'text'"),
        (SPEC, {"train": [*rows(), {"text": "x"}]}, r"train\[60\]: expected a column 'label', got the columns text"),
        (
            SPEC,
            {"train": pd.DataFrame(rows()).replace("Review 1.", np.nan)},
            r"train\[1\]: expected text in 'text'",
        ),
        (SPEC, {"train": (["a", "b"], [1])}, r"in the split 'train', got 2 texts and 1 labels"),
        (
            SPEC,
            {"train": Dataset([{"text": "x", "label": -1}])},
            r"train\[0\]: expected one of the 2 classes bad, good",
        ),
        (PAIRS, {"train": (["a"], [1])}, r"object:pairs: train\[0\]: expected a pair of texts, got 'a'"),
        (
            TaskSpec("r", "object:r", splits=(("test", "dev"),)),
            {"train": rows()},
            r"expected the splits train, validation, dev \(train at least\), got train",
        ),
    ],
)
def test_errors_name_place_expected_and_got(spec, data, message):
    with pytest.raises(TaskError, match=message):
        load_task(spec, data)


def test_without_its_data_such_a_task_says_how_to_give_them():
    assert SOURCES.get("object").problem("reviews") is None
    with pytest.raises(TaskError, match=r"slasearch\.run_study\(…, tasks=\{'reviews': \{'train': …\}\}\)"):
        load_task(SPEC)
