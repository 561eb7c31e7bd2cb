"""What every gate family is: for each (task, slot) a variable that training opens or closes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from slasearch.records import GateSpec
from slasearch.registry import GATES

__all__ = ["GateEntry", "GateFamily", "register_gate"]


class GateFamily(nn.Module, ABC):
    """The gates of a pool, `T x S` for T tasks and S slots.

    Guarantees of every family, checked by `slasearch.testing.gates`: every z and p lies in [0, 1]; `openness` starts at
    `settings.initial_openness` and is differentiable; sampling depends on nothing but the logits and the generator.

    Args:
        tasks: T ≥ 1.
        slots: S ≥ 1.
        settings: Temperature, threshold and start.
    """

    def __init__(self, tasks: int, slots: int, settings: GateSpec) -> None:
        super().__init__()
        self.settings = settings
        self.share = 0.0
        self.logits = nn.Parameter(torch.full((tasks, slots), self.initial_logit(settings)))

    def set_progress(self, share: float) -> None:
        """Tells the family which share (0 to 1) of the gated steps is done, for annealing."""
        self.share = share

    @staticmethod
    @abstractmethod
    def initial_logit(settings: GateSpec) -> float:
        """The logit at which `openness` is `settings.initial_openness`."""

    @abstractmethod
    def sample(self, generator: torch.Generator) -> Tensor:
        """Gates z of one training step, `T x S`, differentiable in the logits."""

    @abstractmethod
    def value(self) -> Tensor:
        """Gates z without randomness, `T x S`: what evaluation uses and finalisation folds in."""

    @abstractmethod
    def openness(self) -> Tensor:
        """Openness p of the penalty, `T x S`, differentiable in the logits."""

    @abstractmethod
    def is_open(self) -> Tensor:
        """Which gates stay open where no budget decides, `T x S` of bool."""


@dataclass(frozen=True)
class GateEntry:
    """A registered gate family. `thresholded`: `gates.threshold` decides what stays open."""

    name: str
    family: type[GateFamily]
    thresholded: bool
    equation: str
    source: str


F = TypeVar("F", bound=type[GateFamily])


def register_gate(name: str, *, thresholded: bool, equation: str, source: str) -> Callable[[F], F]:
    """Class decorator that adds a gate family under `name`.

    Raises:
        RegistryError: The name is taken.
    """

    def add(family: F) -> F:
        GATES.register(name, GateEntry(name, family, thresholded, equation, source), module=family.__module__)
        return family

    return add
