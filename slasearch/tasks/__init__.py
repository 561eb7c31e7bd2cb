"""Tasks: where texts and labels come from, their splits, their tokens, their batches and their scores.

Only `slasearch.tasks.batches` needs torch; names are loaded when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slasearch.tasks.batches import Batch, batch_count, eval_batches, evaluation_tokens, train_batches
    from slasearch.tasks.digest import data_digest
    from slasearch.tasks.encoding import EncodedSplit, encode_split
    from slasearch.tasks.load import describe_sources, load_task
    from slasearch.tasks.metrics import score

__all__ = [
    "Batch",
    "EncodedSplit",
    "batch_count",
    "data_digest",
    "describe_sources",
    "encode_split",
    "eval_batches",
    "evaluation_tokens",
    "load_task",
    "score",
    "train_batches",
]

_HOMES = {
    "Batch": "batches",
    "EncodedSplit": "encoding",
    "batch_count": "batches",
    "data_digest": "digest",
    "describe_sources": "load",
    "encode_split": "encoding",
    "eval_batches": "batches",
    "evaluation_tokens": "batches",
    "load_task": "load",
    "score": "metrics",
    "train_batches": "batches",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
