"""From gates to a structure: budgets hold for any pool, nothing is ever empty, values are folded, slots are gone."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slasearch.adapters.attach import attach
from slasearch.adapters.finalise import finalise
from slasearch.adapters.gates.bank import GateBank
from slasearch.adapters.pool import Pool, candidate_slots, slot_cost
from slasearch.adapters.sites import HostShape, host_shapes
from slasearch.errors import ConfigError
from slasearch.records import GateSpec, PoolSpec, SizeSpec, Slot
from slasearch.registry import GATES
from slasearch.testing.gates import GATE_SPEC
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import run_tiny, tiny_backbone

HOSTS = {site: (HostShape(8, 8),) for site in ("attn.q", "attn.out", "ffn.out")}
SPEC = PoolSpec(("attn.q", "attn.out", "ffn.out"), ("lora", "bottleneck", "bias"), (1, 2))


def make_pool(tasks: tuple[str, ...] = ("a", "b")) -> Pool:
    return Pool(candidate_slots(SPEC, layers=2), HOSTS, tasks, generator=torch.Generator().manual_seed(0))


def gates_with(logits: torch.Tensor, family: str = "sigmoid", spec: GateSpec = GATE_SPEC) -> GateBank:
    costs = torch.tensor([float(slot_cost(slot, HOSTS).parameters) for slot in candidate_slots(SPEC, layers=2)])
    bank = GateBank(dataclasses.replace(spec, family=family), logits.shape[0], costs[: logits.shape[1]])
    with torch.no_grad():
        bank.family.logits.copy_(logits[: len(bank.family.logits)])
    return bank


@settings(max_examples=1000, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(8, 600), st.sampled_from(["union", "per_task"]), st.sampled_from(GATES.names())
)
def test_a_budget_holds_for_any_gates(seed: int, budget: int, scope: str, family: str) -> None:
    pool = PROPERTY_POOL
    logits = torch.randn(2, len(pool.slots), generator=torch.Generator().manual_seed(seed)) * 4
    gates = gates_with(logits, family)
    size = SizeSpec("budget", budget=budget, scope=scope)
    done = finalise(pool, gates, size)
    assert done == finalise(pool, gates, size)
    counted = [done.structure.union] if scope == "union" else [slots for _, slots in done.structure.paths]
    assert max(sum(pool.costs[slot].parameters for slot in slots) for slots in counted) <= budget
    assert done.structure.union


PROPERTY_POOL = make_pool()


def test_a_budget_below_the_cheapest_slot_is_refused() -> None:
    pool = make_pool()
    with pytest.raises(ConfigError, match="expected at least 8"):
        finalise(pool, gates_with(torch.zeros(2, len(pool.slots))), SizeSpec("budget", budget=7))


def test_penalty_keeps_what_is_open_and_each_task_its_own() -> None:
    pool = make_pool()
    logits = torch.full((2, len(pool.slots)), -3.0)
    logits[0, 1] = logits[1, 4] = logits[0, 7] = logits[1, 7] = 3.0
    done = finalise(pool, gates_with(logits), SizeSpec("penalty"))
    assert done.structure.slots_of("a") == (pool.slots[1], pool.slots[7])
    assert done.structure.slots_of("b") == (pool.slots[4], pool.slots[7])
    assert done.structure.union == tuple(sorted([pool.slots[1], pool.slots[4], pool.slots[7]]))
    assert [row.open for row in done.gates].count(True) == 4
    assert done.events[0].kind == "gate_health.mixed"


def test_all_closed_keeps_the_best_slot_and_says_so() -> None:
    pool = make_pool()
    logits = torch.full((2, len(pool.slots)), -9.0)
    logits[1, 3] = -8.0
    done = finalise(pool, gates_with(logits, "hard_concrete"), SizeSpec("penalty"))
    assert done.structure.paths == (("a", ()), ("b", (pool.slots[3],)))
    assert [event.kind for event in done.events] == ["gate_health.all_closed", "gate_health.task_without_slots"]
    assert "the strongest slot, or the first of equals, was kept" in done.events[0].message
    assert "Task a has no open slot" in done.events[1].message


def test_a_budget_is_filled_even_if_all_closed_and_the_words_fit() -> None:
    pool = make_pool()
    gates = gates_with(torch.full((2, len(pool.slots)), -9.0), "hard_concrete")
    done = finalise(pool, gates, SizeSpec("budget", budget=48))
    assert len(done.structure.union) > 1
    assert done.events[0].kind == "gate_health.all_closed"
    assert "budget was filled" in done.events[0].message
    assert "sparsity weight" not in done.events[0].message


@pytest.mark.parametrize("shared", [False, True])
def test_what_one_task_has_paid_opens_for_others_by_their_own_gates(shared: bool) -> None:
    """Places within tasks lie on a grid, so that two tasks often give a slot the same one."""
    pool = make_pool()
    logits = torch.stack([torch.full((len(pool.slots),), 9.0), torch.full((len(pool.slots),), -9.0)])
    bank = gates_with(logits, "hard_concrete", dataclasses.replace(GATE_SPEC, shared=shared))
    same = torch.linspace(1, 0.1, len(pool.slots)).expand(2, -1)
    done = finalise(pool, bank, SizeSpec("budget", budget=48), same)
    first, second = (slots for _, slots in done.structure.paths)
    assert len(first) > 1
    assert second == (first if shared else ())


def test_all_open_is_told() -> None:
    pool = make_pool()
    done = finalise(pool, gates_with(torch.full((2, len(pool.slots)), 5.0)), SizeSpec("penalty"))
    assert done.events[0].kind == "gate_health.all_open"
    assert len(done.structure.union) == len(pool.slots)


def test_copies_of_other_tasks_are_no_gates_that_closed() -> None:
    pool = make_pool()
    own = torch.arange(len(pool.slots)).expand(2, -1) % 2 == torch.arange(2)[:, None]
    bank = gates_with(torch.full((2, len(pool.slots)), 5.0))
    bank.close(own)
    told = finalise(pool, bank, SizeSpec("penalty"), candidates=own).events[0]
    assert (told.kind, told.level) == ("gate_health.all_open", "warning")
    with torch.no_grad():
        bank.family.logits[0, 0] = -5.0
    told = finalise(pool, bank, SizeSpec("penalty"), candidates=own).events[0]
    assert told.message.startswith(f"{len(pool.slots) - 1} of {len(pool.slots)} gates open")


def test_a_budget_with_room_for_the_whole_pool_is_told() -> None:
    """Gates that learn faster would not close one of them."""
    pool = make_pool()
    whole = sum(pool.costs[slot].parameters for slot in pool.slots)
    gates = gates_with(torch.full((2, len(pool.slots)), 5.0))
    told = [finalise(pool, gates, SizeSpec("budget", budget=budget)).events[0] for budget in (whole, whole - 1)]
    assert [event.kind for event in told] == ["gate_health.all_open"] * 2
    assert "The whole pool fits the budget" in told[0].message
    assert "learning rate" in told[1].message


def test_keep_folds_values_and_removes_closed_modules() -> None:
    model = tiny_backbone("bert")
    pool = Pool(
        candidate_slots(PoolSpec(("attn.v", "ffn.out"), ("lora", "bias"), (2,)), layers=2),
        host_shapes(model),
        ("a",),
        generator=torch.Generator().manual_seed(0),
    )
    disturb_weights(pool)
    z = torch.tensor([[0.5, 0.0, 1.0, 0.0, 0.0, 0.25, 0.0, 0.0]])
    task_index = torch.zeros(3, dtype=torch.long)
    with attach(model, pool), torch.no_grad():
        pool.route(task_index, z)
        gated = run_tiny(model)
        open_slots = tuple(slot for slot, value in zip(pool.slots, z[0].tolist(), strict=True) if value)
        gates = gates_with(torch.where(z > 0, 9.0, -9.0))
        structure = finalise(pool, gates, SizeSpec("penalty")).structure
        assert structure.slots_of("a") == open_slots
        before = pool.parameter_count()
        pool.keep(structure, dict(zip(pool.slots, z[0].tolist(), strict=True)))
        pool.route_paths(task_index, structure)
        torch.testing.assert_close(run_tiny(model), gated, rtol=0, atol=1e-5)
    assert pool.slots == open_slots
    assert pool.parameter_count() == sum(pool.costs[slot].parameters for slot in open_slots) < before


def test_a_shared_slot_gets_the_mean_value_of_its_tasks() -> None:
    pool = make_pool()
    logits = torch.full((2, len(pool.slots)), -9.0)
    logits[0, 0], logits[1, 0] = 1.0, 3.0
    gates = gates_with(logits)
    done = finalise(pool, gates, SizeSpec("penalty"))
    expected = float(gates.value()[:, 0].mean().detach())
    assert done.values == {pool.slots[0]: pytest.approx(expected)}


def test_a_shared_slot_of_opposite_values_keeps_its_weights() -> None:
    """Gates of the family `proximal` may be negative."""
    pool = make_pool()
    logits = torch.zeros(2, len(pool.slots))
    logits[0, 0], logits[1, 0], logits[0, 1], logits[1, 1] = 0.8, -0.8, -0.4, -0.8
    done = finalise(pool, gates_with(logits, family="proximal"), SizeSpec("penalty"))
    assert done.values == {pool.slots[0]: 1.0, pool.slots[1]: pytest.approx(-0.6)}


def test_sigmoid_anneals_towards_zero_and_one() -> None:
    gates = gates_with(torch.tensor([[-1.0, 1.0]]))
    gates.family.set_progress(1.0)
    assert gates.value()[0].tolist() == pytest.approx(torch.sigmoid(torch.tensor([-2.0, 2.0])).tolist())


def test_slot_names_parse_back() -> None:
    for slot in make_pool().slots:
        assert Slot.parse(slot.name) == slot
    with pytest.raises(ValueError, match="expected 'LAYER:SITE"):
        Slot.parse("3:attn.q:lora:2:0")
