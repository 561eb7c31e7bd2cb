"""Kinds that multiply each dimension of a host's output, or input, by a number of its own.

    Σ_i z_i·(g_i ⊙ y) = (Σ_i z_i·g_i) ⊙ y

So z multiplies vectors, and one product alone passes over the wide y.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slasearch.adapters.kinds._base import AdapterModule, SlotContext
from slasearch.adapters.sites import HostShape
from slasearch.records import SlotCost

__all__ = ["Gain"]


class Gain(AdapterModule):
    """Δ(y) = g ⊙ y. `gain` (g) is `d_out`, which at an input is the input's width; 0 at the start."""

    linear_in = ("gain",)

    def __init__(self, host: HostShape, rank: int, *, generator: torch.Generator) -> None:
        super().__init__(host, rank, generator=generator)
        self.gain = nn.Parameter(torch.zeros(host.d_out))

    def delta(self, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        """`y`: `n x t x d_out` -> `n x t x d_out`; at an input `y` is the input. `x` is not used."""
        return self.gain * y

    @classmethod
    def combine(
        cls,
        modules: Sequence[AdapterModule],
        coefficients: Sequence[Tensor | None],
        x: Tensor,
        y: Tensor,
        context: SlotContext,
    ) -> Tensor:
        """As the module docstring says."""
        gains = [module.get_parameter("gain") for module in modules]
        total = gains[0] if coefficients[0] is None else coefficients[0] * gains[0]
        for gain, z in zip(gains[1:], coefficients[1:], strict=True):
            total = total + (gain if z is None else z * gain)
        return total * y

    def merge(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rows of the weight, and the bias, times 1 + g."""
        factor = 1 + self.gain.detach()
        return factor[:, None] * weight, None if bias is None else factor * bias

    @classmethod
    def cost(cls, host: HostShape, rank: int) -> SlotCost:
        """As many parameters as what is multiplied is wide."""
        return SlotCost(parameters=host.d_out, macs_per_token=0)
