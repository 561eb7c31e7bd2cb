"""A frozen model in two halves: below the first slot every trial computes the same, so it is computed once.

Works on the model's own forward pass: for the time of a run, layers that are not wanted make room for stand-ins that
hand on what they get. The others keep their numbers, on which masks, windows and position codes may depend.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from slasearch.adapters.sites import hidden_states, layers_of, table_of

__all__ = ["run_between", "run_lower", "run_upper"]


class _StandIn(nn.Module):
    """In the place of a layer: keeps what enters, and hands it on in the form in which a layer does."""

    def __init__(self, *, pairs: bool) -> None:
        super().__init__()
        self._pairs = pairs
        self.entered: Tensor | None = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """`n x t x d` -> the same, alone or with None."""
        self.entered = hidden_states
        return (hidden_states, None) if self._pairs else hidden_states


@contextmanager
def _only(model: nn.Module, start: int, stop: int) -> Iterator[list[Any]]:
    """The model with the layers from `start` (included) to `stop` (excluded) alone; yields what stands for each."""
    table, layers = table_of(model), layers_of(model)
    parent_path, _, name = table.layers.rpartition(".")
    parent = model.get_submodule(parent_path)
    run = [layer if start <= n < stop else _StandIn(pairs=table.pairs) for n, layer in enumerate(layers)]
    setattr(parent, name, nn.ModuleList(run))
    try:
        yield run
    finally:
        setattr(parent, name, layers)


def run_lower(model: nn.Module, depth: int, inputs: dict[str, Any]) -> Tensor:
    """Hidden states that enter layer `depth` ≥ 1, `n x t x d`, without gradient.

    Args:
        model: The backbone.
        depth: Number of layers to run; with all of them the result is the model's own, after its last norm.
        inputs: What the model's forward pass takes.
    """
    with torch.no_grad(), _only(model, 0, depth) as run:
        output = hidden_states(model(**inputs)[0])
    entered = run[depth].entered if depth < len(run) else output
    assert isinstance(entered, Tensor)
    return entered


def run_upper(model: nn.Module, depth: int, hidden: Tensor, inputs: dict[str, Any]) -> Tensor:
    """The model's hidden states, `n x t x d`, from what `run_lower` gave for the same inputs.

    Args:
        model: The backbone; what is attached to its layers from `depth` on takes part.
        depth: Number of layers that `hidden` has passed.
        hidden: `n x t x d`, what enters layer `depth`.
        inputs: What the model's forward pass takes.
    """
    return run_between(model, depth, len(layers_of(model)), hidden, inputs)


def run_between(model: nn.Module, start: int, stop: int, hidden: Tensor, inputs: dict[str, Any]) -> Tensor:
    """Hidden states that enter layer `stop`, `n x t x d`, from those that enter layer `start`.

    Args:
        model: The backbone; what is attached to the layers in between takes part.
        start: Number of layers that `hidden` has passed.
        stop: Number of layers that the result has passed; with all of them it is the model's own.
        hidden: `n x t x d`, what enters layer `start`.
        inputs: What the model's forward pass takes.
    """
    if start == stop:
        return hidden

    def resume(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

    with _only(model, start, stop) as run:
        # Before other hooks: a module that acts on this layer's input must get the resumed one.
        handle = run[start].register_forward_pre_hook(resume, prepend=True, with_kwargs=True)
        try:
            output = hidden_states(model(**inputs)[0])
        finally:
            handle.remove()
    entered = run[stop].entered if stop < len(run) else output
    assert isinstance(entered, Tensor)
    return entered
