"""One kind at its usual places of every layer, at the structure's size: bottlenecks, and prefixes behind a gate."""

from __future__ import annotations

from collections.abc import Sequence

from slasearch.adapters.pool import slot_cost
from slasearch.records import Slot
from slasearch.trial.controls._base import SlotsControl, Wanted, register_control
from slasearch.trial.controls.dealing import AT_LEAST, deal

__all__ = ["Bottlenecks", "GatedPrefix"]


def _everywhere(wanted: Wanted, kind: str, sites: Sequence[str], *, least: int = 1) -> tuple[Slot, ...]:
    """Ranks dealt to a kind at some sites of every layer, the last layer first, so that small sizes fill the top."""

    def cost(place: tuple[int, str], rank: int) -> int:
        return slot_cost(Slot(*place, kind, rank), wanted.shapes.hosts).parameters

    places = [(layer, site) for layer in reversed(range(wanted.shapes.layers)) for site in sites]
    ranks = deal(places, wanted.size, cost, least=least)
    return tuple(Slot(*place, kind, rank) for place, rank in sorted(ranks.items()))


@register_control(
    "bottleneck",
    summary="bottleneck adapters after attn.out and ffn.out of every layer; of the top layers where not all fit",
    source="Houlsby et al. 2019, arXiv 1902.00751",
    equation="Δ(y) = W_up·relu(W_down·y + b_down) + b_up, W_up = b_up = 0 at the start",
    size=AT_LEAST.format("module or rank"),
)
class Bottlenecks(SlotsControl):
    """Ranks differ by at most one where every layer has its two modules."""

    def slots(self, wanted: Wanted) -> tuple[Slot, ...]:
        """See the class."""
        return _everywhere(wanted, "bottleneck", ("ffn.out", "attn.out"))


@register_control(
    "prefix_gated",
    summary="the kind `prefix` in every layer: keys and values with a softmax of their own behind a zero gate, two "
    "tokens or more; in the top layers where not all fit. For every model family",
    source="Li and Liang 2021, arXiv 2101.00190, as a sum beside the attention: He et al. 2021, arXiv 2110.04366; the "
    "gate: LLaMA-Adapter, arXiv 2303.16199",
    equation="Δ_h = tanh(g_h)·softmax(q_h·P_k,hᵀ/√d_h)·P_v,h, g = 0 at the start",
    size=AT_LEAST.format("layer or token"),
)
class GatedPrefix(SlotsControl):
    """A single key is a shift and no attention, hence two at least."""

    def slots(self, wanted: Wanted) -> tuple[Slot, ...]:
        """See the class."""
        return _everywhere(wanted, "prefix", ("attn.out",), least=2)
