"""What both sides of search_speed.py are asked to do: data, layers, lengths, rates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["NOISE", "TWEETS", "Workload", "examples_of"]

TWEETS = "bundled:tweet_sentiment"
NOISE = 0.15
"""Share of the tokens that get Gaussian noise of the embeddings' own size, where a trial trains under noise."""


@dataclass(frozen=True)
class Workload:
    """A search of fixed-size trials.

    Args:
        source: The task's source, as a study names it.
        text_pair: Column of the second text of a pair, or None.
        layers: Layers whose q and v get a LoRA of rank 8.
        trials: How many.
        rates: Learning rate of each trial, of modules and head; None: a sampler draws them out of `rate_range`.
        noise: Whether trials train under fresh noise on embeddings.
        seed: Seed of sampler, weights and order of the data; see `seed_of`.
        device: `cpu` or `cuda`.
        pooling: `cls` or `mean`: what both heads get, the first token, as with `AutoModelForSequenceClassification`,
            or the tokens' mean.
        precision: `fp32` or `bf16`, of the backbone on our side; the other side's variants have their own.
    """

    source: str = TWEETS
    text_pair: str | None = None
    layers: Sequence[int] = (0, 1, 2, 3, 4, 5)
    trials: int = 30
    rates: Sequence[float] | None = None
    rate_range: Sequence[float] = (3e-4, 1e-2)
    noise: bool = False
    train: int = 1000
    validation: int = 1800
    epochs: int = 2
    batch_size: int = 32
    max_tokens: int = 64
    concurrency: int = 2
    threads: int = 1
    seed: int = 0
    device: str = "cpu"
    pooling: str = "cls"
    precision: str = "fp32"

    def seed_of(self, rate: float) -> int:
        """Seed of a trial: its own where rates are given, so that trials of equal work count one by one."""
        if self.rates is None:
            return self.seed
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{rate:.6g}".encode()).digest()[:3])


def examples_of(work: Workload) -> dict[str, Any]:
    """Texts, second texts (or None) and labels of the two splits, label names, and the folder of the backbone."""
    from slasearch.records import BackboneSpec, SplitLimits, TaskSpec
    from slasearch.tasks.load import load_task
    from slasearch.trial.backbone import backbone_folder

    limits = SplitLimits(train=work.train, validation=work.validation, test=1)
    asked = TaskSpec("task", work.source, text_pair=work.text_pair, limits=limits, max_tokens=work.max_tokens)
    task = load_task(asked)
    found: dict[str, Any] = {"labels": task.labels, "backbone": str(backbone_folder(BackboneSpec("bundled:minilm")))}
    for split in ("train", "validation"):
        examples = task.splits[split]
        pairs = None if work.text_pair is None else [example.text_pair for example in examples]
        found[split] = ([example.text for example in examples], pairs, [example.label for example in examples])
    return found
