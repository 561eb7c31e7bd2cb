"""The table of families: every host is what its site says, also where modules are fused or shared."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, OPTConfig

from slasearch.adapters.attach import attach
from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import (
    FAMILIES,
    host_shapes,
    hosts_of,
    layers_of,
    positions_were_separated,
    rejoin_positions,
    separate_positions,
    table_of,
)
from slasearch.errors import BackboneError
from slasearch.records import SITES, Slot
from slasearch.testing.tiny import TINY_FAMILIES, run_tiny, tiny_backbone

ENCODERS = {"bert", "roberta", "xlm-roberta", "electra", "distilbert", "deberta-v2"}
GATED = {"llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "smollm3", "phi3"}
FUSED = ["gpt2", "phi3"]


def shift(host: Any, by: Tensor) -> Any:
    """Adds `by` (the host's width) to the host's output, as a module there would."""

    def run(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        moved = output.clone()
        moved[..., host.start : host.stop] += by
        return moved

    return host.module.register_forward_hook(run)


def input_of(module: nn.Module, model: nn.Module) -> Tensor:
    kept: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    run_tiny(model)
    handle.remove()
    return kept[0]


def test_every_family_has_all_sites_and_a_tiny_model() -> None:
    assert set(TINY_FAMILIES) == set(FAMILIES)
    assert all(tuple(table.sites) == SITES for table in FAMILIES.values())
    assert {family for family, table in FAMILIES.items() if not table.decoder} == ENCODERS


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_widths_follow_from_the_configuration(family: str) -> None:
    model = tiny_backbone(family)
    config: Any = model.config
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    grouped = getattr(config, "num_key_value_heads", heads)
    ins = [(16, 24), (16, 24)] if family in GATED else [(16, 24)]
    expected = {
        "attn.q": [(16, heads * width)],
        "attn.k": [(16, grouped * width)],
        "attn.v": [(16, grouped * width)],
        "attn.out": [(heads * width, 16)],
        "ffn.in": ins,
        "ffn.out": [(24, 16)],
        "block": [(16, 16)],
    }
    shapes = host_shapes(model)
    assert {site: [(host.d_in, host.d_out) for host in hosts] for site, hosts in shapes.items()} == expected
    assert {host.heads for hosts in shapes.values() for host in hosts} == {4}


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_keys_and_values_are_told_apart(family: str) -> None:
    # Attention takes a mean of the values: what is added to all of them comes out unchanged. The same addition to
    # all keys does nothing where nothing turns them (no rotary positions, no norm, no cap).
    model = tiny_backbone(family)
    (out,), (value,), (key,) = (hosts_of(model, 0, site) for site in ("attn.out", "attn.v", "attn.k"))
    before, plain = input_of(out.module, model), run_tiny(model)
    width = host_shapes(model)["attn.v"][0].d_out
    by = torch.arange(width) / width
    handle = shift(value, by)
    moved = input_of(out.module, model) - before
    handle.remove()
    heads = by.view(-1, moved.shape[-1] // 4).repeat_interleave(4 * (moved.shape[-1] // 4) // width, dim=0)
    torch.testing.assert_close(moved, heads.flatten().expand_as(moved), rtol=0, atol=1e-5)
    handle = shift(key, by)
    if family in ENCODERS - {"deberta-v2"} | {"gpt2"}:
        torch.testing.assert_close(run_tiny(model), plain, rtol=0, atol=1e-5)
    else:
        assert not torch.allclose(run_tiny(model), plain, atol=1e-4)
    handle.remove()
    assert torch.equal(run_tiny(model), plain)


def test_fused_projections_are_cut_where_separate_ones_would_meet() -> None:
    # Phi-3 is Llama with its projections fused.
    fused = tiny_backbone("phi3")
    sizes = {name: getattr(fused.config, name) for name in ("vocab_size", "hidden_size", "intermediate_size")}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "rms_norm_eps": 1e-5}
    apart = AutoModel.from_config(AutoConfig.for_model("llama", **sizes, **heads, pad_token_id=0)).eval()
    rest = {name: value for name, value in fused.state_dict().items() if name in apart.state_dict()}
    apart.load_state_dict(rest, strict=False)
    for layer in range(2):
        for site in SITES[:6]:
            for whole, part in zip(hosts_of(apart, layer, site), hosts_of(fused, layer, site), strict=True):
                whole.module.weight.data = part.module.weight[part.start : part.stop]
    torch.testing.assert_close(run_tiny(apart), run_tiny(fused), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FUSED)
@pytest.mark.parametrize("site", ["attn.q", "attn.k", "attn.v", "ffn.in"])
def test_a_module_on_a_part_leaves_the_other_parts_alone(family: str, site: str) -> None:
    model = tiny_backbone(family)
    pool = Pool((Slot(0, site, "lora", 1),), host_shapes(model), ("a",), generator=torch.Generator().manual_seed(0))
    for weight in pool.parameters():
        nn.init.ones_(weight)
    hosts = hosts_of(model, 0, site)
    outputs: list[Tensor] = []
    run_tiny(model)
    with attach(model, pool):
        handle = hosts[0].module.register_forward_hook(lambda module, args, output: outputs.append(output))
        pool.route(torch.zeros(3, dtype=torch.long), None)
        run_tiny(model)
        handle.remove()
    handle = hosts[0].module.register_forward_hook(lambda module, args, output: outputs.append(output))
    run_tiny(model)
    handle.remove()
    changed = (outputs[0] != outputs[1]).flatten(0, 1).any(0)
    inside = torch.zeros_like(changed)
    for host in hosts:
        inside[host.start : host.stop] = True
    assert torch.equal(changed, inside)


def parameters_of(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def test_shared_relative_positions_get_their_own_projections() -> None:
    separate = tiny_backbone("deberta-v2")
    config = copy.deepcopy(separate.config)
    config.share_att_key = True
    shared = AutoModel.from_config(config).eval()
    shared.load_state_dict(separate.state_dict(), strict=False)
    with pytest.raises(BackboneError, match=r"attn\.k: expected a projection of tokens alone"):
        hosts_of(shared, 0, "attn.k")
    assert host_shapes(shared) == host_shapes(separate), "an adapter that is elsewhere can be attached as it is"
    before, whole = run_tiny(shared), parameters_of(shared)
    separate_positions(shared)
    separate_positions(shared)
    assert torch.equal(run_tiny(shared), before)
    assert torch.equal(run_tiny(separate), before)
    assert len(hosts_of(shared, 0, "attn.k")) == 1
    assert positions_were_separated(shared)
    assert not positions_were_separated(tiny_backbone("bert"))
    assert parameters_of(shared) > whole
    rejoin_positions(shared)
    assert parameters_of(shared) == whole
    assert torch.equal(run_tiny(shared), before)


def test_an_unknown_family_is_told_with_its_modules() -> None:
    config = OPTConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, ffn_dim=8, num_attention_heads=2)
    found = r"expected one of bert, .* got 'opt' with linear modules decoder\.layers\.0"
    with pytest.raises(BackboneError, match=found):
        table_of(AutoModel.from_config(config))
    model = tiny_backbone("bert")
    model.encoder.layer = nn.Identity()  # type: ignore[union-attr]
    with pytest.raises(BackboneError, match=r"expected a list of layers at 'encoder\.layer'"):
        layers_of(model)
