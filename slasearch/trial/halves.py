"""A frozen model in two halves: below the first slot every trial computes the same, so it is computed once.

Works on the model's own forward pass: for the time of a run its list of layers is cut, and for the upper half the
output of the embeddings is replaced by the lower half's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from slasearch.adapters.sites import hidden_states, layers_of, table_of

__all__ = ["only_layers", "run_lower", "start_from"]


@contextmanager
def only_layers(model: nn.Module, start: int, stop: int) -> Iterator[nn.ModuleList]:
    """The model with the layers from `start` (included) to `stop` (excluded) alone, which it yields."""
    path = table_of(model).layers
    parent_path, _, name = path.rpartition(".")
    parent, layers = model.get_submodule(parent_path), layers_of(model)
    some = layers[start:stop]
    setattr(parent, name, some)
    try:
        yield some
    finally:
        setattr(parent, name, layers)


@contextmanager
def start_from(model: nn.Module, hidden: Tensor) -> Iterator[None]:
    """The model with `hidden` (`n x t x d`) in place of what its embeddings would give."""
    embeddings = model.get_submodule(table_of(model).embeddings)
    handle = embeddings.register_forward_hook(lambda module, args, output: hidden)
    try:
        yield
    finally:
        handle.remove()


def run_lower(model: nn.Module, depth: int, inputs: dict[str, Any]) -> Tensor:
    """Hidden states that enter layer `depth` ≥ 1, `n x t x d`, without gradient and without a final norm.

    Args:
        model: The backbone.
        depth: Number of layers to run.
        inputs: What the model's forward pass takes.
    """
    kept: list[Tensor] = []
    with torch.no_grad(), only_layers(model, 0, depth) as layers:
        handle = layers[-1].register_forward_hook(lambda module, args, output: kept.append(hidden_states(output)))
        try:
            model(**inputs)
        finally:
            handle.remove()
    return kept[0]
