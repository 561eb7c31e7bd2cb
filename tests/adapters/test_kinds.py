"""What the contract suite cannot know of single kinds: their formulas in real backbones, and where they act."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slasearch.adapters.attach import attach
from slasearch.adapters.kinds._base import AdapterModule, SlotContext
from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import Host, HostShape, host_shapes, hosts_of
from slasearch.records import Slot
from slasearch.registry import KINDS
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import run_tiny, tiny_backbone


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
    assert {name for name in KINDS.names() if KINDS.get(name).mergeable} == {"lora", "ia3", "scale", "bias"}


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
