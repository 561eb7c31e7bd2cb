"""Merged weights give what the attached pool gave; what cannot be merged is refused, and nothing is half done."""

import copy

import pytest
import torch
from torch import Tensor, nn

from slasearch.adapters.attach import attach
from slasearch.adapters.merge import merge_into
from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.adapters.sites import host_shapes, hosts_of
from slasearch.errors import ArtifactError, BackboneError
from slasearch.records import BackboneSpec, PoolSpec, Slot
from slasearch.registry import KINDS
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import TINY_FAMILIES, run_tiny, tiny_backbone
from slasearch.trial.backbone import load_backbone

MERGEABLE = tuple(name for name in KINDS.names() if KINDS.get(name).mergeable)
LINEAR_SITES = ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out")


def linear_slots(model: nn.Module) -> list[Slot]:
    """Every mergeable slot; shifts only where hosts have a bias."""
    slots = candidate_slots(PoolSpec(LINEAR_SITES, MERGEABLE, (1, 2)), layers=2)
    hosts = {(s.layer, s.site): hosts_of(model, s.layer, s.site) for s in slots}
    return [s for s in slots if s.kind != "bias" or all(h.module.bias is not None for h in hosts[s.layer, s.site])]


def warm_pool(model: nn.Module, slots: list[Slot]) -> Pool:
    pool = Pool(slots, host_shapes(model), ("a",), generator=torch.Generator().manual_seed(0))
    disturb_weights(pool, scale=0.1)
    return pool


def attached(model: nn.Module, pool: Pool) -> Tensor:
    with attach(model, pool), torch.no_grad():
        pool.route(torch.zeros(3, dtype=torch.long), None)
        return run_tiny(model)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_merged_equals_attached(family: str) -> None:
    model = tiny_backbone(family)
    plain, pool = run_tiny(model), warm_pool(model, linear_slots(model))
    assert {slot.kind for slot in pool.slots} >= {"lora", "lora_xs", "ia3", "scale"}
    expected, before = attached(model, pool), weights_of(model)
    merge_into(model, pool)
    torch.testing.assert_close(run_tiny(model), expected, rtol=0, atol=1e-4)
    assert (expected - plain).abs().max() > 0.1
    assert {n: (w.shape, w.dtype) for n, w in before.items()} == {
        n: (w.shape, w.dtype) for n, w in model.state_dict().items()
    }
    assert not any(weight.requires_grad for weight in model.parameters())


def test_a_real_backbone_merges_to_the_same_precision() -> None:
    model = load_backbone(BackboneSpec("bundled:minilm"), torch.device("cpu")).model
    slots = candidate_slots(PoolSpec(LINEAR_SITES, MERGEABLE, (4,)), layers=6)
    pool = Pool(slots, host_shapes(model), ("a",), generator=torch.Generator().manual_seed(0))
    disturb_weights(pool, scale=0.03)
    plain, expected = run_tiny(model), attached(model, pool)
    merge_into(model, pool)
    torch.testing.assert_close(run_tiny(model), expected, rtol=0, atol=1e-4)
    assert (expected - plain).abs().max() > 0.1


@pytest.mark.parametrize("kind", MERGEABLE)
@pytest.mark.parametrize("family", ["bert", "gpt2", "phi3"])
def test_each_kind_merges_by_itself(kind: str, family: str) -> None:
    model = tiny_backbone(family)
    slots = [slot for slot in linear_slots(model) if slot.kind == kind]
    if not slots:
        assert (kind, family) == ("bias", "phi3")
        return
    pool = warm_pool(model, slots)
    expected = attached(model, pool)
    merge_into(model, pool)
    torch.testing.assert_close(run_tiny(model), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_bf16_differs_by_rounding_only(family: str) -> None:
    model = tiny_backbone(family, dtype=torch.bfloat16)
    pool = warm_pool(model, linear_slots(model))
    expected = attached(model, pool).float()
    merge_into(model, pool)
    merged = run_tiny(model).float()
    assert (merged - expected).norm() < 0.02 * expected.norm()


def test_tied_weights_of_others_stay() -> None:
    model = tiny_backbone("bert")
    first, second = (hosts_of(model, layer, "attn.v")[0].module for layer in (0, 1))
    second.weight = first.weight
    kept = second.weight.clone()
    pool = warm_pool(model, [Slot(0, "attn.v", "lora", 2)])
    expected = attached(model, pool)
    merge_into(model, pool)
    assert torch.equal(second.weight, kept)
    assert not torch.equal(first.weight, kept)
    torch.testing.assert_close(run_tiny(model), expected, rtol=0, atol=1e-4)


def refused(model: nn.Module, slots: list[Slot], error: type[Exception], match: str) -> None:
    pool = warm_pool(model, slots)
    before = weights_of(model)
    with pytest.raises(error, match=match):
        merge_into(model, pool)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


GOOD = Slot(0, "attn.q", "lora", 1)


@pytest.mark.parametrize(
    ("family", "slot", "match"),
    [
        ("bert", Slot(1, "ffn.out", "bottleneck", 2), r"1:ffn.out:bottleneck:r2:0: expected a kind that can be merged"),
        ("bert", Slot(1, "attn.out", "prefix", 2), r"\(lora, lora_xs, ia3, scale, bias\), got prefix. Export it"),
        ("bert", Slot(1, "block", "bias", 1), r"block:bias:r1:0: expected a linear host .* got BertLayer at block"),
        ("llama", Slot(1, "ffn.in", "bias", 1), r"ffn.in:bias:r1:0: expected a host with a bias to merge into"),
    ],
)
def test_what_cannot_be_merged_is_refused(family: str, slot: Slot, match: str) -> None:
    refused(tiny_backbone(family), [GOOD, slot], ArtifactError, match)


def test_hosts_that_layers_share_and_quantised_hosts_are_refused() -> None:
    model = tiny_backbone("bert")
    model.encoder.layer[1] = model.encoder.layer[0]
    refused(model, [GOOD], ArtifactError, "expected a host of its own, got one that 2 layers share")
    model = tiny_backbone("bert")
    host = hosts_of(model, 0, "attn.q")[0].module
    pool = warm_pool(model, [GOOD])
    host.weight = nn.Parameter(host.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ArtifactError, match="expected a linear host with weights to merge into, got Linear"):
        merge_into(model, pool)


def test_a_pool_of_a_deeper_model_is_refused() -> None:
    model = tiny_backbone("bert")
    refused(model, [GOOD, Slot(5, "attn.q", "lora", 1)], BackboneError, "expected 0 to 1, got 5")


def test_a_slice_of_a_fused_host_leaves_the_rest() -> None:
    model = tiny_backbone("gpt2")
    (host,) = hosts_of(model, 0, "attn.v")
    before = copy.deepcopy(host.module)
    merge_into(model, warm_pool(model, [Slot(0, "attn.v", "lora", 1), Slot(0, "attn.v", "bias", 1)]))
    assert host.module.weight.is_contiguous()
    changed = (host.module.weight != before.weight).any(0)
    inside = torch.zeros(48, dtype=torch.bool)
    inside[host.start : host.stop] = True
    assert torch.equal(changed, inside)
    assert torch.equal(host.module.bias != before.bias, inside)
