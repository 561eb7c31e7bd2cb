"""The pool: every candidate module of a trial, shared by its tasks, and which of them an example passes.

    h' = OP(h) + Σ_s z_{t,s} · Δ_s(h)

The deltas of one stage are computed from the same output and added; then the next stage (`scale`, `bias`) follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from slasearch.adapters.kinds._base import AdapterModule, KindEntry, SlotContext, Stage
from slasearch.adapters.sites import Host, HostShape
from slasearch.errors import ConfigError
from slasearch.records import SITES, PoolSpec, Slot, SlotCost, Structure
from slasearch.registry import KINDS

__all__ = ["Pool", "candidate_slots", "slot_cost", "slot_costs"]

_STAGES: tuple[Stage, ...] = ("input", "delta", "scale", "bias")

Shapes = Mapping[str, tuple[HostShape, ...]]
"""For each site the widths of its host modules."""


def candidate_slots(spec: PoolSpec, *, layers: int) -> tuple[Slot, ...]:
    """Every slot of a pool, sorted; a kind without a rank gives one slot a place.

    With `gating` `rank`, each module of a separable kind stands as rank-one slots: as many as its largest rank.

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
        ranks = dict(spec.kind_ranks).get(kind, spec.ranks) if entry.ranked else (1,)
        sites = [site for site in SITES if site in spec.sites and site in entry.sites]
        if spec.gating == "rank" and entry.separable:
            forms = [(1, index) for index in range(max(ranks))]
        else:
            forms = [(rank, 0) for rank in ranks]
        slots |= {Slot(layer, site, kind, *form) for layer in wanted for site in sites for form in forms}
    if not slots:
        raise ConfigError(
            [f"pool: expected a kind that fits a site, got kinds {', '.join(spec.kinds)} at {', '.join(spec.sites)}."]
        )
    return tuple(sorted(slots, key=lambda slot: (slot.layer, SITES.index(slot.site), slot.kind, slot.rank, slot.index)))


