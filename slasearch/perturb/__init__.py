"""Conditions: how inputs are disturbed in training and in evaluation. Loads no torch."""

from slasearch.perturb._base import ConditionFacts, register_condition
from slasearch.perturb.apply import describe_conditions, embedding_noise, perturb_examples

__all__ = ["ConditionFacts", "describe_conditions", "embedding_noise", "perturb_examples", "register_condition"]
