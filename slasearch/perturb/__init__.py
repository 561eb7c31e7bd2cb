"""Conditions: how inputs, labels and weights are disturbed in training and in evaluation. Loads no torch."""

from slasearch.perturb._base import ConditionFacts, register_condition
from slasearch.perturb.apply import (
    describe_conditions,
    embedding_change,
    perturb_examples,
    substitute_tokens,
    weight_change,
)

__all__ = [
    "ConditionFacts",
    "describe_conditions",
    "embedding_change",
    "perturb_examples",
    "register_condition",
    "substitute_tokens",
    "weight_change",
]
