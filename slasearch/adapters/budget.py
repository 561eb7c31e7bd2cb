"""Size: the expected size of a pool, filling a budget greedily, and the pressure that a budget puts on gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

__all__ = ["BudgetPressure", "expected_share", "fill", "union_openness"]


def union_openness(openness: Tensor) -> Tensor:
    """The chance that at least one task uses a slot, 1 − Π_t (1 − p_{t,s}): `T x S` -> `S`."""
    return 1 - torch.prod(1 - openness, dim=0)


def expected_share(openness: Tensor, costs: Tensor, scope: Literal["union", "per_task"] = "union") -> Tensor:
    """The expected size as a share of the pool's, R = Σ_s c_s·p_s / Σ_s c_s.

    Args:
        openness: `T x S`, p of each gate.
        costs: `S`, cost of each slot (parameters).
        scope: `union`: a slot that several tasks use is paid once. `per_task`: the largest task's own share.

    Returns:
        A number in [0, 1], differentiable in `openness`.
    """
    weights = costs / costs.sum()
    if scope == "union":
        return (union_openness(openness) * weights).sum()
    return (openness * weights).sum(dim=1).amax()


def fill(
    order: Sequence[tuple[int, int]], costs: Sequence[int], budget: int, scope: Literal["union", "per_task"], tasks: int
) -> list[set[int]]:
    """Takes (task, slot) pairs in the given order wherever they still fit.

    Args:
        order: Pairs of task and slot numbers, best first.
        costs: Cost of each slot (parameters).
        budget: Most parameters; of the union of all tasks' slots, or of each task's own (`scope`).
        scope: What the budget counts.
        tasks: T, the number of tasks.

    Returns:
        For each task its open slots. The size never exceeds the budget. Each pair is tried once, so that the outcome is
        as full as the order allows.
    """
    chosen: list[set[int]] = [set() for _ in range(tasks)]
    paid: set[int] = set()
    spent = [0] * tasks
    for task, slot in order:
        account = 0 if scope == "union" else task
        price = 0 if scope == "union" and slot in paid else costs[slot]
        if slot not in chosen[task] and spent[account] + price <= budget:
            chosen[task].add(slot)
            paid.add(slot)
            spent[account] += price
    return chosen


class BudgetPressure:
    """The weight μ of the size term under a budget, by dual ascent [ours].

        μ ← max(0, μ + rate·(E[size]/target − 1))

    The target falls from the whole pool to the budget along a cubic over the first half of the gated steps, so that
    slots compete before any must close.

    Args:
        pool_parameters: Size of the whole pool.
        budget: Most parameters of the final structure.
        rate: Step of the ascent.
    """

    def __init__(self, pool_parameters: int, budget: int, rate: float = 0.05) -> None:
        self.weight = 0.0
        self._final = min(1.0, budget / pool_parameters)
        self._rate = rate

    def update(self, expected: float, share: float) -> float:
        """μ after a step.

        Args:
            expected: Expected size as a share of the pool's.
            share: Share of the gated steps that is done.
        """
        left = max(0.0, 1 - 2 * share) ** 3
        target = self._final + (1 - self._final) * left
        self.weight = max(0.0, self.weight + self._rate * (expected / target - 1))
        return self.weight
