"""Size: the expected size of a pool, filling a budget greedily, and the pressure that a budget puts on gates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from slasearch.errors import ConfigError

__all__ = [
    "BudgetPressure",
    "Scope",
    "below_cheapest",
    "by_strength",
    "expected_share",
    "fill",
    "pool_size",
    "reserve",
    "trim",
    "union_openness",
]

Scope = Literal["union", "per_task"]


def union_openness(openness: Tensor) -> Tensor:
    """How open a slot is to the task that uses it most, max_t p_{t,s}: `T x S` -> `S`.

    The chance that any task uses it, 1 − Π_t (1 − p_{t,s}), is the same where gates are 0 or 1, but its gradient is
    not: with eight tasks at p = .9 each gate would feel a ten-millionth of the size, and λ would be inert [ours].
    """
    return openness.amax(dim=0)


def pool_size(candidates: Tensor, costs: Tensor, scope: Scope) -> Tensor:
    """The size of everything that may be open: of the union, or of the largest task's own.

    Args:
        candidates: `T x S` of bool: which slots a task may use.
        costs: `S`, cost of each slot (parameters).
        scope: What counts.
    """
    if scope == "union":
        return (candidates.any(dim=0) * costs).sum()
    return (candidates * costs).sum(dim=1).amax()


def expected_share(openness: Tensor, costs: Tensor, scope: Scope = "union", whole: Tensor | None = None) -> Tensor:
    """The expected size as a share of the pool's, R = Σ_s c_s·p_s / Σ_s c_s.

    Args:
        openness: `T x S`, p of each gate.
        costs: `S`, cost of each slot (parameters).
        scope: `union`: a slot that several tasks use is paid once. `per_task`: the largest task's own share.
        whole: What `pool_size` gives, where tasks have slots of their own; None: every task may use every slot.

    Returns:
        A number in [0, 1], differentiable in `openness`.
    """
    weights = costs / (costs.sum() if whole is None else whole)
    if scope == "union":
        return (union_openness(openness) * weights).sum()
    return (openness * weights).sum(dim=1).amax()


def below_cheapest(budget: int, costs: Sequence[float]) -> ConfigError:
    """What is wrong with a budget that no slot fits."""
    return ConfigError([f"budget: expected at least {min(costs):.0f} (the cheapest slot), got {budget}."])


def by_strength(strength: Tensor) -> list[tuple[int, int]]:
    """(task, slot) pairs by falling strength (`T x S`), without those of −∞; equal ones by task and slot."""
    tasks, slots = strength.shape
    values = strength.tolist()
    pairs = [(t, s) for t in range(tasks) for s in range(slots) if values[t][s] > -torch.inf]
    return sorted(pairs, key=lambda pair: (-values[pair[0]][pair[1]], pair))


def fill(
    order: Sequence[tuple[int, int]],
    costs: Sequence[int],
    budget: float,
    scope: Scope,
    tasks: int,
    *,
    wanted: Tensor | None = None,
) -> list[set[int]]:
    """Takes (task, slot) pairs in the given order wherever they still fit.

    Args:
        order: Pairs of task and slot numbers, best first.
        costs: Cost of each slot (parameters).
        budget: Most parameters; of the union of all tasks' slots, or of each task's own (`scope`).
        scope: What the budget counts.
        tasks: T, the number of tasks.
        wanted: `T x S` of bool: under `union` a slot that another task has paid is free, and opens for a task only
            where this says so; None: everywhere.

    Returns:
        For each task its open slots. The size never exceeds the budget. Each pair is tried once, so that the outcome is
        as full as the order allows.
    """
    chosen: list[set[int]] = [set() for _ in range(tasks)]
    paid: set[int] = set()
    spent = [0] * tasks
    for task, slot in order:
        free = scope == "union" and slot in paid
        account = 0 if scope == "union" else task
        if free and wanted is not None and not wanted[task, slot]:
            continue
        price = 0 if free else costs[slot]
        if slot not in chosen[task] and spent[account] + price <= budget:
            chosen[task].add(slot)
            paid.add(slot)
            spent[account] += price
    return chosen


def trim(
    order: Sequence[tuple[int, int]], costs: Sequence[int], budget: float, scope: Scope, tasks: int
) -> list[set[int]]:
    """Gives up (task, slot) pairs from the weakest on until the rest keeps to a size, then takes back what still fits.

    What is given up is as little as it can be from the weak end: what remains is smaller than the size by less than the
    dearest slot, and never nothing if every slot fits. Arguments and result are those of `fill`.
    """
    chosen: list[set[int]] = [set() for _ in range(tasks)]
    users: Counter[int] = Counter()
    spent = [0] * tasks
    for task, slot in order:
        account = 0 if scope == "union" else task
        spent[account] += 0 if scope == "union" and users[slot] else costs[slot]
        chosen[task].add(slot)
        users[slot] += 1
    given_up = []
    for task, slot in reversed(order):
        account = 0 if scope == "union" else task
        if spent[account] <= budget:
            continue
        chosen[task].discard(slot)
        users[slot] -= 1
        given_up.append((task, slot))
        spent[account] -= 0 if scope == "union" and users[slot] else costs[slot]
    for task, slot in reversed(given_up):
        account = 0 if scope == "union" else task
        price = 0 if scope == "union" and users[slot] else costs[slot]
        if spent[account] + price <= budget:
            chosen[task].add(slot)
            users[slot] += 1
            spent[account] += price
    return chosen


def reserve(
    order: Sequence[tuple[int, int]], costs: Sequence[int], chosen: Sequence[set[int]], scope: Scope
) -> list[set[int]]:
    """The strongest pairs that were not chosen and together are cheaper than the dearest slot that was [ours].

    A later cut that gives up a dear slot leaves a gap, which cheaper ones can fill if they are still there.

    Args:
        order: As for `fill`.
        costs: As for `fill`.
        chosen: What `trim` or `fill` gave.
        scope: As for `fill`.
    """
    dearest = [max((costs[slot] for slot in slots), default=0) for slots in chosen]
    left = [price - 1 for price in (dearest if scope == "per_task" else [max(dearest)])]
    kept: list[set[int]] = [set() for _ in chosen]
    paid: set[int] = set()
    for task, slot in order:
        account = 0 if scope == "union" else task
        price = 0 if scope == "union" and slot in paid else costs[slot]
        if slot not in chosen[task] and price <= left[account]:
            kept[task].add(slot)
            paid.add(slot)
            left[account] -= price
    return kept


class BudgetPressure:
    """The size that is aimed at under a budget, and the weight of the size term, by an augmented Lagrangian [ours].

        e = clip(E[size]/target − 1, −1, 1),   μ ← max(0, μ + rate·e),   weight = max(0, μ + stiffness·e)

    μ alone (dual ascent) grows while the target falls and lets go too late: sizes ended at a fifth of the target. The
    second term pushes as long as the size is too large and stops when it is not.

    The target falls from the whole pool to the budget along a cubic over the share `until` of the gated steps, so that
    slots compete before any must close.

    Args:
        pool_parameters: Size of the whole pool.
        budget: Most parameters of the final structure.
        until: Share of the gated steps at which the target is the budget.
        rate: Step of the ascent.
        stiffness: Weight of the present excess.

    Attributes:
        multiplier: μ.
    """

    def __init__(
        self, pool_parameters: int, budget: int, *, until: float = 0.5, rate: float = 0.02, stiffness: float = 2.0
    ) -> None:
        self.multiplier: Tensor | float = 0.0
        self._pool, self._final = pool_parameters, min(pool_parameters, budget)
        self._until, self._rate, self._stiffness = until, rate, stiffness

    def target(self, share: float) -> float:
        """Parameters aimed at when `share` of the gated steps is done."""
        left = max(0.0, 1 - share / self._until) ** 3
        return self._final + (self._pool - self._final) * left

    def update(self, expected: Tensor, share: float) -> Tensor:
        """The weight after a step, on the device of `expected`.

        Args:
            expected: Expected size as a share of the pool's.
            share: Share of the gated steps that is done.
        """
        excess = (expected.detach() * (self._pool / self.target(share)) - 1).clamp(-1, 1)
        self.multiplier = (self.multiplier + self._rate * excess).clamp(min=0)
        return (self.multiplier + self._stiffness * excess).clamp(min=0)
