"""λ over the gated steps, and a trial that goes along a path of it."""

from collections.abc import Callable

import pytest
import torch

from slasearch.adapters.gates.bank import GateBank
from slasearch.adapters.pool import Pool
from slasearch.errors import ConfigError
from slasearch.records import (
    SPARSITY_PATH,
    WHOLE_TRIAL,
    BackboneSpec,
    FinalisationSpec,
    GateSpec,
    MetricRow,
    SizeSpec,
    Slot,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)
from slasearch.trial.backbone import read_shapes
from slasearch.trial.gating import GateLearner
from slasearch.trial.lambda_path import LambdaPath, ramp

Spec = Callable[..., TrialSpec]
Finish = Callable[..., TrialReport]

TRAINING = TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=30, reports=3)


def weights(size: SizeSpec, steps: int, ramp_steps: float) -> list[float]:
    path = LambdaPath(size, steps=steps, ramp_steps=ramp_steps)
    return [path.weight(step) for step in range(steps)]


def test_one_weight_is_ramped_and_kept() -> None:
    assert weights(SizeSpec("penalty", 2.0), 6, 4) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    assert weights(SizeSpec("penalty", 2.0), 3, 0) == [2.0, 2.0, 2.0]
    cubic = weights(SizeSpec("penalty", 1.0, schedule="cubic"), 4, 4)
    assert cubic == pytest.approx([ramp("cubic", share) for share in (0.25, 0.5, 0.75, 1.0)])
    assert LambdaPath(SizeSpec("penalty", 2.0), steps=6, ramp_steps=4).points == {}


def test_a_path_gives_half_of_the_steps_to_its_first_stage_and_ramps_from_one_to_the_next() -> None:
    size = SizeSpec("penalty", 4.0, path=(1.0, 2.0, 4.0))
    path = LambdaPath(size, steps=16, ramp_steps=8)
    assert path.points == {8: 1.0, 12: 2.0, 16: 4.0}
    found = [path.weight(step) for step in range(16)]
    assert found[:8] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])
    assert found[8:] == pytest.approx([1.5, 2, 2, 2, 3, 4, 4, 4])
    assert [path.progress(step) for step in (0, 4, 8, 15)] == [0, 0.5, 1, 1]


@pytest.mark.parametrize("ramp_steps", [0, 8, 16, 40])
def test_every_stage_ends_at_its_weight_however_long_the_ramp(ramp_steps: float) -> None:
    path = LambdaPath(SizeSpec("penalty", 4.0, path=(1.0, 2.0, 4.0)), steps=16, ramp_steps=ramp_steps)
    assert {end: path.weight(end - 1) for end in path.points} == pytest.approx(path.points)
    assert LambdaPath(SizeSpec("penalty", 3.0), steps=16, ramp_steps=ramp_steps).weight(15) == 3.0


def test_a_stage_needs_a_step() -> None:
    size = SizeSpec("penalty", 3.0, path=(1.0, 2.0, 3.0))
    assert LambdaPath(size, steps=4, ramp_steps=1).points == {2: 1.0, 3: 2.0, 4: 3.0}
    with pytest.raises(ConfigError, match="expected at most 2 values, as gates learn in 3 steps, got 3"):
        LambdaPath(size, steps=3, ramp_steps=1)
    assert LambdaPath(SizeSpec("budget", budget=9, path=size.path), steps=2, ramp_steps=1).points == {}


def points(report: TrialReport) -> dict[float, dict[tuple[str, str], float]]:
    found: dict[float, dict[tuple[str, str], float]] = {}
    for row in report.metrics:
        if row.condition == SPARSITY_PATH:
            assert (row.split, row.step) == ("validation", None)
            found.setdefault(row.level, {})[row.task, row.metric] = row.value
    return found


def without_path(report: TrialReport) -> list[MetricRow]:
    return [row for row in report.metrics if row.condition != SPARSITY_PATH]


def test_a_path_of_one_is_an_ordinary_trial_that_is_read_on_the_way(make_spec: Spec, finish: Finish) -> None:
    plain = finish(make_spec(training=TRAINING, size=SizeSpec("penalty", 2.0)))
    read = finish(make_spec(training=TRAINING, size=SizeSpec("penalty", 2.0, path=(2.0,))))
    assert without_path(read) == list(plain.metrics)
    assert (read.gates, read.objectives) == (plain.gates, plain.objectives)
    assert list(points(read)) == [2.0]
    assert points(plain) == {}


@pytest.mark.parametrize("family", ["sigmoid", "hard_concrete", "proximal", "straight_through"])
def test_each_stage_is_read_and_the_last_is_what_is_finalised(family: str, make_spec: Spec, finish: Finish) -> None:
    gates = GateSpec(family, 0.3, 0.1, 0.9, 0.5)
    size = SizeSpec("penalty", 30.0, path=(0.1, 3.0, 30.0))
    report = finish(make_spec(training=TRAINING, gates=gates, size=size, finalisation=FinalisationSpec(share=0.2)))
    assert report.state == "complete", report.reason
    found = points(report)
    keys = {("things", "accuracy"), ("mood", "accuracy"), (WHOLE_TRIAL, "exported_parameters")}
    assert list(found) == [0.1, 3.0, 30.0]
    assert all(stage.keys() == keys for stage in found.values())
    sizes = [stage[WHOLE_TRIAL, "exported_parameters"] for stage in found.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == report.objectives["exported_parameters"]
    clean = [row for row in report.metrics if row.condition == "clean" and row.metric != "loss"]
    assert report.objectives["score"] == pytest.approx(sum(row.value for row in clean) / 2), "the stages do not count"


@pytest.mark.parametrize("family", ["sigmoid", "hard_concrete", "straight_through"])
def test_no_gate_is_wider_open_at_a_stage_than_at_the_start(family: str) -> None:
    """A gate that an earlier stage has opened wide would not feel λ, whatever λ came."""
    shapes = read_shapes(BackboneSpec("bundled:minilm"))
    slots = [Slot(layer, "attn.v", "bias", 1) for layer in range(4)]
    pool = Pool(slots, shapes.hosts, ["t"], generator=torch.Generator().manual_seed(0))
    gates = GateSpec(family, 0.1, 0.1, 0.9, 0.5)
    bank = GateBank(gates, 1, torch.ones(4), torch.device("cpu"))
    size = SizeSpec("penalty", 2.0, path=(1.0, 2.0))
    learner = GateLearner(bank, pool, size, FinalisationSpec(), learning_rate=0.1, steps=8, ramp_steps=0)
    start = bank.family.initial_logit()
    with torch.no_grad():
        bank.family.logits.copy_(torch.tensor([[start + 9, start, start - 1, start - 9]]))
    learner.begin(3)
    assert float(bank.family.logits.detach().max()) == pytest.approx(start + 9), (
        "in the middle of a stage nothing happens"
    )
    learner.begin(4)
    expected = torch.tensor([[start, start, start - 1, start - 9]])
    torch.testing.assert_close(bank.family.logits.detach(), expected)
