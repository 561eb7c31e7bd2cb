"""Slots ranked on held-out batches: their worth follows from the examples, however these are dealt out to batches."""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from word_tasks import make_tasks

from slasearch.adapters.budget import by_strength
from slasearch.adapters.pool import Pool
from slasearch.records import BackboneSpec, Slot
from slasearch.tasks.batches import eval_batches, train_batches
from slasearch.tasks.encoding import encode_split
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import save_tiny
from slasearch.trial.backbone import load_backbone
from slasearch.trial.data import TrainingData
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.prefix import PrefixStore
from slasearch.trial.ranking import _ablation, _losses, _saliency, first_order, rank_slots, within_tasks
from slasearch.trial.reuse import Reuse


def test_saliency_does_not_depend_on_the_batches(tmp_path: Path) -> None:
    """Five examples of one task, sixteen of the other, in batches of eight: unevenly mixed, and a last one of five."""
    backbone = load_backbone(BackboneSpec(f"path:{save_tiny('bert', tmp_path)}"), torch.device("cpu"))
    tasks = make_tasks()
    slots = [Slot(layer, site, "lora", 1) for layer in (0, 1) for site in ("attn.q", "ffn.out")]
    names = [task.spec.name for task in tasks]
    pool = Pool(slots, backbone.shapes.hosts, names, generator=torch.Generator().manual_seed(0))
    disturb_weights(pool)
    heads = make_heads(dict.fromkeys(names, 2), backbone.shapes.hidden, generator=torch.Generator().manual_seed(2))
    splits = [
        encode_split(backbone.tokenizer, task.splits["train"][:count], 16, None)
        for task, count in zip(tasks, (5, 16), strict=True)
    ]
    mixed = list(train_batches(splits, 8, seed=3, epoch=0, pad_token_id=0))
    assert len({int(batch.task_index.sum()) for batch in mixed}) > 1
    assert len({len(batch.labels) for batch in mixed}) == 2
    apart = [batch for n, split in enumerate(splits) for batch in eval_batches(split, n, pad_token_id=0, tokens=999)]
    assert len(apart) == 2
    with TaskModel(backbone, pool, heads) as model:
        found = [
            _saliency(model, torch.ones(2, 4), [(batch, None) for batch in batches], lambda batch: None)
            for batches in (mixed, apart)
        ]
    assert found[0].min() > 0
    torch.testing.assert_close(*found, rtol=1e-4, atol=0)


def test_first_order_is_summed_slot_by_slot(tmp_path: Path) -> None:
    """Of several modules and weights a slot, of which some have no gradient, after a slot has gone."""
    backbone = load_backbone(BackboneSpec(f"path:{save_tiny('llama', tmp_path)}"), torch.device("cpu"))
    slots = [Slot(0, "attn.q", "lora", 2), Slot(0, "ffn.in", "lora", 1), Slot(0, "ffn.out", "bottleneck", 2)]
    slots += [Slot(1, "attn.out", "bias", 1), Slot(1, "ffn.out", "lora", 1)]
    pool = Pool(slots, backbone.shapes.hosts, ["one"], generator=torch.Generator().manual_seed(0))
    disturb_weights(pool)
    noise = torch.Generator().manual_seed(1)
    for weight in pool.parameters():
        weight.grad = torch.randn(weight.shape, generator=noise)
    pool.discard([slots[1]])
    first, *_, last = pool.slots
    assert len(pool.slots) == len(slots) - 1
    for weight in (w for module in pool.modules_of(last) for w in module.parameters()):
        weight.grad = None
    next(pool.modules_of(first)[0].parameters()).grad = None
    by_hand = [
        sum(
            float((weight.detach() * weight.grad).abs().sum())
            for module in pool.modules_of(slot)
            for weight in module.parameters()
            if weight.grad is not None
        )
        for slot in pool.slots
    ]
    assert by_hand[0] > 0
    assert by_hand[-1] == 0
    assert first_order(pool).tolist() == pytest.approx(by_hand, rel=1e-5)
    pool.zero_grad(set_to_none=True)
    assert first_order(pool).tolist() == [0.0] * len(pool.slots)


def upper_model(folder: Path) -> tuple[TaskModel, TrainingData]:
    """Slots in the upper of two layers, and both tasks' examples."""
    backbone = load_backbone(BackboneSpec(f"path:{save_tiny('bert', folder)}"), torch.device("cpu"))
    tasks = make_tasks()
    names = [task.spec.name for task in tasks]
    slots = [Slot(1, site, "lora", 1) for site in ("attn.q", "attn.v", "ffn.in", "ffn.out")]
    pool = Pool(slots, backbone.shapes.hosts, names, generator=torch.Generator().manual_seed(0))
    disturb_weights(pool)
    heads = make_heads(dict.fromkeys(names, 2), backbone.shapes.hidden, generator=torch.Generator().manual_seed(2))
    reuse = Reuse(backbone, PrefixStore(folder / "states"))
    data = TrainingData(tasks, ("train",), backbone, (), batch_size=8, seed=3, cache=None, reuse=reuse)
    return TaskModel(backbone, pool, heads), data


def test_ablation_passes_over_the_examples_only_for_gates_that_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = upper_model(tmp_path)
    batches = [(batch, noise) for batch, noise in islice(data, data.batches_per_epoch)]
    gates = torch.tensor([[0.9, 0.0, 0.5, 0.0], [0.7, 0.0, 0.0, 0.0]])
    passes, forward = [], TaskModel.forward

    def counted(*args: Any, **more: Any) -> Any:
        passes.append(1)
        return forward(*args, **more)

    with model:
        monkeypatch.setattr(TaskModel, "forward", counted)
        found = _ablation(model, gates, batches, lambda batch: None)
        assert len(passes) == (2 + 2 * 2) * len(batches)
        monkeypatch.undo()
        losses = partial(_losses, model, batches=batches, lower=lambda batch: None)
        for column in range(4):
            without, alone = gates.clone(), torch.zeros_like(gates)
            without[:, column], alone[:, column] = 0, gates[:, column]
            torch.testing.assert_close(found[:, column], losses(without) - losses(gates) - losses(alone))


@pytest.mark.parametrize("how", ["saliency", "ablation"])
def test_ranking_goes_on_from_the_frozen_layers(how: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = upper_model(tmp_path)
    gates, alive = torch.full((2, 4), 0.5), torch.ones(2, 4, dtype=torch.bool)
    with model:
        found = rank_slots(model, gates, alive, data, how)
        assert data.depth == 1
        monkeypatch.setattr(TrainingData, "lower", lambda *args, **more: None)
        torch.testing.assert_close(rank_slots(model, gates, alive, data, how), found)


def test_of_equals_the_earlier_slot_comes_first() -> None:
    worth = torch.tensor([[0.0, 0.0, 0.0, 5.0, 0.0]])
    assert within_tasks(worth, torch.ones(1, 5, dtype=torch.bool)).tolist() == [[0.75, 0.5, 0.25, 1.0, 0.0]]
    alive = torch.tensor([[True, False, True, True, True]])
    places = within_tasks(worth, alive)
    assert by_strength(places) == [(0, 3), (0, 0), (0, 2), (0, 4)]
