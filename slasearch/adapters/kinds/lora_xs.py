"""LoRA-XS (Bałazy et al. 2024, arXiv 2405.17604): a small matrix between the host's own leading singular vectors.

    Δ(x) = U_r · R · Σ_r · V_rᵀ · x,    W ≈ U_r · Σ_r · V_rᵀ (truncated SVD of the host's weight),    R = 0 at the start

Only R is trained and exported; the vectors are computed again from the backbone. Cost: r² parameters, and
r·(d_in + r + d_out) multiply-adds a token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from slasearch.adapters.kinds._base import AdapterModule, SlotContext, register_kind
from slasearch.adapters.kinds._spectrum import singular_vectors
from slasearch.adapters.sites import Host, HostShape
from slasearch.errors import ConfigError
from slasearch.records import SlotCost

__all__ = ["LoraXs"]


@register_kind(
    "lora_xs",
    sites=("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out"),
    equation="Δ(x) = U·R·Σ·Vᵀ·x, W ≈ U·Σ·Vᵀ, R = 0 at the start",
    source="LoRA-XS, Bałazy et al. 2024, arXiv 2405.17604",
    cost="r²",
    mergeable=True,
    low_rank=True,
    reads_weight=True,
)
class LoraXs(AdapterModule):
    """See the module docstring. `core` is R, `r x r`; `into` is Σ·Vᵀ, `r x d_in`, and `out` is U, `d_out x r`."""

    linear_in = ("core",)

    into: Tensor
    out: Tensor

    def __init__(self, host: HostShape, rank: int, *, generator: torch.Generator) -> None:
        super().__init__(host, rank, generator=generator)
        _check_rank(host, rank)
        self.core = nn.Parameter(torch.zeros(rank, rank))
        self.register_buffer("into", torch.zeros(rank, host.d_in), persistent=False)
        self.register_buffer("out", torch.zeros(host.d_out, rank), persistent=False)

    def bind(self, host: Host) -> None:
        """Takes the leading singular vectors of the host's weight."""
        left, values, right = singular_vectors(host, len(self.core))
        self.into = (values[:, None] * right).to(self.core.device)
        self.out = left.to(self.core.device)

    def delta(self, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        """`x`: `n x t x d_in` -> `n x t x d_out`; `y` is not used."""
        return linear(linear(linear(x, self.into), self.core), self.out)

    def merge(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """W + U·R·Σ·Vᵀ."""
        return weight + self.out @ self.core.detach() @ self.into, bias

    def as_lora(self) -> tuple[Tensor, Tensor]:
        """Σ·Vᵀ and U·R."""
        return self.into, self.out @ self.core.detach()

    @classmethod
    def cost(cls, host: HostShape, rank: int) -> SlotCost:
        """r² parameters, r·(d_in + r + d_out) multiply-adds."""
        _check_rank(host, rank)
        return SlotCost(parameters=rank**2, macs_per_token=rank * (host.d_in + rank + host.d_out))


def _check_rank(host: HostShape, rank: int) -> None:
    """A weight has no more singular vectors than its narrower side."""
    most = min(host.d_in, host.d_out)
    if rank > most:
        line = f"pool.ranks: expected at most {most} for lora_xs (the narrower side of a host), got {rank}."
        raise ConfigError([line])
