"""The identity of a task's data, so that a study notices when they change under it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple

from slasearch.records import TaskData

__all__ = ["data_digest"]


def data_digest(data: TaskData) -> str:
    """SHA-256 (64 hexadecimal digits) over the names of the labels and the examples of every split, in order."""
    content = hashlib.sha256(json.dumps(data.labels).encode())
    for split, examples in sorted(data.splits.items()):
        content.update(json.dumps([split, len(examples)]).encode())
        for example in examples:
            content.update(json.dumps(astuple(example)).encode())
    return content.hexdigest()
