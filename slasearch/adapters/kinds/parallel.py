"""Parallel bottleneck adapter (He et al. 2021, arXiv 2110.04366): beside the host, from the host's own input.

    Δ(x) = W_up · relu(W_down · x + b_down) + b_up,    W_up = 0, b_up = 0 at the start (identity)

The paper's factor s is left out: W_up is learned, so s would only rescale its learning rate.
Cost: r·(d_in + d_out) + r + d_out parameters, r·(d_in + d_out) multiply-adds a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slasearch.adapters.kinds._base import AdapterModule, SlotContext, register_kind
from slasearch.adapters.kinds._hidden import project, side_by_side
from slasearch.adapters.sites import HostShape
from slasearch.records import SlotCost

__all__ = ["Parallel"]


@register_kind(
    "parallel",
    sites=("attn.q", "attn.v", "attn.out", "ffn.in", "ffn.out", "block"),
    equation="Δ(x) = W_up·relu(W_down·x + b_down) + b_up, W_up = b_up = 0 at the start",
    source="He et al. 2021, arXiv 2110.04366",
    cost="r·(d_in + d_out) + r + d_out",
)
class Parallel(AdapterModule):
    """See the module docstring. `down` is `r x d_in`, `up` is `d_out x r`."""

    linear_in = ("up", "up_bias")

    def __init__(self, host: HostShape, rank: int, *, generator: torch.Generator) -> None:
        super().__init__(host, rank, generator=generator)
        bound = (6 / host.d_in) ** 0.5
        self.down = nn.Parameter(torch.empty(rank, host.d_in).uniform_(-bound, bound, generator=generator))
        self.down_bias = nn.Parameter(torch.zeros(rank))
        self.up = nn.Parameter(torch.zeros(host.d_out, rank))
        self.up_bias = nn.Parameter(torch.zeros(host.d_out))

    def delta(self, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        """`x`: `n x t x d_in` -> `n x t x d_out`; `y` is not used."""
        hidden = torch.relu(nn.functional.linear(x, self.down, self.down_bias))
        return nn.functional.linear(hidden, self.up, self.up_bias)

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
        mine = [module for module in modules if isinstance(module, Parallel)]
        downs = side_by_side([module.down for module in mine], 0)
        shifts = side_by_side([module.down_bias for module in mine], 0)
        hidden = torch.relu(nn.functional.linear(x, downs, shifts))
        return project(hidden, coefficients, [module.up for module in mine], [module.up_bias for module in mine])

    @classmethod
    def cost(cls, host: HostShape, rank: int) -> SlotCost:
        """r·(d_in + d_out) + r + d_out parameters, r·(d_in + d_out) multiply-adds."""
        matrices = rank * (host.d_in + host.d_out)
        return SlotCost(parameters=matrices + rank + host.d_out, macs_per_token=matrices)
