"""Every control on the real backbone, and each method's own rules."""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from slasearch.adapters.pool import Pool, candidate_slots, slot_cost
from slasearch.adapters.sites import hidden_states, host_shapes
from slasearch.errors import ConfigError
from slasearch.records import (
    BackboneSpec,
    FinalisationSpec,
    PoolSpec,
    SizeSpec,
    Slot,
    Structure,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)
from slasearch.registry import CONTROL_VARIANTS, CONTROLS, UNSIZED_CONTROLS
from slasearch.testing.tiny import TINY_FAMILIES, tiny_backbone
from slasearch.trial.backbone import Backbone, BackboneShapes, read_shapes
from slasearch.trial.controls._base import Adaptation, ModelControl, Wanted
from slasearch.trial.controls.adalora import AdaLoraAdaptation
from slasearch.trial.controls.copies import private_copy
from slasearch.trial.controls.dealing import deal
from slasearch.trial.controls.fusion import FusionAdaptation
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.run import TrialWorker
from slasearch.trial.train import StepPlan, Trainer

Spec = Callable[..., TrialSpec]
Finish = Callable[..., TrialReport]

MINILM = BackboneSpec("bundled:minilm")
SIZE = 5000
MODEL_CONTROLS = ("adalora", "prefix", "fusion", "full_fine_tuning")
NEVER_ABOVE = ("adalora_pool", "random", "random_best")
DEALT = [("lora", layout) for layout in CONTROL_VARIANTS["lora"]] + [("bottleneck", None), ("prefix_gated", None)]
AT_LEAST = ("lora", "lora_gradient", "adalora", "lora_xs", "bottleneck", "prefix", "prefix_gated")


def short(steps: int, **others: float) -> TrainingSpec:
    return dataclasses.replace(TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=steps, reports=1), **others)  # type: ignore[arg-type]


def without_seconds(report: TrialReport) -> TrialReport:
    return dataclasses.replace(report, costs=tuple(cost for cost in report.costs if cost.unit != "s"))


def paths(report: TrialReport) -> dict[str, set[Slot]]:
    tasks = {row.task for row in report.metrics}
    return {task: {row.slot for row in report.gates if row.open and row.task == task} for task in tasks}


@dataclasses.dataclass
class Session:
    """Every control once, with what the shared backbone and a searched trial were before."""

    reports: dict[str, TrialReport]
    weights: dict[str, Tensor]
    searched: TrialReport


@pytest.fixture(scope="module")
def session(make_spec: Spec, finish: Finish, worker: TrialWorker) -> Session:
    training = short(4)
    searched = finish(make_spec(training=training))
    state = worker.resources.backbone(MINILM).model.state_dict()
    weights = {name: value.clone() for name, value in state.items()}
    specs = {
        name: make_spec(training=training, measured=(), control=name, control_size=SIZE) for name in CONTROLS.names()
    }
    return Session({name: finish(spec) for name, spec in specs.items()}, weights, searched)


# ------------------------------------------------------------ all of them


@pytest.mark.parametrize("name", CONTROLS.names())
def test_a_control_scores_and_says_its_size(name: str, session: Session) -> None:
    report = session.reports[name]
    assert (report.state, report.reason) == ("complete", None)
    scores = [row.value for row in report.metrics if row.metric == "accuracy"]
    assert len(scores) == 2
    assert all(0 <= score <= 1 for score in scores)
    assert all(row.value == row.value for row in report.metrics)
    size = report.objectives["exported_parameters"]
    if name in NEVER_ABOVE:
        assert 0 < size <= SIZE
    elif name in AT_LEAST:
        assert SIZE <= size < 2 * SIZE
    else:
        assert name in UNSIZED_CONTROLS or name == "shared"
        assert (size == 0) == (name == "linear_probe")
    assert {"control.json", "adapter.json"} & set(report.artifact)


