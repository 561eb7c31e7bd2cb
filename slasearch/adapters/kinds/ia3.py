"""(IA)³ (Liu et al. 2022, arXiv 2205.05638): keys, values and the inner activations of the feed-forward block rescaled.

    Δ(y) = l ⊙ y,    l = 0 at the start (identity)

The paper's vectors are 1 + l here. Keys and values are scaled at the output of `attn.k` and `attn.v`; the inner
activation is the input of `ffn.out`, so there the kind acts on the input, before the host and its other modules.
Cost: d_out parameters at `attn.k` and `attn.v`, d_in at `ffn.out`; no matrix product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slasearch.adapters.kinds._base import AdapterModule, SlotContext, register_kind
from slasearch.adapters.sites import HostShape
from slasearch.records import SlotCost

__all__ = ["Ia3"]


@register_kind(
    "ia3",
    sites=("attn.k", "attn.v", "ffn.out"),
    ranked=False,
    stage="scale",
    input_sites=("ffn.out",),
    equation="Δ(y) = l ⊙ y, l = 0 at the start; at ffn.out of its input",
    source="Liu et al. 2022, arXiv 2205.05638",
    cost="d_out (at ffn.out d_in)",
    mergeable=True,
)
class Ia3(AdapterModule):
    """See the module docstring. `gain` (l) is `d_out`, which at an input is the input's width."""

    linear_in = ("gain",)

    def __init__(self, host: HostShape, rank: int, *, generator: torch.Generator) -> None:
        super().__init__(host, rank, generator=generator)
        self.gain = nn.Parameter(torch.zeros(host.d_out))

    def delta(self, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        """`y`: `n x t x d_out` -> `n x t x d_out`; at an input `y` is the input."""
        return self.gain * y

    def merge(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rows of the weight, and the bias, times 1 + l."""
        factor = 1 + self.gain.detach()
        return factor[:, None] * weight, None if bias is None else factor * bias

    def merge_input(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Columns of the weight times 1 + l."""
        return weight * (1 + self.gain.detach()), bias

    @classmethod
    def cost(cls, host: HostShape, rank: int) -> SlotCost:
        """As many parameters as what is scaled is wide."""
        return SlotCost(parameters=host.d_out, macs_per_token=0)
