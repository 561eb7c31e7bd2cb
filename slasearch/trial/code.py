"""What a trial is computed with, as one number: sources change between two releases too."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import slasearch

__all__ = ["code_digest"]

PARTS = (".", "adapters", "config", "perturb", "tasks", "trial")
"""Folders of the package whose modules a trial runs through; what orders, stores and draws is not among them."""


@cache
def code_digest() -> str:
    """SHA-256, in hexadecimal, over names and contents of these modules as they lay on disk when it was first asked."""
    root = Path(slasearch.__file__).parent
    digest = hashlib.sha256()
    for part in PARTS:
        for path in sorted((root / part).glob("*.py" if part == "." else "**/*.py")):
            name, content = path.relative_to(root).as_posix().encode(), path.read_bytes()
            digest.update(b"%d %s %d " % (len(name), name, len(content)) + content)
    return digest.hexdigest()
