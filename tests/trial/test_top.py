"""The last layer for the pooled token alone gives what the whole layer gives, and leaves the model as it was."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from word_tasks import make_tasks

from slasearch.adapters.attach import attach
from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.adapters.sites import FAMILIES, host_shapes
from slasearch.records import SITES, BackboneSpec, PoolSpec, Slot
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import tiny_backbone
from slasearch.trial import attention
from slasearch.trial import model as task_model
from slasearch.trial.backbone import load_backbone, pool_tokens, pooled_places
from slasearch.trial.data import EvaluationData
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.prefix import PrefixStore
from slasearch.trial.reuse import Reuse
from slasearch.trial.top import can_stand_alone, top_alone

JOINED = [family for family, table in FAMILIES.items() if table.joint]
KINDS = ("lora", "lora_xs", "bottleneck", "parallel", "bias", "scale", "ia3", "prefix")
MASK = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [0] * 5 + [1] * 2])


def inputs() -> dict[str, Any]:
    ids = torch.randint(1, 64, MASK.shape, generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids * MASK, "attention_mask": MASK}


def pool_on(model: nn.Module) -> Pool:
    sites = tuple(site for site in SITES if site != "block")
    slots = candidate_slots(PoolSpec(sites, KINDS, (2,)), layers=2)
    pool = Pool(slots, host_shapes(model), ["a"], generator=torch.Generator().manual_seed(0))
    disturb_weights(pool)
    pool.route(torch.zeros(3, dtype=torch.long), None)
    return pool


@pytest.mark.parametrize("pooling", ["cls", "last"])
@pytest.mark.parametrize("family", JOINED)
def test_one_token_is_computed_as_among_all(family: str, pooling: Any) -> None:
    model = tiny_backbone(family)
    pool = pool_on(model)
    places = pooled_places(MASK, pooling)
    assert places.tolist() == {"cls": [0, 0, 5], "last": [6, 3, 6]}[pooling]
    with attach(model, pool):
        whole = pool_tokens(model(**inputs())[0], MASK, pooling)
        with top_alone(model, places):
            alone = model(**inputs())[0]
        assert alone.shape == (3, 1, 16)
        torch.testing.assert_close(alone[:, 0], whole, rtol=1e-5, atol=1e-5)
        weights = list(pool.parameters())
        ours, theirs = (torch.autograd.grad(of.square().sum(), weights, allow_unused=True) for of in (alone, whole))
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)
        assert torch.equal(pool_tokens(model(**inputs())[0], MASK, pooling), whole), "the model must be whole again"


@pytest.mark.parametrize("family", JOINED)
def test_less_is_computed(family: str) -> None:
    model = tiny_backbone(family)
    top = model.encoder.layer[-1]  # type: ignore[union-attr,index]
    seen: list[int] = []
    for module in (top.attention.output.dense, top.intermediate.dense, top.output.dense):  # type: ignore[union-attr]
        module.register_forward_hook(lambda module, args, output: seen.append(output.shape[1]))  # type: ignore[arg-type]
    with top_alone(model, pooled_places(MASK, "cls")):
        model(**inputs())
    assert seen == [1, 1, 1]


def logits(slots: list[Slot], *, alone: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, list[int]]:
    """Of a real backbone, and for each pass whether the last layer stood alone."""
    backbone = load_backbone(BackboneSpec("bundled:minilm", pooling="cls"), torch.device("cpu"))
    pool = Pool(slots, backbone.shapes.hosts, ["things", "mood"], generator=torch.Generator().manual_seed(0))
    disturb_weights(pool)
    heads = make_heads({"things": 2, "mood": 2}, backbone.shapes.hidden, generator=torch.Generator().manual_seed(2))
    widths: list[int] = []
    backbone.model.encoder.layer[-1].output.register_forward_hook(  # type: ignore[union-attr,index]
        lambda module, args, output: widths.append(output.shape[1])  # type: ignore[arg-type]
    )
    if not alone:
        monkeypatch.setattr(task_model, "can_stand_alone", lambda *_: False)
    with TaskModel(backbone, pool, heads) as model:
        data = EvaluationData(make_tasks(gate=True), backbone, None, Reuse(backbone, PrefixStore(None)))
        found: Tensor = data.logits(model, 0, "validation", None, None)[1]
    return found, widths


@pytest.mark.parametrize("layer", [1, 5])
def test_a_trial_with_the_first_token_scores_the_same(layer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = [Slot(layer, "attn.v", "bias", 1), Slot(5, "ffn.out", "lora", 2)]
    ours, widths = logits(slots, alone=True, monkeypatch=monkeypatch)
    assert 1 in widths
    theirs, whole = logits(slots, alone=False, monkeypatch=monkeypatch)
    assert 1 not in whole
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_one_query_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[int] = []
    core = attention.sdpa_attention_forward

    def spied(module: nn.Module, query: Tensor, *others: Any, **settings: Any) -> Any:
        queries.append(query.shape[2])
        return core(module, query, *others, **settings)

    monkeypatch.setattr(attention, "sdpa_attention_forward", spied)
    logits([Slot(5, "ffn.out", "lora", 2)], alone=True, monkeypatch=monkeypatch)
    assert 1 in queries


def test_where_it_cannot_be_the_whole_layer_runs() -> None:
    backbone = load_backbone(BackboneSpec("bundled:minilm", pooling="cls"), torch.device("cpu"))
    shapes = backbone.shapes.hosts

    def made(*slots: Slot) -> Pool:
        return Pool(slots, shapes, ["a"], generator=torch.Generator().manual_seed(0))

    assert can_stand_alone(backbone, made(Slot(5, "ffn.out", "lora", 2), Slot(4, "block", "bottleneck", 2)))
    assert not can_stand_alone(backbone, made(Slot(5, "block", "parallel", 2)))
    again = replace(backbone, spec=replace(backbone.spec, gradient_checkpointing=True))
    assert not can_stand_alone(again, made(Slot(5, "ffn.out", "lora", 2)))
    decoder = replace(backbone, model=tiny_backbone("llama"))
    assert not can_stand_alone(decoder, made(Slot(5, "ffn.out", "lora", 2)))
