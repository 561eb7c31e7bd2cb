"""A sentence on what was found, and how its parts are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "listed"]


@dataclass(frozen=True)
class Finding:
    """One sentence; `topic` is what it is about, `kind` whether it is a result or a caution."""

    topic: str
    text: str
    kind: Literal["result", "caution"] = "result"


def listed(parts: Sequence[str]) -> str:
    """`one, another and a third`; empty without any."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
