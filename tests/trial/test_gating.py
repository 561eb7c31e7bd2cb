"""The gated steps by themselves: pruning under any scores, pressure on one task or several, ranking across tasks."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slasearch.adapters.budget import by_strength, reserve, trim
from slasearch.adapters.finalise import finalise
from slasearch.adapters.gates.bank import GateBank
from slasearch.adapters.gates.budget import Budget
from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import HostShape
from slasearch.errors import ConfigError
from slasearch.records import FinalisationSpec, SizeSpec, Slot
from slasearch.registry import GATES
from slasearch.testing.gates import GATE_SPEC
from slasearch.trial.gating import GateLearner
from slasearch.trial.lambda_path import ramp
from slasearch.trial.ranking import within_tasks

HOSTS = {site: (HostShape(8, 8),) for site in ("attn.q", "attn.out", "ffn.out")}
SHAPES = [("lora", 1), ("lora", 2), ("lora", 7), ("bottleneck", 3), ("bias", 1), ("scale", 1)]


def pool_of(kinds: Sequence[tuple[int, int]], tasks: int = 1) -> Pool:
    """A pool of random slots: (place, shape) pairs, each once."""
    places = [(layer, site) for layer in range(3) for site in ("attn.out", "ffn.out")]
    slots = [Slot(*places[place], *SHAPES[shape]) for place, shape in kinds]
    names = [f"t{number}" for number in range(tasks)]
    return Pool(slots, HOSTS, names, generator=torch.Generator().manual_seed(0))


def learner_of(pool: Pool, family: str, size: SizeSpec, end: FinalisationSpec, steps: int) -> GateLearner:
    costs = torch.tensor([float(pool.costs[slot].parameters) for slot in pool.candidates])
    bank = GateBank(dataclasses.replace(GATE_SPEC, family=family), len(pool.tasks), costs)
    return GateLearner(bank, pool, size, end, learning_rate=0.3, steps=steps, ramp_steps=size.ramp * steps)


@settings(max_examples=1000, deadline=None)
@given(
    kinds=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20, unique=True),
    tasks=st.integers(1, 3),
    scope=st.sampled_from(["union", "per_task"]),
    family=st.sampled_from(GATES.names()),
    share=st.floats(0.0, 1.2),
    steps=st.integers(1, 14),
    seed=st.integers(0, 2**31),
)
def test_progressive_ends_within_the_budget_and_never_with_nothing(
    kinds: list[tuple[int, int]], tasks: int, scope: str, family: str, share: float, steps: int, seed: int
) -> None:
    """Whatever the gates say, at every step: the size is met, something is open, and little room is wasted."""
    found = []
    for _ in range(2):
        pool = pool_of(kinds, tasks)
        costs = [pool.costs[slot].parameters for slot in pool.candidates]
        budget = max(min(costs), round(share * sum(costs)))
        size = SizeSpec("budget", budget=budget, scope=scope)  # type: ignore[arg-type]
        learner = learner_of(pool, family, size, FinalisationSpec(finish="progressive"), steps)
        generator = torch.Generator().manual_seed(seed)
        for step in range(steps):
            with torch.no_grad():
                learner.bank.family.logits.copy_(torch.randn(tasks, len(costs), generator=generator) * 4)
            learner.begin(step)
            learner.prune(step + 1)
        done = finalise(pool, learner.bank, size)
        counted = [done.structure.union] if scope == "union" else [slots for _, slots in done.structure.paths]
        sizes = [sum(pool.costs[slot].parameters for slot in slots) for slots in counted]
        assert 0 < max(sizes) <= budget
        fitting = [cost for cost in costs if cost <= budget]
        assert max(sizes) > min(budget, sum(fitting)) - max(fitting), "less than the dearest slot is left over"
        assert set(done.structure.union) == set(pool.slots), "what was pruned is gone"
        found.append(done.structure)
    assert found[0] == found[1], "the same gates give the same structure"


def test_a_budget_is_used_up_by_cheap_slots_though_they_were_the_weakest_all_along() -> None:
    """The last cut gives up a dear slot; what fills the gap had to outlive all cuts before."""
    dear, cheap = [(place, 2) for place in range(6)], [(place, 0) for place in range(6)]
    pool = pool_of([*dear, *cheap])
    costs = {slot: pool.costs[slot].parameters for slot in pool.candidates}
    most, least = max(costs.values()), min(costs.values())
    budget = 2 * most + 3 * least
    learner = learner_of(
        pool, "sigmoid", SizeSpec("budget", budget=budget), FinalisationSpec("gate", "progressive"), 12
    )
    with torch.no_grad():
        worth = torch.tensor([float(costs[slot]) for slot in pool.candidates])
        learner.bank.family.logits.copy_(worth / most + torch.arange(12) / 100)
    sizes = []
    for step in range(12):
        learner.begin(step)
        learner.prune(step + 1)
        sizes.append(sum(costs[slot] for slot in pool.slots))
    assert sizes[-1] == budget
    assert sorted(sizes, reverse=True) == sizes
    targets = [learner._pressure.target((step + 1) / 12) for step in range(12)]  # type: ignore[union-attr]
    assert all(size < target + most for size, target in zip(sizes, targets, strict=True))


def test_a_step_of_budget_gates_solves_for_the_shift_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """λ does not act on this family: neither a penalty nor the pressure need its openness."""
    pool = pool_of([(0, 0), (1, 1), (2, 4)])
    learner = learner_of(pool, "budget", SizeSpec("budget", budget=20), FinalisationSpec(), 4)
    solved, shift = [], Budget.shift
    monkeypatch.setattr(Budget, "shift", lambda self: solved.append(1) or shift(self))
    learner.begin(3)
    (learner.sample(torch.Generator()) * torch.arange(3.0)).sum().backward()
    learner.step(learner.penalty())
    assert len(solved) == 1
    assert learner.bank.family.logits.any()


@pytest.mark.parametrize("family", ["budget", "hard_concrete"])
def test_slots_that_never_fit_make_no_room_for_others(family: str) -> None:
    """The target falls from what can be in a structure at all."""
    fits, dear = [(place, shape) for place in range(4) for shape in (0, 4)], [(place, 2) for place in range(4)]
    size, found = SizeSpec("budget", budget=60), []
    for kinds in (fits, fits + dear):
        learner = learner_of(pool_of(kinds), family, size, FinalisationSpec(finish="progressive"), 12)
        kept = []
        for step in range(12):
            learner.begin(step)
            learner.prune(step + 1)
            kept.append(set(learner._pool.slots))
        found.append((kept, learner.rate_factor))
    assert found[0] == found[1]
    assert len(found[0][0][0]) > len(found[0][0][-1])


def test_a_budget_that_no_slot_fits_is_refused() -> None:
    size, end = SizeSpec("budget", budget=7), FinalisationSpec(finish="progressive")
    with pytest.raises(ConfigError, match=r"expected at least 8 \(the cheapest slot\), got 7"):
        learner_of(pool_of([(0, 0), (0, 4)]), "budget", size, end, 4)


@settings(max_examples=300, deadline=None)
@given(
    costs=st.lists(st.integers(1, 900), min_size=1, max_size=12),
    tasks=st.integers(1, 3),
    scope=st.sampled_from(["union", "per_task"]),
    share=st.floats(0, 1.1),
    seed=st.integers(0, 2**31),
)
def test_trimming_keeps_to_the_size_and_gives_up_no_more_than_it_must(
    costs: list[int], tasks: int, scope: str, share: float, seed: int
) -> None:
    strength = torch.randn(tasks, len(costs), generator=torch.Generator().manual_seed(seed))
    budget = share * sum(costs)
    chosen = trim(by_strength(strength), costs, budget, scope, tasks)  # type: ignore[arg-type]
    union = set().union(*chosen)
    accounts = [union] if scope == "union" else chosen
    for account in accounts:
        spent = sum(costs[slot] for slot in account)
        assert spent <= budget
        left = set(range(len(costs))) - account
        assert all(spent + costs[slot] > budget for slot in left), "what still fits is taken back"
    if scope == "union":
        assert all(chosen_by == union for chosen_by in chosen), "a slot that is paid is free for every task"
    spared = reserve(by_strength(strength), costs, chosen, scope)  # type: ignore[arg-type]
    assert not any(more & account for more, account in zip(spared, chosen, strict=True))
    gaps = [set().union(*spared)] if scope == "union" else spared
    for gap, account in zip(gaps, accounts, strict=True):
        dearest = max((costs[slot] for slot in account), default=0)
        spent = sum(costs[slot] for slot in gap)
        assert spent < max(1, dearest)
        left = set(range(len(costs))) - account - gap
        assert all(spent + costs[slot] >= dearest for slot in left), "the strongest that fit into the gap are kept"


@pytest.mark.parametrize("finish", ["progressive", "continue"])
@pytest.mark.parametrize("ranking", ["gate", "saliency"])
@pytest.mark.parametrize("family", ["budget", "hard_concrete"])
def test_tasks_over_one_pool_keep_what_each_of_them_wants(family: str, ranking: str, finish: str) -> None:
    """A slot that one task has paid is free for the other, which leaves it all the same if it does harm there."""
    pool = pool_of([(place, 0) for place in range(6)], 2)
    size = SizeSpec("budget", budget=64)  # four of the six slots
    end = FinalisationSpec(ranking, finish)  # type: ignore[arg-type]
    learner = learner_of(pool, family, size, end, 40)
    worth = torch.tensor([[4.0, 3.0, -2.0, -1.0, -0.1, -0.1], [-2.0, -1.0, 4.0, 3.0, -0.1, -0.1]])
    generator = torch.Generator().manual_seed(0)
    for step in range(40):
        learner.begin(step)
        z = learner.sample(generator)
        (-(z * worth).sum()).backward()
        learner.observe(z)
        learner.step(learner.penalty())
        learner.prune(step + 1)
    found = finalise(pool, learner.bank, size, learner.strength())
    places = {slot: number for number, slot in enumerate(pool.candidates)}
    assert [{places[slot] for slot in slots} for _, slots in found.structure.paths] == [{0, 1}, {2, 3}]


@pytest.mark.parametrize("tasks", [1, 5])
@pytest.mark.parametrize("family", ["sigmoid", "hard_concrete", "straight_through"])
def test_pressure_holds_the_expected_size_to_the_target_with_any_number_of_tasks(family: str, tasks: int) -> None:
    pool = pool_of([(place, shape) for place in range(6) for shape in (0, 1, 4, 5)], tasks)
    whole = sum(cost.parameters for cost in pool.costs.values())
    size = SizeSpec("budget", budget=round(0.3 * whole))
    learner = learner_of(pool, family, size, FinalisationSpec(), 400)
    worth = torch.rand(tasks, len(pool.candidates), generator=torch.Generator().manual_seed(0)) / len(pool.candidates)
    seen = []
    for step in range(400):
        learner.begin(step)
        (-(learner.bank.openness() * worth).sum()).backward()  # every task wants every gate open, some more than others
        learner.step(learner.penalty())
        seen.append(float(learner._expected().detach()))
    assert sum(seen[-100:]) / 100 == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("tasks", [1, 8])
def test_a_sparsity_weight_presses_each_task_alike(tasks: int) -> None:
    pool = pool_of([(place, 1) for place in range(6)], tasks)
    learner = learner_of(pool, "sigmoid", SizeSpec("penalty", 1.0, ramp=0.0), FinalisationSpec(), 10)
    learner.begin(0)
    (pull,) = torch.autograd.grad(learner.penalty(), [learner.bank.family.logits])
    assert float(learner._expected().detach()) == pytest.approx(0.8, abs=1e-5)
    assert float(pull.sum()) == pytest.approx(0.8 * 0.2, rel=1e-4), "p·(1 − p), all together as of one task"


def test_shared_gates_are_counted_once() -> None:
    pool = pool_of([(place, 1) for place in range(6)], 8)
    costs = torch.tensor([float(pool.costs[slot].parameters) for slot in pool.candidates])
    bank = GateBank(dataclasses.replace(GATE_SPEC, shared=True), 8, costs)
    size = SizeSpec("penalty", 1.0, ramp=0.0)
    learner = GateLearner(bank, pool, size, FinalisationSpec(), learning_rate=0.1, steps=10, ramp_steps=0)
    learner.begin(0)
    (pull,) = torch.autograd.grad(learner.penalty(), [bank.family.logits])
    assert float(learner._expected().detach()) == pytest.approx(0.8, abs=1e-5)
    assert float(pull.sum()) == pytest.approx(0.8 * 0.2, rel=1e-4)


def test_a_budget_for_each_task_aims_at_what_each_task_may_use() -> None:
    """Tasks with slots of their own: the target falls from one task's pool, not from all of them together."""
    pool = pool_of([(0, 0), (1, 0), (2, 0), (3, 0)], 2)
    costs = torch.tensor([float(pool.costs[slot].parameters) for slot in pool.candidates])
    bank = GateBank(GATE_SPEC, 2, costs)
    bank.close(torch.tensor([[True, False, True, False], [False, True, False, True]]))
    size = SizeSpec("budget", budget=16, scope="per_task")
    end = FinalisationSpec(finish="progressive")
    learner = GateLearner(bank, pool, size, end, learning_rate=0.1, steps=10, ramp_steps=0)
    learner.begin(0)
    assert float(learner._expected().detach()) == pytest.approx(0.8, abs=1e-5)
    assert learner._pressure is not None
    assert learner._pressure.target(0.0) == 32


