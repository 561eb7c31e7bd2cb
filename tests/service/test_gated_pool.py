"""A gated pool at work: the tasks of a batch, models that are moved or cast, resumed runs, and what an export says."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

import slasearch
from slasearch.errors import ArtifactError, ConfigError, StorageError, TaskError
from slasearch.testing.tiny import run_tiny, save_tiny, tiny_backbone

META = torch.device("meta")
SMALL = {"sites": ["attn.v", "ffn.out"], "kinds": ["lora", "bias"], "ranks": [1]}


def attached(model: nn.Module, **more: Any) -> Any:
    """A small pool with a budget, 24 steps."""
    arguments = {"pool": SMALL, "steps": 24, "budget": 100, "gates": {"learning_rate": 0.2}}
    return slasearch.attach(model, **{**arguments, **more})


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)


def take(model: nn.Module, gated: Any, optimizer: torch.optim.Optimizer, steps: range, **run: Any) -> None:
    """Steps of a user's loop, each with data and dropout of its own number."""
    model.train()
    for step in steps:
        torch.manual_seed(step)
        output = run_tiny(model, seed=step % 4, **run)
        loss = (output - 1).square().mean() + gated.penalty()
        loss.backward()
        optimizer.step()
        gated.step()
        optimizer.zero_grad()
    model.eval()


# ---------------------------------------------------------------- tasks of a batch


def two_tasks() -> tuple[nn.Module, Any]:
    model = tiny_backbone("bert")
    return model, attached(model, tasks=("a", "b"))


@pytest.mark.parametrize("done", [False, True], ids=["gates", "final"])
def test_numbers_of_another_length_than_the_batch_are_refused(done: bool) -> None:
    model, gated = two_tasks()
    if done:
        gated.finalise()
    with pytest.raises(TaskError, match=r"expected to be called before a forward pass, as there are 2 tasks"):
        run_tiny(model)
    for told in ([0, 1], [0, 1, 1, 0]):
        gated.set_tasks(torch.tensor(told))
        with pytest.raises(TaskError, match=f"expected one number, or 3 for a batch of 3 examples, got {len(told)}"):
            run_tiny(model)
    gated.set_tasks([1, 0, 1])
    run_tiny(model)
    gated.set_tasks(torch.tensor(1))
    run_tiny(model)
    run_tiny(model, examples=2)


@pytest.mark.parametrize(
    ("told", "got"), [([0, 2], "2"), ([-1], "-1"), ([0.5], "0.5"), ([], "none"), (torch.tensor([[7]]), "7")]
)
def test_numbers_that_are_no_tasks_are_refused(told: Any, got: str) -> None:
    _, gated = two_tasks()
    with pytest.raises(TaskError, match=f"set_tasks: expected numbers of tasks from 0 to 1, got {got}"):
        gated.set_tasks(told)


def test_each_example_takes_its_tasks_path() -> None:
    model, gated = two_tasks()
    optimizer = optimizer_of(model)
    gated.set_tasks([0, 1, 1])
    take(model, gated, optimizer, range(24))
    gated.finalise()
    mixed = run_tiny(model)
    for task in (0, 1):
        gated.set_tasks([task])
        rows = torch.tensor([0, 1, 1]) == task
        torch.testing.assert_close(run_tiny(model)[rows], mixed[rows], rtol=0, atol=1e-6)


def test_a_model_with_a_head_takes_embeddings_too() -> None:
    model = AutoModelForSequenceClassification.from_config(tiny_backbone("bert").config).eval()
    gated = attached(model)
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    wanted = model(input_ids=ids).logits
    embeddings = model.get_input_embeddings()(ids)
    torch.testing.assert_close(model(inputs_embeds=embeddings).logits, wanted)
    with pytest.raises(ValueError, match="input_ids or inputs_embeds"):
        model()
    assert all(parameter.requires_grad for parameter in model.classifier.parameters()), "heads keep learning"
    assert gated.penalty() == 0


# ---------------------------------------------------------------- devices and precisions


def gates_of(gated: Any) -> dict[str, Tensor]:
    """Every tensor of the gates and of what updates them, but Adam's counter, which stays on the CPU."""
    learner = gated._learner.state_dict()
    moments = {name: value for state in learner["optimizer"]["state"].values() for name, value in state.items()}
    moments.pop("step", None)
    found = {**learner["gates"], **moments, "multiplier": learner["multiplier"], "saliency": learner["saliency"]}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("family", ["hard_concrete", "proximal", "straight_through", "sigmoid"])
