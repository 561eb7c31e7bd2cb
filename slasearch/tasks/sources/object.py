"""A program's own data: `object:NAME`, given as `slasearch.run_study(…, tasks={NAME: {"train": …, "test": …}})`.

A split is a list (or any iterable) of dicts, a pandas DataFrame, a data set of Hugging Face's `datasets`, or a pair
`(texts, labels)`, whose texts are pairs themselves where the task has a `text_pair`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from slasearch.config.splits import SOURCE_SPLITS
from slasearch.errors import TaskError
from slasearch.records import TaskSpec
from slasearch.tasks.sources._base import Problem, Row, Source, register_source, wanted_splits
from slasearch.tasks.sources._rows import columns_of, named, row_of

__all__ = ["ObjectSource", "parts_of"]


@register_source("object")
class ObjectSource(Source):
    """Stands for data that only a Python program has, and so cannot be read by name."""

    def read(self, place: str, spec: TaskSpec) -> Mapping[str, Sequence[Row]]:
        """Nothing but an error: the data of such a task are handed to `load_task`."""
        raise TaskError(
            f"object:{place}: expected its data as an object, got none. Run the study from Python: "
            f"slasearch.run_study(…, tasks={{{place!r}: {{'train': …}}}})."
        )

    def problem(self, place: str) -> Problem | None:
        """A text that is no name: nothing is imported, so a dotted path leads nowhere."""
        if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", place):
            return None
        return "a name of letters, digits, _ and -, by which a program hands its data over", place

    def describe(self) -> list[dict[str, Any]]:
        """The one form of names."""
        what = "your own data as Python objects, given to slasearch.run_study(tasks={NAME: …})"
        facts = {"rows": None, "classes": None, "licence": "yours", "available": True, "extra": None}
        return [{"name": "object:NAME", "what": what, **facts}]


def parts_of(data: Mapping[str, object], spec: TaskSpec) -> dict[str, list[Row]]:
    """The rows of a program's own data, as `Source.read` gives those of others.

    Args:
        data: Each split by the name that the task's `splits` gives it, `train` at least.
        spec: The task, for its columns and the names of its splits.

    Raises:
        TaskError: A split is missing or not wanted, or what it holds does not fit the description.
    """
    if not isinstance(data, Mapping):
        raise TaskError(
            f"{spec.source}: expected a dict of splits, such as {{'train': …, 'test': …}}, got {type(data).__name__}."
        )
    wanted = wanted_splits(dict(spec.splits), spec.source)
    unknown = [str(name) for name in data if name not in wanted.values() and name not in SOURCE_SPLITS]
    needed = [wanted[ours] for ours in ("train", *dict(spec.splits))]
    if unknown or not all(name in data for name in needed):
        raise TaskError(
            f"{spec.source}: expected the splits {', '.join(wanted.values())} (train at least), got "
            f"{', '.join(map(str, data)) or 'none'}. Name other splits in the study's tasks.splits."
        )
    return {ours: _rows(data[theirs], theirs, spec) for ours, theirs in wanted.items() if theirs in data}


def _rows(split: object, name: str, spec: TaskSpec) -> list[Row]:
    names = _class_names(split, spec.label)
    rows = []
    for number, record in enumerate(_records(split, name, spec)):
        place = f"{spec.source}: {name}[{number}]"
        if not isinstance(record, Mapping):
            columns = ", ".join(columns_of(spec))
            raise TaskError(f"{place}: expected a dict with the columns {columns}, got {record!r:.60}.")
        plain = {column: _plain(value) for column, value in record.items()}
        rows.append(row_of(named(plain, spec.label, names, place), spec, place))
    if not rows:
        raise TaskError(f"{spec.source}: expected at least one row in the split {name!r}, got none.")
    return rows


def _records(split: Any, name: str, spec: TaskSpec) -> Iterator[Any]:
    if isinstance(split, tuple) and len(split) == 2 and all(map(_is_list, split)):
        yield from _pairs(split[0], split[1], name, spec)
    elif hasattr(split, "to_dict") and hasattr(split, "iloc"):  # a frame of pandas, which need not be loaded here
        yield from split.to_dict("records")
    elif _is_list(split):
        yield from split
    else:
        raise TaskError(
            f"{spec.source}: expected the split {name!r} as a list of dicts, a DataFrame, or (texts, labels), got "
            f"{type(split).__name__}."
        )


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))


def _pairs(texts: Iterable[Any], labels: Iterable[Any], name: str, spec: TaskSpec) -> Iterator[dict[str, Any]]:
    texts, labels = list(texts), list(labels)
    if len(texts) != len(labels):
        raise TaskError(
            f"{spec.source}: expected as many labels as texts in the split {name!r}, got {len(texts)} texts and "
            f"{len(labels)} labels."
        )
    for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
        if spec.text_pair is None:
            yield {spec.text: text, spec.label: label}
        elif isinstance(text, (tuple, list)) and len(text) == 2:
            yield {spec.text: text[0], spec.text_pair: text[1], spec.label: label}
        else:
            raise TaskError(f"{spec.source}: {name}[{number}]: expected a pair of texts, got {text!r:.60}.")


def _class_names(split: object, column: str) -> Sequence[str] | None:
    """The names of the classes that a data set of `datasets` has beside their numbers."""
    features = getattr(split, "features", None)
    names = getattr(features.get(column), "names", None) if isinstance(features, Mapping) else None
    return None if names is None else [str(name) for name in names]


def _plain(value: Any) -> Any:
    """A scalar of numpy or torch as Python's own."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
