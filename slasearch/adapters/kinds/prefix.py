"""Prefix of learned keys and values (Li and Liang 2021, arXiv 2101.00190), with a softmax of its own behind a gate.

    Δ_h = tanh(g_h) · softmax(q_h · P_k,hᵀ / √d_h) · P_v,h,    g = 0 at the start (identity),  P_k, P_v ~ N(0, 1)

for each query head h, added to the attention's context, which is the input of `attn.out`. Prefix tuning as a sum beside
the attention is He et al. 2021 (arXiv 2110.04366), the softmax of its own and the zero gate are LLaMA-Adapter's
(arXiv 2303.16199). q is the layer's query as it leaves `attn.q` with its modules: learned keys have no position, so no
rotary embedding is applied. Under grouped keys each query head has a prefix of its own [ours].
At r = 1 the softmax is 1, the keys do nothing and Δ is a shift: use r ≥ 2.

Cost: 2·r·d + heads parameters with d = heads·d_h, 2·r·d multiply-adds a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slasearch.adapters.kinds._base import AdapterModule, SlotContext, register_kind
from slasearch.adapters.sites import HostShape
from slasearch.records import SlotCost

__all__ = ["Prefix"]


@register_kind(
    "prefix",
    sites=("attn.out",),
    input_sites=("attn.out",),
    equation="Δ_h = tanh(g_h)·softmax(q_h·P_k,hᵀ/√d_h)·P_v,h, g = 0 at the start; of the input of attn.out",
    source="Li and Liang 2021, arXiv 2101.00190; as a sum: He et al. 2021, arXiv 2110.04366",
    cost="2·r·d + heads",
    needs_query=True,
)
class Prefix(AdapterModule):
    """See the module docstring. `keys` and `values` are `heads x r x d_h`, `gate` (g) is `heads`."""

    linear_in = ("values",)

    def __init__(self, host: HostShape, rank: int, *, generator: torch.Generator) -> None:
        super().__init__(host, rank, generator=generator)
        shape = (host.heads, rank, host.d_out // host.heads)
        self.keys = nn.Parameter(torch.empty(shape).normal_(generator=generator))
        self.values = nn.Parameter(torch.empty(shape).normal_(generator=generator))
        self.gate = nn.Parameter(torch.zeros(host.heads))

    def delta(self, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        """`context.query`: `n x t x heads·d_h` -> the same shape; `x` and `y` are not used."""
        return self.combine([self], [None], x, y, context)

    @classmethod
    def combine(
        cls,
        modules: Sequence[AdapterModule],
        coefficients: Sequence[Tensor | None],
        x: Tensor,
        y: Tensor,
        context: SlotContext,
    ) -> Tensor:
        """Two products for all modules: their keys stacked, a softmax for each, their values stacked."""
        assert context.query is not None
        prefixes = [module for module in modules if isinstance(module, Prefix)]
        (examples, tokens, _), (heads, _, width) = context.query.shape, prefixes[0].keys.shape
        queries = context.query.reshape(-1, heads, width).transpose(0, 1) * width**-0.5
        keys = torch.cat([module.keys for module in prefixes], dim=1)
        logits = torch.bmm(queries, keys.transpose(1, 2)).view(heads, examples, tokens, -1)
        parts = torch.split(logits, [module.keys.shape[1] for module in prefixes], dim=-1)
        weights = [module.weigh(part, z) for module, part, z in zip(prefixes, parts, coefficients, strict=True)]
        values = torch.cat([module.values for module in prefixes], dim=1)
        total = torch.bmm(torch.cat(weights, dim=-1).flatten(1, 2), values)
        return total.transpose(0, 1).reshape(examples, tokens, heads * width)

    def weigh(self, logits: Tensor, z: Tensor | None) -> Tensor:
        """Softmax over this prefix times its gates and z (`n x 1 x 1`): `heads x n x t x r` -> the same shape."""
        weights = logits.softmax(-1) * torch.tanh(self.gate).view(-1, 1, 1, 1)
        return weights if z is None else z * weights

    @classmethod
    def cost(cls, host: HostShape, rank: int) -> SlotCost:
        """2·r·d + heads parameters, 2·r·d multiply-adds."""
        both = 2 * rank * host.d_out
        return SlotCost(parameters=both + host.heads, macs_per_token=both)
