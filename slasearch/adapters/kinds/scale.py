"""Element-wise scale of a linear host's output (the scale of SSF: Lian et al. 2022, arXiv 2210.08823).

    Δ(y) = g ⊙ y,    g = 0 at the start (identity)

SSF's γ is 1 + g here; its shift β is the kind `bias`. Cost: d_out parameters, no matrix product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slasearch.adapters.kinds._base import AdapterModule, SlotContext, register_kind
from slasearch.adapters.sites import HostShape
from slasearch.records import SlotCost

__all__ = ["Scale"]


@register_kind(
    "scale",
    sites=("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out"),
    ranked=False,
    stage="scale",
    equation="Δ(y) = g ⊙ y, g = 0 at the start",
    source="SSF, Lian et al. 2022, arXiv 2210.08823",
    cost="d_out",
    mergeable=True,
)
class Scale(AdapterModule):
    """See the module docstring. `gain` (g) is `d_out`."""

    linear_in = ("gain",)

    def __init__(self, host: HostShape, rank: int, *, generator: torch.Generator) -> None:
        super().__init__(host, rank, generator=generator)
        self.gain = nn.Parameter(torch.zeros(host.d_out))

    def delta(self, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        """`y`: `n x t x d_out` -> `n x t x d_out`; `x` is not used."""
        return self.gain * y

    def merge(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rows of the weight, and the bias, times 1 + g."""
        factor = 1 + self.gain.detach()
        return factor[:, None] * weight, None if bias is None else factor * bias

    @classmethod
    def cost(cls, host: HostShape, rank: int) -> SlotCost:
        """d_out parameters."""
        return SlotCost(parameters=host.d_out, macs_per_token=0)
