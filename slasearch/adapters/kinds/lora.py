"""Low-rank adapter (Hu et al. 2021, arXiv 2106.09685).

    Δ(x) = s · B · A · x,    s = α/r = 1, B = 0 at the start (identity), A uniform as in the paper's code

Cost: r·(d_in + d_out) parameters, and as many multiply-adds a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slasearch.adapters.kinds._base import AdapterModule, SlotContext, register_kind
from slasearch.adapters.kinds._hidden import project, side_by_side
from slasearch.adapters.sites import HostShape
from slasearch.records import SlotCost

__all__ = ["Lora"]


@register_kind(
    "lora",
    sites=("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out"),
    equation="Δ(x) = B·A·x, B = 0 at the start",
    source="Hu et al. 2021, arXiv 2106.09685",
    cost="r·(d_in + d_out)",
    separable=True,
    mergeable=True,
    low_rank=True,
    aimable=True,
)
class Lora(AdapterModule):
    """See the module docstring. `down` is `r x d_in` (A), `up` is `d_out x r` (B)."""

    linear_in = ("up",)

    def __init__(self, host: HostShape, rank: int, *, generator: torch.Generator) -> None:
        super().__init__(host, rank, generator=generator)
        bound = host.d_in**-0.5
        self.down = nn.Parameter(torch.empty(rank, host.d_in).uniform_(-bound, bound, generator=generator))
        self.up = nn.Parameter(torch.zeros(host.d_out, rank))

    def delta(self, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        """`x`: `n x t x d_in` -> `n x t x d_out`; `y` is not used."""
        return nn.functional.linear(nn.functional.linear(x, self.down), self.up)

    @classmethod
    def combine(
        cls,
        modules: Sequence[AdapterModule],
        coefficients: Sequence[Tensor | None],
        x: Tensor,
        y: Tensor,
        context: SlotContext,
    ) -> Tensor:
        """Two products for all modules."""
        loras = [module for module in modules if isinstance(module, Lora)]
        hidden = nn.functional.linear(x, side_by_side([module.down for module in loras], 0))
        return project(hidden, coefficients, [module.up for module in loras])

    def merge(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """W + B·A."""
        return weight + self.up.detach() @ self.down.detach(), bias

    def as_lora(self) -> tuple[Tensor, Tensor]:
        """A and B."""
        return self.down.detach(), self.up.detach()

    @classmethod
    def cost(cls, host: HostShape, rank: int) -> SlotCost:
        """r·(d_in + d_out) of both."""
        size = rank * (host.d_in + host.d_out)
        return SlotCost(parameters=size, macs_per_token=size)
