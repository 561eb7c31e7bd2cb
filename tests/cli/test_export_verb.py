"""`export` and `predict` on a real study: files in three formats that say, in a new process, what the trial said."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

import slasearch
from slasearch.records import BackboneSpec, SplitLimits, TaskSpec
from slasearch.tasks.load import load_task
from slasearch.trial.backbone import backbone_folder

Command = Callable[..., Any]
TEXTS = ["win a prize now, call this number", "see you at seven"]


def label_of(command: Command, role: str) -> str:
    """What the confirmed trial of a role is called."""
    rows = json.loads(command("trials", "tiny", "--json").out)
    return next(str(row["trial"]) for row in rows if row["role"] == role and row["phase"] == "confirm")


def export(command: Command, out: Path, *words: str, role: str = "winner") -> Path:
    trial = label_of(command, role)
    answer = command("export", "tiny", "--trial", trial, "--out", str(out), "--no-measure", *words)
    assert answer.code == 0, answer.err
    return out


@torch.inference_mode()
def hidden(model: Any) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(backbone())
    states: torch.Tensor = model.eval()(**tokenizer(TEXTS, padding=True, return_tensors="pt"))[0]
    return states


def backbone() -> Path:
    return backbone_folder(BackboneSpec("bundled:minilm"))


def adapted(adapter: Path) -> torch.Tensor:
    model = AutoModel.from_pretrained(backbone())
    with slasearch.load_adapter(model, adapter):
        return hidden(model)


def test_export_and_predict(study: Path, command: Command) -> None:
    answer = command("export", "tiny", "--best", "score", "--out", "adapter")
    assert answer.code == 0, answer.err
    assert f"Trial {label_of(command, 'winner')} (winner)" in answer.err
    files = ["adapter/README.md", "adapter/adapter.json", "adapter/adapter.safetensors"]
    assert answer.out.split() == files
    again = command("export", "tiny", "--best", "exported_parameters", "--out", "adapter", "--no-measure", "--json")
    found = json.loads(again.out)
    assert (found["format"], found["tasks"], found["files"]) == ("slasearch", ["spam"], files)
    (study / "texts.txt").write_text("win a prize\n\nsee you at seven\n")
    answer = command("predict", "adapter", "texts.txt", "--text", "hello", "--json")
    assert (answer.code, answer.err) == (0, "lines without text, left out: 1\n")
    found = json.loads(answer.out)
    assert [row["text"] for row in found] == ["hello", "win a prize", "see you at seven"]
    assert {row["label"] for row in found} <= {"ham", "spam"}
    assert all(0.5 <= row["probability"] <= 1 for row in found)
    assert command("predict", "adapter", "--task", "spam", "--text", "hello").out.count("hello") == 1


def test_a_new_process_predicts_what_the_trial_scored(study: Path, tmp_path: Path, command: Command) -> None:
    limits = SplitLimits(train=32, validation=24, test=24)
    data = load_task(TaskSpec("spam", "bundled:sms_spam", max_tokens=16, limits=limits))
    examples = data.splits["test"]
    words = [part for example in examples for part in ("--text", example.text)]
    adapter = export(command, tmp_path / "adapter")
    command_line = [sys.executable, "-m", "slasearch", "predict", str(adapter), "--json", *words]
    done = subprocess.run(command_line, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=120)
    found = json.loads(done.stdout)
    right = [row["label"] == data.labels[example.label] for row, example in zip(found, examples, strict=True)]
    sure = [row["probability"] if hit else 1 - row["probability"] for row, hit in zip(found, right, strict=True)]
    loss = -sum(map(math.log, sure)) / len(sure)
    frames = slasearch.load_study("tiny")
    trial = frames.trials[(frames.trials["phase"] == "confirm") & (frames.trials["role"] == "winner")]["trial_id"]
    rows = frames.metrics[frames.metrics["trial_id"].isin(trial) & (frames.metrics["split"] == "test")]
    stored = rows[rows["condition"] == "clean"].set_index("metric")["value"]
    assert sum(right) / len(right) == pytest.approx(stored["accuracy"], abs=1e-9)
    assert loss == pytest.approx(stored["loss"], abs=1e-5)


def test_lora_loads_in_plain_peft(study: Path, tmp_path: Path, command: Command) -> None:
    stock = export(command, tmp_path / "stock", "--format", "peft", role="control:lora")
    model = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(backbone()), stock)
    ours = adapted(export(command, tmp_path / "ours", role="control:lora"))
    torch.testing.assert_close(hidden(model), ours, rtol=0, atol=1e-5)
    assert not torch.equal(ours, hidden(AutoModel.from_pretrained(backbone())))
    assert load_file(stock / "head.safetensors")["weight"].shape == (2, 384)


def test_a_merged_backbone_loads_as_any_model(study: Path, tmp_path: Path, command: Command) -> None:
    merged = export(command, tmp_path / "merged", "--format", "merged", "--task", "spam")
    ours = adapted(export(command, tmp_path / "ours"))
    torch.testing.assert_close(hidden(AutoModel.from_pretrained(merged)), ours, rtol=0, atol=1e-4)
    assert AutoTokenizer.from_pretrained(merged)(TEXTS) == AutoTokenizer.from_pretrained(backbone())(TEXTS)


def test_the_card_of_a_confirmed_trial_stands_beside_controls(study: Path, tmp_path: Path, command: Command) -> None:
    text = (export(command, tmp_path / "adapter") / "README.md").read_text()
    label = label_of(command, "winner")
    trial = next(row for row in json.loads(command("trials", "tiny", "--json").out) if row["trial"] == label)
    lines = text.splitlines()
    assert "base_model: sentence-transformers/all-MiniLM-L6-v2" in lines
    assert f"# spam: adapter of `tiny`, trial {label}" in lines
    assert "| spam | `bundled:sms_spam` | ham, spam | 32 | 0 | 24 | 24 | 16 |" in lines
    assert "| spam, accuracy | validation | test |" in lines
    assert any(line.startswith(f"| clean | {trial['score']:.4f} | ") for line in lines)
    assert any(line.startswith("| typos@0.2 | ") for line in lines)
    assert "## Beside controls" in lines
    assert any(line.startswith("| LoRA | ") for line in lines)
    assert "| licence | apache-2.0 |" in lines
    assert f"(seeds: weights {trial['init_seed']}, data {trial['data_seed']})" in text


def test_what_a_format_cannot_hold_is_refused(study: Path, command: Command) -> None:
    answer = command("export", "tiny", "--trial", "0", "--out", "new", "--format", "peft")
    assert (answer.code, answer.out) == (1, "")
    assert "expected a structure of lora and lora_xs slots alone, got one with bias" in answer.err
    assert "--format merged" in answer.err
    answer = command("export", "tiny", "--trial", "0", "--out", "new", "--task", "bbc")
    assert answer.code == 1
    assert "expected one of the adapter's (spam), got 'bbc'" in answer.err
    assert command("export", "tiny", "--trial", "0", "--out", "new", "--format", "onnx").code == 2
    assert not (study / "new").exists()


def test_predict_refuses_what_it_cannot_do(study: Path, command: Command) -> None:
    command("export", "tiny", "--trial", "1", "--out", "other", "--no-measure")
    assert "got none" in command("predict", "other").err
    assert command("predict", "other", "--task", "bbc", "--text", "a").code == 2
    assert "separated by a tab" in command("predict", "other", "--pairs", "--text", "a").err
    assert command("predict", "nosuch", "--text", "a").code == 2
    Path("latin.txt").write_bytes("café\n".encode("latin-1"))
    refused = command("predict", "other", "latin.txt")
    assert (refused.code, "FILE: expected text in UTF-8, got the byte 0xe9" in refused.err) == (2, True)
    (study / "other" / "adapter.safetensors").write_bytes(b"no tensors")
    answer = command("predict", "other", "--text", "a")
    assert answer.code == 1
    assert "Traceback" not in answer.err


def test_export_writes_over_its_own_files_only(study: Path, command: Command) -> None:
    (study / "foreign").mkdir()
    (study / "foreign" / "thesis.txt").write_text("mine")
    answer = command("export", "tiny", "--trial", "0", "--out", "foreign")
    assert answer.code == 1
    assert "thesis.txt" in answer.err
    assert [path.name for path in (study / "foreign").iterdir()] == ["thesis.txt"]
    assert command("export", "tiny", "--trial", "0", "--out", "tiny.yaml").code == 1
    assert command("export", "tiny", "--trial", "77", "--out", "new").code == 2
    assert command("export", "tiny", "--best", "score", "--trial", "0", "--out", "new").code == 2
    assert not (study / "new").exists()


def test_a_changed_artifact_is_not_exported(study: Path, command: Command) -> None:
    path = next((study / ".slasearch" / "artifacts").glob("tiny-*/1/adapter.json"))
    kept = path.read_bytes()
    path.write_bytes(kept + b" ")
    answer = command("export", "tiny", "--trial", "0", "--out", "damaged")
    path.write_bytes(kept)
    assert answer.code == 1
    assert "SHA-256" in answer.err
    assert not (study / "damaged").exists()
