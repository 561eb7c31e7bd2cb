"""What every gate family is: for each (task, slot) a variable that training opens or closes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from slasearch.records import GateSpec
from slasearch.registry import GATES

__all__ = ["GateEntry", "GateFamily", "register_gate"]


class GateFamily(nn.Module, ABC):
    """The gates of a pool, `T x S` for T tasks and S slots.

    Guarantees of every family, checked by `slasearch.testing.gates`: every p lies in [0, 1], and so does z in a
    `bounded` family; sampling depends on nothing but the logits and the generator; high logits are open.

    Args:
        tasks: T ≥ 1.
        slots: S ≥ 1.
        settings: Temperature, threshold and start.
        costs: `S`, cost of each slot (parameters).

    Attributes:
        logits: `T x S`, what is learned; α of most families.
        alive: `T x S` of bool, False where a gate is closed for good.
    """

    bounded: ClassVar[bool] = True
    """Whether every z lies in [0, 1]."""
    penalised: ClassVar[bool] = True
    """Whether λ·R is part of the loss."""
    weighted: ClassVar[bool] = True
    """Whether λ, or what a budget puts in its place, acts on it: in the loss, or in `after_step`."""
    temperatures: ClassVar[tuple[float, float]] = (1.0, 1.0)
    """Temperature at the start and at the end where the settings name none."""

    alive: Tensor
    costs: Tensor

    def __init__(self, tasks: int, slots: int, settings: GateSpec, *, costs: Tensor) -> None:
        super().__init__()
        self.settings = settings
        self.share = 0.0
        self.register_buffer("costs", costs, persistent=False)
        self.register_buffer("alive", torch.ones(tasks, slots, dtype=torch.bool))
        self.logits = nn.Parameter(torch.full((tasks, slots), self.initial_logit()))

    @property
    def temperature(self) -> float:
        """τ or β at the present share of the gated steps."""
        start, end = self.temperatures
        end = end if self.settings.temperature is None else self.settings.temperature
        start = start if self.settings.temperature_start is None else self.settings.temperature_start
        if self.settings.temperature_schedule == "constant":
            return end
        if self.settings.temperature_schedule == "linear":
            return float(start + (end - start) * self.share)
        return float(start ** (1 - self.share) * end**self.share)

    def set_progress(self, share: float) -> None:
        """Tells the family which share (0 to 1) of the gated steps is done, for annealing."""
        self.share = share

    def set_target(self, parameters: float, scope: Literal["union", "per_task"]) -> None:
        """Tells the family what size is aimed at now, in parameters; most families do without."""

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        """Who updates the logits: Adam without weight decay."""
        return torch.optim.Adam([self.logits], lr=learning_rate)

    def after_step(self, learning_rate: float, weight: Tensor | float) -> None:
        """Called after each optimiser step with λ (or what a budget puts in its place); most families do nothing."""

    @abstractmethod
    def initial_logit(self) -> float:
        """The logit at which `openness` is `settings.initial_openness` (a family under a budget: any equal logits)."""

    def uniform(self, generator: torch.Generator) -> Tensor:
        """Numbers between 0 and 1, away from both, `T x S`: drawn on the CPU, so alike on all devices; nobody waits."""
        on_gpu = self.logits.is_cuda
        u = torch.rand(self.logits.shape, generator=generator, pin_memory=on_gpu)
        return u.to(self.logits.device, non_blocking=on_gpu).clamp(1e-6, 1 - 1e-6)

    @abstractmethod
    def sample(self, generator: torch.Generator) -> Tensor:
        """Gates z of one training step, `T x S`, differentiable in the logits."""

    @abstractmethod
    def value(self) -> Tensor:
        """Gates z without randomness, `T x S`: what evaluation uses and finalisation folds in."""

    @abstractmethod
    def openness(self) -> Tensor:
        """Openness p of the penalty, `T x S`; differentiable in the logits where the family is `penalised`."""

    @abstractmethod
    def is_open(self) -> Tensor:
        """Which gates stay open where no budget decides, `T x S` of bool."""

    def folded(self) -> Tensor:
        """What is folded into a module whose gate was kept, `T x S`: z, or p where a budget kept what z would erase."""
        value = self.value()
        return torch.where(value == 0, self.openness(), value).detach()

    def position(self) -> Tensor:
        """Where each gate stands by what it has learned alone, `T x S`: σ(α).

        Its openness also follows temperature, budget and the other gates.
        """
        return torch.sigmoid(self.logits.detach())

    def strength(self) -> Tensor:
        """What slots are ranked by, `T x S`, larger is better: the openness."""
        return self.openness().detach()


@dataclass(frozen=True)
class GateEntry:
    """A registered gate family.

    `thresholded`: `gates.threshold` decides what stays open. `needs_budget`: it works under the mode `budget` only,
    which also says how open gates start. `tempered`: it has a temperature.
    """

    name: str
    family: type[GateFamily]
    thresholded: bool
    equation: str
    source: str
    needs_budget: bool = False
    tempered: bool = True


F = TypeVar("F", bound=type[GateFamily])


def register_gate(
    name: str,
    *,
    thresholded: bool,
    equation: str,
    source: str,
    needs_budget: bool = False,
    tempered: bool = True,
) -> Callable[[F], F]:
    """Class decorator that adds a gate family under `name`.

    Raises:
        RegistryError: The name is taken.
    """

    def add(family: F) -> F:
        entry = GateEntry(name, family, thresholded, equation, source, needs_budget, tempered)
        GATES.register(name, entry, module=family.__module__)
        return family

    return add
