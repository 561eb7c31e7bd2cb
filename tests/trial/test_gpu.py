"""Backbones and trials on a GPU: everything where it should be, and what a CPU computes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import slasearch
from slasearch.records import BackboneSpec, Progress, TrialReport, TrialSpec
from slasearch.testing.tiny import TINY_FAMILIES, save_tiny, tiny_backbone
from slasearch.trial.backbone import load_backbone
from slasearch.trial.halves import run_lower, run_upper
from slasearch.trial.predict import Predictor
from slasearch.trial.run import TrialWorker

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="expected a GPU, found none"),
]
GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_backbone_computes_on_the_gpu_what_it_does_on_a_cpu(family: str, tmp_path: Path) -> None:
    spec = BackboneSpec(f"path:{save_tiny(family, tmp_path)}")
    there, here = load_backbone(spec, GPU), load_backbone(spec, CPU)
    assert {tensor.device.type for tensor in (*there.model.parameters(), *there.model.buffers())} == {"cuda"}
    ids = torch.randint(1, 64, (3, 7), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    moved = {name: value.to(GPU) for name, value in inputs.items()}
    with torch.inference_mode():
        whole = there.model(**moved)[0]
        torch.testing.assert_close(whole.cpu(), here.model(**inputs)[0], rtol=0, atol=1e-4)
        halves = run_upper(there.model, 1, run_lower(there.model, 1, moved), moved)
        torch.testing.assert_close(halves, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_trial_runs_on_the_gpu_and_its_export_on_a_cpu(
    precision: str, checkpointing: bool, tmp_path: Path, make_spec: Callable[..., TrialSpec], worker: TrialWorker
) -> None:
    backbone = BackboneSpec("bundled:minilm", precision, "auto", checkpointing)  # type: ignore[arg-type]
    spec = dataclasses.replace(make_spec(), backbone=backbone)
    on_gpu = TrialWorker(worker.resources.tasks(spec), cache=None, threads=1, device="auto")
    assert on_gpu.resources.backbone(backbone).device.type == "cuda"
    items = list(on_gpu.run(spec))
    report = items[-1]
    assert isinstance(report, TrialReport)
    assert all(isinstance(item, Progress) for item in items[:-1])
    assert report.state == "complete", report.traceback
    for name, content in report.artifact.items():
        (tmp_path / name).write_bytes(content)
    text = ["I saw a kitten today."]
    found = [Predictor.load(tmp_path, device=device).logits("things", text) for device in ("cuda", "cpu")]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-4 if precision == "fp32" else 0.1)


@pytest.mark.parametrize("ranking", ["gate", "saliency"])
@pytest.mark.parametrize("before", [0, 3])
def test_gates_follow_a_model_that_moves_after_attach(ranking: str, before: int) -> None:
    ids = torch.randint(1, 64, (4, 8), generator=torch.Generator().manual_seed(0))
    found = []
    for device in (CPU, GPU):
        model = tiny_backbone("llama").train()
        gated = slasearch.attach(
            model,
            "granular",
            steps=24,
            budget=250,
            ranking=ranking,  # type: ignore[arg-type]
            gates={"learning_rate": 0.1},
            tasks=("a", "b"),
        )
        gated.set_tasks([0, 1, 1, 0])
        for start, stop, place in ((0, before, CPU), (before, 24, device)):
            model.to(place)  # as the Trainer does
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
            for _ in range(start, stop):
                loss = (model(input_ids=ids.to(place))[0] - 1).square().mean() + gated.penalty()
                loss.backward()
                optimizer.step()
                gated.step()
                optimizer.zero_grad()
        openness = gated.openness()
        structure = gated.finalise()
        with torch.inference_mode():
            output = model.eval()(input_ids=ids.to(device))[0].cpu()
        found.append((openness, structure, output))
    for task, row in found[0][0].items():
        assert row == pytest.approx(found[1][0][task], abs=1e-2)
    assert found[0][1] == found[1][1]
    torch.testing.assert_close(found[0][2], found[1][2], rtol=0, atol=1e-2)
