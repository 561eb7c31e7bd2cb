"""A gated pool in a user's own model and loop, and the example with the Hugging Face Trainer."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import slasearch
from slasearch.errors import BackboneError, ConfigError
from slasearch.records import BackboneSpec
from slasearch.testing.tiny import run_tiny, tiny_backbone
from slasearch.trial.backbone import backbone_folder

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "hf_trainer.py"


def train(model: nn.Module, gated: Any, steps: int, *, task: torch.Tensor | None = None) -> list[float]:
    """A loop as a user writes it: pull the hidden states of some inputs towards a target."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    target = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(9))
    model.train()
    penalties = []
    for step in range(steps):
        if task is not None:
            gated.set_tasks(task)
        penalty = gated.penalty()
        loss = (run_tiny(model, seed=step % 4) - target).square().mean() + penalty
        loss.backward()
        optimizer.step()
        gated.step()
        optimizer.zero_grad()
        penalties.append(float(penalty.detach()))
    model.eval()
    return penalties


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("finish", ["continue", "progressive"])
def test_a_pool_learns_its_structure_in_a_users_own_loop(family: str, finish: Any, tmp_path: Path) -> None:
    model = tiny_backbone(family)
    plain = run_tiny(model)
    gates = {"learning_rate": 0.2, "warm_up": 0.2}
    gated = slasearch.attach(model, "granular", steps=40, budget=250, gates=gates, finish=finish)
    torch.testing.assert_close(run_tiny(model), plain, rtol=0, atol=1e-6)
    penalties = train(model, gated, 40)
    assert penalties[:8] == [0.0] * 8, "no penalty during the warm-up"
    assert max(penalties[8:]) > 0
    assert gated.ready
    structure = gated.finalise()
    assert gated.finalise() is structure
    assert 0 < gated.pool.parameter_count() <= 250
    train(model, gated, 10)
    wanted = run_tiny(model)
    gated.export(tmp_path / "adapter")
    gated.detach()
    assert torch.equal(run_tiny(model), plain), "a detached model computes what it did before"
    with slasearch.load_adapter(tiny_backbone(family), tmp_path / "adapter") as adapter:
        assert adapter.tasks == ("task",)
        torch.testing.assert_close(run_tiny(adapter._model), wanted, rtol=0, atol=1e-5)


def test_tasks_take_paths_of_their_own() -> None:
    model = tiny_backbone("bert")
    gated = slasearch.attach(
        model,
        {"sites": ["attn.v", "ffn.out"], "kinds": ["lora", "bias"], "ranks": [1]},
        steps=20,
        budget=100,
        scope="per_task",
        tasks=("a", "b"),
        gates={"family": "sigmoid", "learning_rate": 0.3},
    )
    train(model, gated, 20, task=torch.tensor([0, 1, 1]))
    openness = gated.openness()
    assert openness["a"] != openness["b"]
    structure = gated.finalise()
    costs = {slot: cost.parameters for slot, cost in gated.pool.costs.items()}
    assert all(0 < sum(costs[slot] for slot in structure.slots_of(task)) <= 100 for task in ("a", "b"))
    gated.set_tasks(torch.tensor([0]))
    first = run_tiny(model)
    gated.set_tasks(torch.tensor([1]))
    assert not torch.equal(run_tiny(model), first)


def test_a_sparsity_weight_closes_gates() -> None:
    sizes = []
    for weight in (0.0, 30.0):
        model = tiny_backbone("bert")
        gated = slasearch.attach(model, steps=40, sparsity_weight=weight, gates={"learning_rate": 0.2})
        train(model, gated, 40)
        gated.finalise()
        assert gated.events
        sizes.append(gated.pool.parameter_count())
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize(("schedule", "half"), [(None, 0.5), ("linear", 0.5), ("cosine", 0.5), ("cubic", 0.875)])
def test_a_ramp_brings_lambda_to_its_weight(schedule: Any, half: float) -> None:
    model = tiny_backbone("bert")
    gates = {"learning_rate": 1e-6, "warm_up": 0.0}
    gated = slasearch.attach(model, steps=20, sparsity_weight=3.0, ramp=0.5, schedule=schedule, gates=gates)
    penalties = train(model, gated, 20)
    assert penalties[4] == pytest.approx(half * penalties[-1], rel=1e-3)
    assert penalties[9:] == pytest.approx(penalties[-1:] * 11, rel=1e-3)
    assert penalties[-1] == pytest.approx(3.0 * 0.9, rel=1e-2)


