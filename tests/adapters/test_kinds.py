"""What the contract suite cannot know of single kinds: their formulas in real backbones, and where they act."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slasearch.adapters.attach import attach
from slasearch.adapters.kinds._base import AdapterModule, SlotContext, register_kind
from slasearch.adapters.kinds._spectrum import host_weight, singular_vectors
from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import Host, HostShape, host_shapes, hosts_of
from slasearch.errors import BackboneError, ConfigError, RegistryError
from slasearch.records import Slot
from slasearch.registry import KINDS
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import run_tiny, tiny_backbone


@pytest.mark.parametrize("name", ["shift-2", "Shift", "2shift", "sh:ift", "", "a" * 41])
def test_a_name_that_no_slot_could_bear_is_refused(name: str) -> None:
    with pytest.raises(RegistryError, match=r"expected a name of lower-case letters, digits and _ .*names of slots"):
        register_kind(name, sites=("attn.v",), equation="b", source="a user", cost="d_out")


def test_a_kind_says_which_weights_take_on_its_gate() -> None:
    class Silent(AdapterModule):
        pass

    with pytest.raises(RegistryError, match="kind 'silent': expected in linear_in the names of the weights"):
        register_kind("silent", sites=("attn.v",), equation="b", source="a user", cost="d_out")(Silent)
    assert "silent" not in KINDS.names()


def warm_pool(model: nn.Module, *slots: Slot) -> Pool:
    pool = Pool(slots, host_shapes(model), ("a",), generator=torch.Generator().manual_seed(0))
    disturb_weights(pool)
    return pool


@contextmanager
def seen_at(model: nn.Module, site: str) -> Iterator[dict[str, Tensor]]:
    """The last input and output of a host of layer 0, as they are after every hook that was there before."""
    seen: dict[str, Tensor] = {}
    host: Host = hosts_of(model, 0, site)[0]

    def note(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        seen.update(input=args[0], output=output[..., host.start : host.stop])

    handle = host.module.register_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def made(kind: str, host: HostShape, rank: int = 1) -> AdapterModule:
    module: AdapterModule = KINDS.get(kind).module(host, rank, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return module


def test_only_lora_is_a_sum_of_rank_one_modules() -> None:
    assert [name for name in KINDS.names() if KINDS.get(name).separable] == ["lora"]
    assert {name for name in KINDS.names() if KINDS.get(name).mergeable} == {"lora", "lora_xs", "ia3", "scale", "bias"}


def attention_over(prefix: AdapterModule, query: Tensor) -> Tensor:
    """The formula of a prefix, head by head."""
    heads = []
    for keys, values, gate, q in zip(
        prefix.keys, prefix.values, prefix.gate, query.chunk(len(prefix.gate), dim=-1), strict=True
    ):
        heads.append(torch.tanh(gate) * torch.softmax(q @ keys.T / q.shape[-1] ** 0.5, dim=-1) @ values)
    return torch.cat(heads, dim=-1)


@pytest.mark.parametrize("with_query_slots", [False, True])
@pytest.mark.parametrize("family", ["bert", "deberta-v2", "gpt2", "llama", "qwen3", "phi3"])
def test_a_prefix_attends_to_its_own_keys_with_the_query_as_modules_left_it(
    family: str, with_query_slots: bool
) -> None:
    model = tiny_backbone(family)
    prefixes = (Slot(0, "attn.out", "prefix", 3), Slot(0, "attn.out", "prefix", 5))
    others = (Slot(0, "attn.q", "lora", 2), Slot(0, "attn.q", "scale", 1)) if with_query_slots else ()
    with torch.no_grad(), seen_at(model, "attn.q") as seen:
        run_tiny(model)
        plain_query = seen["output"].clone()
    pool = warm_pool(model, *prefixes, *others)
    modules = [pool.modules_of(slot)[0] for slot in prefixes]
    with attach(model, pool), torch.no_grad(), seen_at(model, "attn.q") as query, seen_at(model, "attn.out") as out:
        run_tiny(model)
        changed = out["input"].clone()
        pool.discard(prefixes)
        run_tiny(model)
    assert torch.equal(query["output"], plain_query) != with_query_slots
    expected = sum(attention_over(module, query["output"]) for module in modules)
    torch.testing.assert_close(changed - out["input"], expected, rtol=1e-4, atol=1e-5)


def test_each_query_head_has_a_prefix_of_its_own_under_grouped_keys() -> None:
    model = tiny_backbone("llama")
    (module,) = warm_pool(model, Slot(0, "attn.out", "prefix", 2)).modules_of(Slot(0, "attn.out", "prefix", 2))
    assert model.config.num_key_value_heads < model.config.num_attention_heads == len(module.gate)
    assert module.keys.shape == (4, 2, model.config.head_dim)


def test_a_prefix_of_rank_one_is_a_shift() -> None:
    prefix = made("prefix", HostShape(12, 12, heads=3))
    x = torch.zeros(2, 5, 12)
    queries = torch.randn(2, 2, 5, 12, generator=torch.Generator().manual_seed(2)).unbind()
    shifts = [prefix.delta(x, x, SlotContext(query)) for query in queries]
    assert torch.equal(*shifts)
    assert torch.equal(shifts[0], shifts[0][:1, :1].expand_as(shifts[0]))


def test_ia3_scales_what_ffn_out_and_its_deltas_see() -> None:
    model = tiny_backbone("bert")
    gain, lora = Slot(0, "ffn.out", "ia3", 1), Slot(0, "ffn.out", "lora", 2)
    pool = warm_pool(model, gain, lora)
    with torch.no_grad(), seen_at(model, "ffn.out") as seen:
        run_tiny(model)
        plain = seen["input"].clone()
    with attach(model, pool), torch.no_grad(), seen_at(model, "ffn.out") as seen:
        run_tiny(model)
    (scaling,), (module,), host = pool.modules_of(gain), pool.modules_of(lora), hosts_of(model, 0, "ffn.out")[0].module
    assert scaling.gain.shape == (24,)
    scaled = plain * (1 + scaling.gain)
    torch.testing.assert_close(seen["input"], scaled)
    torch.testing.assert_close(
        seen["output"],
        nn.functional.linear(scaled, host.weight + module.up @ module.down, host.bias),
        rtol=1e-4,
        atol=1e-5,
    )


def test_bottleneck_reads_the_output_and_parallel_the_input() -> None:
    x, y = torch.randn(2, 1, 3, 8, generator=torch.Generator().manual_seed(3)).unbind()
    for kind, read in (("bottleneck", y), ("parallel", x)):
        module = made(kind, HostShape(8, 8), rank=3)
        expected = torch.relu(read @ module.down.T + module.down_bias) @ module.up.T + module.up_bias
        torch.testing.assert_close(module.delta(x, y, SlotContext()), expected)


def test_scales_of_one_place_are_added_not_multiplied() -> None:
    model = tiny_backbone("bert")
    slots = (Slot(0, "attn.v", "ia3", 1), Slot(0, "attn.v", "scale", 1))
    pool = warm_pool(model, *slots)
    y = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(4))
    gains = sum(pool.modules_of(slot)[0].gain for slot in slots)
    torch.testing.assert_close(pool.compose(0, "attn.v", 0, y, y), y * (1 + gains))


@pytest.mark.parametrize("family", ["bert", "gpt2", "phi3"])
def test_lora_xs_moves_its_host_within_the_hosts_own_leading_directions(family: str) -> None:
    model = tiny_backbone(family)
    slot = Slot(0, "attn.v", "lora_xs", 3)
    pool = warm_pool(model, slot)
    (module,) = pool.modules_of(slot)
    host = hosts_of(model, 0, "attn.v")[0]
    with attach(model, pool), torch.no_grad(), seen_at(model, "attn.v") as seen:
        run_tiny(model)
    plain = nn.functional.linear(seen["input"], host_weight(host))
    if host.module.bias is not None:
        plain = plain + host.module.bias[host.start : host.stop]
    leading = torch.linalg.svd(host_weight(host).double()).U[:, :3]
    moved = (seen["output"] - plain).double().flatten(0, 1).T
    inside = leading.T @ moved
    outside = moved - leading @ inside
    assert inside.abs().max() > 1e-3
    assert outside.abs().max() < 1e-5
    assert set(module.state_dict()) == {"core"}, "the vectors belong to the backbone, not to an export"


def test_singular_vectors_have_fixed_signs_and_follow_the_weight() -> None:
    host = Host(nn.Linear(6, 4))
    left, values, right = singular_vectors(host, 4)
    torch.testing.assert_close(left @ (values[:, None] * right), host_weight(host))
    assert all(column[column.abs().argmax()] > 0 for column in left.T)
    assert singular_vectors(host, 4)[0].data_ptr() == left.data_ptr(), "computed once while nothing changes"
    with torch.no_grad():
        host.module.weight.mul_(-2.0)
    torch.testing.assert_close(singular_vectors(host, 4)[0], left)
    torch.testing.assert_close(singular_vectors(host, 4)[1], 2 * values)
    torch.testing.assert_close(singular_vectors(host, 4)[2], -right)


def test_only_leading_singular_vectors_are_kept() -> None:
    """Of a large backbone all of them would be larger than its layers."""
    host = Host(nn.Linear(200, 150))
    few = singular_vectors(host, 2)
    assert sum(part.untyped_storage().nbytes() for part in few) == 4 * 64 * (150 + 1 + 200)
    many = singular_vectors(host, 100)
    assert [tuple(part.shape) for part in many] == [(150, 100), (100,), (100, 200)]
    for one, other in zip(few, (many[0][:, :2], many[1][:2], many[2][:2]), strict=True):
        assert torch.equal(one, other)
    assert singular_vectors(host, 3)[0].data_ptr() == many[0].data_ptr()


def test_lora_xs_says_what_it_cannot_be_built_on() -> None:
    with pytest.raises(ConfigError, match=r"pool.ranks: expected at most 8 for lora_xs .* got 9"):
        made("lora_xs", HostShape(8, 12), 9)
    with pytest.raises(ConfigError, match="got 9"):
        KINDS.get("lora_xs").module.cost(HostShape(12, 8), 9)
    host = Host(nn.Linear(6, 4))
    host.module.weight = nn.Parameter(torch.zeros(4, 6, dtype=torch.int8), requires_grad=False)
    with pytest.raises(BackboneError, match=r"lora_xs: expected a host with floating-point weights, got torch.int8"):
        singular_vectors(host, 1)
