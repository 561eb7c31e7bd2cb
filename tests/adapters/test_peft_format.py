"""The stock PEFT format: plain `peft` computes the hidden states that our modules compute."""

import json
from pathlib import Path

import peft
import pytest
import safetensors.torch
import torch
from torch import nn

from slasearch.adapters.attach import attach
from slasearch.adapters.export import AdapterCard, BackboneCard, TaskCard
from slasearch.adapters.peft_format import head_files, write_peft
from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import host_shapes, positions_were_separated
from slasearch.errors import ArtifactError
from slasearch.records import Slot
from slasearch.registry import KINDS
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import TINY_FAMILIES, run_tiny, tiny_backbone

SITES = KINDS.get("lora").sites
MANY = (
    *(Slot(1, site, "lora", 1) for site in SITES),
    *(Slot(1, site, "lora", 2) for site in ("attn.q", "attn.out", "ffn.in")),
    Slot(1, "attn.q", "lora", 1, 1),
    Slot(0, "attn.v", "lora", 3),
    Slot(0, "ffn.out", "lora", 1),
    Slot(0, "attn.out", "lora_xs", 2),
    Slot(1, "ffn.out", "lora_xs", 1),
)
"""Different ranks and kinds in one place, copies of one rank, modules without a slot between those with one."""
ONE = (Slot(1, "attn.v", "lora", 2),)
HEAD = nn.Linear(16, 2)


def one_task(model: nn.Module, family: str, slots: tuple[Slot, ...]) -> tuple[AdapterCard, Pool]:
    pool = Pool(slots, host_shapes(model), ("a",), generator=torch.Generator().manual_seed(0))
    disturb_weights(pool, scale=0.2)
    task = TaskCard(name="a", labels=("n", "p"), metric="accuracy", max_tokens=8, slots=tuple(s.name for s in slots))
    backbone = BackboneCard(
        id="path:tiny", fingerprint="0", family=family, layers=2, hidden=16, pooling="mean", precision="fp32"
    )
    card = AdapterCard(
        format_version=1, slasearch_version="0", backbone=backbone, tasks=(task,), parameters=pool.parameter_count()
    )
    return card, pool


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("slots", [MANY, ONE], ids=["many", "one"])
@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.filterwarnings("error:.*rank_pattern")
def test_plain_peft_gives_our_hidden_states(family: str, slots: tuple[Slot, ...], tmp_path: Path) -> None:
    model = tiny_backbone(family)
    if positions_were_separated(model):
        slots = tuple(slot for slot in slots if slot.site not in ("attn.q", "attn.k"))
    card, pool = one_task(model, family, slots)
    plain = run_tiny(model)
    with attach(model, pool), torch.no_grad():
        pool.route_paths(torch.tensor([0]), card.structure)
        ours = run_tiny(model)
    write(tmp_path, write_peft(card, pool, HEAD, model, base=str(tmp_path)))
    loaded = peft.PeftModel.from_pretrained(tiny_backbone(family), tmp_path)
    theirs = run_tiny(loaded)
    assert not torch.allclose(ours, plain, atol=1e-2)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
    adapted = [module for module in loaded.modules() if isinstance(module, peft.tuners.lora.LoraLayer)]
    assert {module.scaling["default"] for module in adapted} == {1.0}


def test_ranks_stand_in_the_patterns_that_match_one_module_each() -> None:
    model = tiny_backbone("bert")
    card, pool = one_task(model, "bert", MANY)
    files = write_peft(card, pool, HEAD, model, base="org/name", revision="abc")
    config = json.loads(files["adapter_config.json"])
    assert (config["r"], config["lora_alpha"]) == (1, 1)
    assert config["rank_pattern"] == config["alpha_pattern"]
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/name", "abc")
    tensors = safetensors.torch.load(files["adapter_model.safetensors"])
    found = {
        path: peft.utils.other.get_pattern_key(config["rank_pattern"], path)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear)
    }
    for path in config["target_modules"]:
        rank = config["rank_pattern"].get(found[path], config["r"])
        assert tensors[f"base_model.model.{path}.lora_A.weight"].shape[0] == rank
    matched = [pattern for path, pattern in found.items() if pattern != path]
    assert sorted(matched) == sorted(config["rank_pattern"])
    assert tensors["base_model.model.encoder.layer.1.attention.self.query.lora_B.weight"].shape == (16, 4)
    assert len(tensors) == 2 * len(config["target_modules"])


@pytest.mark.parametrize("site", ["attn.q", "attn.k"])
def test_projections_that_positions_share_are_refused(site: str) -> None:
    model = tiny_backbone("deberta-v2")
    card, pool = one_task(model, "deberta-v2", (Slot(1, site, "lora", 1), *ONE))
    with pytest.raises(ArtifactError, match=f"expected no slot at attn.q or attn.k of this backbone, got {site}: it"):
        write_peft(card, pool, HEAD, model, base="b")


def test_the_same_adapter_gives_the_same_bytes() -> None:
    model = tiny_backbone("llama")
    card, pool = one_task(model, "llama", MANY)
    assert write_peft(card, pool, HEAD, model, base="b") == write_peft(card, pool, HEAD, model, base="b")


@pytest.mark.parametrize(
    ("slots", "found"),
    [
        ((*ONE, Slot(0, "ffn.out", "bias", 1), Slot(0, "ffn.out", "bottleneck", 2)), "one with bias, bottleneck"),
        ((), "one without open slots"),
    ],
)
def test_other_structures_are_refused_with_the_way_out(slots: tuple[Slot, ...], found: str) -> None:
    model = tiny_backbone("bert")
    card, pool = one_task(model, "bert", slots)
    with pytest.raises(ArtifactError, match=f"of lora and lora_xs slots alone, got {found}.*--format merged"):
        write_peft(card, pool, HEAD, model, base="b")


def test_the_head_and_the_card_lie_beside_it(tmp_path: Path) -> None:
    card, _ = one_task(tiny_backbone("bert"), "bert", ONE)
    write(tmp_path, head_files(card, HEAD))
    head = safetensors.torch.load_file(tmp_path / "head.safetensors")
    assert torch.equal(head["weight"], HEAD.weight)
    assert torch.equal(head["bias"], HEAD.bias)
    assert AdapterCard.model_validate_json((tmp_path / "slasearch.json").read_bytes()) == card
