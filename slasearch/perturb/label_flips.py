"""Symmetric label noise (Angluin & Laird 1988): an example with u < level gets another label, each equally likely.

Training only: labels that a score is measured against are never touched.
"""

from __future__ import annotations

import numpy as np

from slasearch.perturb._base import ConditionFacts, LabelCondition, register_condition

__all__ = ["LabelFlips"]


@register_condition(
    "label_flips",
    ConditionFacts(
        family="label",
        level="share of examples",
        units="share",
        maximum=1.0,
        severities=(0.05, 0.1, 0.2, 0.3, 0.4),
        where=("train",),
        default_scale=None,
        summary="gives a share of the training examples a wrong label, the same one in every epoch",
        equation="y' = (y + k) mod n, k uniform on 1 … n-1, for each example with u < level",
        source="Angluin & Laird 1988",
        ours="an example keeps its wrong label in every epoch, and labels that a score is measured against are kept",
    ),
)
class LabelFlips(LabelCondition):
    """Replaces labels by wrong ones."""

    def relabel(self, label: int, n_labels: int, level: float, rng: np.random.Generator) -> int:
        """Another label if the example is disturbed, else the same; a task of one label has no other."""
        if n_labels < 2:
            return label
        flipped = rng.random() < level
        return (label + int(rng.integers(1, n_labels))) % n_labels if flipped else label
