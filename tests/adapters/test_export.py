"""Adapters on disk: the same logits after reload; whatever is damaged or foreign is refused in one sentence."""

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from slasearch.adapters.attach import attach
from slasearch.adapters.export import AdapterCard, BackboneCard, TaskCard, read_adapter, restore_pool, write_adapter
from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.adapters.sites import host_shapes
from slasearch.errors import ArtifactError
from slasearch.records import SITES, PoolSpec
from slasearch.registry import KINDS
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import TINY_FAMILIES, run_tiny, tiny_backbone


def make_adapter(
    model: nn.Module, family: str, kinds: tuple[str, ...]
) -> tuple[AdapterCard, Pool, dict[str, nn.Linear]]:
    spec = PoolSpec(SITES, kinds, (2,))
    pool = Pool(candidate_slots(spec, layers=2), host_shapes(model), ("a", "b"), generator=torch.Generator())
    disturb_weights(pool, scale=0.2)
    heads = {"a": nn.Linear(16, 2), "b": nn.Linear(16, 3)}
    cards = (
        TaskCard(name="a", labels=("n", "p"), metric="accuracy", max_tokens=8, slots=(pool.slots[0].name,)),
        TaskCard(name="b", labels=("x", "y", "z"), metric="mcc", max_tokens=8, slots=tuple(s.name for s in pool.slots)),
    )
    backbone = BackboneCard(
        id="path:tiny", fingerprint="0", family=family, layers=2, hidden=16, pooling="mean", precision="fp32"
    )
    card = AdapterCard(
        format_version=1, slasearch_version="0", backbone=backbone, tasks=cards, parameters=pool.parameter_count()
    )
    return card, pool, heads


def written(folder: Path, family: str = "bert", kinds: tuple[str, ...] = ("lora",)) -> Path:
    for name, content in write_adapter(*make_adapter(tiny_backbone(family), family, kinds)).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.parametrize("kind", KINDS.names())
def test_reload_gives_the_same_logits(kind: str, family: str, tmp_path: Path) -> None:
    model = tiny_backbone(family)
    card, pool, heads = make_adapter(model, family, (kind,))
    for name, content in write_adapter(card, pool, heads).items():
        (tmp_path / name).write_bytes(content)
    read_card, tensors = read_adapter(tmp_path)
    assert read_card == card
    other = tiny_backbone(family)
    read_pool, read_heads = restore_pool(other, read_card, tensors)
    task_index = torch.tensor([0, 1, 1])
    outputs = []
    for backbone, modules, tops in ((model, pool, heads), (other, read_pool, read_heads)):
        with attach(backbone, modules), torch.no_grad():
            modules.route_paths(task_index, card.structure)
            outputs.append(tops["b"](run_tiny(backbone)))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-5)


def edit_card(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "adapter.json"
        card = json.loads(file.read_text())
        change(card)
        file.write_text(json.dumps(card))

    return damage


def flip(folder: Path) -> None:
    """Other values in the same tensors, which safetensors does not notice."""
    file = folder / "adapter.safetensors"
    content = bytearray(file.read_bytes())
    for place in range(len(content) - 64, len(content)):
        content[place] ^= 1
    file.write_bytes(content)
    safetensors.torch.load_file(file)


def edit_tensors(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "adapter.safetensors"
        tensors = safetensors.torch.load_file(file)
        change(tensors)
        safetensors.torch.save_file(tensors, file)
        edit_card(lambda card: card.update(tensors_sha256=hashlib.sha256(file.read_bytes()).hexdigest()))(folder)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "adapter.json").unlink(), "expected an exported adapter, got no such file"),
        (lambda folder: (folder / "adapter.json").write_text("{"), "expected format version 1"),
        (lambda folder: (folder / "adapter.json").write_text(" " * 5_000_000), "expected at most 4194304 bytes"),
        (edit_card(lambda card: card.update(format_version=2)), "format_version"),
        (edit_card(lambda card: card.update(code="import os")), "code: Extra inputs"),
        (edit_card(lambda card: card["tasks"][0].update(slots=["../../x"])), "slot name: expected"),
        (edit_card(lambda card: card["tasks"][0].update(slots=["0:attn.v:own:r2:0"])), "expected a kind of lora"),
        (
            edit_card(lambda card: card["tasks"][0].update(slots=["0:attn.v:lora:r999999999:0"])),
            "of 31,999,999,968 va",
        ),
        (edit_card(lambda card: card["tasks"][0].update(slots=["9:attn.v:lora:r2:0"])), "a layer below 2"),
        (
            edit_card(lambda card: card["tasks"][0].update(slots=["0:attn.v:lora_xs:r17:0"])),
            r"slot 0:attn.v:lora_xs:r17:0: .*expected at most 16.* Export the adapter again\.",
        ),
        (edit_card(lambda card: card["tasks"][0].update(slots=["0:attn.k:bias:r1:0"])), "a site of attn.q"),
        (edit_card(lambda card: card["backbone"].update(hidden=32)), r"got \('bert', 2, 16\)"),
        (lambda folder: (folder / "adapter.safetensors").write_bytes(pickle.dumps([1])), "expected a safetensors file"),
        (lambda folder: (folder / "adapter.safetensors").write_bytes(b""), "expected a safetensors file"),
        (flip, r"expected the file that adapter\.json was written with \(SHA-256 [0-9a-f]{64}\), got another or"),
        (edit_card(lambda card: card.pop("tensors_sha256")), r"written with \(SHA-256 None\), got another or"),
        (edit_tensors(lambda tensors: tensors.pop("heads/a/bias")), r"heads/a/bias: expected shape \[2\], got none"),
        (edit_tensors(lambda tensors: tensors.update(more=torch.zeros(1))), "got more too"),
        (
            edit_tensors(lambda tensors: tensors.update({"heads/a/bias": torch.zeros(3)})),
            r"expected shape \[2\], got \[3\]",
        ),
    ],
)
def test_damaged_or_foreign_adapters_are_refused(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    folder = written(tmp_path)
    damage(folder)
    with pytest.raises(ArtifactError, match=message):
        restore_pool(tiny_backbone("bert"), *read_adapter(folder))
