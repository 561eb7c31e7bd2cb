"""The gated steps: gates learn under pressure, and under `progressive` slots close for good along the way.

loss = task loss + λ(t)·R,    R = Σ_s c_s·p_s / Σ_s c_s  (cost-weighted, normalised)
"""

from __future__ import annotations

import math
from statistics import median

import torch
from torch import Tensor

from slasearch.adapters.budget import BudgetPressure, by_strength, expected_share, fill
from slasearch.adapters.gates.bank import GateBank
from slasearch.adapters.pool import Pool
from slasearch.records import Event, FinalisationSpec, SizeSpec
from slasearch.trial.ranking import first_order

__all__ = ["GateLearner", "ramp"]

_PRUNINGS = 40
"""How often `progressive` closes slots: often enough for a smooth fall, seldom enough to cost nothing."""
_LOOK_AHEAD = 0.25
"""Share of the gated steps by which `progressive` presses gates before it closes them: pruned to the target itself, the
pool would always be small enough, and cost would have no say in which gates lose."""
_MEMORY = 0.85
"""Decay of the moving average of saliency, as in AdaLoRA (arXiv 2303.10512)."""
_STALLED = 0.01
_LOPSIDED = 100.0


def ramp(schedule: str, share: float) -> float:
    """Factor on λ when `share` (clipped to [0, 1]) of the ramp is done: rises from 0 to 1."""
    share = min(1.0, max(0.0, share))
    if schedule == "cosine":
        return 0.5 * (1 - math.cos(math.pi * share))
    if schedule == "cubic":
        return 1 - (1 - share) ** 3
    return share