def test_tasks_are_ranked_by_place_not_by_the_scale_of_their_loss() -> None:
    worth = torch.tensor([[0.1, 0.3, 0.2], [1000.0, 500.0, 2000.0]])
    alive = torch.ones(2, 3, dtype=torch.bool)
    assert within_tasks(worth, alive).tolist() == [[0.0, 1.0, 0.5], [0.5, 0.0, 1.0]]
    alive[1, 2] = False
    assert within_tasks(worth, alive)[1].tolist() == [1.0, 0.0, -torch.inf]


def test_moving_saliency_tells_tasks_apart() -> None:
    pool = pool_of([(0, 0), (1, 0), (2, 0)], 2)
    end = FinalisationSpec("saliency", "progressive")
    learner = learner_of(pool, "sigmoid", SizeSpec("budget", budget=16, scope="per_task"), end, 20)
    worth = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    for _ in range(3):
        learner.begin(0)
        z = learner.sample(torch.Generator().manual_seed(0))
        (z * worth).sum().backward()
        learner.observe(z)
    assert learner.strength().tolist() == [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]
    warm = learner.all_open()
    assert warm is not None
    assert warm.requires_grad


def test_modules_learn_at_the_rate_of_a_structure_of_the_budgets_size() -> None:
    """However many are open, the steps of all of them together are as long."""
    pool = pool_of([(place, 0) for place in range(6)])
    end = FinalisationSpec("gate", "progressive")
    learner = learner_of(pool, "sigmoid", SizeSpec("budget", budget=32), end, 10)
    assert learner.rate_factor == 32 / 96
    seen = []
    for step in range(10):
        learner.begin(step)
        learner.prune(step + 1)
        seen.append(learner.rate_factor)
        size = sum(pool.costs[slot].parameters for slot in pool.slots)
        assert learner.rate_factor == pytest.approx(min(1.0, 32 / size))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    two = pool_of([(place, 0) for place in range(4)], 2)
    scoped = {
        scope: learner_of(two, "sigmoid", SizeSpec("budget", budget=32, scope=scope), end, 10)  # type: ignore[arg-type]
        for scope in ("union", "per_task")
    }
    assert {scope: one.rate_factor for scope, one in scoped.items()} == {"union": 0.5, "per_task": 0.5}
    scoped["per_task"].bank.close(torch.tensor([[True, True, False, False], [False, False, True, True]]))
    assert scoped["per_task"]._open_size() == 32
    assert learner_of(pool_of([(0, 0)]), "sigmoid", SizeSpec("penalty", 1.0), FinalisationSpec(), 10).rate_factor == 1.0


