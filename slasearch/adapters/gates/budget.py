"""Budget gates (shifted sigmoid of S3Delta: Hu et al. 2022, arXiv 2206.07382): the expected size is B at every step.

    p_i = σ((α_i − x)/β),   x solves E(p) = B by bisection in fp64,   E(p) = Σ_i c_i·p_i
    z = p̂ = p · stopgrad(E(p)) / E(p)

p̂ is p in value, but what one gate gains the others lose: slots compete for the budget. The division is the
cost-weighted form, since S3Delta's p/Σp leaks gradient where costs differ [ours].

With several tasks E is the expected size of the union, Σ_s c_s·max_t p_{t,s}, or each task has its own x (scope
`per_task`). In a union x says which slots are paid, and α which tasks use them: with m_s = max_t α_{t,s}

    p_{t,s} = σ((m_s − x)/β) · exp((α_{t,s} − m_s)/β)

which is σ((α − x)/β) wherever that is small, and for the task that wants a slot most. The others stay behind it by as
much where the budget is ample: by x alone a slot that one task has paid would open for all, and tasks could not differ
[ours].
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
_USES = 0.5
"""A task uses a slot of the union if its gate is at least this wide open beside the widest."""


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
        deciding = self._alive_only(logits)
        if self._scope == "union":
            deciding = deciding.amax(dim=0, keepdim=True)
        shape = (len(deciding), 1)
        low, high = low.expand(shape).clone(), high.expand(shape).clone()
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            above = self.expected_size(torch.sigmoid((deciding - middle) / beta)) > self._target
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return (low + high) / 2

    def _alive_only(self, logits: Tensor) -> Tensor:
        return logits.masked_fill(~self.alive, -torch.inf)

    def _opened(self, logits: Tensor, x: Tensor) -> Tensor:
        p = torch.sigmoid((logits - x) / self.temperature)
        if self._scope == "union" and len(logits) > 1:
            widest = self._alive_only(logits.detach()).amax(dim=0)
            behind = ((logits - widest) / self.temperature).clamp(max=0).exp()
            p = torch.where(logits >= widest, p, torch.sigmoid((widest - x) / self.temperature) * behind)
        return p * self.alive

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
        """Open where p is at least what it would be if all gates were alike: the budget makes every p small.

        In a union the widest gate of a slot has to be so, and a task's own at least half as wide.
        """
        p = self._p()
        alike = (self._target / pool_size(self.alive, self.costs, self._scope)).clamp(max=1.0) * (1 - 1e-9)
        if self._scope == "per_task":
            return p >= alike
        widest = union_openness(p)
        return (widest >= alike) & (p >= _USES * widest)
