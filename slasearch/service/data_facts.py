"""What a user's own table says of a task: its columns, its classes, how long its texts are, how to score it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slasearch.errors import TaskError
from slasearch.files import existing
from slasearch.records import Example, TaskSpec
from slasearch.tasks.load import load_task
from slasearch.tasks.sources._tables import read_records, table_suffix

__all__ = ["TaskFacts", "look_at"]

TEXTS = (
    "text",
    "sentence",
    "body",
    "content",
    "message",
    "review",
    "question",
    "tweet",
    "comment",
    "title",
    "document",
)
LABELS = ("label", "labels", "class", "category", "target", "intent", "sentiment", "topic", "team", "tag", "y")
PAIRS = (
    ("text", "text_pair"), ("text_a", "text_b"), ("text1", "text2"), ("sentence1", "sentence2"),
    ("premise", "hypothesis"), ("question1", "question2"), ("question", "passage"), ("query", "document"),
)  # fmt: skip
_WHOLE_TEXTS = 8192
_SKEWED = 3.0
"""How many times as frequent as the rarest class the most frequent one may be before accuracy says too little."""
_TOKENS_A_WORD, _CHARACTERS_A_TOKEN, _SPECIAL = 1.4, 4.0, 2
"""Of subword tokenisers on ordinary text; only `max_tokens` rests on it."""
_FEWEST_TOKENS, _MOST_TOKENS, _COVERED = 16, 256, 0.95


@dataclass(frozen=True)
class TaskFacts:
    """A task as its data suggest it.

    Args:
        name: The task.
        path: File or folder.
        text: Column of the text.
        text_pair: Column of the second text, if there is one.
        label: Column of the class.
        counts: Examples of each class over all splits, the most frequent class first; duplicates are left out.
        sizes: Examples of the splits `train`, `validation` and `test`.
        tokens: Estimate of the tokens that 95 % of the texts have at most.
        max_tokens: A length to cut texts to.
        metric: `accuracy`, or `macro_f1` where one class is more than three times as frequent as another.
    """

    name: str
    path: str
    text: str
    text_pair: str | None
    label: str
    counts: dict[str, int]
    sizes: dict[str, int]
    tokens: int
    max_tokens: int
    metric: str


def look_at(name: str, path: str) -> TaskFacts:
    """Reads a table, or a folder of one table for each split, and says what task it makes.

    Raises:
        TaskError: It cannot be read, has no columns of texts and of classes, or too little data; the text says which.
    """
    text, text_pair, label = _columns(path, _records(path))
    task = load_task(TaskSpec(name, f"file:{path}", text, text_pair, label, max_tokens=_WHOLE_TEXTS))
    examples = [example for split in task.splits.values() for example in split]
    counts = Counter(task.labels[example.label] for example in examples)
    tokens = _tokens(examples)
    skewed = max(counts.values()) > _SKEWED * min(counts.values())
    return TaskFacts(
        name=name,
        path=path,
        text=text,
        text_pair=text_pair,
        label=label,
        counts=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        sizes={split: len(task.splits[split]) for split in ("train", "validation", "test")},
        tokens=tokens,
        max_tokens=min(_MOST_TOKENS, max(_FEWEST_TOKENS, 8 * math.ceil(tokens / 8))),
        metric="macro_f1" if skewed else "accuracy",
    )


def _records(path: str) -> list[dict[str, Any]]:
    place = existing(path)
    if place is None:
        raise TaskError(f"{path}: expected a file or a folder, got nothing there. Check --task NAME=PATH.")
    if place.is_dir():
        tables = sorted(file for file in place.glob("train.*") if table_suffix(file))
        if not tables:
            raise TaskError(f"{path}: expected a file train.jsonl, train.csv or the like in the folder, got none.")
        place = tables[0]
    # No column has an empty name, and where a wanted one is missing all others are read.
    records = [record for _, record in read_records(place, [""])]
    if not records:
        raise TaskError(f"{path}: expected at least one row, got none.")
    return records


def _columns(path: str, records: Sequence[Mapping[str, Any]]) -> tuple[str, str | None, str]:
    """Text, second text and class: by their usual names, else by what they hold."""
    values = {column: [record.get(column) for record in records] for column in records[0]}
    by_name = {column.lower(): column for column in reversed(values)}
    texts = {column for column, held in values.items() if all(isinstance(value, str) for value in held)}
    classes = {column for column in values if _could_be_classes(values[column])}
    label = next((by_name[name] for name in LABELS if by_name.get(name) in classes), None)
    pair = next(
        ((by_name[a], by_name[b]) for a, b in PAIRS if {by_name.get(a), by_name.get(b)} <= texts - {label}), None
    )
    text = pair[0] if pair else next((by_name[name] for name in TEXTS if by_name.get(name) in texts - {label}), None)
    if label is None:
        rest = classes - {text, *(pair or ())}
        label = min(rest, key=lambda column: (len(set(map(str, values[column]))), column), default=None)
    if text is None:
        rest = texts - {label}
        text = max(rest, key=lambda column: (sum(len(str(value)) for value in values[column]), column), default=None)
    if text is None or label is None:
        lacking = "texts" if text is None else "classes (text or whole numbers, each several times)"
        columns = ", ".join(map(str, values))
        advice = " Separate the columns of a .csv by commas." if len(values) == 1 and ";" in columns else ""
        raise TaskError(f"{path}: expected a column of {lacking}, got the columns {columns}.{advice}")
    return text, pair[1] if pair else None, label


def _could_be_classes(held: Sequence[Any]) -> bool:
    whole = all(isinstance(value, (str, bool, int)) or (isinstance(value, float) and value % 1 == 0) for value in held)
    return whole and 2 <= len(set(map(str, held))) <= max(2, len(held) // 2)


def _tokens(examples: Sequence[Example]) -> int:
    """The estimated length that the covered share of the texts stays within."""
    lengths = sorted(
        _SPECIAL + max(_TOKENS_A_WORD * len(text.split()), len(text) / _CHARACTERS_A_TOKEN)
        for example in examples
        for text in [f"{example.text} {example.text_pair or ''}"]
    )
    return math.ceil(lengths[min(len(lengths) - 1, int(_COVERED * len(lengths)))])
