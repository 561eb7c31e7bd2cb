"""Helpers of these tests."""

import numpy as np

from slasearch.perturb import embedding_change, perturb_examples
from slasearch.records import ConditionSpec, Example

LEVELS = (0.05, 0.1, 0.25, 0.5, 1.0)
TEXT = "The quick brown fox jumps over the lazy dog while nobody else is looking"
EXAMPLES = [Example(f"e{number}", TEXT, number % 4) for number in range(300)]


def under(kind, level, examples=EXAMPLES, *, where="eval", n_labels=4, **options):
    return perturb_examples(examples, ConditionSpec(kind, level, where), task="t", n_labels=n_labels, **options)


def noise(kind, level, ids, lengths, *, width=10, dim=32, scale=None, where="eval", epoch=None, special=(), rms=1.0):
    ordinary = np.ones((len(ids), width), bool)
    ordinary[:, list(special)] = False
    return embedding_change(
        ids,
        lengths,
        ordinary,
        dim,
        ConditionSpec(kind, level, where, scale=scale),
        rms=rms,
        tasks=["t"] * len(ids),
        epoch=epoch,
    )


def gaussian(level, ids, lengths, **options):
    change = noise("embedding_gaussian", level, ids, lengths, **options)
    assert change.factor is None
    return change.added