def test_controls_leave_the_backbone_and_other_trials_as_they_were(
    session: Session, make_spec: Spec, finish: Finish, worker: TrialWorker
) -> None:
    model = worker.resources.backbone(MINILM).model
    assert all(torch.equal(value, session.weights[name]) for name, value in model.state_dict().items())
    assert not any(weight.requires_grad for weight in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert without_seconds(finish(make_spec(training=short(4)))) == without_seconds(session.searched)


@pytest.mark.parametrize("name", [name for name in CONTROLS.names() if name != "full_fine_tuning"])
def test_the_same_control_gives_the_same_report(name: str, session: Session, make_spec: Spec, finish: Finish) -> None:
    torch.manual_seed(0)
    again = finish(make_spec(training=short(4), measured=(), control=name, control_size=SIZE))
    assert without_seconds(again) == without_seconds(session.reports[name])


@pytest.mark.parametrize("name", ["lora", "adalora_pool", "shared", "all_open", "adalora"])
def test_controls_of_tasks_that_train_independently(name: str, make_spec: Spec, finish: Finish) -> None:
    training = short(4, multitask="independent")  # type: ignore[arg-type]
    size = SizeSpec("budget", budget=SIZE, scope="per_task")
    report = finish(make_spec(training=training, measured=(), size=size, control=name, control_size=SIZE))
    assert (report.state, report.reason) == ("complete", None)
    if name != "all_open":
        most = {"lora": SIZE + 767, "adalora": SIZE + 768}.get(name, SIZE)
        assert report.objectives["exported_parameters"] <= most


@pytest.mark.parametrize("name", MODEL_CONTROLS)
def test_methods_with_modules_of_their_own_train_one_set_for_all_tasks(
    name: str, session: Session, make_spec: Spec, finish: Finish
) -> None:
    """Independent or not: the same modules, of the same size, with the same scores; and the summary says so."""
    training = short(4, multitask="independent")  # type: ignore[arg-type]
    report = finish(make_spec(training=training, measured=(), control=name, control_size=SIZE))
    joint = session.reports[name]
    assert report.objectives == joint.objectives
    assert report.metrics == joint.metrics
    assert "also where tasks train independently" in CONTROLS.get(name).facts.summary


@pytest.mark.parametrize("size", [4609, 2 * SIZE])
@pytest.mark.parametrize("name", ["lora", "lora_xs", "prefix_gated", "bottleneck", "random", "random_best"])
def test_tasks_that_train_independently_share_the_size_out(
    name: str, size: int, make_spec: Spec, finish: Finish
) -> None:
    """Their parts differ by a slot at most, and the sum keeps the rule of the control's size."""
    training = short(2, multitask="independent")  # type: ignore[arg-type]
    pool = PoolSpec(("attn.v", "ffn.out"), ("lora",), (1,))
    report = finish(make_spec(training=training, measured=(), pool=pool, control=name, control_size=size))
    parts = {
        task: [row.parameters for row in report.gates if row.open and row.task == task] for task in ("things", "mood")
    }
    assert not set.intersection(*paths(report).values())
    largest = max(map(max, parts.values()))
    total = sum(map(sum, parts.values()))
    assert abs(sum(parts["things"]) - sum(parts["mood"])) <= largest
    assert total == report.objectives["exported_parameters"]
    if name in NEVER_ABOVE:
        assert size - largest < total <= size
    else:
        assert size <= total < size + (768 if name == "lora" else largest)  # a first step is a whole module


# ------------------------------------------------------------ structures given beforehand


def shapes_of(family: str) -> BackboneShapes:
    model = tiny_backbone(family)
    return dataclasses.replace(
        read_shapes(MINILM), layers=2, hidden=16, family=family, hosts=host_shapes(model), parameters=1
    )


def structure(
    name: str, shapes: BackboneShapes, size: int, *, variant: str | None = None, seed: int = 0
) -> tuple[Slot, ...]:
    candidates = candidate_slots(PoolSpec(("attn.v", "ffn.out"), ("lora", "bias"), (1, 2)), layers=shapes.layers)
    found: tuple[Slot, ...] = CONTROLS.get(name).slots(Wanted(shapes, candidates, size, seed, variant))
    assert len(set(found)) == len(found), "no slot twice"
    return tuple(sorted(found))


def cost_of(slot: Slot, shapes: BackboneShapes) -> int:
    return slot_cost(slot, shapes.hosts).parameters


def last_raise(slot: Slot, shapes: BackboneShapes, least: int) -> int:
    if slot.rank == least:
        return cost_of(slot, shapes)
    return cost_of(slot, shapes) - cost_of(dataclasses.replace(slot, rank=slot.rank - 1), shapes)


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1, 200_000),
    name=st.sampled_from(
        [("lora", v) for v in CONTROL_VARIANTS["lora"]] + [("bottleneck", None), ("prefix_gated", None)]
    ),
    family=st.sampled_from(["minilm", "llama", "gpt2", "phi3"]),
)
def test_dealt_structures_are_never_smaller_and_one_raise_larger_at_most(
    size: int, name: tuple[str, str | None], family: str
) -> None:
    shapes = read_shapes(MINILM) if family == "minilm" else shapes_of(family)
    size = size if family == "minilm" else 1 + size % 3000
    slots = structure(name[0], shapes, size, variant=name[1])
    total = sum(cost_of(slot, shapes) for slot in slots)
    least = 2 if name[0] == "prefix_gated" else 1
    assert all(slot.rank >= least for slot in slots)
    assert size <= total < size + min(last_raise(slot, shapes, least) for slot in slots)


