"""Baselines that are trained beside the search on the same data: which slots each opens, the same for every task."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slasearch.adapters.budget import fill
from slasearch.adapters.pool import slot_cost
from slasearch.records import Slot
from slasearch.registry import CONTROLS
from slasearch.trial.backbone import BackboneShapes

__all__ = ["ControlEntry", "ControlSlots", "register_control"]

ControlSlots = Callable[[BackboneShapes, Sequence[Slot], int, int], tuple[Slot, ...]]
"""(backbone, candidate slots of the study's pool, wanted exported parameters, seed) -> open slots."""


@dataclass(frozen=True)
class ControlEntry:
    """A registered control; `slots` chooses what it opens."""

    name: str
    slots: ControlSlots
    summary: str
    source: str


def register_control(name: str, *, summary: str, source: str) -> Callable[[ControlSlots], ControlSlots]:
    """Decorator that adds a control under `name`.

    Raises:
        RegistryError: The name is taken.
    """

    def add(slots: ControlSlots) -> ControlSlots:
        CONTROLS.register(name, ControlEntry(name, slots, summary, source), module=slots.__module__)
        return slots

    return add


@register_control(
    "lora",
    summary="LoRA on q and v, spread evenly over all layers; never smaller than the structure that it is compared with",
    source="Hu et al. 2021, arXiv 2106.09685",
)
def lora(shapes: BackboneShapes, candidates: Sequence[Slot], size: int, seed: int) -> tuple[Slot, ...]:
    """Rank-one units dealt to v and q of evenly spaced layers, round after round, until `size` is reached.

    The last unit may exceed `size` by less than one unit, so that rounding favours the control.
    """
    unit = slot_cost(Slot(0, "attn.v", "lora", 1), shapes.hosts).parameters
    needed = -(-size // unit)
    layers = _evenly_spaced(shapes.layers, min(shapes.layers, max(1, -(-needed // 2))))
    places = [(layer, site) for layer in layers for site in ("attn.v", "attn.q")]
    ranks: Counter[tuple[int, str]] = Counter()
    spent = 0
    while spent < size:
        place = places[sum(ranks.values()) % len(places)]
        ranks[place] += 1
        spent += slot_cost(Slot(place[0], place[1], "lora", 1), shapes.hosts).parameters
    return tuple(Slot(layer, site, "lora", rank) for (layer, site), rank in sorted(ranks.items()))


@register_control(
    "random",
    summary="slots of the study's own pool drawn at random until no further one fits into the size",
    source="random search as the baseline of architecture search: Li and Talwalkar 2019, arXiv 1902.07638",
)
def random_structure(shapes: BackboneShapes, candidates: Sequence[Slot], size: int, seed: int) -> tuple[Slot, ...]:
    """A seeded shuffle of the candidates, filled greedily; never above `size`."""
    shuffled = list(candidates)
    random.Random(seed).shuffle(shuffled)
    costs = [slot_cost(slot, shapes.hosts).parameters for slot in shuffled]
    (chosen,) = fill([(0, number) for number in range(len(shuffled))], costs, size, "union", 1)
    return tuple(sorted(shuffled[number] for number in chosen))


@register_control(
    "linear_probe",
    summary="heads alone on the frozen backbone",
    source="the floor that every adapter must beat",
)
def linear_probe(shapes: BackboneShapes, candidates: Sequence[Slot], size: int, seed: int) -> tuple[Slot, ...]:
    """No slot at all."""
    return ()


def _evenly_spaced(layers: int, count: int) -> list[int]:
    """`count` of the layers at equal distances, the last one always among them."""
    return [round((number + 1) * layers / count) - 1 for number in range(count)]
