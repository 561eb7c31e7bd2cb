"""The two halves of a pass are the whole, for every family, with modules in the upper half and noise in the lower."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slasearch.adapters.attach import attach
from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.adapters.sites import host_shapes, layers_of
from slasearch.records import SITES, PoolSpec
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import TINY_FAMILIES, tiny_backbone
from slasearch.trial.backbone import _compute_again
from slasearch.trial.halves import run_between, run_lower, run_upper

KINDS = ("lora", "lora_xs", "bottleneck", "bias", "ia3", "prefix")


def padded_inputs() -> dict[str, Any]:
    ids = torch.randint(1, 64, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 2 + [0] * 5])
    return {"input_ids": ids * mask, "attention_mask": mask}


@contextmanager
def noise_on(model: nn.Module) -> Iterator[None]:
    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    noise = torch.randn(3, 7, embeddings.embedding_dim, generator=torch.Generator().manual_seed(1))
    handle = embeddings.register_forward_hook(lambda module, args, output: output + noise.to(output.dtype))
    yield
    handle.remove()


def whole(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    output: Tensor = model(**inputs)[0]
    return output


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_two_halves_are_the_whole(family: str, dtype: torch.dtype) -> None:
    model, inputs = tiny_backbone(family, dtype=dtype), padded_inputs()
    with torch.no_grad():
        expected = whole(model, inputs)
        for depth in (1, 2):
            lower = run_lower(model, depth, inputs)
            assert torch.equal(run_upper(model, depth, lower, inputs), expected)
            below = run_lower(model, 1, inputs)
            assert torch.equal(run_between(model, 1, depth, below, inputs), lower)
        assert torch.equal(whole(model, inputs), expected), "the model must be whole again"
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_noise_below_and_modules_above_take_part(family: str) -> None:
    model, inputs = tiny_backbone(family), padded_inputs()
    slots = candidate_slots(PoolSpec(SITES, KINDS, (2,), layers=(1,)), layers=2)
    pool = Pool(slots, host_shapes(model), ("a",), generator=torch.Generator().manual_seed(0))
    disturb_weights(pool, scale=0.1)
    with torch.no_grad(), attach(model, pool):
        pool.route(torch.zeros(3, dtype=torch.long), None)
        with noise_on(model):
            expected, lower = whole(model, inputs), run_lower(model, 1, inputs)
        assert torch.equal(run_upper(model, 1, lower, inputs), expected)
        assert not torch.allclose(whole(model, inputs), expected, atol=1e-3), "noise must matter"
    with torch.no_grad(), noise_on(model):
        assert not torch.allclose(whole(model, inputs), expected, atol=1e-3), "modules must matter"


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["bert", "deberta-v2", "gpt2", "llama"])
def test_gradients_of_the_upper_half_are_those_of_the_whole(family: str, checkpointing: bool) -> None:
    """Where layers are computed again for the backward pass, too: what was brought in must be brought in again."""
    model, inputs = tiny_backbone(family), padded_inputs()
    if checkpointing:
        model.config.use_cache = False
        _compute_again(model)
    slots = candidate_slots(PoolSpec(SITES, KINDS, (2,), layers=(1,)), layers=2)
    pool = Pool(slots, host_shapes(model), ("a",), generator=torch.Generator().manual_seed(0))
    disturb_weights(pool, scale=0.1)
    found = []
    with attach(model, pool):
        for run in (lambda: whole(model, inputs), lambda: run_upper(model, 1, run_lower(model, 1, inputs), inputs)):
            pool.route(torch.zeros(3, dtype=torch.long), None)
            pool.zero_grad()
            run().square().sum().backward()
            found.append([weight.grad for weight in pool.parameters()])
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)


def test_a_failed_pass_leaves_the_model_whole() -> None:
    model, inputs = tiny_backbone("gemma2"), padded_inputs()
    layers = layers_of(model)
    for run in (lambda bad: run_lower(model, 1, bad), lambda bad: run_upper(model, 1, torch.zeros(3, 7, 16), bad)):
        with pytest.raises(IndexError):
            run({**inputs, "input_ids": inputs["input_ids"] + 64})
        assert layers_of(model) is layers
    assert not any(module._forward_pre_hooks for module in model.modules())
