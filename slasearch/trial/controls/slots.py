"""Controls that are structures given beforehand: LoRA, a random structure, and nothing at all."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from slasearch.adapters.budget import fill
from slasearch.adapters.pool import slot_cost
from slasearch.records import Slot, Structure
from slasearch.trial.backbone import BackboneShapes
from slasearch.trial.controls._base import SlotsControl, register_control

__all__ = ["LinearProbe", "Lora", "RandomStructure"]


def for_all(tasks: Sequence[str], slots: tuple[Slot, ...]) -> Structure:
    """One set of slots for every task."""
    return Structure(tuple((task, slots) for task in tasks))


@register_control(
    "lora",
    summary="LoRA on q and v, spread evenly over all layers; never smaller than the structure that it is compared with",
    source="Hu et al. 2021, arXiv 2106.09685",
    equation="Δ(x) = B·A·x",
    size="at least the structure's, by less than one rank-one unit",
)
class Lora(SlotsControl):
    """Rank-one units dealt to v and q of evenly spaced layers, round after round, until the size is reached.

    The last unit may exceed it by less than one unit, so that rounding favours the control.
    """

    def structure(
        self,
        shapes: BackboneShapes,
        candidates: Sequence[Slot],
        tasks: Sequence[str],
        *,
        size: int,
        seed: int,
        variant: str | None,
    ) -> Structure:
        """The same slots for every task."""
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
        return for_all(tasks, tuple(Slot(layer, site, "lora", rank) for (layer, site), rank in sorted(ranks.items())))


@register_control(
    "random",
    summary="slots of the study's own pool drawn at random until no further one fits into the size",
    source="random search as the baseline of architecture search: Li and Talwalkar 2019, arXiv 1902.07638",
    equation="a seeded shuffle of the candidates, filled greedily",
)
class RandomStructure(SlotsControl):
    """A seeded shuffle of the candidates, filled greedily; never above the size."""

    def structure(
        self,
        shapes: BackboneShapes,
        candidates: Sequence[Slot],
        tasks: Sequence[str],
        *,
        size: int,
        seed: int,
        variant: str | None,
    ) -> Structure:
        """The same slots for every task."""
        shuffled = list(candidates)
        random.Random(seed).shuffle(shuffled)
        costs = [slot_cost(slot, shapes.hosts).parameters for slot in shuffled]
        (chosen,) = fill([(0, number) for number in range(len(shuffled))], costs, size, "union", 1)
        return for_all(tasks, tuple(sorted(shuffled[number] for number in chosen)))


@register_control(
    "linear_probe",
    summary="heads alone on the frozen backbone",
    source="the floor that every adapter must beat",
    equation="no slot",
    size="none",
)
class LinearProbe(SlotsControl):
    """No slot at all."""

    def structure(
        self,
        shapes: BackboneShapes,
        candidates: Sequence[Slot],
        tasks: Sequence[str],
        *,
        size: int,
        seed: int,
        variant: str | None,
    ) -> Structure:
        """Nothing for every task."""
        return for_all(tasks, ())


def _evenly_spaced(layers: int, count: int) -> list[int]:
    """`count` of the layers at equal distances, the last one always among them."""
    return [round((number + 1) * layers / count) - 1 for number in range(count)]
