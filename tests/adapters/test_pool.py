"""Candidates, routing of mixed batches, order of stages, and the refusals of attaching."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from slasearch.adapters.attach import attach
from slasearch.adapters.kinds._base import SlotContext
from slasearch.adapters.pool import Pool, candidate_slots, slot_costs
from slasearch.adapters.sites import HostShape, host_shapes, hosts_of, layers_of
from slasearch.errors import BackboneError, ConfigError, RegistryError
from slasearch.records import SITES, PoolSpec, Slot, Structure
from slasearch.registry import KINDS
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import TINY_FAMILIES, run_tiny, tiny_backbone


def pool_on(model: nn.Module, spec: PoolSpec, tasks: tuple[str, ...] = ("a", "b", "c")) -> Pool:
    slots = candidate_slots(spec, layers=len(layers_of(model)))
    return Pool(slots, host_shapes(model), tasks, generator=torch.Generator().manual_seed(0))


def test_candidates_are_every_place_that_fits_once() -> None:
    spec = PoolSpec(("attn.k", "attn.out"), ("lora", "bottleneck", "bias"), (1, 4), layers=(1,))
    names = [slot.name for slot in candidate_slots(spec, layers=2)]
    assert names == [
        "1:attn.k:lora:r1:0",
        "1:attn.k:lora:r4:0",
        "1:attn.out:bias:r1:0",
        "1:attn.out:bottleneck:r1:0",
        "1:attn.out:bottleneck:r4:0",
        "1:attn.out:lora:r1:0",
        "1:attn.out:lora:r4:0",
    ]


def test_gates_for_each_rank_give_rank_one_slots_of_separable_kinds() -> None:
    spec = PoolSpec(("ffn.out",), ("lora", "bottleneck", "scale"), (1, 3), layers=(0,), gating="rank")
    assert [slot.name for slot in candidate_slots(spec, layers=1)] == [
        "0:ffn.out:bottleneck:r1:0",
        "0:ffn.out:bottleneck:r3:0",
        "0:ffn.out:lora:r1:0",
        "0:ffn.out:lora:r1:1",
        "0:ffn.out:lora:r1:2",
        "0:ffn.out:scale:r1:0",
    ]


def test_kinds_may_have_ranks_of_their_own() -> None:
    spec = PoolSpec(("attn.v",), ("lora", "lora_xs", "bias"), (1, 2), kind_ranks=(("lora_xs", (8,)),))
    names = [slot.name for slot in candidate_slots(spec, layers=1)]
    assert names == [
        "0:attn.v:bias:r1:0",
        "0:attn.v:lora:r1:0",
        "0:attn.v:lora:r2:0",
        "0:attn.v:lora_xs:r8:0",
    ]
    fine = [slot.name for slot in candidate_slots(replace(spec, gating="rank"), layers=1)]
    assert fine == ["0:attn.v:bias:r1:0", "0:attn.v:lora:r1:0", "0:attn.v:lora:r1:1", "0:attn.v:lora_xs:r8:0"]


def test_costs_at_an_input_count_its_width() -> None:
    hosts = {"ffn.out": (HostShape(24, 16),), "attn.out": (HostShape(20, 16, heads=4),)}
    costs = slot_costs(PoolSpec(("attn.out", "ffn.out"), ("ia3", "scale", "prefix"), (3,)), hosts, layers=1)
    assert costs[Slot(0, "ffn.out", "ia3", 1)].parameters == 24
    assert costs[Slot(0, "ffn.out", "scale", 1)].parameters == 16
    assert costs[Slot(0, "attn.out", "prefix", 3)].parameters == 2 * 3 * 20 + 4
    assert costs[Slot(0, "attn.out", "prefix", 3)].macs_per_token == 2 * 3 * 20


def test_costs_sum_over_the_hosts_of_a_site() -> None:
    hosts = {"ffn.in": (HostShape(16, 24), HostShape(16, 24))}
    costs = slot_costs(PoolSpec(("ffn.in",), ("lora",), (2,), layers=(0,)), hosts, layers=2)
    assert costs[Slot(0, "ffn.in", "lora", 2)].parameters == 2 * 2 * (16 + 24)


def test_a_pool_without_candidates_or_with_absent_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a kind that fits a site"):
        candidate_slots(PoolSpec(("attn.q",), ("bottleneck",), (1,)), layers=2)
    with pytest.raises(ConfigError, match="expected numbers from 0 to 1, got 5"):
        candidate_slots(PoolSpec(("attn.q",), ("lora",), (1,), layers=(0, 5)), layers=2)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_mixed_batch_equals_its_examples_alone(family: str) -> None:
    model = tiny_backbone(family)
    pool = pool_on(model, PoolSpec(SITES, KINDS.names(), (1, 2)))
    disturb_weights(pool, scale=0.03)
    gates = torch.rand(3, len(pool.slots), generator=torch.Generator().manual_seed(2))
    with attach(model, pool), torch.no_grad():
        pool.route(torch.tensor([2, 0, 1]), gates)
        mixed = run_tiny(model)
        for row, task in enumerate([2, 0, 1]):
            pool.route(torch.full((3,), task), gates)
            torch.testing.assert_close(mixed[row], run_tiny(model)[row], rtol=0, atol=1e-5)


def test_paths_route_like_gates_of_zero_and_one() -> None:
    model = tiny_backbone("bert")
    pool = pool_on(model, PoolSpec(("attn.v", "ffn.out"), ("lora", "bias"), (1,)))
    disturb_weights(pool, scale=0.1)
    mask = torch.tensor([[1.0, 0, 1, 0, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0, 0]])
    paths = [
        (t, tuple(s for s, m in zip(pool.slots, row, strict=True) if m)) for t, row in zip("abc", mask, strict=True)
    ]
    for tasks in ([0, 1, 2], [1, 1, 1], [2, 0, 2]):
        with attach(model, pool), torch.no_grad():
            pool.route(torch.tensor(tasks), mask)
            by_gates = run_tiny(model)
            pool.route_paths(torch.tensor(tasks), Structure(tuple(paths)))
            torch.testing.assert_close(run_tiny(model), by_gates, rtol=0, atol=1e-6)


def test_paths_follow_the_structure_and_the_slots_that_are_there() -> None:
    model = tiny_backbone("bert")
    pool = pool_on(model, PoolSpec(("attn.v", "ffn.out"), ("lora",), (1,)))
    disturb_weights(pool, scale=0.1)
    one, other, *_ = pool.slots
    tasks = torch.tensor([0, 1, 2])
    with attach(model, pool), torch.no_grad():
        outputs = []
        for slots in ((one,), (other,), (one, other)):
            pool.route_paths(tasks, Structure(tuple((task, slots) for task in "abc")))
            outputs.append(run_tiny(model))
        assert not torch.equal(outputs[0], outputs[1])
        both = Structure(tuple((task, (one, other)) for task in "abc"))
        pool.route_paths(tasks, both)
        assert torch.equal(run_tiny(model), outputs[2])
        pool.discard([other])
        pool.route_paths(tasks, both)
        assert torch.equal(run_tiny(model), outputs[0]), "what is gone is passed by"


def test_stages_follow_each_other_and_the_modules_of_one_are_added() -> None:
    hosts = {"ffn.out": (HostShape(6, 4),)}
    kinds = ("ia3", "lora", "bottleneck", "parallel", "scale", "bias")
    slots = tuple(Slot(0, "ffn.out", kind, 2) for kind in kinds)
    pool = Pool(slots[::-1], hosts, ("a",), generator=torch.Generator().manual_seed(0))
    disturb_weights(pool, scale=1.0)
    x = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(1))
    host = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    ia3, lora, bottleneck, parallel, scale, bias = (pool.modules_of(slot)[0] for slot in slots)
    inside = x + ia3.delta(x, x, SlotContext())
    y = inside @ host.T
    beside = y + sum(module.delta(inside, y, SlotContext()) for module in (lora, bottleneck, parallel))
    scaled = beside + scale.delta(inside, beside, SlotContext())
    expected = scaled + bias.delta(inside, scaled, SlotContext())
    changed = pool.compose_input(0, "ffn.out", 0, x)
    torch.testing.assert_close(changed, inside)
    torch.testing.assert_close(pool.compose(0, "ffn.out", 0, changed, changed @ host.T), expected)


def test_discarded_slots_leave_the_columns_of_the_others() -> None:
    model = tiny_backbone("llama")
    pool = pool_on(model, PoolSpec(("attn.out", "ffn.out"), ("lora", "ia3", "prefix", "bias"), (2,)), ("a", "b"))
    disturb_weights(pool, scale=0.1)
    gates = torch.rand(2, len(pool.slots), generator=torch.Generator().manual_seed(3))
    closed = [slot for slot in pool.slots if slot.layer == 0 or slot.kind in ("ia3", "prefix")]
    for slot in closed:
        gates[:, pool.slots.index(slot)] = 0
    task_index = torch.tensor([0, 1, 1])
    with attach(model, pool), torch.no_grad():
        pool.route(task_index, gates)
        expected = run_tiny(model)
        pool.discard(closed)
        assert torch.equal(run_tiny(model), expected), "also while they are attached"
        pool.route(task_index, gates)
        assert torch.equal(run_tiny(model), expected)


def test_bf16_hosts_keep_their_precision() -> None:
    pool = Pool((Slot(0, "ffn.out", "lora", 2),), {"ffn.out": (HostShape(4, 4),)}, ("a",), generator=torch.Generator())
    x = torch.ones(1, 3, 4, dtype=torch.bfloat16)
    assert pool.compose(0, "ffn.out", 0, x, x).dtype == torch.bfloat16


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_pool_computes_in_the_precision_of_its_own_weights(family: str) -> None:
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = tiny_backbone(family)
        pool = pool_on(model, PoolSpec(SITES, KINDS.names(), (1, 2)))
        disturb_weights(pool, scale=0.03)
        gates = torch.rand(3, len(pool.slots), generator=torch.Generator().manual_seed(2))
        paths = Structure(tuple((task, pool.slots[number::3]) for number, task in enumerate("abc")))
        with attach(model, pool), torch.no_grad():
            model.to(dtype)
            pool.to(dtype)
            pool.route(torch.tensor([2, 0, 1]), gates)
            by_gates = run_tiny(model)
            pool.route_paths(torch.tensor([2, 0, 1]), paths)
            found[dtype] = torch.stack((by_gates, run_tiny(model)))
        assert found[dtype].dtype == dtype
    torch.testing.assert_close(found[torch.bfloat16].float(), found[torch.float32], rtol=0, atol=0.15)


def test_unknown_families_layers_sites_and_kinds_are_told() -> None:
    model = tiny_backbone("bert")
    with pytest.raises(BackboneError, match="expected 0 to 1, got 2"):
        hosts_of(model, 2, "attn.q")
    with pytest.raises(BackboneError, match=r"expected one of attn\.q"):
        hosts_of(model, 0, "attn.z")
    with pytest.raises(BackboneError, match=r"got 'Sequential' with linear modules 0\."):
        host_shapes(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(RegistryError, match="expected one of bias"):
        KINDS.get("lore")


def test_a_kind_cannot_take_a_name_that_is_taken() -> None:
    entry = KINDS.get("lora")
    with pytest.raises(RegistryError, match="expected a new name"):
        KINDS.register("lora", entry, module="somewhere.else")


def test_a_weight_that_cannot_be_read_leaves_nothing_attached() -> None:
    model = tiny_backbone("bert")
    slots = (Slot(0, "attn.v", "lora", 1), Slot(1, "attn.v", "lora_xs", 2))
    pool = Pool(slots, host_shapes(model), ("a",), generator=torch.Generator().manual_seed(0))
    (host,) = hosts_of(model, 1, "attn.v")
    host.module.weight = nn.Parameter(torch.zeros(16, 16, dtype=torch.int8), requires_grad=False)
    with pytest.raises(BackboneError, match="expected a host with floating-point weights"):
        attach(model, pool)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_fused_host_whose_slots_are_gone_gives_its_output_as_it_is() -> None:
    model = tiny_backbone("gpt2")
    slots = [Slot(0, "attn.q", "lora", 2), Slot(0, "attn.v", "lora", 2), Slot(1, "attn.v", "lora", 2)]
    pool = Pool(slots, host_shapes(model), ("a",), generator=torch.Generator().manual_seed(0))
    kept = []
    with torch.no_grad(), attach(model, pool):
        pool.discard(slots[:2])
        pool.route(torch.zeros(1, dtype=torch.long), None)
        for layer in (0, 1):
            (host,) = hosts_of(model, layer, "attn.v")
            before, after = [], []
            watched = [
                host.module.register_forward_hook(lambda m, a, y, seen=before: seen.append(y), prepend=True),
                host.module.register_forward_hook(lambda m, a, y, seen=after: seen.append(y)),
            ]
            model(input_ids=torch.tensor([[1, 2, 3]]))
            for handle in watched:
                handle.remove()
            kept.append(before[0] is after[0])
    assert kept == [True, False]