@settings(max_examples=100, deadline=None)
@given(size=st.integers(0, 20_000), seed=st.integers(0, 99))
def test_random_structures_are_full_and_never_larger(size: int, seed: int) -> None:
    shapes = read_shapes(MINILM)
    slots = structure("random", shapes, size, seed=seed)
    left = size - sum(cost_of(slot, shapes) for slot in slots)
    assert left >= 0
    assert len(slots) == 24 or left < 384 or all(slot.kind == "bias" for slot in set(slots))


def test_layouts_of_lora() -> None:
    shapes = read_shapes(MINILM)
    linear = ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out")
    half = ("attn.q", "attn.v", "attn.out")

    def places(variant: str | None, size: int) -> set[tuple[int, str, int]]:
        return {(slot.layer, slot.site, slot.rank) for slot in structure("lora", shapes, size, variant=variant)}

    all_qv = {(layer, site, 1) for layer in range(6) for site in ("attn.q", "attn.v")}
    assert places(None, 9216) == places("qv", 9216) == all_qv
    assert places("qv", 2304) == {(2, "attn.v", 1), (5, "attn.v", 1), (2, "attn.q", 1)}
    assert places("qv_last", 9216) == {(layer, site, 2) for layer in (3, 4, 5) for site in ("attn.q", "attn.v")}
    assert places("qv_last", 2304) == {(layer, "attn.v", 1) for layer in (3, 4, 5)}
    assert places("linear_last", 9216) == {(5, s, 1) for s in linear} | {(4, s, 1) for s in half}
    assert places("linear_first", 9216) == {(0, s, 1) for s in linear} | {(1, s, 1) for s in half}
    assert places("linear_even", 2 * 6912) == {(layer, s, 1) for layer in (2, 5) for s in linear}
    assert places("attn_out", 9216) == {(layer, "attn.out", 2) for layer in range(6)}
    assert places("linear_last", 6 * 6912 + 768) == {
        (layer, s, 2 if (layer, s) == (5, "attn.v") else 1) for layer in range(6) for s in linear
    }


def test_structures_without_a_size_to_match() -> None:
    shapes = read_shapes(MINILM)
    for size in (0, 777, 10**6):
        assert len(structure("all_open", shapes, size)) == 6 * 2 * 3
        eight = structure("lora_r8", shapes, size)
        assert {(s.layer, s.site, s.kind, s.rank) for s in eight} == {
            (layer, site, "lora", 8) for layer in range(6) for site in ("attn.q", "attn.v")
        }
        shifts = structure("bitfit", shapes, size)
        sites = {"attn.q", "attn.v", "attn.out", "ffn.in", "ffn.out", "block"}
        assert {(s.layer, s.site, s.kind) for s in shifts} == {(n, site, "bias") for n in range(6) for site in sites}
        assert structure("linear_probe", shapes, size) == ()


