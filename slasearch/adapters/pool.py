"""The pool: every candidate module of a trial, shared by its tasks, and which of them an example passes.

    h' = OP(h) + Σ_s z_{t,s} · Δ_s(h)

The deltas of one stage are computed from the same output and added; then the next stage (`scale`, `bias`) follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from slasearch.adapters.kinds._base import AdapterModule, KindEntry
from slasearch.adapters.sites import HostShape
from slasearch.errors import ConfigError
from slasearch.records import SITES, PoolSpec, Slot, SlotCost, Structure
from slasearch.registry import KINDS

__all__ = ["Pool", "candidate_slots", "slot_cost", "slot_costs"]

_STAGES = ("delta", "scale", "bias")

Shapes = Mapping[str, tuple[HostShape, ...]]
"""For each site the widths of its host modules."""


def candidate_slots(spec: PoolSpec, *, layers: int) -> tuple[Slot, ...]:
    """Every slot of a pool, sorted; a kind without a rank gives one slot a place.

    Raises:
        ConfigError: A layer does not exist, or no kind fits any site.
    """
    wanted = spec.layers if spec.layers is not None else tuple(range(layers))
    beyond = [layer for layer in wanted if layer >= layers]
    if beyond:
        raise ConfigError([f"pool.layers: expected numbers from 0 to {layers - 1}, got {beyond[0]}."])
    slots = set()
    for kind in spec.kinds:
        entry: KindEntry = KINDS.get(kind)
        ranks = spec.ranks if entry.ranked else (1,)
        sites = [site for site in SITES if site in spec.sites and site in entry.sites]
        slots |= {Slot(layer, site, kind, rank) for layer in wanted for site in sites for rank in ranks}
    if not slots:
        raise ConfigError(
            [f"pool: expected a kind that fits a site, got kinds {', '.join(spec.kinds)} at {', '.join(spec.sites)}."]
        )
    return tuple(sorted(slots, key=lambda slot: (slot.layer, SITES.index(slot.site), slot.kind, slot.rank)))


def slot_cost(slot: Slot, hosts: Shapes) -> SlotCost:
    """What one slot costs: the sum over the host modules of its site."""
    entry: KindEntry = KINDS.get(slot.kind)
    costs = [entry.module.cost(host, slot.rank) for host in hosts[slot.site]]
    return SlotCost(sum(cost.parameters for cost in costs), sum(cost.macs_per_token for cost in costs))


def slot_costs(spec: PoolSpec, hosts: Shapes, *, layers: int) -> dict[Slot, SlotCost]:
    """What every slot of a pool costs, in the order of `candidate_slots`."""
    return {slot: slot_cost(slot, hosts) for slot in candidate_slots(spec, layers=layers)}


class Pool(nn.Module):
    """The modules of some slots, and the coefficients with which the examples of the current batch pass them.

    Args:
        slots: The slots, in the order of the columns of every `T x S` tensor.
        hosts: For each site the widths of its host modules.
        tasks: Names of the tasks, in the order of the rows.
        generator: Source of the initial weights.
    """

    def __init__(
        self, slots: Sequence[Slot], hosts: Shapes, tasks: Sequence[str], *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.slots = tuple(slots)
        self.costs = {slot: slot_cost(slot, hosts) for slot in slots}
        self.parts = nn.ModuleDict()
        for slot in slots:
            entry: KindEntry = KINDS.get(slot.kind)
            made = [entry.module(host, slot.rank, generator=generator) for host in hosts[slot.site]]
            self.parts[_key(slot)] = nn.ModuleList(made)
        self._coefficients: dict[Slot, Tensor | None] = dict.fromkeys(self.slots)
        self._index_places()

    def _index_places(self) -> None:
        """Which slots stand at which (layer, site), by stage, so that a forward pass searches nothing."""
        self._places: dict[tuple[int, str], list[list[Slot]]] = {}
        for slot in self.slots:
            stages = self._places.setdefault((slot.layer, slot.site), [[] for _ in _STAGES])
            stages[_STAGES.index(KINDS.get(slot.kind).stage)].append(slot)

    @property
    def places(self) -> tuple[tuple[int, str], ...]:
        """The (layer, site) pairs where at least one slot stands."""
        return tuple(self._places)

    def modules_of(self, slot: Slot) -> list[AdapterModule]:
        """A slot's modules, one for each host module of its site."""
        return [part for part in self.parts[_key(slot)].children() if isinstance(part, AdapterModule)]

    def route(self, task_index: Tensor, gates: Tensor | None) -> None:
        """Sets the coefficients of the next forward pass.

        Args:
            task_index: `n`, the task of each example.
            gates: `T x S`, z of each (task, slot); None: everything is open.
        """
        if gates is None:
            self._coefficients = dict.fromkeys(self.slots)
            return
        columns = gates[task_index].unbind(1)
        self._coefficients = {slot: column.view(-1, 1, 1) for slot, column in zip(self.slots, columns, strict=True)}

    def route_paths(self, task_index: Tensor, structure: Structure) -> None:
        """Sets the coefficients of the next forward pass to a structure's 0 and 1; unused slots are skipped."""
        present = sorted(set(task_index.tolist()))
        open_slots = [set(structure.slots_of(task)) for task in self.tasks]
        self._coefficients = {}
        for slot in self.slots:
            users = [task for task in present if slot in open_slots[task]]
            if len(users) == len(present):
                self._coefficients[slot] = None
            elif users:
                mask = torch.isin(task_index, torch.tensor(users, device=task_index.device))
                self._coefficients[slot] = mask.view(-1, 1, 1).to(next(self.parts.parameters()).dtype)

    def compose(self, layer: int, site: str, part: int, x: Tensor, y: Tensor) -> Tensor:
        """The output of one host module with the pool's modules added.

        Args:
            layer: Layer of the host.
            site: Site of the host.
            part: Which of the site's host modules.
            x: `n x t x d_in`, the host's input.
            y: `n x t x d_out`, the host's output.

        Returns:
            `n x t x d_out`.
        """
        precision = y.dtype
        x, y = x.float(), y.float()  # modules keep fp32 weights on a bf16 backbone
        for stage in self._places.get((layer, site), []):  # a place may have lost its last slot
            total = y
            for slot in stage:
                if slot not in self._coefficients:
                    continue
                coefficient = self._coefficients[slot]
                delta = self.parts[_key(slot)][part].delta(x, y)  # type: ignore[index]
                total = total + (delta if coefficient is None else coefficient * delta)
            y = total
        return y.to(precision)

    def keep(self, structure: Structure, values: Mapping[Slot, float]) -> None:
        """Removes every slot that no task uses, and folds each remaining gate's value into its modules."""
        kept = set(structure.union)
        for slot in self.slots:
            if slot not in kept:
                del self.parts[_key(slot)]
                continue
            for module in self.modules_of(slot):
                module.fold(values[slot])
        self.slots = tuple(slot for slot in self.slots if slot in kept)
        self._coefficients = dict.fromkeys(self.slots)
        self._index_places()

    def parameter_count(self) -> int:
        """Parameters of all modules now in the pool."""
        return sum(parameter.numel() for parameter in self.parts.parameters())


def _key(slot: Slot) -> str:
    # A module's name may hold no dot.
    return slot.name.replace(".", "-")
