"""Sigmoid gates, the form of the seed paper (arXiv 2509.03057).

    z = σ(α/τ(t)),  p = σ(α),  τ(t) from 1 to `temperature` over the gated steps, geometrically by default
    open at the end: p > threshold

The annealing path is ours: the paper does not state one. A sigmoid never reaches zero, hence the threshold.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slasearch.adapters.gates._base import GateFamily, register_gate

__all__ = ["Sigmoid"]


@register_gate(
    "sigmoid",
    thresholded=True,
    equation="z = σ(α/τ), p = σ(α); open: p > threshold",
    source="Structure-Learnable Adapter Fine-Tuning, arXiv 2509.03057; annealing ours",
)
class Sigmoid(GateFamily):
    """See the module docstring."""

    temperatures = (1.0, 2 / 3)

    def initial_logit(self) -> float:
        """The logit of p."""
        return math.log(self.settings.initial_openness / (1 - self.settings.initial_openness))

    def sample(self, generator: torch.Generator) -> Tensor:
        """The same as `value`: this family has no noise."""
        return self.value()

    def value(self) -> Tensor:
        """σ(α/τ)."""
        return torch.sigmoid(self.logits / self.temperature)

    def openness(self) -> Tensor:
        """σ(α)."""
        return torch.sigmoid(self.logits)

    def is_open(self) -> Tensor:
        """Open where p > threshold."""
        return self.openness() > self.settings.threshold