def test_bottlenecks_fill_every_layer_evenly_or_the_top() -> None:
    shapes = read_shapes(MINILM)
    one = cost_of(Slot(0, "attn.out", "bottleneck", 1), shapes)
    top = structure("bottleneck", shapes, 3 * one)
    assert {(s.layer, s.site, s.rank) for s in top} == {(5, "ffn.out", 1), (5, "attn.out", 1), (4, "ffn.out", 1)}
    ranks = [slot.rank for slot in structure("bottleneck", shapes, 40_000)]
    assert len(ranks) == 12
    assert max(ranks) - min(ranks) <= 1


def test_a_drawn_structure_is_told_by_its_number_alone() -> None:
    shapes = read_shapes(MINILM)
    first = structure("random_best", shapes, SIZE, variant="1", seed=1)
    assert structure("random_best", shapes, SIZE, variant="1", seed=2) == first
    drawn = {structure("random_best", shapes, SIZE, variant=str(number)) for number in range(8)}
    assert len(drawn) == 8


def test_dealing() -> None:
    assert deal(["a", "b"], 0, lambda _, rank: rank) == {}
    assert deal(["a", "b"], 5, lambda _, rank: rank) == {"a": 3, "b": 2}
    assert deal(["a", "b"], 50, lambda _, rank: rank, most=lambda place: 3 if place == "a" else 1) == {"a": 3, "b": 1}
    costs: Mapping[str, int] = {"dear": 10, "cheap": 3}
    assert deal(["dear", "cheap"], 12, lambda place, rank: rank * costs[place]) == {"dear": 1, "cheap": 1}
    assert deal(["dear", "cheap"], 2, lambda place, rank: rank * costs[place]) == {"cheap": 1}
    assert deal(["a", "b"], 5, lambda _, rank: rank, least=2) == {"a": 3, "b": 2}


# ------------------------------------------------------------ gated trials


@pytest.mark.parametrize("mode", ["budget", "penalty"])
@pytest.mark.parametrize("name", ["shared", "adalora_pool"])
def test_one_structure_for_all_tasks(name: str, mode: str, make_spec: Spec, finish: Finish) -> None:
    size = SizeSpec("budget", budget=9000) if mode == "budget" else SizeSpec("penalty", 1.0)
    pool = PoolSpec(("attn.q", "attn.v", "ffn.out"), ("lora",), (1,))
    report = finish(make_spec(training=short(8), measured=(), pool=pool, size=size, control=name, control_size=SIZE))
    found = paths(report)
    assert found["things"] == found["mood"]
    assert found["things"]
    if mode == "budget" or name == "adalora_pool":
        assert report.objectives["exported_parameters"] <= SIZE


def test_adalora_on_the_pool_has_no_gates_and_fills_the_size_by_saliency(make_spec: Spec, finish: Finish) -> None:
    pool = PoolSpec(("attn.v", "ffn.out"), ("lora", "bias"), (1,))
    end = FinalisationSpec(share=0.3)
    spec = make_spec(training=short(12), measured=(), pool=pool, finalisation=end, control_size=SIZE)
    report = finish(dataclasses.replace(spec, control="adalora_pool"))
    assert {row.value for row in report.gates} == {0.0, 1.0}
    kept = {row.slot for row in report.gates if row.open}
    spent = sum(row.parameters for row in report.gates if row.open and row.task == "mood")
    assert SIZE - 1920 < spent == report.objectives["exported_parameters"] <= SIZE
    first = itertools.accumulate(row.parameters for row in report.gates if row.task == "mood")
    assert kept != {row.slot for row, total in zip(report.gates, first, strict=False) if total <= SIZE}


# ------------------------------------------------------------ methods with modules of their own


def trained(
    spec: TrialSpec, worker: TrialWorker, watch: Callable[[int, Adaptation], None] = lambda step, adaptation: None
) -> Adaptation:
    """A method after the training that a trial gives it."""
    backbone, tasks = worker.resources.backbone(spec.backbone), worker.resources.tasks(spec)
    steps, names = spec.training.steps or 0, [task.spec.name for task in tasks]
    adaptation: Adaptation = CONTROLS.get(str(spec.control)).adapt(backbone, spec, steps=steps, seed=3)
    source = torch.Generator().manual_seed(0)
    pool = Pool((), backbone.shapes.hosts, names, generator=source)
    heads = make_heads({task.spec.name: len(task.labels) for task in tasks}, 384, generator=source)
    with TaskModel(adaptation.backbone, pool, heads, adaptation=adaptation) as model:
        trainer = Trainer(
            model,
            worker.resources.training(tasks, ("train",), backbone, spec),
            None,
            weights=[1.0] * len(tasks),
            training=spec.training,
            plan=StepPlan(0, 0, steps),
            generator=source,
        )
        for step in trainer.run_fixed(Structure(tuple((name, ()) for name in names))):
            watch(step, adaptation)
    return adaptation