def test_weights_count_once_in_a_step_that_has_a_pass_for_gates_too() -> None:
    """Of one task: in the pass over held-out batches the weights' gradients are still those of the training batch."""
    pool = pool_of([(0, 0), (1, 0), (2, 0)])
    end = FinalisationSpec("saliency", "progressive")
    learner = learner_of(pool, "sigmoid", SizeSpec("budget", budget=16), end, 20)
    for weight in pool.parameters():
        weight.grad = torch.ones_like(weight)
    learner.begin(0)
    z = learner.sample(torch.Generator().manual_seed(0))
    learner.observe(z.detach())
    assert learner._saliency is not None
    once = learner._saliency.clone()
    assert bool((once > 0).any())
    learner.observe(z, torch.ones_like(z))
    assert torch.equal(learner._saliency, once)


def test_moving_saliency_of_shared_gates_is_the_mean_over_tasks() -> None:
    """As with gates of their own, by |z·∂L/∂z|, so that only the sharing differs."""
    pool = pool_of([(0, 0), (1, 0), (2, 0)], 2)
    end = FinalisationSpec("saliency", "progressive")
    costs = torch.tensor([float(pool.costs[slot].parameters) for slot in pool.candidates])
    bank = GateBank(dataclasses.replace(GATE_SPEC, family="sigmoid", shared=True), 2, costs)
    size = SizeSpec("budget", budget=16, scope="per_task")
    learner = GateLearner(bank, pool, size, end, learning_rate=0.1, steps=20, ramp_steps=0.0)
    worth = torch.tensor([[3.0, -2.5, 1.0], [1.0, 2.5, 2.0]])
    for _ in range(3):
        learner.begin(0)
        z = learner.sample(torch.Generator().manual_seed(0))
        (z * worth).sum().backward()
        learner.observe(z)
    assert learner.strength().tolist() == [[0.5, 1.0, 0.0]] * 2


