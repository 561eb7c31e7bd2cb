"""A joint trial of two tasks, exported in every format: task by task, each with a card that says what is true of it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import peft
import pytest
import torch
import yaml
from safetensors.torch import load_file
from synthetic import Plan
from transformers import AutoModel, AutoTokenizer, BertConfig

import slasearch
from slasearch.adapters.export import AdapterCard, BackboneCard, TaskCard, write_adapter
from slasearch.adapters.pool import Pool
from slasearch.analysis.frames import StudyFrames
from slasearch.config.locations import Locations
from slasearch.config.plain import to_plain
from slasearch.errors import ArtifactError, BackboneError
from slasearch.records import (
    BackboneSpec,
    ConditionSpec,
    GateSpec,
    MetricRow,
    PoolSpec,
    SeedPair,
    SizeSpec,
    Slot,
    SplitLimits,
    TaskSpec,
    TrainingSpec,
    TrialSpec,
)
from slasearch.registry import BACKBONES, SOURCES
from slasearch.report.card_tables import _among_runs, _labels, markdown_table
from slasearch.report.export import ExportOptions, export_adapter
from slasearch.report.model_card import _hub_id
from slasearch.report.origin import Origin, examples_of, licence_of
from slasearch.report.results import Results
from slasearch.storage.artifacts import Artifacts
from slasearch.storage.rows import TrialRow
from slasearch.storage.store import Store
from slasearch.storage.writer import Writer
from slasearch.tasks.digest import data_digest
from slasearch.tasks.load import load_task
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.storage import example_study, example_trial
from slasearch.trial.backbone import backbone_folder, load_backbone

LORA = (Slot(0, "attn.q", "lora", 1), Slot(0, "attn.q", "lora", 1, 1), Slot(1, "ffn.out", "lora", 2))
MIXED = (LORA[0], Slot(1, "ffn.in", "bias", 1))
Precision = Literal["fp32", "bf16"]
TEXTS = ["a small grey cat", "the red hammer lies on the bench"]
CONFIG = {
    "name": "joint",
    "size_control": {"mode": "penalty", "sparsity_weight": 0.1},
    "training": {"steps": 4},
    "phases": {"optimise": {"trials": 1}},
}


@dataclass(frozen=True)
class Joint:
    """A database with one trial, and the backbone and data that it was made on."""

    locations: Locations
    trial: TrialRow
    backbone: Path
    data: Path

    def export(self, out: Path, **options: object) -> Path:
        chosen = ExportOptions(**{"measured": False, **options})  # type: ignore[arg-type]
        export_adapter(self.locations, "joint", self.trial, out, chosen)
        return out


def save_backbone(folder: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
    model = AutoModel.from_config(
        BertConfig(vocab_size=30522, initializer_range=0.3, max_position_embeddings=64, **sizes)
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(backbone_folder(BackboneSpec("bundled:minilm"))).save_pretrained(folder)
    (folder / "LICENSE.txt").write_text("\nMIT License\n\nPermission is hereby granted\n")


def write_rows(file: Path, count: int = 40) -> None:
    rows = [{"text": f"{'cat' if n % 2 else 'hammer'} number {n}", "label": "ab"[n % 2]} for n in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_spec(root: Path) -> TrialSpec:
    limits = SplitLimits(train=20, validation=4)
    tasks = tuple(
        TaskSpec(name, f"file:{root / 'rows.jsonl'}", max_tokens=8, limits=limits) for name in ("things", "mood")
    )
    return TrialSpec(
        study="joint",
        backbone=BackboneSpec(f"path:{root / 'backbone'}"),
        tasks=tasks,
        pool=PoolSpec(("attn.q", "ffn.in", "ffn.out"), ("lora", "bias"), (1, 2)),
        gates=GateSpec("hard_concrete", 0.3, 0.1, 0.9, 0.5),
        size=SizeSpec("penalty", sparsity_weight=0.1),
        training=TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=4, kind_factors=(("bias", 3.0),)),
        train_conditions=(ConditionSpec("word_drop", 0.1, "train"),),
        measured=(ConditionSpec("typos", 0.2, "eval"),),
        seeds=SeedPair(11, 12),
    )


def make_files(root: Path, paths: dict[str, tuple[Slot, ...]], precision: Precision) -> dict[str, bytes]:
    backbone = load_backbone(BackboneSpec(f"path:{root / 'backbone'}", precision), torch.device("cpu"))
    union = tuple(sorted({slot for slots in paths.values() for slot in slots}))
    pool = Pool(union, backbone.shapes.hosts, tuple(paths), generator=torch.Generator().manual_seed(0))
    disturb_weights(pool, scale=0.5)
    # `mood` allows more tokens than the backbone has positions.
    cards = tuple(
        TaskCard(
            name=task,
            labels=("a", "b"),
            metric="accuracy",
            max_tokens=8 if task == "things" else 4096,
            slots=tuple(slot.name for slot in slots),
        )
        for task, slots in paths.items()
    )
    origin = BackboneCard(
        id=f"path:{root / 'backbone'}", fingerprint=backbone.fingerprint, family="bert", layers=2, hidden=16,
        pooling="mean", precision=precision,
    )  # fmt: skip
    card = AdapterCard(
        format_version=1, slasearch_version="0", backbone=origin, tasks=cards, parameters=pool.parameter_count()
    )
    return write_adapter(card, pool, {task: torch.nn.Linear(16, 2) for task in paths})


def make_joint(
    root: Path,
    paths: dict[str, tuple[Slot, ...]],
    *,
    files: dict[str, bytes] | None = None,
    precision: Precision = "fp32",
    storage_path: str | None = None,
) -> Joint:
    save_backbone(root / "backbone")
    write_rows(root / "rows.jsonl")
    spec = make_spec(root)
    config = {**CONFIG, "tasks": [{"name": task.name, "source": task.source} for task in spec.tasks]}
    config["resources"] = {"storage_path": storage_path}
    digests = {task.name: data_digest(load_task(task)) for task in spec.tasks}
    store = Store(f"sqlite:///{root / 'study.db'}")
    store.upgrade()

    def add(writer: Writer) -> TrialRow:
        study = writer.add_study(
            replace(example_study(), name="joint", config=json.dumps(config), data=json.dumps(digests))
        )
        made = {"spec": json.dumps(to_plain(spec)), "init_seed": 11, "data_seed": 12, "state": "complete"}
        trial = writer.add_trial(replace(example_trial(study.id), number=5, score=0.75, role="search", **made))  # type: ignore[arg-type]
        writer.add_metrics(
            trial.id,
            [
                MetricRow(task, "validation", condition, level, "accuracy", value)
                for task, value in (("things", 0.8125), ("mood", 0.625))
                for condition, level in (("clean", 0.0), ("typos", 0.2))
            ],
        )
        made_files = make_files(root, paths, precision) if files is None else files
        writer.add_artifacts(trial.id, Artifacts.of(study, root, storage_path).write(trial.id, made_files))
        return trial

    trial = store.write(add)
    return Joint(Locations(store.url, root), trial, root / "backbone", root / "rows.jsonl")


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Joint:
    """`things` passes LoRA slots alone, `mood` one of them and a bias."""
    return make_joint(tmp_path_factory.mktemp("joint"), {"things": LORA, "mood": MIXED})


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Joint:
    """Both tasks pass LoRA slots alone."""
    return make_joint(tmp_path_factory.mktemp("lora"), {"things": LORA, "mood": LORA[1:]})


def hidden(model: Callable[..., object], place: Path) -> torch.Tensor:
    inputs = AutoTokenizer.from_pretrained(place)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs)[0]  # type: ignore[index]


def ours(study: Joint, adapter: Path, task: str) -> torch.Tensor:
    model = AutoModel.from_pretrained(study.backbone).eval()
    with slasearch.load_adapter(model, adapter, task):
        return hidden(model, study.backbone)


def card_of(folder: Path) -> tuple[dict[str, object], str]:
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_an_adapter_is_exported_from_where_the_study_keeps_it(tmp_path: Path) -> None:
    study = make_joint(tmp_path, {"things": LORA}, storage_path=f"file://{tmp_path}/store")
    assert not (tmp_path / "artifacts").exists()
    (kept,) = tmp_path.glob("store/joint-*/*/adapter.safetensors")
    assert (study.export(tmp_path / "out") / "adapter.safetensors").read_bytes() == kept.read_bytes()
    kept.write_bytes(b"changed")
    with pytest.raises(ArtifactError, match=f"artifact {kept}: expected SHA-256"):
        study.export(tmp_path / "again")


def test_an_adapter_may_be_exported_into_the_working_folder(
    joint: Joint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    folder = tmp_path / "inner"
    monkeypatch.chdir(folder)
    for _ in range(2):  # an earlier export is replaced
        joint.export(Path())
        assert {path.name for path in folder.iterdir()} == {"README.md", "adapter.json", "adapter.safetensors"}
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder / "empty")
    joint.export(Path(".."))


def test_labels_of_a_card_are_no_markup_and_stay_in_their_row() -> None:
    named = _labels(["a|b", "new\nline", "`x", "<img src=x onerror=1>", "not_entailed"])
    (*_, line) = markdown_table(["labels"], [[named]])
    assert line == r"| a\|b, new line, \`x, \<img src=x onerror=1>, not_entailed |"


def test_a_card_tells_scores_of_a_sample_from_those_of_the_split(tmp_path: Path) -> None:
    study = make_joint(tmp_path, {"things": LORA, "mood": MIXED})
    store = Store(study.locations.storage_url)
    rows = [
        MetricRow("things", "validation", condition, level, "accuracy", value, None, 1200, 0.01)
        for condition, level, value in (("clean_sample", 0.0, 0.8), ("casing", 0.2, 0.7))
    ]
    store.write(lambda writer: writer.add_metrics(study.trial.id, rows))
    store.close()
    _, text = card_of(study.export(tmp_path / "out"))
    assert "| clean | 0.8125 |" in text
    assert "| clean, in the sample | 0.8000 ± 0.0196 |" in text
    assert "| casing@0.2 | 0.7000 ± 0.0196 |" in text
    assert text.count("measured on a sample of 1\u202f200 examples of the validation split") == 1


def test_one_task_holds_its_own_slots_head_and_count(joint: Joint, tmp_path: Path) -> None:
    whole, alone = joint.export(tmp_path / "whole"), joint.export(tmp_path / "alone", task="mood")
    card = AdapterCard.model_validate_json((alone / "adapter.json").read_bytes())
    assert [task.name for task in card.tasks] == ["mood"]
    assert card.structure.union == tuple(sorted(MIXED))
    assert card.parameters == 2 * 16 + 24
    tensors = load_file(alone / "adapter.safetensors")
    assert {name.split("/")[1] for name in tensors} == {"mood", *(slot.name for slot in MIXED)}
    assert torch.equal(ours(joint, alone, "mood"), ours(joint, whole, "mood"))
    assert not torch.allclose(ours(joint, whole, "things"), ours(joint, whole, "mood"), atol=1e-2)
    with pytest.raises(ArtifactError, match=r"expected one of the adapter's \(things, mood\), got 'weather'"):
        joint.export(tmp_path / "none", task="weather")


def test_peft_has_a_folder_for_each_task_and_its_hidden_states(lora: Joint, tmp_path: Path) -> None:
    whole, stock = lora.export(tmp_path / "whole"), lora.export(tmp_path / "stock", form="peft")
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors", "head.safetensors", "slasearch.json"}
    for task in ("things", "mood"):
        assert {file.name for file in (stock / task).iterdir()} == names
        model = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(lora.backbone), stock / task)
        torch.testing.assert_close(hidden(model, lora.backbone), ours(lora, whole, task), rtol=0, atol=1e-5)
        facts, text = card_of(stock / task)
        assert facts["library_name"] == "peft"
        assert "PeftModel.from_pretrained(backbone" in text
        assert f"AutoModel.from_pretrained({json.dumps(str(lora.backbone))}, dtype=torch.float32)" in text
    alone = lora.export(tmp_path / "alone", form="peft", task="mood")
    assert {file.name for file in alone.iterdir()} == names
    config = json.loads((alone / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(lora.backbone)
    assert config["rank_pattern"] == {r"^encoder\.layer\.1\.output\.dense": 2}


def test_peft_refuses_a_task_with_other_kinds_and_takes_the_rest(joint: Joint, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected a structure of lora and lora_xs slots alone, got one with bias"):
        joint.export(tmp_path / "all", form="peft")
    assert not (tmp_path / "all").exists()
    assert (joint.export(tmp_path / "things", form="peft", task="things") / "adapter_config.json").is_file()


@pytest.mark.parametrize("task", ["things", "mood"])
def test_a_merged_backbone_gives_the_hidden_states_of_its_task(joint: Joint, task: str, tmp_path: Path) -> None:
    merged = joint.export(tmp_path / "merged", form="merged", task=task)
    model = AutoModel.from_pretrained(merged)
    expected = ours(joint, joint.export(tmp_path / "whole"), task)
    torch.testing.assert_close(hidden(model, merged), expected, rtol=0, atol=1e-4)
    assert set(load_file(merged / "head.safetensors")) == {"weight", "bias"}
    assert json.loads((merged / "slasearch.json").read_text())["tasks"][0]["labels"] == ["a", "b"]
    facts, _ = card_of(merged)
    assert facts["library_name"] == "transformers"


def test_a_merged_backbone_is_of_one_task(joint: Joint, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"expected one task, got things, mood.*--task"):
        joint.export(tmp_path / "merged", form="merged")


def test_merging_in_bf16_rounds_the_weights_and_says_so(tmp_path: Path) -> None:
    study = make_joint(tmp_path, {"things": LORA}, precision="bf16")
    merged = study.export(tmp_path / "merged", form="merged")
    model = AutoModel.from_pretrained(merged)
    assert model.dtype == torch.bfloat16
    assert "Each merged weight is rounded to bf16" in card_of(merged)[1]
    backbone = AutoModel.from_pretrained(study.backbone, dtype=torch.bfloat16).eval()
    with slasearch.load_adapter(backbone, study.export(tmp_path / "whole")):
        expected = hidden(backbone, study.backbone)
    torch.testing.assert_close(hidden(model, merged), expected, rtol=0, atol=0.1)
    assert not torch.allclose(hidden(backbone, study.backbone), expected, atol=0.1)


def test_the_card_says_what_the_study_stored(joint: Joint, tmp_path: Path) -> None:
    facts, text = card_of(joint.export(tmp_path / "whole"))
    assert "base_model" not in facts, "a folder of this machine is no model of the hub"
    assert set(facts["tags"]) >= {"slasearch", "lora", "bias"}  # type: ignore[call-overload]
    for line in (
        "# things and mood: adapter of `joint`, trial 5",
        f"| things | `file:{joint.data}` | a, b | 20 | 0 | 4 | 6 | 8 |",
        "mood: 2 open slots, 56 parameters.",
        "| 0 | lora r1 × 2 |  |",
        "| 1 |  | lora r2 |",
        "| 1 |  | bias |",
        "| things, accuracy | validation |",
        "| typos@0.2 | 0.8125 |",
        "Of this one run (seeds: weights 11, data 12).",
        "Conditions in training: word_drop@0.1. Conditions measured under: typos@0.2.",
        "| training.kind_factors | bias 3 |",
        "| size_control.sparsity_weight | 0.1 |",
        "| licence | MIT License (LICENSE.txt) |",
        "Not measured.",
    ):
        assert line in text.splitlines(), line
    assert "## Beside controls" not in text


def test_the_card_names_the_backbone_as_the_hub_does() -> None:
    assert {name: _hub_id(f"bundled:{name}") for name in BACKBONES} == {
        "minilm": "sentence-transformers/all-MiniLM-L6-v2"
    }
    assert _hub_id("hub:org/name@v1") == "org/name"
    assert _hub_id("path:/home/me/model") is None


def test_the_card_says_that_a_confirmed_run_is_the_best_of_several(
    database_of: Callable[[Plan], str], results: Results
) -> None:
    store = Store(database_of(Plan()))
    item = results.comparisons[0]
    runs = [row for row in store.trials(store.study("synthetic").id) if row.pair_of == item.winner_id]
    runs = sorted((row for row in runs if row.role == "winner"), key=lambda row: row.score or 0.0)

    def said(trial: TrialRow, *tasks: str, frames: StudyFrames = results.frames) -> str:
        card = SimpleNamespace(tasks=[SimpleNamespace(name=name) for name in tasks])
        origin = Origin(frames, trial, None, None, {})  # type: ignore[arg-type]
        return " ".join(_among_runs(card, origin))  # type: ignore[arg-type]

    best = said(runs[-1], "tweets", "spam", "bbc")
    assert best.startswith("The best of 3 runs by validation (score")
    assert best.endswith(f"; mean over the runs on test {item.winner.score().text()}.")
    assert said(runs[-1], "spam").endswith(f"on test {item.winner.score('spam').text()}.")
    assert "(score" not in said(runs[0], "spam")
    assert said(replace(runs[-1], role="search"), "spam") == ""
    alone = results.frames.config.model_copy(update={"objectives": results.frames.config.objectives[:1]})
    searched = replace(results.frames, config=alone)
    assert said(runs[-1], "spam", frames=searched).startswith("The best of 3 runs by validation (score); ")
    tied = results.frames.trials.copy()
    tied.loc[tied["trial_id"].isin([run.id for run in runs]), "score"] = 0.9
    assert said(runs[-1], "spam", frames=replace(searched, trials=tied)).startswith("One of 3 runs; ")


def test_the_card_of_one_task_leaves_the_others_out(joint: Joint, tmp_path: Path) -> None:
    _, text = card_of(joint.export(tmp_path / "alone", task="mood"))
    assert "It has 56 parameters without the heads" in text
    assert "things" not in text


def test_changed_data_are_not_counted(tmp_path: Path) -> None:
    study = make_joint(tmp_path, {"things": LORA, "mood": LORA})
    write_rows(study.data, 50)
    _, text = card_of(study.export(tmp_path / "out"))
    assert f"| things | `file:{study.data}` | a, b | at most 20 | 0 | at most 4 | all | 8 |" in text.splitlines()
    study.data.unlink()
    assert "at most 20" in card_of(study.export(tmp_path / "out"))[1]


def test_the_same_export_gives_the_same_bytes_and_replaces_the_earlier_one(joint: Joint, tmp_path: Path) -> None:
    first, second = joint.export(tmp_path / "one"), joint.export(tmp_path / "two")
    joint.export(tmp_path / "two")
    assert [file.read_bytes() for file in sorted(first.iterdir())] == [
        file.read_bytes() for file in sorted(second.iterdir())
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_time_and_memory_are_measured_for_each_task(joint: Joint, tmp_path: Path) -> None:
    _, text = card_of(joint.export(tmp_path / "out", measured=True))
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| things | ", "| mood | "))]
    timed = [row for row in rows if len(row) == 7]
    assert [(row[0], row[1], row[2]) for row in timed] == [
        ("| things", "1", "8"), ("| things", "32", "8"), ("| mood", "1", "62"), ("| mood", "32", "62"),
    ]  # fmt: skip
    assert all(0 < float(cell) < 10_000 for row in timed for cell in row[3:5])
    assert f"{torch.get_num_threads()} threads, torch {torch.__version__}" in text
    parameters = 2 * 32 + 2 * (24 + 16) + 24
    assert f"The adapter's tensors take {4 * parameters} bytes." in text


def test_a_backbone_that_is_elsewhere_is_named(tmp_path: Path) -> None:
    study = make_joint(tmp_path, {"things": LORA})
    moved = tmp_path / "moved"
    shutil.move(study.backbone, moved)
    with pytest.raises(BackboneError, match="--backbone path:DIR, or export with --no-measure"):
        study.export(tmp_path / "out", measured=True)
    _, text = card_of(study.export(tmp_path / "out"))
    assert "| licence | not stated: the backbone is not on this machine |" in text
    _, text = card_of(study.export(tmp_path / "stock", form="peft", backbone=f"path:{moved}"))
    assert "| licence | MIT License (LICENSE.txt) |" in text
    assert json.dumps(str(moved)) in text


def test_a_control_with_modules_of_its_own_is_refused(tmp_path: Path) -> None:
    study = make_joint(tmp_path, {"things": LORA}, files={"control.json": b"{}", "control.safetensors": b""})
    with pytest.raises(ArtifactError, match=r"expected an adapter made of slots, got search, .* lie in .*artifacts"):
        study.export(tmp_path / "out")


@pytest.mark.parametrize("form", ["slasearch", "peft"])
def test_what_is_no_export_is_left_alone(lora: Joint, form: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("my own")
    with pytest.raises(ArtifactError, match=r"got one that holds README\.md"):
        lora.export(out, form=form)
    assert (out / "README.md").read_text() == "my own"
    (out / "README.md").unlink()
    lora.export(out, form=form)
    lora.export(out, form=form)
    (out / "thesis").mkdir()
    (out / "thesis" / "draft.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"got one that holds thesis/draft\.txt"):
        lora.export(out, form=form)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="expected a folder, got a file"):
        lora.export(tmp_path / "file", form=form)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"README.md": "---\nlicense: apache-2.0\n---\n# x\n", "LICENSE": "MIT"}, "apache-2.0"),
        ({"README.md": "---\nlicense: other\nlicense_name: llama3\n---\n"}, "llama3"),
        ({"README.md": "---\nlicense: [mit, cc0-1.0]\n---\n"}, "mit, cc0-1.0"),
        ({"README.md": "# no front matter\nlicense: mit\n"}, "not stated"),
        ({"README.md": "---\nlicense: [broken\n---\n", "LICENCE": "  \nBSD 3-Clause\nmore"}, "BSD 3-Clause (LICENCE)"),
        ({"README.md": "---\n- a list\n---\n"}, "not stated"),
        ({"LICENSE": "\n\n"}, "not stated"),
        ({}, "not stated"),
    ],
)
def test_the_licence_is_what_the_backbone_states(files: dict[str, str], found: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert licence_of(tmp_path) == found


def test_nothing_is_downloaded_to_count_examples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    source = SOURCES.get("hub")
    monkeypatch.setattr(type(source), "read", lambda *_: pytest.fail("the hub was asked"))
    assert examples_of(TaskSpec("rte", f"hub:org/name@{'a' * 40}"), "0" * 64) == {}
