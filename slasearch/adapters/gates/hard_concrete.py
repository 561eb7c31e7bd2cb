"""Hard-concrete gates (Louizos, Welling, Kingma 2018, arXiv 1712.01312).

    u ~ U(0, 1),  s = σ((logit(u) + α)/β),  z = clip(s·(ζ − γ) + γ, 0, 1),  γ = −0.1, ζ = 1.1
    p = P(z ≠ 0) = σ(α − β·log(−γ/ζ))
    at the end z = clip(σ(α)·(ζ − γ) + γ, 0, 1): exact zeros

The end is closed already at p ≈ .31 for β = 2/3, so the expected size is not the final size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slasearch.adapters.gates._base import GateFamily, register_gate

__all__ = ["HardConcrete"]

GAMMA, ZETA = -0.1, 1.1
_SHIFT = math.log(-GAMMA / ZETA)


@register_gate(
    "hard_concrete",
    thresholded=False,
    equation="z = clip(σ((logit u + α)/β)·1.2 − 0.1, 0, 1), p = P(z ≠ 0); open: z(u = ½, β = 1) > 0",
    source="Louizos et al. 2018, arXiv 1712.01312",
)
class HardConcrete(GateFamily):
    """See the module docstring; β is the temperature, by default the same all along."""

    temperatures = (2 / 3, 2 / 3)

    def initial_logit(self) -> float:
        """The α at which P(z ≠ 0) is the wanted openness."""
        return (
            math.log(self.settings.initial_openness / (1 - self.settings.initial_openness)) + self.temperature * _SHIFT
        )

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw for each (task, slot)."""
        u = self.uniform(generator)
        s = torch.sigmoid((torch.logit(u) + self.logits) / self.temperature)
        return (s * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def value(self) -> Tensor:
        """The deterministic end, with exact zeros."""
        return (torch.sigmoid(self.logits) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def openness(self) -> Tensor:
        """P(z ≠ 0)."""
        return torch.sigmoid(self.logits - self.temperature * _SHIFT)

    def is_open(self) -> Tensor:
        """Open where z > 0."""
        return self.value() > 0