def hidden(backbone: Backbone, *, token_type: int = 0) -> Tensor:
    ids = torch.arange(5, 19).view(2, 7)
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if backbone.shapes.family == "bert":
        inputs["token_type_ids"] = torch.full_like(ids, token_type)
    with torch.no_grad():
        return hidden_states(backbone.model(**inputs)[0])[mask.bool()]


def with_delta(backbone: Backbone, deltas: Iterator[tuple[nn.Module, Tensor]]) -> Tensor:
    with torch.no_grad():
        for module, delta in deltas:
            module.get_parameter("weight").add_(delta)
    return hidden(backbone)


@pytest.mark.parametrize("size", [2000, 9216])
def test_ranks_of_adalora_change_and_come_to_the_size(size: int, make_spec: Spec, worker: TrialWorker) -> None:
    seen: list[dict[str, int]] = []

    def watch(step: int, adaptation: Adaptation) -> None:
        assert isinstance(adaptation, AdaLoraAdaptation)
        seen.append(adaptation.ranks())

    adaptation = trained(make_spec(training=short(16), control="adalora", control_size=size), worker, watch)
    totals = [sum(ranks.values()) for ranks in seen]
    assert totals[0] == totals[1] == 36
    assert totals == sorted(totals, reverse=True)
    assert len(set(totals)) >= 4
    assert len(set(totals[8:])) == 1  # nothing changes after the last allocation
    assert len(set(seen[-1].values())) > 1
    exported = adaptation.exported_parameters()
    assert size <= exported < size + 768
    assert exported == sum(tensor.numel() for tensor in adaptation.tensors().values())
    (event,) = adaptation.events()
    assert f"kept {totals[-1]} of 36 triplets" in event.message


@pytest.mark.parametrize("size", [0, 1, 768, 769, 2304, 9216, 9217, 30_000])
def test_adalora_is_never_smaller_and_less_than_a_cheap_triplet_larger(
    size: int, make_spec: Spec, worker: TrialWorker
) -> None:
    adaptation = trained(make_spec(training=short(5), control="adalora", control_size=size), worker)
    exported = adaptation.exported_parameters()
    assert max(size, 1) <= exported <= max(size, 1) + 767
    assert exported == sum(tensor.numel() for tensor in adaptation.tensors().values())


def test_adalora_keeps_triplets_by_the_importance_of_peft(make_spec: Spec, worker: TrialWorker) -> None:
    seen: list[set[tuple[str, int]]] = []

    def watch(step: int, adaptation: Adaptation) -> None:
        assert isinstance(adaptation, AdaLoraAdaptation)
        if step == 7:  # the last allocation is that of step 8, by the importance as of step 7
            allocator, model = adaptation._tuner.rankallocator, adaptation._tuner.model
            importance = {
                (f"{path}.lora_E.default", index): float(value)
                for path in adaptation.ranks()
                for index, value in enumerate(adaptation._importance(path))
            }
            ranked = sorted(importance, key=lambda triplet: -importance[triplet])
            for count in (35, 20, 9, 4):
                pattern = allocator.mask_to_budget(model, count)
                seen.append({(key, index) for key, mask in pattern.items() for index, kept in enumerate(mask) if kept})
                assert set(ranked[:count]) == seen[-1]

    adaptation = trained(make_spec(training=short(16), control="adalora", control_size=9216), worker, watch)
    assert isinstance(adaptation, AdaLoraAdaptation)
    kept = {f"{path}.lora_E.default" for path, rank in adaptation.ranks().items() if rank}
    assert {path for path, _ in seen[-1]} <= kept, "at 9,216 the four best fit whatever they cost"