def test_gates_follow_the_model_to_its_device(family: str) -> None:
    model = tiny_backbone("bert")
    gates = {"learning_rate": 0.2, "family": family, "warm_up": 0.0}
    gated = attached(model, gates=gates, ranking="saliency")
    take(model, gated, optimizer_of(model), range(3))
    model.to(META)
    model.train()
    ids = torch.ones(3, 5, dtype=torch.long, device=META)
    for first in ("penalty", "forward"):
        penalty = gated.penalty() if first == "penalty" else None
        output = model(input_ids=ids)[0]
        loss = output.square().mean() + (gated.penalty() if penalty is None else penalty)
        loss.backward()
        assert {name: value.device.type for name, value in gates_of(gated).items() if value.device != META} == {}
        gated.step()


def test_gates_follow_the_model_within_a_step() -> None:
    model = tiny_backbone("bert")
    gated = attached(model, gates={"warm_up": 0.0})
    assert gated.penalty().device.type == "cpu"
    model.to(META)
    assert gated.penalty().device == META


@pytest.mark.parametrize("done", [False, True], ids=["gates", "final"])
def test_a_moved_model_evaluates(done: bool) -> None:
    model = tiny_backbone("bert")
    gated = attached(model, gates={"warm_up": 0.0}, tasks=("a", "b"))
    gated.set_tasks([0, 1, 1])
    if done:
        gated.finalise()
    model.to(META)
    assert model(input_ids=torch.ones(3, 5, dtype=torch.long, device=META))[0].device == META
    assert gated.penalty().device == META


@pytest.mark.parametrize("finish", ["continue", "progressive"])
def test_a_model_that_is_cast_after_attach_trains_on(finish: Any, tmp_path: Path) -> None:
    model = tiny_backbone("llama")
    gated = attached(model, finish=finish, pool="all", budget=400)
    model.to(torch.bfloat16)
    take(model, gated, optimizer_of(model), range(24))
    assert run_tiny(model).dtype == torch.bfloat16
    assert gated._bank.family.logits.dtype == torch.float32, "gates keep their precision"
    gated.finalise()
    wanted = run_tiny(model)
    assert {parameter.dtype for parameter in gated.pool.parameters()} == {torch.bfloat16}
    gated.export(tmp_path)
    fresh = tiny_backbone("llama").to(torch.bfloat16)
    with slasearch.load_adapter(fresh, tmp_path):
        torch.testing.assert_close(run_tiny(fresh), wanted, rtol=0, atol=0.1)


# ---------------------------------------------------------------- several batches in a step


@pytest.mark.parametrize("tasks", [("a",), ("a", "b")])
def test_the_saliency_of_a_step_is_that_of_all_its_batches(tasks: tuple[str, ...]) -> None:
    found = []
    for parts in (1, 2):
        model = tiny_backbone("llama").train()
        gated = attached(model, ranking="saliency", tasks=tasks, gates={"warm_up": 0.5})
        optimizer = optimizer_of(model)
        numbers = torch.tensor([0, len(tasks) - 1, 0, len(tasks) - 1])
        ids = torch.randint(1, 64, (4, 5), generator=torch.Generator().manual_seed(3))
        for _ in range(4):
            for batch, task in zip(ids.chunk(parts), numbers.chunk(parts), strict=True):
                gated.set_tasks(task)
                ((model(input_ids=batch)[0] - 1).square().mean() / parts).backward()
            optimizer.step()
            gated.step()
            optimizer.zero_grad()
        found.append(gates_of(gated)["saliency"])
    assert float(found[0].min()) > 0
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-9)


def test_the_rate_that_modules_share_is_told_to_the_loop() -> None:
    model = tiny_backbone("bert")
    pool = {"sites": ["attn.q", "attn.v"], "kinds": ["lora"], "ranks": [1, 2]}
    gated = slasearch.attach(model, pool, steps=4, budget=64)
    whole = sum(gated.pool.costs[slot].parameters for slot in gated.pool.candidates)
    assert gated.rate_factor == 64 / whole < 0.5
    gated.detach()
    free = slasearch.attach(model, pool, steps=4, sparsity_weight=0.1)
    assert free.rate_factor == 1.0
    free.detach()


def test_gates_that_rank_by_saliency_need_no_gradient() -> None:
    model = tiny_backbone("bert").train()
    gated = attached(model, ranking="saliency", tasks=("a", "b"), gates={"warm_up": 0.0})
    gated.set_tasks([0])
    with torch.no_grad():
        run_tiny(model)
    gated.step()
    assert float(gates_of(gated)["saliency"].max()) == 0


# ---------------------------------------------------------------- resumed runs


def through_a_file(content: Any) -> Any:
    """As a checkpoint gives it back; nothing in it may need more than plain data."""
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def everything(model: nn.Module, gated: Any) -> dict[str, Tensor]:
    return {**{name: value.clone() for name, value in model.state_dict().items()}, **gates_of(gated)}


FAMILIES = ["hard_concrete", "budget", "proximal", "straight_through"]