def slot_cost(slot: Slot, hosts: Shapes) -> SlotCost:
    """What one slot costs: the sum over the host modules of its site."""
    entry: KindEntry = KINDS.get(slot.kind)
    costs = [entry.module.cost(entry.shape_at(slot.site, host), slot.rank) for host in hosts[slot.site]]
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

    Attributes:
        candidates: The slots as the pool was made: the columns of gates.
        slots: Those that are still there, in the same order; `present` holds the same ones as a set.
        costs: What each candidate costs.
    """

    def __init__(
        self, slots: Sequence[Slot], hosts: Shapes, tasks: Sequence[str], *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.candidates = tuple(slots)
        self.slots = self.candidates
        self.costs = {slot: slot_cost(slot, hosts) for slot in slots}
        self.parts = nn.ModuleDict()
        for slot in slots:
            entry: KindEntry = KINDS.get(slot.kind)
            shapes = [entry.shape_at(slot.site, host) for host in hosts[slot.site]]
            made = [entry.module(shape, slot.rank, generator=generator) for shape in shapes]
            self.parts[_key(slot)] = nn.ModuleList(made)
        self._columns = {slot: column for column, slot in enumerate(self.slots)}
        self._coefficients: dict[Slot, Tensor | None] = dict.fromkeys(self.slots)
        self._queries: dict[int, Tensor] = {}
        self._users: tuple[Structure, dict[Slot, frozenset[int]]] | None = None
        self._dtype = torch.float32
        self._index_places()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Pool:
        """Every way to move or cast modules ends here; what passes them follows."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._dtype = next((parameter.dtype for parameter in self.parts.parameters()), self._dtype)
        return self

    def _index_places(self) -> None:
        """Which slots stand at which (layer, site), by stage and kind, so that a forward pass searches nothing."""
        self.present = frozenset(self.slots)
        self._users = None
        self._places: dict[tuple[int, str], dict[Stage, dict[str, list[Slot]]]] = {}
        self.query_layers: set[int] = set()
        for slot in self.slots:
            entry: KindEntry = KINDS.get(slot.kind)
            stages = self._places.setdefault((slot.layer, slot.site), {stage: {} for stage in _STAGES})
            stages[entry.stage_at(slot.site)].setdefault(slot.kind, []).append(slot)
            if entry.needs_query:
                self.query_layers.add(slot.layer)

    def acts_on_input(self, layer: int, site: str) -> bool:
        """Whether a slot at this place changes the host's input."""
        return bool(self._places.get((layer, site), {}).get("input"))

    def works_at(self, layer: int, site: str) -> bool:
        """Whether a slot stands at this place, or one of its layer wants to see its output."""
        return (layer, site) in self._places or (site == "attn.q" and layer in self.query_layers)

    @property
    def places(self) -> tuple[tuple[int, str], ...]:
        """The (layer, site) pairs where at least one slot stands."""
        return tuple(self._places)

    def modules_of(self, slot: Slot) -> list[AdapterModule]:
        """A slot's modules, one for each host module of its site."""
        return [part for part in self.parts[_key(slot)].children() if isinstance(part, AdapterModule)]

    def bind(self, layer: int, site: str, part: int, host: Host) -> None:
        """Gives modules whose kind `reads_weight` their host."""
        for kinds in self._places.get((layer, site), {}).values():
            for kind, slots in kinds.items():
                if KINDS.get(kind).reads_weight:
                    for slot in slots:
                        self._module(slot, part).bind(host)

    def route(self, task_index: Tensor, gates: Tensor | None) -> None:
        """Sets the coefficients of the next forward pass.

        Args:
            task_index: `n`, the task of each example.
            gates: `T x S`, z of each (task, slot) of the pool as it was made; None: everything is open.
        """
        if gates is None:
            self._coefficients = dict.fromkeys(self.slots)
            return
        columns = gates[task_index].to(self._dtype).unbind(1)
        self._coefficients = {slot: columns[self._columns[slot]].view(-1, 1, 1) for slot in self.slots}

    def route_paths(
        self, task_index: Tensor, structure: Structure, *, device: torch.device | str | None = None
    ) -> None:
        """Sets the coefficients of the next forward pass to a structure's 0 and 1; unused slots are skipped.

        Args:
            task_index: `n`, the task of each example; best on the CPU, where looking at it waits for nobody.
            structure: The paths.
            device: Where the forward pass runs; None: where `task_index` is.
        """
        present = frozenset(task_index.tolist())
        masks: dict[frozenset[int], Tensor | None] = {present: None}
        self._coefficients = {}
        for slot, users in self._users_of(structure).items():
            passing = users & present
            if not passing:
                continue
            if passing not in masks:
                tasks = torch.tensor(sorted(passing), device=task_index.device)
                mask = torch.isin(task_index, tasks).view(-1, 1, 1)
                masks[passing] = mask.to(device or task_index.device, self._dtype, non_blocking=True)
            self._coefficients[slot] = masks[passing]

    def _users_of(self, structure: Structure) -> dict[Slot, frozenset[int]]:
        """The tasks that use each slot; step after step asks for those of one structure."""
        if self._users is None or self._users[0] is not structure:
            used = [set(structure.slots_of(task)) for task in self.tasks]
            found = {slot: frozenset(task for task, own in enumerate(used) if slot in own) for slot in self.slots}
            self._users = structure, found
        return self._users[1]

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
        stages = self._places.get((layer, site))  # a place may have lost its last slot
        if stages is not None:
            with self._computing_in(y):
                for stage in _STAGES[1:]:
                    y = self._add(stages[stage], part, x, y, layer)
        if site == "attn.q" and layer in self.query_layers:
            self._queries[layer] = y.to(self._dtype)
        return y

    def compose_input(self, layer: int, site: str, part: int, x: Tensor) -> Tensor:
        """The input of one host module with the pool's modules of the stage `input` added; `n x t x d_in`."""
        stages = self._places.get((layer, site))
        if stages is None:
            return x
        with self._computing_in(x):
            return self._add(stages["input"], part, x, x, layer)

    def _computing_in(self, x: Tensor) -> AbstractContextManager[object]:
        """Modules keep fp32 weights on a bf16 backbone and multiply in bf16 as it does: no wide tensor is converted."""
        if x.dtype == self._dtype:
            return nullcontext()
        return torch.autocast(x.device.type, x.dtype, cache_enabled=False)  # no weight is used twice in a pass

    def _add(self, kinds: Mapping[str, Sequence[Slot]], part: int, x: Tensor, y: Tensor, layer: int) -> Tensor:
        """`y` plus the deltas of one stage, all computed from the same `x` and `y`."""
        context = SlotContext(self._queries.get(layer))
        total = y
        for kind, slots in kinds.items():
            passed = [slot for slot in slots if slot in self._coefficients]
            if passed:
                modules = [self._module(slot, part) for slot in passed]
                coefficients = [self._coefficients[slot] for slot in passed]
                delta = KINDS.get(kind).module.combine(modules, coefficients, x, y, context)
                total = total + delta.to(total.dtype)
        return total

    def _module(self, slot: Slot, part: int) -> AdapterModule:
        module = self.parts[_key(slot)][part]  # type: ignore[index]
        assert isinstance(module, AdapterModule)
        return module

    def discard(self, closed: Iterable[Slot]) -> None:
        """Removes slots that are closed for good; gates keep their columns."""
        gone = set(closed)
        for slot in gone:
            del self.parts[_key(slot)]
        self.slots = tuple(slot for slot in self.slots if slot not in gone)
        self._coefficients = {slot: z for slot, z in self._coefficients.items() if slot not in gone}
        self._index_places()

    def keep(self, structure: Structure, values: Mapping[Slot, float]) -> None:
        """Removes every slot that no task uses, and folds each remaining gate's value into its modules."""
        kept = set(structure.union)
        self.discard(slot for slot in self.slots if slot not in kept)
        for slot in self.slots:
            for module in self.modules_of(slot):
                module.fold(values[slot])
        self._coefficients = dict.fromkeys(self.slots)

    def parameter_count(self) -> int:
        """Parameters of all modules now in the pool."""
        return sum(parameter.numel() for parameter in self.parts.parameters())


def _key(slot: Slot) -> str:
    # A module's name may hold no dot.
    return slot.name.replace(".", "-")
