"""Additive bias (BitFit: Ben Zaken et al. 2021, arXiv 2106.10199), as a shift of the host's output.

    Δ = b,    b = 0 at the start (identity)

Not offered at `attn.k`: a shift of every key moves all attention logits of a query alike, and the softmax drops it.
Cost: d_out parameters, no multiply-adds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slasearch.adapters.kinds._base import AdapterModule, SlotContext, register_kind
from slasearch.adapters.sites import HostShape
from slasearch.records import SlotCost

__all__ = ["Bias"]


@register_kind(
    "bias",
    sites=("attn.q", "attn.v", "attn.out", "ffn.in", "ffn.out", "block"),
    ranked=False,
    stage="bias",
    equation="Δ = b, b = 0 at the start",
    source="Ben Zaken et al. 2021, arXiv 2106.10199",
    cost="d_out",
    mergeable=True,
)
class Bias(AdapterModule):
    """See the module docstring. `shift` is `d_out`."""

    linear_in = ("shift",)

    def __init__(self, host: HostShape, rank: int, *, generator: torch.Generator) -> None:
        super().__init__(host, rank, generator=generator)
        self.shift = nn.Parameter(torch.zeros(host.d_out))

    def delta(self, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        """`d_out`, which broadcasts over examples and tokens."""
        return self.shift

    def merge(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The host's bias + b."""
        shift = self.shift.detach()
        return weight, shift if bias is None else bias + shift

    @classmethod
    def cost(cls, host: HostShape, rank: int) -> SlotCost:
        """d_out parameters."""
        return SlotCost(parameters=host.d_out, macs_per_token=0)
