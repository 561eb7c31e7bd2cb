"""Each task's path through the structure of one trial: its modules in forward order, and what tasks share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from typing import Any, Literal

from slasearch.errors import ReportError
from slasearch.records import SITES, GateRow, Slot
from slasearch.registry import KINDS, UNRANKED_KINDS

__all__ = ["Overlap", "PathModule", "Sharing", "TaskPath", "TrialPaths", "jaccard", "paths_of"]

Sharing = Literal["all", "some", "own"]
"""Who passes a slot: every task, this one and some of the others, or this one alone."""


@dataclass(frozen=True)
class PathModule:
    """The open slots of one kind at one place of a task's path, taken as one module.

    `rank` is the sum of their ranks, as slots of one kind at one place add up: the rank-one slots of a rank-gated pool
    are one module of that many ranks. It is None for kinds without a rank. `sharing` is `all` or `own` where that holds
    for each of the slots, else `some`.
    """

    layer: int
    site: str
    kind: str
    rank: int | None
    slots: tuple[Slot, ...]
    parameters: int
    sharing: Sharing

    @property
    def text(self) -> str:
        """What stands in a grid: `lora r2`, `bias`."""
        return self.kind if self.rank is None else f"{self.kind} r{self.rank}"


@dataclass(frozen=True)
class TaskPath:
    """One task's path: `modules` in forward order; `parameters` and `slots` count all that is open for it.

    `sharing` counts its slots by who else passes them.
    """

    task: str
    modules: tuple[PathModule, ...]
    parameters: int
    sharing: Mapping[Sharing, int]

    @property
    def slots(self) -> int:
        """How many slots are open for it."""
        return sum(len(module.slots) for module in self.modules)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers in which it passes a module, the lowest first."""
        return tuple(sorted({module.layer for module in self.modules}))

    @property
    def kinds(self) -> Mapping[str, int]:
        """How many modules of each kind it passes, in the order of the registry."""
        return Counter(sorted((module.kind for module in self.modules), key=_kind_order))


@dataclass(frozen=True)
class Overlap:
    """Two tasks: how many slots both pass, how many at least one does, and the Jaccard index of the two sets."""

    one: str
    other: str
    shared: int
    together: int
    jaccard: float


@dataclass(frozen=True)
class TrialPaths:
    """The paths of all tasks in one trial.

    `label` is the trial as people call it (`12`, `c3`). `pool` holds every (layer, site, kind) that has a slot, open or
    not. `slots` counts those that at least one task passes, `parameters` their exported parameters.
    """

    label: str
    layers: tuple[int, ...]
    sites: tuple[str, ...]
    pool: frozenset[tuple[int, str, str]]
    tasks: tuple[TaskPath, ...]
    overlap: tuple[Overlap, ...]
    slots: int
    parameters: int

    def users(self, slot: Slot) -> int:
        """How many tasks pass a slot."""
        return sum(any(slot in module.slots for module in path.modules) for path in self.tasks)

    def kinds_at(self, site: str) -> tuple[str, ...]:
        """Kinds that have a slot at this site in some layer, in the order of the registry."""
        return tuple(sorted({kind for _, where, kind in self.pool if where == site}, key=_kind_order))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the pool, in the order of the registry."""
        return tuple(sorted({kind for _, _, kind in self.pool}, key=_kind_order))


def jaccard(one: frozenset[Any], other: frozenset[Any]) -> float:
    """Shared of all: |A ∩ B| / |A ∪ B|; two empty sets are equal, hence 1."""
    return len(one & other) / len(one | other) if one | other else 1.0


def paths_of(rows: Iterable[GateRow], tasks: Sequence[str], *, label: str) -> TrialPaths:
    """The paths that a trial's gates describe.

    Args:
        rows: The trial's gates, open and closed.
        tasks: Names of the tasks, in the order in which they are shown.
        label: What the trial is called.

    Raises:
        ReportError: There is no gate.
    """
    found = list(rows)
    if not found:
        raise ReportError(
            f"structure of trial {label}: expected stored gates, got none. "
            "Choose a complete trial with modules; `slasearch trials NAME` lists them."
        )
    cost = {row.slot: row.parameters for row in found}
    chosen = {task: frozenset(row.slot for row in found if row.open and row.task == task) for task in tasks}
    users = Counter(slot for slots in chosen.values() for slot in slots)
    pool = frozenset((slot.layer, slot.site, slot.kind) for slot in cost)
    return TrialPaths(
        label=label,
        layers=tuple(sorted({layer for layer, _, _ in pool})),
        sites=tuple(sorted({site for _, site, _ in pool}, key=_site_order)),
        pool=pool,
        tasks=tuple(_path(task, slots, users, len(tasks), cost) for task, slots in chosen.items()),
        overlap=tuple(_overlap(one, other, chosen) for one, other in combinations(tasks, 2)),
        slots=len(users),
        parameters=sum(cost[slot] for slot in users),
    )


def _path(
    task: str, slots: frozenset[Slot], users: Mapping[Slot, int], tasks: int, cost: Mapping[Slot, int]
) -> TaskPath:
    shared = {slot: _sharing(users[slot], tasks) for slot in slots}
    counts = Counter(shared.values())
    modules = tuple(
        _module(tuple(group), shared, cost) for _, group in groupby(sorted(slots, key=_forward), key=_place)
    )
    sharing: dict[Sharing, int] = {"all": counts["all"], "some": counts["some"], "own": counts["own"]}
    return TaskPath(task, modules, sum(cost[slot] for slot in slots), sharing)


def _sharing(users: int, tasks: int) -> Sharing:
    return "all" if users == tasks else "own" if users == 1 else "some"


def _module(slots: tuple[Slot, ...], shared: Mapping[Slot, Sharing], cost: Mapping[Slot, int]) -> PathModule:
    first, states = slots[0], {shared[slot] for slot in slots}
    return PathModule(
        layer=first.layer,
        site=first.site,
        kind=first.kind,
        rank=None if first.kind in UNRANKED_KINDS else sum(slot.rank for slot in slots),
        slots=slots,
        parameters=sum(cost[slot] for slot in slots),
        sharing=states.pop() if len(states) == 1 else "some",
    )


def _overlap(one: str, other: str, chosen: Mapping[str, frozenset[Slot]]) -> Overlap:
    first, second = chosen[one], chosen[other]
    return Overlap(one, other, len(first & second), len(first | second), jaccard(first, second))


# ---------------------------------------------------------------- forward order


def _place(slot: Slot) -> tuple[int, tuple[int, str], tuple[int, str]]:
    return (slot.layer, _site_order(slot.site), _kind_order(slot.kind))


def _forward(slot: Slot) -> tuple[tuple[int, tuple[int, str], tuple[int, str]], int, int]:
    return (_place(slot), slot.rank, slot.index)


def _site_order(site: str) -> tuple[int, str]:
    return (SITES.index(site) if site in SITES else len(SITES), site)


def _kind_order(kind: str) -> tuple[int, str]:
    """As the registry lists them; extensions that are not loaded stand behind, by name."""
    names = KINDS.names()
    return (names.index(kind) if kind in names else len(names), kind)
