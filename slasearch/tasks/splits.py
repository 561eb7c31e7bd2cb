"""Identity, duplicates and splits of examples. All by hashes of content and seed, so the same task is always the same.

The search sees `validation` only and `test` is scored once; so a text that stands in several splits is kept in `test`
before `validation` before `train`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

from slasearch.errors import TaskError
from slasearch.records import SPLITS, Example, SplitLimits
from slasearch.tasks.sources._base import UNSPLIT, Row

__all__ = ["assign_splits", "example_id", "label_names", "stratified_order", "unique_examples"]

_HELD_OUT_SHARE = 0.15
_SIGN = re.compile(r"[^\w\s]")
_DROPPED = ("P", "C")
"""Of Unicode's categories: punctuation and invisible characters. Symbols (+, 😀) and marks (vowels of Hindi) tell texts
apart."""
_PRIORITY = (UNSPLIT, "test", "validation", "train")


def label_names(parts: Mapping[str, Sequence[Row]]) -> tuple[str, ...]:
    """All labels, sorted: as numbers if all of them are whole numbers, else as text."""
    names = {row.label for rows in parts.values() for row in rows}
    if all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def example_id(text: str, text_pair: str | None) -> str:
    """Twenty hex digits that two texts share if they differ in case, punctuation and spacing only."""
    key = "\x1f".join(_normal(part) for part in (text, text_pair) if part is not None)
    return hashlib.blake2b(key.encode(), digest_size=10).hexdigest()


def _normal(text: str) -> str:
    folded = unicodedata.normalize("NFC", text.lower())
    return " ".join(_SIGN.sub(_kept, folded).split()) or folded


def _kept(sign: re.Match[str]) -> str:
    return "" if unicodedata.category(sign[0]).startswith(_DROPPED) else sign[0]


def unique_examples(parts: Mapping[str, Sequence[Row]], labels: Sequence[str]) -> dict[str, list[Example]]:
    """The rows as examples, each text once over all parts: the first one, in `test` before `validation` and `train`."""
    numbers = {name: number for number, name in enumerate(labels)}
    seen: set[str] = set()
    unique: dict[str, list[Example]] = {}
    for part in (part for part in _PRIORITY if part in parts):
        unique[part] = []
        for row in parts[part]:
            identity = example_id(row.text, row.text_pair)
            if identity not in seen:
                seen.add(identity)
                unique[part].append(Example(identity, row.text, numbers[row.label], row.text_pair))
    return unique


def stratified_order(examples: Sequence[Example], seed: int, purpose: str) -> list[Example]:
    """A seeded order of which every beginning has the labels in proportion, but each label once before all else.

    Args:
        examples: Examples with different ids.
        seed: Seed of the order.
        purpose: Tells orders of one seed apart.
    """
    chance = {
        example.id: hashlib.blake2b(f"{seed}:{purpose}:{example.id}".encode(), digest_size=16).digest()
        for example in examples
    }
    groups: dict[int, list[str]] = defaultdict(list)
    for example in sorted(examples, key=lambda example: chance[example.id]):
        groups[example.label].append(example.id)
    quantile = {
        identity: (number + 0.5) / len(group) if number else 0.0
        for group in groups.values()
        for number, identity in enumerate(group)
    }
    return sorted(examples, key=lambda example: (quantile[example.id], chance[example.id]))


def assign_splits(parts: Mapping[str, list[Example]], limits: SplitLimits, seed: int) -> dict[str, tuple[Example, ...]]:
    """The four splits: missing ones taken off `train` (15 % each), then the limits, with `gate` out of train's.

    `limits.train` counts what stands in train and gate together: whoever trains without gates has both. A smaller limit
    takes a part of what a larger one takes.

    Raises:
        TaskError: There are too few examples.
    """
    pools = {split: list(examples) for split, examples in parts.items()}
    train = pools[UNSPLIT] if UNSPLIT in pools else pools["train"]
    count = max(1, round(_HELD_OUT_SHARE * len(train)))
    for split in ("test", "validation"):
        if split not in pools:
            train = stratified_order(train, seed, "split")
            train, pools[split] = train[:-count], train[-count:]
    train = stratified_order(train, seed, "gate")
    pools |= {"gate": train[: limits.gate], "train": train[limits.gate :]}
    rest = None if limits.train is None else limits.train - limits.gate
    most = {"train": rest, "gate": limits.gate, "validation": limits.validation, "test": limits.test}
    assigned: dict[str, tuple[Example, ...]] = {
        split: tuple(stratified_order(pools[split], seed, split)[: most[split]]) for split in SPLITS
    }
    _check_sizes(assigned, limits)
    return assigned


def _check_sizes(assigned: Mapping[str, Sequence[Example]], limits: SplitLimits) -> None:
    sizes = ", ".join(f"{split} {len(examples)}" for split, examples in assigned.items())
    if any(not assigned[split] for split in assigned if split != "gate") or len(assigned["gate"]) < limits.gate:
        raise TaskError(
            f"expected examples for every split after duplicates are removed, got {sizes}. "
            "Give more data, or lower limits.gate."
        )
    if len({example.label for example in assigned["train"]}) < 2:
        raise TaskError(f"expected at least two classes in train, got one ({sizes}). Raise limits.train.")