@pytest.mark.parametrize("done", [1, 2, 9, 17, 24, 27])
@pytest.mark.parametrize(
    "more",
    [
        *({"gates": {"learning_rate": 0.2, "family": family}, "finish": "continue"} for family in FAMILIES),
        {"finish": "progressive"},
        {"finish": "progressive", "ranking": "saliency", "tasks": ("a", "b")},
        {"budget": None, "sparsity_weight": 2.0, "ramp": 0.6, "schedule": "cosine"},
    ],
    ids=[*FAMILIES, "progressive", "saliency", "penalty"],
)
def test_a_resumed_run_goes_on_bit_by_bit(more: dict[str, Any], done: int) -> None:
    def start() -> tuple[nn.Module, Any, torch.optim.Optimizer]:
        model = tiny_backbone("bert")
        gated = attached(model, **more)
        gated.set_tasks([len(gated.pool.tasks) - 1, 0, 0])
        return model, gated, optimizer_of(model)

    def go(model: nn.Module, gated: Any, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            take(model, gated, optimizer, range(step, step + 1))
            if gated.ready:
                gated.finalise()

    model, gated, optimizer = start()
    go(model, gated, optimizer, range(done))
    saved = through_a_file([gated.state_dict(), model.state_dict(), optimizer.state_dict()])
    halfway = run_tiny(model)
    go(model, gated, optimizer, range(done, 30))

    again, regated, reoptimizer = start()
    for target, state in zip((regated, again, reoptimizer), saved, strict=True):
        target.load_state_dict(state)
    assert torch.equal(run_tiny(again), halfway)
    go(again, regated, reoptimizer, range(done, 30))
    assert torch.equal(run_tiny(again), run_tiny(model))
    assert regated.finalise() == gated.finalise()
    assert regated.events == gated.events
    wanted, found = everything(model, gated), everything(again, regated)
    assert wanted.keys() == found.keys()
    assert [name for name, value in wanted.items() if not torch.equal(found[name], value)] == []


def test_a_state_is_a_copy() -> None:
    model = tiny_backbone("bert")
    gated, optimizer = attached(model), optimizer_of(model)
    take(model, gated, optimizer, range(5))
    state = gated.state_dict()
    before = state["learner"]["gates"]["logits"].clone()
    take(model, gated, optimizer, range(5, 9))
    assert torch.equal(state["learner"]["gates"]["logits"], before)
    assert state["done"] == 5


def test_a_state_of_another_pool_or_for_a_used_one_is_refused() -> None:
    model = tiny_backbone("bert")
    gated = attached(model)
    state = gated.state_dict()
    others: list[tuple[str, dict[str, Any]]] = [
        ("steps", {"steps": 25}),
        ("tasks", {"tasks": ("b",)}),
        ("slots", {"pool": "granular"}),
        ("family", {"gates": {"family": "sigmoid"}}),
        ("ranking", {"ranking": "saliency"}),
        ("finish", {"finish": "progressive"}),
    ]
    for what, more in others:
        with pytest.raises(ArtifactError, match=f"state: expected one of a pool with the same {what}, got another's"):
            attached(tiny_backbone("bert"), **more).load_state_dict(state)
    with pytest.raises(ArtifactError, match="state: expected"):
        gated.load_state_dict({})
    take(model, gated, optimizer_of(model), range(1))
    with pytest.raises(ConfigError, match="expected a new pool, got one after 1 steps"):
        gated.load_state_dict(state)


# ---------------------------------------------------------------- export


def test_an_export_onto_a_file_is_refused_in_words(tmp_path: Path) -> None:
    gated = attached(tiny_backbone("bert"))
    gated.finalise()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="file"):
        gated.export(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_export_names_the_weights_as_far_as_they_are_known(tmp_path: Path) -> None:
    folder = save_tiny("bert", tmp_path / "model")
    saved = type(tiny_backbone("bert")).from_pretrained(folder)
    named, nameless = tiny_backbone("bert"), tiny_backbone("bert")
    named.config.name_or_path = "org/name"  # type: ignore[union-attr]
    cards = []
    for number, model in enumerate((saved, named, nameless)):
        gated = attached(model)
        gated.finalise()
        gated.export(tmp_path / str(number))
        cards.append(json.loads((tmp_path / str(number) / "adapter.json").read_text())["backbone"])
    assert [card["id"] for card in cards] == [f"path:{folder}", "org/name", "unknown"]
    assert [bool(card["fingerprint"]) for card in cards] == [True, False, False]
    with slasearch.load_adapter(tiny_backbone("bert", seed=1), tmp_path / "2") as adapter:
        assert adapter.tasks == ("task",), "shapes fit, and no more is known"
    with pytest.raises(ArtifactError, match=r"expected .*family, layers, hidden size"):
        slasearch.load_adapter(tiny_backbone("llama"), tmp_path / "2")