@pytest.mark.parametrize("finish", ["continue", "progressive"])
@pytest.mark.parametrize("tasks", [("one",), ("one", "two")])
@pytest.mark.parametrize(("ranking", "layer"), [("gate", 0), ("saliency", 1)])
def test_a_ranking_decides_what_stays(finish: Any, tasks: tuple[str, ...], ranking: Any, layer: int) -> None:
    model = tiny_backbone("bert")
    pool = {"sites": ["ffn.out"], "kinds": ["bias", "lora"], "ranks": [1]}
    options: dict[str, Any] = {"finish": finish, "ranking": ranking, "gates": {"learning_rate": 1e-6}}
    gated = slasearch.attach(model, pool, steps=20, budget=56, tasks=tasks, **options)
    state = gated.state_dict()
    for column, slot in enumerate(gated.pool.slots):
        if slot.layer == 0:  # gates like these best, and they do nothing to the loss
            state["learner"]["gates"]["logits"][:, column] += 3
            for module in gated.pool.modules_of(slot):
                module.requires_grad_(False)
    gated.load_state_dict(state)
    train(model, gated, 20, task=torch.tensor([0, len(tasks) - 1, 0]))
    assert {slot.layer for slot in gated.finalise().union} == {layer}
    assert 0 < gated.pool.parameter_count() <= 56


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "attach: budget: expected exactly one of sparsity_weight and budget, got neither"),
    ({"budget": 100, "sparsity_weight": 1.0}, "attach: budget: expected exactly one .*, got both"),
    ({"budget": 3}, r"attach: budget: expected at least 16 \(the cheapest slot\), got 3"),
    ({"budget": 0}, "attach: budget: expected a number of at least 1, got 0"),
    ({"budget": 2.5}, "attach: budget: expected a whole number, got 2.5"),
    ({"sparsity_weight": -0.5}, "attach: sparsity_weight: expected a number of at least 0, got -0.5"),
    ({"sparsity_weight": float("nan")}, "attach: sparsity_weight: expected a finite number, got NaN"),
    ({"budget": 100, "steps": 0}, "attach: steps: expected a number of at least 1, got 0"),
    ({"budget": 100, "tasks": ()}, "attach: tasks: expected at least 1 entries"),
    ({"budget": 100, "tasks": ("a", "b", "a")}, "attach: tasks: expected different names, got a, b, a"),
    ({"budget": 100, "tasks": "abc"}, 'attach: tasks: expected a list, got "abc"'),
    ({"budget": 100, "tasks": ("../up",)}, r"attach: tasks.0: expected text that matches .*, got \"../up\""),
    ({"budget": 100, "seed": -1}, "attach: seed: expected a number of at least 0, got -1"),
    ({"budget": 100, "pool": "lora"}, "attach: pool.preset: expected a known pool preset .*, got 'lora'"),
    ({"budget": 100, "pool": 5}, "attach: pool: expected a mapping of fields, got 5"),
    ({"budget": 100, "pool": {"kinds": ["lore"]}}, "attach: pool.kinds: expected a known .*, got 'lore'"),
    ({"budget": 100, "pool": {"kind": ["lora"]}}, "attach: pool.kind: expected .* did you mean 'kinds'"),
    ({"budget": 100, "pool": {"layers": [7]}}, "attach: pool.layers: expected numbers from 0 to 1, got 7"),
    (
        {"budget": 100, "pool": {"ranks": [1, 17]}},
        r"attach: pool: expected ranks of 16 \(.*hidden size\) at most, got 17",
    ),
    (
        {"budget": 100, "pool": {"ranks": {"categorical": [[1], [2]]}}},
        "attach: pool.ranks: expected a value, as nothing is searched here, got a distribution",
    ),
    (
        {"budget": 100, "pool": {"kinds": ["lora_xs"], "kind_ranks": {"lora_xs": {"categorical": [[4], [8]]}}}},
        "attach: pool.kind_ranks.lora_xs: expected a value, as nothing is searched here, got a distribution",
    ),
    ({"budget": 100, "gates": {"rate": 1}}, "attach: gates.rate: expected one of family, .*, got an unknown field"),
    ({"budget": 100, "gates": {"learning_rate": 0}}, "attach: gates.learning_rate: expected a number above 0, got 0"),
    ({"budget": 100, "gates": {"learning_rate": {"log_float": [0.01, 0.1]}}}, "gates.learning_rate: .* a distribution"),
    ({"budget": 100, "gates": {"learn_on": "gate"}}, "attach: gates.learn_on: expected auto or train"),
    ({"budget": 100, "pool": {"start": "gradient"}}, "attach: pool.start: expected random"),
    ({"sparsity_weight": 1.0, "gates": {"family": "budget"}}, "attach: budget: expected a budget with the gate family"),
    ({"sparsity_weight": 1.0, "finish": "progressive"}, "attach: budget: expected a budget with finish progressive"),
    ({"sparsity_weight": 1.0, "ranking": "saliency"}, "attach: budget: expected a budget with ranking saliency"),
    ({"sparsity_weight": 1.0, "scope": "per_task"}, "attach: budget: expected a budget with scope per_task"),
    ({"budget": 100, "scope": "tasks"}, "attach: scope: expected 'union' or 'per_task', got \"tasks\""),
    ({"budget": 100, "ranking": "ablation"}, "attach: ranking: expected 'gate' or 'saliency', got \"ablation\""),
    ({"budget": 100, "finish": "stop"}, "attach: finish: expected 'continue' or 'progressive', got \"stop\""),
    ({"budget": 100, "finish": "retrain"}, r"attach: finish: expected .*finalise\(\), then train a fresh model"),
    ({"budget": 100, "ramp": 0.5}, "attach: ramp: expected nothing with a budget.*, got 0.5"),
    ({"budget": 100, "schedule": "cubic"}, "attach: schedule: expected nothing with a budget"),
    ({"sparsity_weight": 1.0, "ramp": 1.5}, "attach: ramp: expected a number of at most 1, got 1.5"),
]


