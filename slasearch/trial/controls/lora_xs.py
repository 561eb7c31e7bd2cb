"""LoRA-XS at the structure's size (Bałazy et al. 2024, arXiv 2405.17604): the kind `lora_xs` without a choice."""

from __future__ import annotations

from slasearch.adapters.pool import slot_cost
from slasearch.records import Slot
from slasearch.trial.controls._base import SlotsControl, Wanted, register_control
from slasearch.trial.controls.dealing import AT_LEAST, deal

__all__ = ["LoraXs"]

_SITES = ("attn.v", "attn.q", "attn.out", "ffn.out")
"""The places of the authors' GLUE runs."""

Place = tuple[int, str]


@register_control(
    "lora_xs",
    summary="LoRA-XS on q, v, attn.out and ffn.out of every layer: an r x r matrix between the host's leading singular "
    "vectors; an export holds that matrix alone, the vectors are computed again from the backbone",
    source="Bałazy et al. 2024, arXiv 2405.17604; ours after the paper, peft does not have it",
    equation="Δ(x) = U·R·Σ·Vᵀ·x, W ≈ U·Σ·Vᵀ, R = 0 at the start",
    size=AT_LEAST.format("rank of one matrix"),
)
class LoraXs(SlotsControl):
    """Ranks are dealt to the places in turn, so that they differ by at most one where no host is too narrow."""

    def slots(self, wanted: Wanted) -> tuple[Slot, ...]:
        """See the class."""
        hosts = wanted.shapes.hosts

        def cost(place: Place, rank: int) -> int:
            return slot_cost(Slot(*place, "lora_xs", rank), hosts).parameters

        def most(place: Place) -> int:
            return min(min(host.d_in, host.d_out) for host in hosts[place[1]])

        upwards = [(layer, site) for layer in reversed(range(wanted.shapes.layers)) for site in _SITES]
        ranks = deal(upwards, wanted.size, cost, most=most)
        return tuple(Slot(*place, "lora_xs", rank) for place, rank in sorted(ranks.items()))
