"""Proximal gates (SoRA: Ding et al. 2023, arXiv 2311.11696): real numbers under an L1 penalty in closed form.

    z ← z − η·∂L/∂z                      (plain SGD: Adam's step sizes would break the closed form)
    z ← sign(z)·max(|z| − η·λ·c̃, 0)      c̃ the slot's cost over the mean cost
    p = 1 if z ≠ 0 else 0, at the end open where z ≠ 0: exact zeros

λ acts on each gate here, not on a share of the pool: the same λ closes more than in a family whose R is a mean.
The cost weighting is ours; SoRA's components all cost the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slasearch.adapters.gates._base import GateFamily, register_gate

__all__ = ["Proximal"]


@register_gate(
    "proximal",
    thresholded=False,
    tempered=False,
    equation="z ← soft(z − η·∂L/∂z, η·λ·c̃), p = 1[z ≠ 0]; open: z ≠ 0",
    source="SoRA, Ding et al. 2023, arXiv 2311.11696; weighting by cost ours",
)
class Proximal(GateFamily):
    """See the module docstring; `logits` holds z itself."""

    bounded = False
    penalised = False

    def initial_logit(self) -> float:
        """The z of the start: `initial_openness`."""
        return self.settings.initial_openness

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD([self.logits], lr=learning_rate)

    def after_step(self, learning_rate: float, weight: Tensor | float) -> None:
        """The soft threshold."""
        threshold = (self.costs / self.costs.mean()).to(self.logits) * (learning_rate * weight)
        with torch.no_grad():
            self.logits.copy_(self.logits.sign() * (self.logits.abs() - threshold).clamp(min=0))

    def sample(self, generator: torch.Generator) -> Tensor:
        """The same as `value`: this family has no noise."""
        return self.value()

    def value(self) -> Tensor:
        """Gates z."""
        return self.logits * 1.0

    def openness(self) -> Tensor:
        """1 where z is not zero."""
        return (self.logits != 0).float()

    def position(self) -> Tensor:
        """The z itself."""
        return self.value().detach()

    def is_open(self) -> Tensor:
        """Open where z is not zero."""
        return self.logits != 0

    def folded(self) -> Tensor:
        """The z; of a slot that was kept although its z is 0, 1: its weights stay as they are."""
        return torch.where(self.logits == 0, 1.0, self.logits).detach()

    def strength(self) -> Tensor:
        """|z|."""
        return self.logits.detach().abs()
