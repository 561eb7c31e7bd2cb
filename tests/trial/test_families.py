"""A whole trial on every backbone family, to an export that predicts what was evaluated; in bf16 too."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slasearch.records import (
    BackboneSpec,
    ConditionSpec,
    Example,
    PoolSpec,
    SizeSpec,
    TaskData,
    TaskSpec,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)
from slasearch.testing.tiny import TINY_FAMILIES, save_tiny
from slasearch.trial.predict import Predictor
from slasearch.trial.run import TrialWorker

Spec = Callable[..., TrialSpec]
Finish = Callable[..., TrialReport]


def pairs() -> TaskData:
    """Are two letters the same? A pair of texts, so that models with token types get two of them."""
    letters = "abcdefgh"
    examples = [
        Example(a + b, a * 3, int(a == b), b * 3) for a in letters for b in letters if a == b or ord(b) % 3 == 0
    ]
    splits = {"train": tuple(examples[::2]), "gate": (), "validation": tuple(examples[1::2]), "test": ()}
    return TaskData(TaskSpec("same", "file:unused", max_tokens=12), ("other", "same"), splits)


def spaces_are_tokens(model: Path) -> None:
    """As with byte-level tokenizers: nothing is taken off the ends of a text."""
    file = model / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pre_tokenizer": None}))


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_trial_and_its_export(family: str, tmp_path: Path, make_spec: Spec, finish: Finish) -> None:
    task = pairs()
    model = save_tiny(family, tmp_path / "model")
    spaces_are_tokens(model)
    spec = make_spec(
        backbone=BackboneSpec(f"path:{model}"),
        tasks=(task.spec,),
        pool=PoolSpec(("attn.k", "attn.v", "ffn.in", "ffn.out"), ("lora", "bias"), (1,), layers=(1,)),
        size=SizeSpec("budget", budget=120),
        training=TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=8, reports=1),
        measured=(ConditionSpec("embedding_gaussian", 0.5, "eval", scale=1.0),),
    )
    worker = TrialWorker([task], cache=None, threads=1, device="cpu")
    report = finish(spec, worker)
    assert report.state == "complete", report.traceback
    assert 0 < report.objectives["exported_parameters"] <= 120
    losses = {row.condition: row.value for row in report.metrics if row.metric == "loss"}
    for name, content in report.artifact.items():
        (tmp_path / name).write_bytes(content)
    examples = task.splits["validation"]
    predictor = Predictor.load(tmp_path)
    logits = predictor.logits("same", [(e.text, str(e.text_pair)) for e in examples])
    spaced = predictor.logits("same", [(f" {e.text}\n", f"{e.text_pair} ") for e in examples])
    assert torch.equal(spaced, logits), "sources take the space around texts off what is trained on"
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([example.label for example in examples]))
    assert loss.item() == pytest.approx(losses["clean"], abs=1e-5)
    half = finish(dataclasses.replace(spec, backbone=BackboneSpec(spec.backbone.id, "bf16", "auto", True)), worker)
    assert half.state == "complete", half.traceback