def test_an_export_of_adalora_is_what_was_trained(make_spec: Spec, worker: TrialWorker) -> None:
    adaptation = trained(
        make_spec(training=short(10, learning_rate=0.05), control="adalora", control_size=SIZE), worker
    )
    plain = private_copy(worker.resources.backbone(MINILM))
    found = adaptation.tensors()
    modules = {name.removesuffix(".A") for name in found if name.endswith(".A")}
    deltas = ((plain.model.get_submodule(name), found[f"{name}.B"] @ found[f"{name}.A"]) for name in modules)
    before = hidden(plain)
    torch.testing.assert_close(with_delta(plain, deltas), hidden(adaptation.backbone), rtol=0, atol=1e-5)
    assert (hidden(plain) - before).abs().max() > 1e-3


def test_lora_xs_spreads_its_ranks_evenly() -> None:
    slots = CONTROLS.get("lora_xs").slots(Wanted(read_shapes(MINILM), (), 9216))
    assert {(slot.layer, slot.site) for slot in slots} == {
        (layer, site) for layer in range(6) for site in ("attn.q", "attn.v", "attn.out", "ffn.out")
    }
    assert {slot.rank for slot in slots} == {19, 20}
    assert 9216 <= sum(slot.rank**2 for slot in slots) < 9216 + 41


def test_stages_of_fusion(make_spec: Spec, worker: TrialWorker) -> None:
    seen: list[dict[str, list[Tensor]]] = []

    def watch(step: int, adaptation: Adaptation) -> None:
        seen.append({group: [w.detach().clone() for w in found] for group, found in adaptation.weights().items()})

    def moved(group: str, first: int, last: int) -> bool:
        return any(not torch.equal(a, b) for a, b in zip(seen[first][group], seen[last][group], strict=True))

    adaptation = trained(make_spec(training=short(6), control="fusion"), worker, watch)
    assert isinstance(adaptation, FusionAdaptation)
    assert moved("adapters", 0, 2)
    assert not moved("adapters", 2, 5)
    assert not moved("fusion", 0, 2)
    assert moved("fusion", 2, 5)
    assert adaptation.exported_parameters() == 2 * 6 * (2 * 384 * 24 + 24 + 384 + 3 * 384**2)


def test_an_example_passes_its_own_adapter_and_then_all_of_them(make_spec: Spec, worker: TrialWorker) -> None:
    def states(adaptation: Adaptation) -> Tensor:
        adaptation.before_batch(torch.tensor([0, 0]))
        return hidden(adaptation.backbone)

    spec = make_spec(training=short(2), control="fusion")
    control, backbone = CONTROLS.get("fusion"), worker.resources.backbone(MINILM)
    first = control.adapt(backbone, spec, steps=8, seed=1)
    torch.testing.assert_close(states(first), hidden(backbone))  # bottlenecks start as identity
    for fusing in (False, True):
        adaptation = control.adapt(backbone, spec, steps=8, seed=1)
        if fusing:
            adaptation.after_step(4, 8)
        before = states(adaptation)
        with torch.no_grad():
            for adapters in (part.adapters for part in adaptation._fused.values()):
                adapters[1].up.normal_(0, 1)
        assert torch.equal(states(adaptation), before) is not fusing
    assert adaptation.loss() is not None


def test_a_prefix_comes_in_whole_tokens_and_keeps_token_types(make_spec: Spec, worker: TrialWorker) -> None:
    backbone = worker.resources.backbone(MINILM)
    for size, tokens in ((1, 1), (4608, 1), (4609, 2), (9216, 2)):
        spec = make_spec(control="prefix", control_size=size)
        adaptation = CONTROLS.get("prefix").adapt(backbone, spec, steps=2, seed=1)
        assert adaptation.exported_parameters() == tokens * 4608
    assert hidden(adaptation.backbone).shape == hidden(backbone).shape
    assert not torch.allclose(hidden(adaptation.backbone), hidden(backbone))
    assert not torch.allclose(hidden(adaptation.backbone), hidden(adaptation.backbone, token_type=1))


