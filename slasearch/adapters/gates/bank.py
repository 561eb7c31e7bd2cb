"""The gates of a trial: one family, some gates closed for good, and one gate a slot for all tasks where asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from slasearch.adapters.gates._base import GateEntry, GateFamily
from slasearch.records import GateSpec
from slasearch.registry import GATES

__all__ = ["GateBank"]


class GateBank:
    """Gates of T tasks and S slots, all `T x S`; a gate that is closed for good is 0 in every view.

    Args:
        spec: Family and settings; `shared` gives all tasks the same gates.
        tasks: T ≥ 1.
        costs: `S`, cost of each slot (parameters).
        device: Where the gates live.
    """

    def __init__(self, spec: GateSpec, tasks: int, costs: Tensor, device: torch.device | str = "cpu") -> None:
        entry: GateEntry = GATES.get(spec.family)
        rows = 1 if spec.shared else tasks
        self.family: GateFamily = entry.family(rows, len(costs), spec, costs=costs.double().cpu()).to(device)
        self._tasks = tasks

    @property
    def shared(self) -> bool:
        """Whether all tasks have the same gates."""
        return bool(self.family.settings.shared)

    @property
    def alive(self) -> Tensor:
        """`T x S` of bool: which gates may still be open."""
        return self._spread(self.family.alive)

    def close(self, alive: Tensor) -> None:
        """Closes for good every gate that is not in `alive` (`T x S` of bool); what was closed before stays closed."""
        rows = alive.any(0, keepdim=True) if self.family.alive.shape[0] == 1 else alive
        self.family.alive &= rows.to(self.family.alive.device)

    def all_open(self) -> Tensor | None:
        """Gates z of the warm-up: every gate that may be open is; None where that is all of them."""
        return None if bool(self.family.alive.all()) else self.alive.float()

    def sample(self, generator: torch.Generator) -> Tensor:
        """Gates z of one training step, differentiable."""
        return self._masked(self.family.sample(generator))

    def value(self) -> Tensor:
        """Gates z without randomness."""
        return self._masked(self.family.value().detach())

    def folded(self) -> Tensor:
        """What is folded into a module whose gate was kept."""
        return self._masked(self.family.folded())

    def openness(self) -> Tensor:
        """Openness p of the penalty."""
        return self._masked(self.family.openness())

    def position(self) -> Tensor:
        """Where each gate stands by what it has learned alone."""
        return self._spread(self.family.position())

    def is_open(self) -> Tensor:
        """Which gates stay open where no budget decides."""
        return self._spread(self.family.is_open() & self.family.alive)

    def strength(self) -> Tensor:
        """What slots are ranked by; −∞ where a gate is closed for good."""
        return self._spread(self.family.strength().masked_fill(~self.family.alive, -torch.inf))

    def _masked(self, values: Tensor) -> Tensor:
        return self._spread(values * self.family.alive)

    def _spread(self, values: Tensor) -> Tensor:
        return values.expand(self._tasks, -1)
