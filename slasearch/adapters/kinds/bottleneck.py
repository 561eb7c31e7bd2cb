"""Sequential bottleneck adapter (Houlsby et al. 2019, arXiv 1902.00751; unified: He et al. 2021, arXiv 2110.04366).

    Δ(y) = W_up · relu(W_down · y + b_down) + b_up,    W_up = 0, b_up = 0 at the start (identity)

`y` is the host operation's own output. Cost: 2·d·r + r + d parameters, 2·d·r multiply-adds a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slasearch.adapters.kinds._base import AdapterModule, SlotContext, register_kind
from slasearch.adapters.kinds._hidden import project, side_by_side
from slasearch.adapters.sites import HostShape
from slasearch.records import SlotCost

__all__ = ["Bottleneck"]


@register_kind(
    "bottleneck",
    sites=("attn.out", "ffn.out", "block"),
    equation="Δ(y) = W_up·relu(W_down·y + b_down) + b_up, W_up = b_up = 0 at the start",
    source="Houlsby et al. 2019, arXiv 1902.00751",
    cost="2·d·r + r + d",
)
class Bottleneck(AdapterModule):
    """See the module docstring. `down` is `r x d`, `up` is `d x r`."""

    linear_in = ("up", "up_bias")

    def __init__(self, host: HostShape, rank: int, *, generator: torch.Generator) -> None:
        super().__init__(host, rank, generator=generator)
        width = host.d_out
        bound = (6 / width) ** 0.5
        self.down = nn.Parameter(torch.empty(rank, width).uniform_(-bound, bound, generator=generator))
        self.down_bias = nn.Parameter(torch.zeros(rank))
        self.up = nn.Parameter(torch.zeros(width, rank))
        self.up_bias = nn.Parameter(torch.zeros(width))

    def delta(self, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        """`y`: `n x t x d` -> `n x t x d`; `x` is not used."""
        hidden = torch.relu(nn.functional.linear(y, self.down, self.down_bias))
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
        mine = [module for module in modules if isinstance(module, Bottleneck)]
        downs = side_by_side([module.down for module in mine], 0)
        shifts = side_by_side([module.down_bias for module in mine], 0)
        hidden = torch.relu(nn.functional.linear(y, downs, shifts))
        return project(hidden, coefficients, [module.up for module in mine], [module.up_bias for module in mine])

    @classmethod
    def cost(cls, host: HostShape, rank: int) -> SlotCost:
        """2·d·r + r + d parameters, 2·d·r multiply-adds."""
        matrices = 2 * host.d_out * rank
        return SlotCost(parameters=matrices + rank + host.d_out, macs_per_token=matrices)
