"""Whole trials on the real backbone."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from word_tasks import make_tasks

from slasearch.adapters.pool import Pool, slot_cost
from slasearch.errors import ArtifactError
from slasearch.records import (
    ConditionSpec,
    FinalisationSpec,
    GateSpec,
    Progress,
    SeedPair,
    SizeSpec,
    Slot,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)
from slasearch.tasks.metrics import score
from slasearch.tasks.predictions import unpacked
from slasearch.trial.backbone import backbone_folder, read_shapes
from slasearch.trial.data import EvaluationData
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.predict import Predictor
from slasearch.trial.prefix import PrefixStore
from slasearch.trial.reuse import Reuse
from slasearch.trial.run import TrialWorker

Spec = Callable[..., TrialSpec]
Finish = Callable[..., TrialReport]


def export_to(folder: Path, report: TrialReport) -> Path:
    for name, content in report.artifact.items():
        (folder / name).write_bytes(content)
    return folder


def without_seconds(report: TrialReport) -> TrialReport:
    return dataclasses.replace(report, costs=tuple(cost for cost in report.costs if cost.unit != "s"))


def open_parameters(report: TrialReport) -> int:
    return sum({row.slot: row.parameters for row in report.gates if row.open}.values())


def test_the_same_spec_gives_the_same_report_whatever_ran_before(make_spec: Spec, finish: Finish) -> None:
    first = without_seconds(finish(make_spec()))
    finish(make_spec(control="lora", control_size=4000))
    assert without_seconds(finish(make_spec())) == first
    assert finish(make_spec(seeds=SeedPair(9, 2))).metrics != first.metrics
    assert finish(make_spec(seeds=SeedPair(1, 9))).metrics != first.metrics


def test_a_report_is_whole_and_holds_no_test_score(make_spec: Spec, finish: Finish) -> None:
    report = finish(make_spec())
    assert (report.state, report.budget, report.budget_max) == ("complete", 10, 10)
    assert {row.split for row in report.metrics} == {"validation"}
    names = {(row.task, row.condition, row.level, row.metric) for row in report.metrics}
    conditions = [("clean", 0.0), ("typos", 0.5), ("embedding_gaussian", 0.5)]
    expected = {(task, *condition, "accuracy") for task in ("things", "mood") for condition in conditions}
    assert names == expected | {(task, "clean", 0.0, "loss") for task in ("things", "mood")}
    assert report.objectives["exported_parameters"] == open_parameters(report)
    scores = [row.value for row in report.metrics if row.metric == "accuracy" and row.condition != "clean"]
    assert report.objectives["robustness"] == pytest.approx(sum(scores) / 4)
    costs = {cost.name: cost.value for cost in report.costs}
    assert costs["backbone_parameters"] == 22_713_216
    assert costs["train_tokens"] > 0
    assert 0 <= costs["gated_score"] <= 1
    assert report.events


def test_test_is_scored_when_asked_for(make_spec: Spec, finish: Finish) -> None:
    report = finish(make_spec(splits=("validation", "test"), measured=()))
    assert {row.split for row in report.metrics} == {"validation", "test"}
    assert "robustness" not in report.objectives


def test_what_was_predicted_on_test_gives_its_score(make_spec: Spec, finish: Finish) -> None:
    """Whatever the batches, in the order of the examples; every other number has none."""
    report = finish(make_spec(splits=("validation", "test")))
    labels = {task.spec.name: [example.label for example in task.splits["test"]] for task in make_tasks()}
    scored = [row for row in report.metrics if row.split == "test" and row.metric == "accuracy"]
    assert {(row.task, row.condition) for row in scored} == {
        (task, condition) for task in labels for condition in ("clean", "typos", "embedding_gaussian")
    }
    for row in scored:
        assert row.labels is not None
        assert row.predicted is not None
        assert unpacked(row.labels).tolist() == labels[row.task]
        assert score(row.metric, unpacked(row.labels), unpacked(row.predicted)) == row.value
    assert all(row.labels is row.predicted is None for row in report.metrics if row not in scored)


@pytest.mark.parametrize("measure", ["relative", "worst"])
def test_other_measures_of_robustness(measure: str, make_spec: Spec, finish: Finish) -> None:
    report = finish(make_spec(robustness=measure))
    means = {
        kind: sum(row.value for row in report.metrics if row.condition == kind and row.metric == "accuracy") / 2
        for kind in ("clean", "typos", "embedding_gaussian")
    }
    noisy = (means["typos"] + means["embedding_gaussian"]) / 2
    expected = {"relative": noisy / means["clean"], "worst": min(means["typos"], means["embedding_gaussian"])}
    assert report.objectives["robustness"] == pytest.approx(expected[measure])


@pytest.mark.parametrize("scope", ["union", "per_task"])
def test_a_budget_always_holds(scope: str, make_spec: Spec, finish: Finish) -> None:
    report = finish(make_spec(size=SizeSpec("budget", budget=4000, scope=scope)))
    assert 0 < report.objectives["exported_parameters"] == open_parameters(report)
    for task in ("things", "mood"):
        own = [row.parameters for row in report.gates if row.open and row.task == task]
        assert sum(own) <= 4000
    if scope == "union":
        assert report.objectives["exported_parameters"] <= 4000


def test_a_large_sparsity_weight_closes_more_than_none(make_spec: Spec, finish: Finish) -> None:
    training = TrainingSpec(8, 5e-3, 3e-2, 0.01, "constant", steps=20, reports=2)
    end = FinalisationSpec(share=0.2)
    sizes = [
        finish(make_spec(training=training, size=SizeSpec("penalty", weight), finalisation=end)).objectives[
            "exported_parameters"
        ]
        for weight in (0.0, 50.0)
    ]
    assert sizes[1] < sizes[0]


def test_retraining_starts_from_fresh_modules(make_spec: Spec, finish: Finish) -> None:
    training = TrainingSpec(8, 5e-3, 3e-2, 0.01, "cosine", epochs=1.5, reports=2)
    gates = GateSpec("sigmoid", 0.3, 0.2, 0.8, 0.5, temperature=0.5)
    report = finish(make_spec(training=training, gates=gates, finalisation=FinalisationSpec(finish="retrain")))
    assert report.budget == 6
    assert report.objectives["exported_parameters"] == open_parameters(report)


def test_gates_can_learn_on_the_gate_split(make_spec: Spec, finish: Finish, gate_worker: TrialWorker) -> None:
    with_split, without = finish(make_spec(), gate_worker), finish(make_spec())
    assert with_split.state == "complete"
    assert [row.openness for row in with_split.gates] != [row.openness for row in without.gates]


def test_training_conditions_change_training_only(make_spec: Spec, finish: Finish) -> None:
    clean = finish(make_spec())
    for condition in (
        ConditionSpec("typos", 0.9, "train"),
        ConditionSpec("embedding_gaussian", 0.9, "train", scale=1.0),
        ConditionSpec("label_flips", 0.9, "train"),
    ):
        report = finish(make_spec(train_conditions=(condition,)))
        assert report.state == "complete"
        assert [row.openness for row in report.gates] != [row.openness for row in clean.gates]


def test_progress_is_prunable_only_after_the_warm_up(make_spec: Spec, worker: TrialWorker) -> None:
    training = TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=10, reports=5)
    gates = GateSpec("hard_concrete", 0.3, 0.4, 0.9, 0.5, temperature=2 / 3)
    items = list(worker.run(make_spec(training=training, gates=gates)))
    progress = [item for item in items if isinstance(item, Progress)]
    assert [(item.budget, item.prunable) for item in progress] == [(2, False), (4, False), (6, True), (8, True)]
    assert all(item.budget_max == 10 and 0 <= item.score <= 1 for item in progress)
    assert {row.step for row in progress[0].metrics} == {2}


def test_stopping_early_leaves_the_backbone_clean(make_spec: Spec, finish: Finish, worker: TrialWorker) -> None:
    expected = without_seconds(finish(make_spec()))
    running = worker.run(make_spec())
    next(running)
    running.close()
    model = worker.resources.backbone(make_spec().backbone).model
    assert not any(module._forward_hooks for module in model.modules())
    assert without_seconds(finish(make_spec())) == expected


def test_divergence_is_a_failure_with_its_step(make_spec: Spec, finish: Finish) -> None:
    training = TrainingSpec(8, float("inf"), 3e-2, 0.01, "constant", steps=10)
    report = finish(make_spec(training=training))
    assert report.state == "fail"
    assert report.reason is not None
    assert report.reason.startswith("diverged: the loss is nan at step")
    assert "Diverged" in (report.traceback or "")
    assert finish(make_spec()).state == "complete"


def test_any_other_error_is_a_failure_too(make_spec: Spec, finish: Finish) -> None:
    report = finish(make_spec(pool=dataclasses.replace(make_spec().pool, layers=(7,))))
    assert report.state == "fail"
    assert report.reason == "ConfigError: pool.layers: expected numbers from 0 to 5, got 7."


def test_controls_have_the_size_asked_for(make_spec: Spec, finish: Finish) -> None:
    unit = 768
    for size in (1, 768, 5000, 9216, 20_000):
        lora = finish(make_spec(control="lora", control_size=size)).objectives["exported_parameters"]
        assert size <= lora < size + unit
        assert lora % unit == 0
    nine = finish(make_spec(control="lora", control_size=9216))
    assert {row.slot for row in nine.gates} == {
        Slot(layer, site, "lora", 1) for layer in range(6) for site in ("attn.q", "attn.v")
    }
    shapes = read_shapes(make_spec().backbone)
    cheapest = slot_cost(Slot(5, "attn.v", "bias", 1), shapes.hosts).parameters
    drawn = finish(make_spec(control="random", control_size=5000))
    assert 5000 - cheapest < drawn.objectives["exported_parameters"] <= 5000
    other = finish(make_spec(control="random", control_size=5000, seeds=SeedPair(5, 2)))
    assert {row.slot for row in other.gates} != {row.slot for row in drawn.gates}
    probe = finish(make_spec(control="linear_probe"))
    assert probe.objectives["exported_parameters"] == 0
    assert probe.gates == ()


def test_lower_layers_are_computed_once_and_change_nothing(
    make_spec: Spec, finish: Finish, worker: TrialWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    cached = finish(spec)
    backbone = worker.resources.backbone(spec.backbone)
    nothing_kept = Reuse(backbone, PrefixStore(None, limit=0))
    small = EvaluationData(worker.resources.tasks(spec), backbone, None, nothing_kept)
    monkeypatch.setattr(worker.resources, "evaluation", lambda tasks, backbone: small)
    assert without_seconds(finish(spec)) == without_seconds(cached)
    monkeypatch.setattr("slasearch.trial.model.TaskModel.depth", property(lambda self: 0))
    whole = finish(spec)
    for ours, theirs in zip(cached.metrics, whole.metrics, strict=True):
        assert ours.value == pytest.approx(theirs.value, abs=1e-4), "training differs by rounding alone"


def test_an_exported_adapter_predicts_what_was_evaluated(
    make_spec: Spec, finish: Finish, worker: TrialWorker, tmp_path: Path
) -> None:
    training = TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=30, reports=1)
    report = finish(make_spec(training=training))
    predictor = Predictor.load(export_to(tmp_path, report))
    assert predictor.tasks == ("things", "mood")
    for task in worker.resources.tasks(make_spec()):
        texts = [example.text for example in task.splits["validation"]]
        logits = predictor.logits(task.spec.name, texts)
        labels = torch.tensor([example.label for example in task.splits["validation"]])
        loss = torch.nn.functional.cross_entropy(logits, labels).item()
        (stored,) = (row.value for row in report.metrics if row.task == task.spec.name and row.metric == "loss")
        assert loss == pytest.approx(stored, abs=1e-5)
        single = torch.cat([predictor.logits(task.spec.name, [text]) for text in texts])
        torch.testing.assert_close(single, logits, rtol=0, atol=1e-4)
    (animal, tool) = predictor.predict("things", ["I saw a kitten today.", "I saw a hammer today."])
    assert (animal.label, tool.label) == ("animal", "tool")
    assert 0.5 < animal.probability <= 1
    card = json.loads((tmp_path / "adapter.json").read_text())
    assert card["parameters"] == report.objectives["exported_parameters"]


def test_an_adapter_knows_its_backbone_by_its_weights(make_spec: Spec, finish: Finish, tmp_path: Path) -> None:
    source = backbone_folder(make_spec().backbone)
    moved = tmp_path / "moved"
    shutil.copytree(source, moved)
    folder = tmp_path / "adapter"
    folder.mkdir()
    export_to(folder, finish(make_spec()))
    assert Predictor.load(folder, backbone=f"path:{moved}").tasks == ("things", "mood")
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-8:] = b"\0" * 8
    (moved / "model.safetensors").write_bytes(weights)
    with pytest.raises(ArtifactError, match="expected the weights that the adapter was trained on"):
        Predictor.load(folder, backbone=f"path:{moved}")


def test_a_pool_that_a_device_refuses_leaves_no_hook(make_spec: Spec, worker: TrialWorker) -> None:
    class Refused(Pool):
        def to(self, *args: Any, **more: Any) -> Any:
            raise RuntimeError("out of memory")

    backbone = worker.resources.backbone(make_spec().backbone)
    pool = Refused((), backbone.shapes.hosts, ["things", "mood"], generator=torch.Generator())
    with pytest.raises(RuntimeError, match="out of memory"):
        TaskModel(backbone, pool, make_heads({"things": 2, "mood": 2}, 384, generator=torch.Generator()))
    assert not any(module._forward_hooks for module in backbone.model.modules())
