"""What every adapter kind is: a module that adds Δ(x, y) at its host, starts as identity, and knows its cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from slasearch.adapters.sites import HostShape
from slasearch.records import SlotCost
from slasearch.registry import KINDS

__all__ = ["AdapterModule", "KindEntry", "register_kind"]


class AdapterModule(nn.Module, ABC):
    """One module at one host operation.

    Guarantees of every kind, checked by `slasearch.testing.kinds`: Δ is exactly zero at the start; the number of
    parameters and multiply-adds equal `cost`; `fold(z)` turns Δ into z·Δ; all weights come from `generator`.

    Args:
        host: Widths of the host operation.
        rank: Width of the module, ≥ 1; kinds without one ignore it.
        generator: Source of the initial weights.
    """

    @abstractmethod
    def __init__(self, host: HostShape, rank: int, *, generator: torch.Generator) -> None:
        super().__init__()

    @abstractmethod
    def delta(self, x: Tensor, y: Tensor) -> Tensor:
        """Δ from the host's input `x` (`n x t x d_in`) and output `y` (`n x t x d_out`) -> `n x t x d_out`."""

    @abstractmethod
    def fold(self, value: float) -> None:
        """Multiplies Δ by `value` for good."""

    @classmethod
    @abstractmethod
    def cost(cls, host: HostShape, rank: int) -> SlotCost:
        """Parameters and multiply-adds for each token of one module."""


@dataclass(frozen=True)
class KindEntry:
    """A registered kind.

    `stage` orders the modules of one site: the deltas of a stage are computed from the same output and added, then
    the next stage sees the sum (`delta`, then `scale`, then `bias`).
    """

    name: str
    module: type[AdapterModule]
    sites: tuple[str, ...]
    ranked: bool
    stage: Literal["delta", "scale", "bias"]
    equation: str
    source: str
    cost: str


M = TypeVar("M", bound=type[AdapterModule])


def register_kind(
    name: str,
    *,
    sites: tuple[str, ...],
    equation: str,
    source: str,
    cost: str,
    ranked: bool = True,
    stage: Literal["delta", "scale", "bias"] = "delta",
) -> Callable[[M], M]:
    """Class decorator that adds a kind under `name`.

    Raises:
        RegistryError: The name is taken.
    """

    def add(module: M) -> M:
        entry = KindEntry(name, module, sites, ranked, stage, equation, source, cost)
        KINDS.register(name, entry, module=module.__module__)
        return module

    return add
