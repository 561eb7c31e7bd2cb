"""The time of one example: measured where it is asked for, through what an export would hold and nothing more."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from word_tasks import make_tasks

from slasearch.adapters.pool import Pool
from slasearch.records import BackboneSpec, PoolSpec, Slot, Structure, TrialReport, TrialSpec
from slasearch.tasks.batches import Batch
from slasearch.testing.tiny import save_tiny
from slasearch.trial import latency as latency_module
from slasearch.trial.backbone import load_backbone
from slasearch.trial.latency import TEXTS, latency
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.resources import Resources
from slasearch.trial.run import TrialWorker

TASKS = make_tasks()
POOL = PoolSpec(("attn.v", "ffn.out"), ("lora", "bias"), (2,), layers=(0, 1))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BackboneSpec:
    return BackboneSpec(f"path:{save_tiny('bert', tmp_path_factory.mktemp('tiny') / 'model')}")


@pytest.mark.parametrize("control", [None, "lora", "full_fine_tuning"])
def test_a_trial_measures_it_where_it_is_asked_for(
    control: str | None, tiny: BackboneSpec, make_spec: Callable[..., TrialSpec], finish: Callable[..., TrialReport]
) -> None:
    worker = TrialWorker(TASKS, cache=None, threads=1, device="cpu")
    spec = make_spec(backbone=tiny, pool=POOL, measured=(), control=control, control_size=500 if control else None)
    plain, timed = (finish(replace(spec, latency=asked), worker) for asked in (False, True))
    assert (plain.state, timed.state) == ("complete", "complete"), timed.reason
    taken = timed.objectives.pop("latency")
    assert 0.01 < taken < 1000
    assert timed.objectives == plain.objectives
    assert timed.artifact == plain.artifact


def test_what_is_timed_is_one_text_at_a_time_through_open_slots_alone(
    tiny: BackboneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock a forward pass takes 2 ms for a text of the first task and 4 ms for one of the second."""
    resources = Resources(TASKS, cache=None, device="cpu")
    backbone = load_backbone(tiny, torch.device("cpu"))
    names = [task.spec.name for task in TASKS]
    kept, closed = Slot(1, "attn.v", "lora", 2), Slot(0, "ffn.out", "bias", 1)
    pool = Pool((kept, closed), backbone.shapes.hosts, names, generator=torch.Generator())
    heads = make_heads(dict.fromkeys(names, 2), backbone.shapes.hidden, generator=torch.Generator())
    structure = Structure(tuple((name, (kept,)) for name in names))
    passes: list[tuple[int, int]] = []
    clock = _clock(passes)
    monkeypatch.setattr(latency_module, "perf_counter", lambda: next(clock))
    with TaskModel(backbone, pool, heads) as model:
        hooks = _hooks(backbone.model)
        pool.keep(structure, {kept: 1.0})
        forward = model.forward

        def counted(batch: Batch, gates: Any) -> Any:
            passes.append((len(batch), int(batch.task_index[0])))
            return forward(batch, gates)

        monkeypatch.setattr(model, "forward", counted)
        assert latency(model, resources.evaluation(TASKS, backbone), structure) == pytest.approx(3.0)
        assert _hooks(backbone.model) == hooks - 1, "none is left where a slot has closed"
    assert {texts for texts, _ in passes} == {1}
    texts = min(TEXTS, len(TASKS[0].splits["validation"]))
    assert [task for _, task in passes] == [0] * (3 + 5 * texts) + [1] * (3 + 5 * texts)


def _clock(passes: list[tuple[int, int]]) -> Iterator[float]:
    """Goes on by 2 ms for a pass of task 0, and by 4 ms for one of task 1."""
    now, seen = 0.0, 0
    while True:
        if len(passes) > seen:
            seen = len(passes)
            now += 0.002 * (1 + passes[-1][1])
        yield now


def _hooks(model: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_waited_for(
    tiny: BackboneSpec, make_spec: Callable[..., TrialSpec], finish: Callable[..., TrialReport]
) -> None:
    worker = TrialWorker(TASKS, cache=None, threads=1, device="cuda")
    report = finish(make_spec(backbone=tiny, pool=POOL, measured=(), latency=True), worker)
    assert 0.01 < report.objectives["latency"] < 1000
