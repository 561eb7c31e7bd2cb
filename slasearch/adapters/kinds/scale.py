"""Element-wise scale of a linear host's output (the scale of SSF: Lian et al. 2022, arXiv 2210.08823).

    Δ(y) = g ⊙ y,    g = 0 at the start (identity)

SSF's γ is 1 + g here; its shift β is the kind `bias`. Cost: d_out parameters, no matrix product.
"""

from __future__ import annotations

from slasearch.adapters.kinds._base import register_kind
from slasearch.adapters.kinds._gain import Gain

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
class Scale(Gain):
    """See the module docstring."""