@pytest.mark.parametrize(("arguments", "wanted"), WRONG, ids=[wanted[8:60] for _, wanted in WRONG])
def test_what_does_not_fit_is_told_and_nothing_attached(arguments: dict[str, Any], wanted: str) -> None:
    model = tiny_backbone("bert").requires_grad_(True)
    plain = run_tiny(model)
    with pytest.raises(ConfigError, match=wanted):
        slasearch.attach(model, **{"pool": "granular", "steps": 10, **arguments})
    assert torch.equal(run_tiny(model), plain)
    assert not any("slasearch" in name for name, _ in model.named_modules())
    assert all(parameter.requires_grad for parameter in model.parameters()), "nor frozen"


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        slasearch.attach(tiny_backbone("bert"), {"kinds": ["lore"]}, steps=0, budget=100, gates={"threshold": 2})
    assert [line.split(": ")[1] for line in caught.value.problems] == ["pool.kinds", "gates.threshold", "steps"]


def test_a_second_pool_is_refused_until_the_first_is_gone() -> None:
    model = AutoModelForSequenceClassification.from_config(tiny_backbone("bert").config)
    first = slasearch.attach(model, steps=10, budget=1000)
    for again in (model, model.base_model):
        with pytest.raises(ConfigError, match=r"expected a model without a gated pool.*detach\(\)"):
            slasearch.attach(again, steps=10, budget=1000)
    first.detach()
    slasearch.attach(model.base_model, steps=10, budget=1000)


def test_an_unknown_family_is_told() -> None:
    with pytest.raises(BackboneError, match="expected one of"):
        slasearch.attach(nn.Sequential(nn.Linear(2, 2)), steps=10, budget=100)


def test_export_waits_for_the_structure(tmp_path: Path) -> None:
    gated = slasearch.attach(tiny_backbone("bert"), steps=10, budget=1000)
    with pytest.raises(ConfigError, match=r"Call finalise\(\) first"):
        gated.export(tmp_path)


def test_what_the_trainer_example_leaves_is_the_trained_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate", reason="the Trainer needs accelerate (extra peft)")
    spec = importlib.util.spec_from_file_location("hf_trainer", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    trained: list[Any] = []

    class Kept(example.GatedTrainer):  # type: ignore[name-defined, misc]
        def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
            trained.append(model)
            super().__init__(model, *args, **kwargs)

    monkeypatch.setattr(example, "GatedTrainer", Kept)
    assert 0 < example.main(tmp_path, examples=64, validation=64, epochs=2) <= 1

    folder = backbone_folder(BackboneSpec("bundled:minilm"))
    texts = ["what a lovely morning, thank you all", "stuck in traffic again"]
    inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).eval()
    assert not model.load_state_dict(load_file(tmp_path / "head.safetensors"), strict=False).unexpected_keys
    with torch.no_grad():
        expected, head_alone = trained[0].eval().cpu()(**inputs).logits, model(**inputs).logits
        slasearch.load_adapter(model, tmp_path / "adapter")
        found = model(**inputs).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(head_alone, expected, atol=1e-3), "without the adapter it is another model"
