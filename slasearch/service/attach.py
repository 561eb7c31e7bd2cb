"""A gated pool in a user's own model and training loop: `slasearch.attach`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from slasearch.service.attach_settings import settings_of
from slasearch.service.gated_pool import GatedPool

__all__ = ["attach"]


def attach(
    model: nn.Module,
    pool: str | Mapping[str, Any] = "lora_linear",
    *,
    steps: int,
    sparsity_weight: float | None = None,
    budget: int | None = None,
    scope: Literal["union", "per_task"] = "union",
    ramp: float | None = None,
    schedule: Literal["linear", "cosine", "cubic"] | None = None,
    gates: Mapping[str, Any] | None = None,
    ranking: Literal["gate", "saliency"] = "gate",
    finish: Literal["continue", "progressive"] = "continue",
    tasks: Sequence[str] = ("task",),
    seed: int = 0,
) -> GatedPool:
    """Puts a gated pool into a Hugging Face model, whose own weights it freezes, for a training loop of your own.

    ```python
    gated = slasearch.attach(model, "lora_linear", steps=600, budget=9216)
    for batch in loader:
        loss = model(**batch).loss + gated.penalty()
        loss.backward()
        optimizer.step()       # over model.parameters() that require gradients: modules and the model's head
        gated.step()           # gates learn, close and anneal
        optimizer.zero_grad()
    gated.finalise()           # then train on for a while: the structure is fixed now
    gated.export("adapter")
    ```

    Args:
        model: A model of a supported family, with or without a task head; heads keep learning.
        pool: Name of a preset (see `slasearch kinds`), or the fields of `pool` as in a study file, each with a value.
        steps: Optimiser steps until `finalise`, the warm-up included.
        sparsity_weight: λ, where λ decides the size. Exactly one of this and `budget`.
        budget: Most parameters of the structure, where a number decides the size.
        scope: Whether a budget counts the union of the tasks' slots, or each task's own.
        ramp: Share of `steps` over which λ grows from 0 after the warm-up; None: 0.2. Not with a budget.
        schedule: How λ grows over the ramp; None: linear. Not with a budget.
        gates: Fields of `gates` as in a study file, each with a value; `warm_up` is a share of `steps`.
        ranking: By what slots are ranked under a budget: their gates, or their saliency, as a moving average over the
            batches of the loop.
        finish: `progressive` closes slots for good along the way, until the budget is met.
        tasks: Names of the tasks that share the pool.
        seed: Seed of the initial weights and of the gates' noise.

    Raises:
        BackboneError: The model's family is unknown.
        ConfigError: The arguments do not fit together, or the model, or the model has a gated pool already. The model
            stays as it is.
    """
    arguments = {
        "pool": pool,
        "steps": steps,
        "sparsity_weight": sparsity_weight,
        "budget": budget,
        "scope": scope,
        "ramp": ramp,
        "schedule": schedule,
        "gates": {} if gates is None else gates,
        "ranking": ranking,
        "finish": finish,
        "tasks": tasks,
        "seed": seed,
    }
    return GatedPool(model, settings_of(arguments))