@pytest.mark.parametrize(("schedule", "middle"), [("linear", 0.5), ("cosine", 0.5), ("cubic", 0.875)])
def test_the_sparsity_weight_grows_along_its_schedule(schedule: str, middle: float) -> None:
    assert [ramp(schedule, share) for share in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([0.0, middle, 1.0, 1.0])


def test_kept_slots_are_not_erased_by_a_gate_of_zero() -> None:
    for family, expected in (("straight_through", 1.0), ("hard_concrete", None), ("proximal", 1.0)):
        pool = pool_of([(0, 0), (1, 0)])
        learner = learner_of(pool, family, SizeSpec("budget", budget=16), FinalisationSpec(), 10)
        with torch.no_grad():
            learner.bank.family.logits.copy_(torch.tensor([[0.0, 0.0] if family == "proximal" else [-3.0, -4.0]]))
        assert not bool(learner.bank.value().any())
        (value,) = finalise(pool, learner.bank, SizeSpec("budget", budget=16)).values.values()
        assert value == (expected or pytest.approx(float(learner.bank.openness()[0, 0].detach())))


def test_budget_gates_are_healthy_when_they_are_small() -> None:
    pool = pool_of([(place, shape) for place in range(6) for shape in (0, 1, 4, 5)], 2)
    size = SizeSpec("budget", budget=100)
    learner = learner_of(pool, "budget", size, FinalisationSpec(), 10)
    learner.begin(9)
    with torch.no_grad():
        learner.bank.family.logits.normal_(generator=torch.Generator().manual_seed(0))
    kinds = [event.kind for event in finalise(pool, learner.bank, size).events]
    assert "gate_health.all_closed" not in kinds


@pytest.mark.parametrize("family", GATES.names())
@pytest.mark.parametrize(("rate", "stalled"), [(0.3, False), (1e-6, True)])
def test_gates_are_stalled_where_they_do_not_learn_whatever_the_budget_does(
    family: str, rate: float, stalled: bool
) -> None:
    """Under `progressive` every gate that is left ends fully open with the family `budget`, where it has begun."""
    pool = pool_of([(place, 1) for place in range(6)])
    costs = torch.tensor([float(pool.costs[slot].parameters) for slot in pool.candidates])
    bank = GateBank(dataclasses.replace(GATE_SPEC, family=family), 1, costs)
    size, end = SizeSpec("budget", budget=32), FinalisationSpec("gate", "progressive")
    learner = GateLearner(bank, pool, size, end, learning_rate=rate, steps=12, ramp_steps=0)
    worth = torch.linspace(-1.0, 1.0, 6)
    for step in range(12):
        learner.begin(step)
        loss = -(learner.sample(torch.Generator().manual_seed(step)) * worth).sum()
        penalty = learner.penalty()
        loss.backward()
        learner.step(penalty)
        learner.prune(step + 1)
    assert [event.kind for event in learner.health() if event.kind.endswith("stalled")] == (
        ["gate_health.stalled"] if stalled else []
    )