class GateLearner:
    """Updates the gates of a trial, step by step, and watches their health.

    Args:
        bank: The gates.
        pool: Their pool; `progressive` removes slots from it.
        size: What decides the size.
        finalisation: Whether slots close for good, and by which ranking.
        learning_rate: Of the gates.
        steps: Steps in which gates learn.
        ramp_steps: Steps over which λ grows.
    """

    def __init__(
        self,
        bank: GateBank,
        pool: Pool,
        size: SizeSpec,
        finalisation: FinalisationSpec,
        *,
        learning_rate: float,
        steps: int,
        ramp_steps: float,
    ) -> None:
        self.bank, self._pool, self._size = bank, pool, size
        self._rate, self._steps, self._ramp_steps = learning_rate, steps, ramp_steps
        self._optimizer = bank.family.optimizer(learning_rate)
        self._costs = torch.tensor([float(pool.costs[slot].parameters) for slot in pool.candidates])
        self._progressive = finalisation.finish == "progressive"
        until = 1.0 if self._progressive else 0.5
        total = int(self._costs.sum())
        self._pressure = None if size.budget is None else BudgetPressure(total, size.budget, until=until)
        device = bank.family.logits.device
        self._costs = self._costs.to(device)
        self._saliency = torch.zeros_like(self._costs) if finalisation.ranking == "saliency" else None
        self._weight: Tensor | float = 0.0
        self._start = bank.openness().detach().cpu()
        self._ratios: list[Tensor] = []

    def begin(self, step: int) -> None:
        """Sets temperatures and λ (or μ) for gated step number `step` (from 0), and forgets old gradients."""
        share = step / self._steps
        family = self.bank.family
        family.set_progress(share)
        ahead = min(1.0, share + _LOOK_AHEAD) if self._progressive else share
        if self._pressure is not None:
            family.set_target(self._pressure.target(ahead), self._size.scope)
        if self._pressure is None:
            shape = 1.0 if self._ramp_steps <= 0 else ramp(self._size.schedule, (step + 1) / self._ramp_steps)
            self._weight = self._size.sparsity_weight * shape
        else:
            self._weight = self._pressure.update(self._expected(), ahead)
        self._optimizer.zero_grad(set_to_none=True)

    def penalty(self) -> Tensor:
        """λ·R of this step, differentiable in the logits; 0 where the family applies λ itself."""
        expected = self._expected()
        return self._weight * expected if self.bank.family.penalised else torch.zeros_like(expected)

    def _expected(self) -> Tensor:
        return expected_share(self.bank.openness(), self._costs, self._size.scope)

    def step(self, penalty: Tensor | None = None) -> None:
        """Updates the logits, whose gradient is that of the task loss.

        Args:
            penalty: What `penalty` gave; its gradient is added here. None: the loss had it in it.
        """
        family = self.bank.family
        task = family.logits.grad
        if penalty is not None and penalty.requires_grad:
            (pull,) = torch.autograd.grad(penalty, [family.logits])
            self._watch(pull, task)
            family.logits.grad = pull if task is None else task + pull
        self._optimizer.step()
        family.after_step(self._rate, self._weight)

    def observe(self) -> None:
        """Takes the saliency |w·∂L/∂w| per parameter of this step's gradients into its moving average, if it counts."""
        if self._saliency is None:
            return
        there = [column for column, slot in enumerate(self._pool.candidates) if slot in self._pool.present]
        now = torch.stack([first_order(self._pool.modules_of(self._pool.candidates[column])) for column in there])
        columns = torch.tensor(there).to(now.device, non_blocking=True)
        kept = _MEMORY * self._saliency[columns] + (1 - _MEMORY) * now / self._costs[columns]
        self._saliency[columns] = kept

    def prune(self, step: int) -> bool:
        """Under `progressive`, every so often: closes for good what the target leaves no room for.

        Args:
            step: Gated steps done.

        Returns:
            Whether modules left the pool.
        """
        every = max(1, self._steps // _PRUNINGS)
        if not self._progressive or step % every or self._pressure is None:
            return False
        room = self._pressure.target(step / self._steps)
        tasks = self.bank.alive.shape[0]
        costs = [self._pool.costs[slot].parameters for slot in self._pool.candidates]
        chosen = fill(by_strength(self.strength()), costs, room, self._size.scope, tasks)
        alive = torch.zeros(tasks, len(costs), dtype=torch.bool)
        for task, slots in enumerate(chosen):
            alive[task, sorted(slots)] = True
        if not bool(alive.any()):  # the pool is one slot dearer than the target: finalisation decides
            return False
        self.bank.close(alive)
        still = self.bank.alive.any(0).tolist()
        gone = [
            s for s, open_ in zip(self._pool.candidates, still, strict=True) if not open_ and s in self._pool.present
        ]
        self._pool.discard(gone)
        return bool(gone)

    def strength(self) -> Tensor:
        """What slots are ranked by while gates learn, `T x S` on the CPU: the gates', or the moving saliency."""
        strength = self.bank.strength().cpu()
        if self._saliency is None:
            return strength
        return self._saliency.cpu().expand_as(strength).masked_fill(strength == -torch.inf, -torch.inf)

    def health(self) -> tuple[Event, ...]:
        """Warnings about gates that did not move, or that heard only one side."""
        alive = self.bank.alive.cpu()
        moved = float((self.bank.openness().detach().cpu() - self._start)[alive].abs().mean())
        events = []
        if moved < _STALLED and self._rate > 0:
            text = f"Gates moved by {moved:.4f} on average. Raise the gates' learning rate, or the number of steps."
            events.append(Event("gate_health.stalled", text, "warning"))
        ratios = [ratio for ratio in torch.stack(self._ratios).tolist() if math.isfinite(ratio)] if self._ratios else []
        ratio = median(ratios) if ratios else 1.0
        if ratio > _LOPSIDED or 0 < ratio < 1 / _LOPSIDED:
            louder, cure = ("penalty", "Lower") if ratio > 1 else ("task loss", "Raise")
            text = (
                f"The gradient of the penalty on the gates was {ratio:.2g} times the task loss's (median): only the "
                f"{louder} decides. {cure} the sparsity weight."
            )
            events.append(Event("gate_health.penalty_ratio", text, "warning"))
        return tuple(events)

    def _watch(self, pull: Tensor, task: Tensor | None) -> None:
        if self._pressure is None and self._weight and task is not None:
            self._ratios.append(pull.norm() / task.norm())
