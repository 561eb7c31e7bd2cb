"""Size: expected share in closed form, greedy filling as a property, dual ascent."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slasearch.adapters.budget import BudgetPressure, expected_share, fill, union_openness


def test_union_counts_a_shared_slot_once() -> None:
    openness = torch.tensor([[1.0, 0.0, 0.5], [1.0, 0.0, 0.5]])
    assert union_openness(openness).tolist() == [1.0, 0.0, 0.5]


def test_expected_share_is_cost_weighted_and_normalised() -> None:
    openness = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    costs = torch.tensor([30.0, 10.0])
    assert expected_share(openness, costs).item() == pytest.approx((30 * 1 + 10 * 0.5) / 40)
    assert expected_share(openness, costs, "per_task").item() == pytest.approx(30 / 40)
    assert expected_share(torch.ones(2, 2), costs).item() == pytest.approx(1.0)


@st.composite
def fillings(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int], int, str, int]:
    tasks, slots = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    costs = draw(st.lists(st.integers(1, 1000), min_size=slots, max_size=slots))
    order = draw(st.permutations(list(itertools.product(range(tasks), range(slots)))))
    budget = draw(st.integers(min(costs), 3000))
    return order, costs, budget, draw(st.sampled_from(["union", "per_task"])), tasks


@given(fillings())
def test_fill_never_exceeds_the_budget_and_leaves_nothing_that_fits(case: tuple) -> None:
    order, costs, budget, scope, tasks = case
    chosen = fill(order, costs, budget, scope, tasks)
    assert chosen == fill(order, costs, budget, scope, tasks)
    assert any(chosen)
    union = set().union(*chosen)
    sizes = [sum(costs[s] for s in (union if scope == "union" else row)) for row in chosen]
    assert max(sizes) <= budget
    for task, slot in order:
        if slot not in chosen[task]:
            assert scope == "per_task" or slot not in union, "a slot that is paid for is free for the other tasks"
            assert sizes[task] + costs[slot] > budget


def test_fill_prefers_the_front_of_the_order() -> None:
    assert fill([(0, 2), (0, 0), (0, 1)], [5, 5, 5], 10, "union", 1) == [{0, 2}]


def test_pressure_rises_while_the_pool_is_too_large_and_falls_when_it_is_small() -> None:
    pressure = BudgetPressure(pool_parameters=1000, budget=100)
    rising = [float(pressure.update(torch.tensor(0.9), share)) for share in (0.5, 0.6, 0.7)]
    assert rising == sorted(rising)
    assert rising[0] == pytest.approx(0.02 + 2.0), "the excess counts up to 1"
    assert pressure.update(torch.tensor(0.05), 0.8) == 0.0
    assert BudgetPressure(1000, 100).update(torch.tensor(0.95), 0.0) == 0.0, "at the start the target is the whole pool"
