"""A sentence on what was found, and how its parts are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["NAMED", "Finding", "listed", "some"]

NAMED = 3
"""Fields, pairs or controls that a sentence names; more are counted."""


@dataclass(frozen=True)
class Finding:
    """One sentence; `topic` is what it is about, `kind` whether it is a result or a caution."""

    topic: str
    text: str
    kind: Literal["result", "caution"] = "result"


def listed(parts: Sequence[str]) -> str:
    """`one, another and a third`; empty without any."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def some(parts: Sequence[str], most: int = NAMED) -> str:
    """The first of many, and how many more there are: `one, another, a third and 4 more`."""
    return listed(parts) if len(parts) <= most else listed([*parts[:most], f"{len(parts) - most} more"])
