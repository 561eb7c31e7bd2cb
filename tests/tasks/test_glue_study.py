"""studies/glue.yaml without a network: on copies of the hub's repositories with the real layout and invented rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_layout import add_repository, parquet

from slasearch.config.schema import StudyConfig
from slasearch.errors import ConfigError
from slasearch.records import BackboneSpec, Progress, SeedPair, TaskData, TrialReport
from slasearch.space import downloads, load_checked, parameters, resolve
from slasearch.tasks.load import load_task

FILE = Path(__file__).parents[2] / "studies" / "glue.yaml"
ROBERTA = "e2da8e2f811d1448a5b465c236feacd80ffbac7b"
GLUE, BOOLQ = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c", "35b264d03638db9f4ce671b711558bf7ff0f80d5"

CLASSES = {
    "mnli": ("entailment", "neutral", "contradiction"),
    "qnli": ("entailment", "not_entailment"),
    "qqp": ("not_duplicate", "duplicate"),
    "sst2": ("negative", "positive"),
    "rte": ("entailment", "not_entailment"),
    "mrpc": ("not_equivalent", "equivalent"),
    "cola": ("unacceptable", "acceptable"),
}
SMALL = [
    "pool.ranks=[1, 2]",
    "training.batch_size=8",
    "training.epochs=0.1",
    "training.reports=2",
    "backbone.precision=fp32",
    "conditions.measured=[{kind: typos, levels: [0.2]}]",
    *(f"tasks.{number}.max_tokens=32" for number in range(len(CLASSES) + 1)),
]
"""A trial of seconds on a backbone that is sixteen wide."""


def rows(config: Any, classes: int, count: int, start: int, *, hidden: bool = False) -> list[dict[str, Any]]:
    return [
        {
            config.text: f"row {number} of",
            **({config.text_pair: f"pair {number}"} if config.text_pair else {}),
            config.label: -1 if hidden else number % classes,
            "idx": number,
        }
        for number in range(start, start + count)
    ]


def add_data(cache: Path, study: StudyConfig) -> None:
    """The eight data sets: every split that the real ones have, with hidden labels where those have them."""
    tasks = {task.name: task for task in study.tasks}
    card = ["---", "configs:"]
    info = ["dataset_info:"]
    files: dict[str, bytes] = {}
    for name, classes in CLASSES.items():
        held_out = ["validation", "test"] if name != "mnli" else ["validation_matched", "test_matched"]
        card += [f"- config_name: {name}", "  data_files:"]
        info += [f"- config_name: {name}", "  features:", "  - {name: label, dtype: {class_label: {names: {"]
        info[-1] += ", ".join(f"'{number}': {text}" for number, text in enumerate(classes)) + "}}}}"
        for place, split in enumerate(["train", *held_out]):
            card += [f"  - split: {split}", f"    path: {name}/{split}-*"]
            hidden = split.startswith("test") and name != "mrpc"
            content = rows(tasks[name], len(classes), 60 if split == "train" else 24, 100 * place, hidden=hidden)
            files[f"{name}/{split}-00000-of-00001.parquet"] = parquet(content)
    files["README.md"] = "\n".join([*card, *info, "---", "# GLUE"]).encode()
    add_repository(cache, "nyu-mll/glue", files, commit=GLUE)
    answers = [{**row, "answer": row["answer"] == 1} for row in rows(tasks["boolq"], 2, 84, 0)]
    boolq = {"train": answers[:60], "validation": answers[60:]}
    parts = {f"data/{split}-00000-of-00001.parquet": parquet(content) for split, content in boolq.items()}
    add_repository(cache, "google/boolq", parts, commit=BOOLQ)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty; nothing can be downloaded."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "hub"


@pytest.fixture
def roberta(cache: Path) -> None:
    """The configuration of RoBERTa-base, as the hub has it, in the cache: its shapes without its weights."""
    from transformers import RobertaConfig

    config = RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
    files = {"config.json": config.to_json_string(use_diff=False).encode()}
    add_repository(cache, "FacebookAI/roberta-base", files, commit=ROBERTA, kind="models")


@pytest.fixture
def tiny_roberta(cache: Path, tmp_path: Path) -> None:
    """A random RoBERTa of two layers in the place of RoBERTa-base."""
    from slasearch.testing.tiny import save_tiny

    files = {file.name: file.read_bytes() for file in save_tiny("roberta", tmp_path / "made").iterdir()}
    add_repository(cache, "FacebookAI/roberta-base", files, commit=ROBERTA, kind="models")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "slasearch", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


# ---------------------------------------------------------------- validation and dry run


def test_it_is_valid_before_anything_is_downloaded(cache: Path) -> None:
    config = load_checked(FILE)
    assert downloads(config) == [config.backbone.id, *(task.source for task in config.tasks)]
    assert not cache.exists()
    assert config.resources.gpus_per_trial == 1
    assert {parameter.name for parameter in parameters(config)} == {
        "size_control.sparsity_weight",
        "training.learning_rate",
        "conditions.train.embedding_gaussian.level",
        "conditions.train.typos.level",
    }


def test_its_pool_fits_the_real_roberta_and_has_the_size_that_it_promises(roberta: None) -> None:
    from slasearch.adapters.pool import slot_costs
    from slasearch.space.resolve import pool_spec
    from slasearch.trial.backbone import read_shapes

    config = load_checked(FILE)
    shapes = read_shapes(BackboneSpec(**config.backbone.model_dump()))
    assert (shapes.layers, shapes.hidden, shapes.family) == (12, 768, "roberta")
    costs = slot_costs(pool_spec(config.pool), shapes.hosts, layers=shapes.layers)
    assert sum(cost.parameters for cost in costs.values()) / shapes.parameters == pytest.approx(0.045, abs=0.0005)
    with pytest.raises(ConfigError, match=r"pool\.ranks: expected whole numbers from 1 to 768 .*, got 769"):
        load_checked(FILE, ["pool.ranks=[769]"])


def test_a_dry_run_says_what_would_be_run_and_downloaded(cache: Path, roberta: None) -> None:
    ids = [load_checked(FILE).backbone.id, *(task.source for task in load_checked(FILE).tasks)]
    before = run("run", str(FILE), "--dry-run")
    assert before.returncode == 0, before.stderr
    assert before.stdout.startswith("study glue: at most 169 trials\n")
    assert before.stdout.partition("downloaded first\n")[2].split() == ids
    add_data(cache, load_checked(FILE))
    after = run("run", str(FILE), "--dry-run")
    assert after.stdout.partition("downloaded first\n")[2].split() == ids[:1]
    checked = run("validate", str(FILE))
    assert (checked.returncode, checked.stdout) == (0, f"{FILE}: ok\n")
    assert f"a run will download first, only names are checked: {ids[0]}\n" in checked.stderr


# ---------------------------------------------------------------- data


@pytest.fixture
def data(cache: Path) -> dict[str, TaskData]:
    config = load_checked(FILE)
    add_data(cache, config)
    seeds = SeedPair(0, 0)
    choices = {p.name: p.ends[0] for p in parameters(config)}
    spec = resolve(config, choices, seeds=seeds, phase="confirm")
    return {task.name: load_task(task) for task in spec.tasks}


def test_every_task_is_tested_on_what_glue_calls_validation(data: dict[str, TaskData]) -> None:
    assert list(data) == [*CLASSES, "boolq"]
    for name, task in data.items():
        assert {split: len(examples) for split, examples in task.splits.items()} == {
            "train": 51,
            "gate": 0,
            "validation": 9,
            "test": 24,
        }, name
        assert task.labels == tuple(sorted(CLASSES.get(name, ("false", "true"))))
    assert {e.text for e in data["mnli"].splits["test"]} == {f"row {number} of" for number in range(100, 124)}


def test_classes_are_those_of_the_rows(data: dict[str, TaskData]) -> None:
    for name, classes in {**CLASSES, "boolq": ("false", "true")}.items():
        for example in data[name].splits["train"]:
            assert data[name].labels[example.label] == classes[int(example.text.split()[1]) % len(classes)]


# ---------------------------------------------------------------- a trial


def test_a_trial_of_it_runs_on_a_tiny_roberta(data: dict[str, TaskData], tiny_roberta: None) -> None:
    from slasearch.trial.run import TrialWorker

    config = load_checked(FILE, SMALL)
    choices = {p.name: p.ends[0] for p in parameters(config)}
    spec = resolve(config, choices, seeds=SeedPair(0, 0), phase="design")
    *progress, report = TrialWorker(list(data.values()), cache=None, threads=1).run(spec)
    assert all(isinstance(step, Progress) for step in progress)
    assert isinstance(report, TrialReport)
    assert report.state == "complete", report.traceback
    assert {row.task for row in report.metrics} == set(data)
    assert {row.metric for row in report.metrics if row.task == "cola"} == {"mcc", "loss"}
