"""LoRA of equal size, in several layouts, and at the rank that most people take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from slasearch.adapters.pool import slot_cost
from slasearch.records import Slot
from slasearch.registry import CONTROL_VARIANTS
from slasearch.trial.backbone import BackboneShapes
from slasearch.trial.controls._base import SlotsControl, Wanted, register_control
from slasearch.trial.controls.dealing import AT_LEAST, deal, evenly_spaced

__all__ = ["Lora", "LoraGradient", "LoraRank8"]

_QUERY_VALUE = ("attn.v", "attn.q")
_LINEAR = ("attn.v", "attn.q", "attn.out", "attn.k", "ffn.in", "ffn.out")
_RANK = 8

Place = tuple[int, str]


@register_control(
    "lora",
    summary="LoRA of equal size, the best on validation of six layouts: q and v of evenly spaced layers "
    "(`qv`) or of the upper half (`qv_last`); every linear map of the last (`linear_last`), the first (`linear_first`) "
    "or evenly spaced layers (`linear_even`); attn.out of evenly spaced layers (`attn_out`)",
    source="Hu et al. 2021, arXiv 2106.09685",
    equation="Δ(x) = B·A·x, B = 0 at the start",
    size=AT_LEAST.format("rank-one unit"),
)
class Lora(SlotsControl):
    """Rank-one units dealt to the places of a layout, round after round, until the size is reached."""

    start: ClassVar[Literal["random", "gradient"]] = "random"

    def slots(self, wanted: Wanted) -> tuple[Slot, ...]:
        """See the class."""

        def cost(place: Place, rank: int) -> int:
            return slot_cost(Slot(*place, "lora", rank), wanted.shapes.hosts).parameters

        places = list(_places(wanted.variant or CONTROL_VARIANTS["lora"][0], wanted.shapes, wanted.size))
        ranks = deal(places, wanted.size, cost)
        return tuple(Slot(*place, "lora", rank) for place, rank in sorted(ranks.items()))


def _places(layout: str, shapes: BackboneShapes, size: int) -> Iterator[Place]:
    """The places of a layout, the first to be filled first."""
    sites = {"qv": _QUERY_VALUE, "qv_last": _QUERY_VALUE, "attn_out": ("attn.out",)}.get(layout, _LINEAR)
    numbers = range(shapes.layers)
    if layout == "qv_last":
        return ((layer, site) for site in sites for layer in reversed(numbers[shapes.layers // 2 :]))
    if layout in ("linear_last", "linear_first"):
        inwards = numbers if layout == "linear_first" else reversed(numbers)
        return ((layer, site) for layer in inwards for site in sites)
    one_layer = sum(slot_cost(Slot(0, site, "lora", 1), shapes.hosts).parameters for site in sites)
    spaced = evenly_spaced(shapes.layers, min(shapes.layers, max(1, -(-size // one_layer))))
    return ((layer, site) for site in sites for layer in spaced)


@register_control(
    "lora_gradient",
    summary="`lora` whose A start along the gradient, as with `pool.start: gradient`: what structures add to it",
    source="Wang et al. 2024, arXiv 2407.05000 (LoRA-GA), with B = 0",
    equation="Δ(x) = B·A·x, B = 0 and A the leading right singular vectors of ∂L/∂W at the start",
    size=AT_LEAST.format("rank-one unit"),
)
class LoraGradient(Lora):
    """The structure is that of `lora`."""

    start = "gradient"


@register_control(
    "lora_r8",
    summary="LoRA of rank 8 on q and v of every layer, the usual choice",
    source="Hu et al. 2021, arXiv 2106.09685; rank and places as in PEFT's defaults",
    equation="Δ(x) = B·A·x, B = 0 at the start",
    size="its own",
)
class LoraRank8(SlotsControl):
    """The same slots whatever the structure's size."""

    start = "random"

    def slots(self, wanted: Wanted) -> tuple[Slot, ...]:
        """Two slots of rank 8 in every layer."""
        places = [(layer, site) for layer in range(wanted.shapes.layers) for site in ("attn.q", "attn.v")]
        return tuple(Slot(*place, "lora", _RANK) for place in places)
