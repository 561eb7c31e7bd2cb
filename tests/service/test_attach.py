"""A gated pool in a user's own model and loop, and the example with the Hugging Face Trainer."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import slasearch
from slasearch.errors import BackboneError, ConfigError
from slasearch.testing.tiny import run_tiny, tiny_backbone

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


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, "expected exactly one of sparsity_weight and budget"),
        ({"budget": 100, "sparsity_weight": 1.0}, "expected exactly one of sparsity_weight and budget"),
        ({"budget": 3}, "expected at least 16"),
        ({"sparsity_weight": 1.0, "finish": "progressive"}, "expected a budget with finish progressive"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_attached(arguments: dict[str, Any], wanted: str) -> None:
    model = tiny_backbone("bert")
    plain = run_tiny(model)
    with pytest.raises(ConfigError, match=wanted):
        slasearch.attach(model, "granular", steps=10, **arguments)
    assert torch.equal(run_tiny(model), plain)
    assert not any("slasearch" in name for name, _ in model.named_modules())


def test_an_unknown_family_is_told() -> None:
    with pytest.raises(BackboneError, match="expected one of"):
        slasearch.attach(nn.Sequential(nn.Linear(2, 2)), steps=10, budget=100)


def test_export_waits_for_the_structure(tmp_path: Path) -> None:
    gated = slasearch.attach(tiny_backbone("bert"), steps=10, budget=1000)
    with pytest.raises(ConfigError, match=r"Call finalise\(\) first"):
        gated.export(tmp_path)


def test_the_trainer_example_runs(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="the Trainer needs accelerate (extra peft)")
    spec = importlib.util.spec_from_file_location("hf_trainer", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    accuracy = example.main(tmp_path, examples=64, epochs=2)
    assert 0 < accuracy <= 1
    assert (tmp_path / "adapter" / "adapter.json").is_file()
