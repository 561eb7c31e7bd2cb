"""Straight-through gates (Gumbel-sigmoid: Jang et al. 2017, arXiv 1611.01144; straight-through: arXiv 1308.3432).

u ~ U(0, 1),  s = σ((α + logit(u))/τ),  z = 1[s > ½] forward, ∂z/∂α = ∂s/∂α backward
p = σ(α) = P(z = 1),  τ from 5 to 1 over the gated steps; at the end open where p > threshold
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slasearch.adapters.gates._base import GateFamily, register_gate

__all__ = ["StraightThrough"]


@register_gate(
    "straight_through",
    thresholded=True,
    equation="z = 1[σ((α + logit u)/τ) > ½] forward, soft backward, p = σ(α); open: p > threshold",
    source="Jang et al. 2017, arXiv 1611.01144; Bengio et al. 2013, arXiv 1308.3432",
)
class StraightThrough(GateFamily):
    """See the module docstring."""

    temperatures = (5.0, 1.0)

    def initial_logit(self) -> float:
        """The logit of p."""
        return math.log(self.settings.initial_openness / (1 - self.settings.initial_openness))

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of 0 or 1 for each (task, slot), with the gradient of the soft one."""
        u = self.uniform(generator)
        soft = torch.sigmoid((self.logits + torch.logit(u)) / self.temperature)
        return (soft > 0.5).float() + (soft - soft.detach())

    def value(self) -> Tensor:
        """0 or 1."""
        return self.is_open().float()

    def folded(self) -> Tensor:
        """1: a slot that is kept was trained at full strength."""
        return torch.ones_like(self.logits)

    def openness(self) -> Tensor:
        """σ(α)."""
        return torch.sigmoid(self.logits)

    def is_open(self) -> Tensor:
        """Open where p > threshold."""
        return self.openness() > self.settings.threshold
