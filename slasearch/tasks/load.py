"""From a task's description to its examples: read, name the labels, drop duplicates, split, limit."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from slasearch.errors import TaskError
from slasearch.records import Example, TaskData, TaskSpec
from slasearch.registry import SOURCES
from slasearch.tasks.sources._base import Row
from slasearch.tasks.sources.object import parts_of
from slasearch.tasks.splits import assign_splits, label_names, unique_examples

__all__ = ["describe_sources", "load_task"]

_log = logging.getLogger(__name__)

_MANY_LABELS = 20
_NAMED = 5
"""Most classes that a message names."""
_WORDS_A_TOKEN = 10


def load_task(spec: TaskSpec, data: Mapping[str, object] | None = None) -> TaskData:
    """The examples of a task in its four splits. The same spec on the same data always gives the same result.

    An example's id comes from its whole text alone, so limits and seeds do not change it. Of a long text only the
    first 10 · `max_tokens` words are kept: more than a model sees of it, even if a condition drops nine tenths of them.

    Args:
        spec: The task.
        data: A program's own data for it, by split (see `slasearch.tasks.sources.object`); None: its source is read.

    Raises:
        TaskError: The data cannot be read, or do not fit the description.
        MissingExtraError: A package that carries the data is not installed.
        RegistryError: No such source.
    """
    scheme, _, place = spec.source.partition(":")
    parts = SOURCES.get(scheme).read(place, spec) if data is None else parts_of(data, spec)
    try:
        labels = _checked_labels(parts)
        splits = assign_splits(unique_examples(parts, labels), spec.limits, spec.seed)
    except TaskError as error:
        raise TaskError(f"{spec.source}: {error}") from error
    _warn_of_classes(splits, labels, spec.source)
    words = _WORDS_A_TOKEN * spec.max_tokens
    cut = {split: tuple(_cut(example, words) for example in examples) for split, examples in splits.items()}
    return TaskData(spec=spec, labels=labels, splits=cut)


def _cut(example: Example, words: int) -> Example:
    text = _beginning(example.text, words)
    pair = None if example.text_pair is None else _beginning(example.text_pair, words)
    same = text == example.text and pair == example.text_pair
    return example if same else replace(example, text=text, text_pair=pair)


def _beginning(text: str, words: int) -> str:
    pieces = text.split(maxsplit=words)
    return text if len(pieces) <= words else text[: -len(pieces[-1])].rstrip()


def _checked_labels(parts: Mapping[str, Sequence[Row]]) -> tuple[str, ...]:
    labels = label_names(parts)
    rows = sum(len(part) for part in parts.values())
    if len(labels) < 2:
        raise TaskError(f"expected at least two classes, got one: {labels[0]!r}. Is the label column the right one?")
    if len(labels) > _MANY_LABELS and 2 * len(labels) > rows:
        raise TaskError(
            f"expected classes with several examples each, got {len(labels)} different labels in {rows} rows. "
            "Is the label column the right one?"
        )
    trained = {row.label for row in parts.get("train", ())}
    for split, part in parts.items():
        found = {row.label for row in part}
        if trained and not found & trained:
            raise TaskError(
                f"expected classes of train in {split} ({_named(trained)}), got {_named(found)}. Write them alike."
            )
    return labels


def _named(labels: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(labels)[:_NAMED]))


def _warn_of_classes(splits: Mapping[str, Sequence[Example]], labels: Sequence[str], source: str) -> None:
    """A class that no training example has, by the data or by the limits, cannot be learned."""
    trained = {example.label for example in splits["train"]}
    for split in ("validation", "test"):
        unknown = [example.label for example in splits[split] if example.label not in trained]
        if unknown:
            names = _named({labels[label] for label in unknown})
            _log.warning(
                "%s: %d of %d texts of %s have classes that no training example has: %s",
                *(source, len(unknown), len(splits[split]), split, names),
            )


def describe_sources() -> list[dict[str, Any]]:
    """What tasks can be had from all known sources: see `Source.describe` for the keys."""
    return [entry for name in SOURCES.names() for entry in SOURCES.get(name).describe()]
