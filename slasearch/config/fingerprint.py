"""Whether two studies are one: equality of the fields that affect results.

The text for people, resources, limits and the counts that may grow are left out, so that a finished study can be
given more trials, points or seeds, and can go on elsewhere. A phase `confirm`, and further controls in it, may come
later too: nothing that has been run depends on them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from typing import Any

from slasearch.config.problems import shown
from slasearch.config.schema import StudyConfig

__all__ = ["difference", "differing", "fingerprint"]

_FREE = frozenset(
    {
        "description",
        "resources",
        "limits",
        "phases.design.points",
        "phases.design.seeds",
        "phases.optimise.trials",
        "phases.confirm.top",
        "phases.confirm.seeds",
        "phases.confirm.tuning",
        "phases.confirm.finalists",
        "phases.confirm.finalist_seeds",
    }
)


_CONFIRM = "phases.confirm"


def fingerprint(config: StudyConfig) -> str:
    """SHA-256 (64 hexadecimal digits) over the fields that affect results, defaults included.

    A later version may add a field with a default, which changes the fingerprint of an old study: compare with the
    fingerprint of the stored study read anew, or by `difference`, not with a stored text.
    """
    text = json.dumps(sorted(_fields(config).items()), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def difference(old: StudyConfig, new: StudyConfig) -> list[str]:
    """One line `field: was …, is …` for each field that differs and affects results; empty for one study."""
    added = () if _lost(old, new) else (_CONFIRM if old.phases.confirm is None else f"{_CONFIRM}.controls",)
    return [f"{name}: was {before}, is {after}" for name, before, after in differing(old, new, apart=added)]


def _lost(old: StudyConfig, new: StudyConfig) -> bool:
    """Whether the new study lacks the old one's phase `confirm`, or one of its controls."""
    before, after = old.phases.confirm, new.phases.confirm
    return before is not None and (after is None or not set(before.controls) <= set(after.controls))


def differing(old: StudyConfig, new: StudyConfig, *, apart: Collection[str] = ()) -> Iterator[tuple[str, str, str]]:
    """Each field that differs and affects results, with its values as text.

    Args:
        old: One study.
        new: The other.
        apart: Fields that may differ too, and sections as a whole.
    """
    before, after = _fields(old, apart), _fields(new, apart)
    for name in dict.fromkeys((*before, *after)):
        if before.get(name, ...) != after.get(name, ...):
            yield name, _word(before, name), _word(after, name)


def _word(fields: dict[str, Any], name: str) -> str:
    return shown(fields[name]) if name in fields else "absent"


def _fields(config: StudyConfig, apart: Collection[str] = ()) -> dict[str, Any]:
    return dict(_leaves(config.model_dump(mode="json"), "", _FREE.union(apart)))


def _leaves(value: Any, name: str, apart: Collection[str]) -> Iterator[tuple[str, Any]]:
    if name in apart:
        return
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from _leaves(entry, f"{name}.{key}" if name else key, apart)
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        for position, entry in enumerate(value):
            yield from _leaves(entry, f"{name}.{position}", apart)
    else:
        yield name, value
