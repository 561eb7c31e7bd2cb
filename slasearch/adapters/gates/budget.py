"""Budget gates (shifted sigmoid of S3Delta: Hu et al. 2022, arXiv 2206.07382): the expected size is B at every step.

    p_i = σ((α_i − x)/β),   x solves E(p) = B by bisection in fp64,   E(p) = Σ_i c_i·p_i
    z = p̂ = p · stopgrad(E(p)) / E(p)

p̂ is p in value, but what one gate gains the others lose: slots compete for the budget. The division is the
cost-weighted form, since S3Delta's p/Σp leaks gradient where costs differ [ours]. With several tasks E is the expected
size of the union, Σ_s c_s·max_t p_{t,s}, or each task has its own x (scope `per_task`) [ours].
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from slasearch.adapters.budget import pool_size, union_openness
from slasearch.adapters.gates._base import GateFamily, register_gate
from slasearch.records import GateSpec

__all__ = ["Budget"]

_FARTHEST = 60.0
"""Beyond this many temperatures a sigmoid is 0 or 1 in fp64."""
_HALVINGS = 48
"""After these E(p) = B holds to some 10⁻¹³."""


@register_gate(
    "budget",
    thresholded=False,
    needs_budget=True,
    equation="z = p·stopgrad(E(p))/E(p), p = σ((α − x)/β), x: E(p) = Σ c·p = B; at the end filled by p",
    source="S3Delta, Hu et al. 2022, arXiv 2206.07382; cost-weighted form and several tasks ours",
)
class Budget(GateFamily):
    """See the module docstring; β is the temperature."""

    penalised = False
    weighted = False

    def __init__(self, tasks: int, slots: int, settings: GateSpec, *, costs: Tensor) -> None:
        super().__init__(tasks, slots, settings, costs=costs)
        self._target = float(costs.sum())
        self._scope: Literal["union", "per_task"] = "union"

    def initial_logit(self) -> float:
        """All alike: the budget alone says how open they are."""
        return 0.0

    def set_target(self, parameters: float, scope: Literal["union", "per_task"]) -> None:
        """B from now on."""
        self._target, self._scope = parameters, scope

    def expected_size(self, p: Tensor) -> Tensor:
        """E(p) in parameters, fp64: one number for the union, or `T x 1` for each task's own."""
        p = p.double()
        if self._scope == "union":
            return (union_openness(p) * self.costs).sum()
        return (p * self.costs).sum(dim=1, keepdim=True)

    def shift(self) -> Tensor:
        """The shift x: one number for the union, or `T x 1`; fp64. A budget of the whole pool opens every gate."""
        logits = self.logits.detach().double()
        beta = self.temperature
        low = logits.min() - _FARTHEST * beta
        high = logits.max() + _FARTHEST * beta
        shape = (1, 1) if self._scope == "union" else (logits.shape[0], 1)
        low, high = low.expand(shape).clone(), high.expand(shape).clone()
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            above = self.expected_size(self._opened(logits, middle)) > self._target
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return (low + high) / 2

    def _opened(self, logits: Tensor, x: Tensor) -> Tensor:
        return torch.sigmoid((logits - x) / self.temperature) * self.alive

    def _p(self) -> Tensor:
        """Openness p in fp64, differentiable in the logits with x held fixed."""
        return self._opened(self.logits.double(), self.shift())

    def sample(self, generator: torch.Generator) -> Tensor:
        """Gates p̂: this family has no noise."""
        p = self._p()
        size = self.expected_size(p)
        return (p * (size.detach() / size)).to(self.logits.dtype)

    def value(self) -> Tensor:
        """Openness p."""
        return self._p().detach().to(self.logits.dtype)

    def openness(self) -> Tensor:
        """Openness p."""
        return self._p().to(self.logits.dtype)

    def is_open(self) -> Tensor:
        """Open where p is at least what it would be if all gates were alike: the budget makes every p small."""
        whole = pool_size(self.alive, self.costs, self._scope)
        return self._p() >= (self._target / whole).clamp(max=1.0) * (1 - 1e-9)
