"""(IA)³ (Liu et al. 2022, arXiv 2205.05638): keys, values and the inner activations of the feed-forward block rescaled.

    Δ(y) = l ⊙ y,    l = 0 at the start (identity)

The paper's vectors are 1 + l here. Keys and values are scaled at the output of `attn.k` and `attn.v`; the inner
activation is the input of `ffn.out`, so there the kind acts on the input, before the host and its other modules.
Cost: d_out parameters at `attn.k` and `attn.v`, d_in at `ffn.out`; no matrix product.
"""

from __future__ import annotations

from torch import Tensor

from slasearch.adapters.kinds._base import register_kind
from slasearch.adapters.kinds._gain import Gain

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
class Ia3(Gain):
    """See the module docstring; l is `gain`."""

    def merge_input(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Columns of the weight times 1 + l."""
        return weight * (1 + self.gain.detach()), bias