def test_rates_of_their_own(make_spec: Spec, worker: TrialWorker) -> None:
    def step(name: str, group: str) -> float:
        spec = make_spec(training=short(1, learning_rate=1e-3, weight_decay=0.0), control=name, control_size=SIZE)
        adaptation = CONTROLS.get(name).adapt(worker.resources.backbone(MINILM), spec, steps=1, seed=3)
        before = adaptation.weights()[group][0].detach().clone()
        after = trained(spec, worker).weights()[group][0].detach()
        return float((after - before).abs().max())

    # The first step of Adam is the learning rate.
    assert step("full_fine_tuning", "backbone") == pytest.approx(1e-5, rel=1e-2)
    assert step("prefix", "prefix") == pytest.approx(1e-2, rel=1e-2)


def tiny(backbone: Backbone, family: str, dtype: torch.dtype = torch.float32) -> Backbone:
    return dataclasses.replace(backbone, model=tiny_backbone(family, dtype=dtype), shapes=shapes_of(family))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", MODEL_CONTROLS)
def test_methods_fit_every_model_family(name: str, dtype: torch.dtype, make_spec: Spec, worker: TrialWorker) -> None:
    control = CONTROLS.get(name)
    assert isinstance(control, ModelControl)
    spec = make_spec(control=name, control_size=100)
    for family in TINY_FAMILIES:
        backbone = tiny(worker.resources.backbone(MINILM), family, dtype)
        if name == "prefix" and family in ("distilbert", "deberta-v2"):
            with pytest.raises(ConfigError, match="expected a backbone that takes past keys and values"):
                control.adapt(backbone, spec, steps=4, seed=1)
            continue
        adaptation = control.adapt(backbone, spec, steps=4, seed=1)
        ids = torch.arange(3, 13).view(2, 5)
        adaptation.before_batch(torch.tensor([0, 1]))
        output = hidden_states(adaptation.backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids))[0])
        assert output.shape == (2, 5, 16)
        output.float().square().sum().backward()
        found = [weight for group in adaptation.weights().values() for weight in group]
        assert any(weight.grad is not None and float(weight.grad.abs().sum()) > 0 for weight in found), family
        assert adaptation.exported_parameters() > 0
        assert all(not weight.requires_grad for weight in backbone.model.parameters())


def test_gradient_checkpointing_changes_nothing(
    session: Session, make_spec: Spec, finish: Finish, worker: TrialWorker
) -> None:
    checkpointed = TrialWorker(worker.resources.tasks(make_spec()), cache=None, threads=1, device="cpu")
    for name in ("adalora", "prefix", "fusion"):
        spec = make_spec(training=short(4), measured=(), control=name, control_size=SIZE)
        backbone = dataclasses.replace(MINILM, gradient_checkpointing=True)
        report = finish(dataclasses.replace(spec, backbone=backbone), checkpointed)
        assert (report.state, report.reason) == ("complete", None)
        for ours, theirs in zip(report.metrics, session.reports[name].metrics, strict=True):
            assert ours.value == pytest.approx(theirs.value, abs=1e-4)


# ------------------------------------------------------------ what does not go


def test_fusion_of_one_task_is_refused(make_spec: Spec, finish: Finish) -> None:
    spec = make_spec()
    report = finish(dataclasses.replace(spec, tasks=spec.tasks[:1], control="fusion"))
    assert report.reason == (
        "ConfigError: control fusion: expected two tasks or more to fuse, got 1. Leave this control out."
    )


def test_adalora_wants_steps_to_prune_in(make_spec: Spec, finish: Finish) -> None:
    report = finish(make_spec(training=short(1), control="adalora", control_size=SIZE))
    assert report.reason == (
        "ConfigError: control adalora: expected 2 steps or more, in which it prunes, got 1. "
        "Raise training.steps or training.epochs, or leave this control out."
    )
    assert (report.state, report.budget, report.costs) == ("fail", 0, ()), "it is refused before it trains"
    assert finish(make_spec(training=short(2), control="adalora", control_size=SIZE)).state == "complete"


@pytest.mark.parametrize("name", ["adalora", "prefix"])
def test_without_peft_there_is_advice(
    name: str, make_spec: Spec, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    report = finish(make_spec(control=name, control_size=SIZE))
    assert report.reason == (
        f"MissingExtraError: control {name}: expected the package peft, got none. Run `pip install -e '.[peft]'`."
    )
