"""Structures without a choice of their own: nothing, everything, drawn at random, and a shift everywhere."""

from __future__ import annotations

import random
from collections.abc import Sequence

from slasearch.adapters.budget import fill
from slasearch.adapters.kinds._base import KindEntry
from slasearch.adapters.pool import slot_cost
from slasearch.records import Slot
from slasearch.registry import KINDS
from slasearch.trial.backbone import BackboneShapes
from slasearch.trial.controls._base import SlotsControl, Wanted, register_control
from slasearch.trial.seeds import derived_seed

__all__ = ["AllOpen", "BitFit", "LinearProbe", "RandomBest", "RandomStructure"]


def _drawn(shapes: BackboneShapes, candidates: Sequence[Slot], size: int, seed: int) -> tuple[Slot, ...]:
    """A seeded shuffle of the candidates, filled greedily; never above the size."""
    shuffled = list(candidates)
    random.Random(seed).shuffle(shuffled)
    costs = [slot_cost(slot, shapes.hosts).parameters for slot in shuffled]
    (chosen,) = fill([(0, number) for number in range(len(shuffled))], costs, size, "union", 1)
    return tuple(sorted(shuffled[number] for number in chosen))


@register_control(
    "random",
    summary="slots of the study's own pool drawn at random until no further one fits into the size",
    source="random search as the baseline of architecture search: Li and Talwalkar 2019, arXiv 1902.07638",
    equation="a seeded shuffle of the candidates, filled greedily",
)
class RandomStructure(SlotsControl):
    """Another structure for each seed pair."""

    def slots(self, wanted: Wanted) -> tuple[Slot, ...]:
        """See the class."""
        return _drawn(wanted.shapes, wanted.candidates, wanted.size, wanted.seed)


@register_control(
    "random_best",
    summary="the best on validation of several random structures, one for each tuning trial",
    source="random search as the baseline of architecture search: Li and Talwalkar 2019, arXiv 1902.07638",
    equation="argmax of the validation score over seeded shuffles of the candidates, filled greedily",
)
class RandomBest(SlotsControl):
    """The variant is the draw's number; it alone decides the structure, so that the best one is confirmed over seeds.

    At another size the same draw's shuffle is filled.
    """

    def slots(self, wanted: Wanted) -> tuple[Slot, ...]:
        """See the class."""
        draw = derived_seed(int(wanted.variant or 0), "random structure")
        return _drawn(wanted.shapes, wanted.candidates, wanted.size, draw)


@register_control(
    "linear_probe",
    summary="heads alone on the frozen backbone",
    source="the floor that every adapter must beat",
    equation="no slot",
    size="none",
)
class LinearProbe(SlotsControl):
    """No slot at all."""

    def slots(self, wanted: Wanted) -> tuple[Slot, ...]:
        """Nothing."""
        return ()


@register_control(
    "all_open",
    summary="every candidate of the study's pool open for every task, without gates",
    source="the pool that the search starts from",
    equation="h' = OP(h) + Σ_s Δ_s(h)",
    size="the pool's",
)
class AllOpen(SlotsControl):
    """What the pool gives when nothing has to be left out."""

    def slots(self, wanted: Wanted) -> tuple[Slot, ...]:
        """All candidates."""
        return tuple(wanted.candidates)


@register_control(
    "bitfit",
    summary="a shift of the output of every linear map and of every layer. A shift δ of a linear map's output is what "
    "training its bias b to b + δ does, also where the backbone has no bias, and a shift of a layer's output is the "
    "bias of a norm that ends it; the biases of other norms stay. Not at attn.k, where the softmax drops it",
    source="Ben Zaken et al. 2021, arXiv 2106.10199",
    equation="Δ = b, b = 0 at the start",
    size="its own",
)
class BitFit(SlotsControl):
    """The kind `bias` wherever it may sit."""

    def slots(self, wanted: Wanted) -> tuple[Slot, ...]:
        """See the class."""
        entry: KindEntry = KINDS.get("bias")
        return tuple(Slot(n, site, "bias", 1) for n in range(wanted.shapes.layers) for site in entry.sites)
