"""The gated steps: gates learn under pressure, and under `progressive` slots close for good along the way.

loss = task loss + λ(t)·R,    R = Σ_s c_s·p_s / Σ_s c_s  (cost-weighted, normalised)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor

from slasearch.adapters.budget import (
    BudgetPressure,
    below_cheapest,
    by_strength,
    expected_share,
    pool_size,
    reserve,
    trim,
)
from slasearch.adapters.gates.bank import GateBank
from slasearch.adapters.pool import Pool
from slasearch.records import Event, FinalisationSpec, SizeSpec
from slasearch.trial.lambda_path import LambdaPath
from slasearch.trial.ranking import first_order, within_tasks

__all__ = ["GateLearner"]

_PRUNINGS = 40
"""How often `progressive` closes slots at most: often enough for a smooth fall, seldom enough to cost nothing."""
_LOOK_AHEAD = 0.25
"""Share of the gated steps by which `progressive` presses gates before it closes them: pruned to the target itself, the
pool would always be small enough, and cost would have no say in which gates lose."""
_MEMORY = 0.85
"""Decay of the moving average of saliency, as in AdaLoRA (arXiv 2303.10512)."""
_STALLED = 0.01
_LOPSIDED = 100.0


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

    Raises:
        ConfigError: No slot fits the budget, found out here under `progressive`.
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
        self._rate, self._steps = learning_rate, steps
        self.path = LambdaPath(size, steps=steps, ramp_steps=ramp_steps)
        self._optimizer = bank.family.optimizer(learning_rate)
        self._costs = torch.tensor([float(pool.costs[slot].parameters) for slot in pool.candidates])
        self._progressive = finalisation.finish == "progressive"
        if self._progressive and size.budget is not None:
            self._close_what_never_fits(size.budget)
        self._whole = pool_size(bank.alive.cpu(), self._costs, size.scope)
        until = 1.0 if self._progressive else 0.5
        self._pressure = None if size.budget is None else BudgetPressure(int(self._whole), size.budget, until=until)
        self._saliency = torch.zeros(len(pool.tasks), len(self._costs)) if finalisation.ranking == "saliency" else None
        self._by_gates = self._saliency is not None and len(pool.tasks) > 1 and learning_rate > 0
        self._weight: Tensor | float = 0.0
        self._start = bank.position().cpu()
        self._ratios: list[Tensor] = []
        self.to(bank.family.logits.device)
        self._open = self._open_size()

    def to(self, device: torch.device | str) -> None:
        """Moves the gates and what belongs to them."""
        moments = self._optimizer.state_dict()
        self.bank.family.to(device)
        self._optimizer = self.bank.family.optimizer(self._rate)
        self._optimizer.load_state_dict(moments)  # which puts each value where it belongs
        self._costs, self._whole = self._costs.to(device), self._whole.to(device)
        self._ratios = [ratio.to(device) for ratio in self._ratios]
        if self._saliency is not None:
            self._saliency = self._saliency.to(device)
        if self._pressure is not None:
            self._pressure.multiplier = torch.as_tensor(self._pressure.multiplier).to(device)

    def _close_what_never_fits(self, budget: int) -> None:
        """A slot dearer than the budget cannot be in any structure: it must not outlive those that can."""
        fits = self._costs <= budget
        if not fits.any():
            raise below_cheapest(budget, self._costs.tolist())
        self.bank.close(fits.expand(len(self._pool.tasks), -1))
        self._pool.discard([slot for slot, fit in zip(self._pool.candidates, fits.tolist(), strict=True) if not fit])

    def state_dict(self) -> dict[str, Any]:
        """What it takes to go on later: plain values and tensors."""
        return {
            "gates": self.bank.family.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "multiplier": None if self._pressure is None else torch.as_tensor(self._pressure.multiplier),
            "saliency": self._saliency,
            "start": self._start,
            "ratios": list(self._ratios),
        }

    def load_state_dict(self, state: Mapping[str, Any], step: int) -> None:
        """Goes on from a state; slots whose gates are closed for good leave the pool.

        Args:
            state: What `state_dict` gave, of the same pool and settings.
            step: Gated steps done.
        """
        self.bank.family.load_state_dict(state["gates"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._pressure is not None:
            self._pressure.multiplier = state["multiplier"]
        self._saliency, self._start, self._ratios = state["saliency"], state["start"], list(state["ratios"])
        self.bank.family.set_progress(self.path.progress(step))
        used = zip(self._pool.candidates, self.bank.alive.any(0).tolist(), strict=True)
        self._pool.discard([slot for slot, open_ in used if not open_ and slot in self._pool.present])
        self._open = self._open_size()
        self.to(self.bank.family.logits.device)

    @property
    def rate_factor(self) -> float:
        """By what modules' learning rate is multiplied: under a budget, by its share in all that may still be open.

        Adam's step is as long for each module however many there are, and the steps of all of them add up: at a rate
        that suits the structure, a pool of five times its size would take five times as long ones together.
        """
        return 1.0 if self._size.budget is None else min(1.0, self._size.budget / self._open)

    def _open_size(self) -> float:
        """Parameters of all that may still be open, by the budget's scope."""
        return float(pool_size(self.bank.alive.cpu(), self._costs.cpu(), self._size.scope))

    def begin(self, step: int) -> None:
        """Sets temperatures and λ (or μ) for gated step number `step` (from 0), and forgets old gradients."""
        share = step / self._steps
        family = self.bank.family
        family.set_progress(self.path.progress(step))
        if self._pressure is None:
            if step in self.path.points:
                self._begin_stage()
            self._weight = self.path.weight(step)
        else:
            ahead = min(1.0, share + _LOOK_AHEAD) if self._progressive else share
            family.set_target(self._pressure.target(ahead), self._size.scope)
            if family.weighted:
                self._weight = self._pressure.update(self._expected(), ahead)
        self._optimizer.zero_grad(set_to_none=True)

    def _begin_stage(self) -> None:
        """For the next stage of a sparsity path: no gate is wider open than at the trial's start, nor has it momentum.

        A gate that the last stage has opened wide hardly feels λ: dp/dα is almost 0 there. It would stay open whatever
        λ came next.
        """
        family = self.bank.family
        if family.bounded:
            with torch.no_grad():
                family.logits.clamp_(max=family.initial_logit())
        self._optimizer.state.clear()

    def penalty(self) -> Tensor:
        """λ·R of this step, differentiable in the logits; 0 where it is no part of the family's loss."""
        family = self.bank.family
        return self._weight * self._expected() if family.penalised else family.logits.new_zeros(())

    def _expected(self) -> Tensor:
        return expected_share(self.bank.openness(), self._costs, self._size.scope, self._whole)

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

    def sample(self, generator: torch.Generator) -> Tensor:
        """Gates z of one training step, `T x S`, differentiable."""
        z = self.bank.sample(generator)
        if self._by_gates:
            z.retain_grad()
        return z

    def all_open(self) -> Tensor | None:
        """Gates z of the warm-up, where every gate that may be open is; None where that is all of them."""
        if self._by_gates:
            return self.bank.alive.float().requires_grad_()
        return self.bank.all_open()

    def observe(self, z: Tensor | None = None, gradient: Tensor | None = None) -> None:
        """Takes what a backward pass says of each slot's worth into the moving average, where that ranks slots.

        Of one task, and where gates do not learn, it is Σ|w·∂L/∂w| over the slot's weights, as in AdaLoRA; of several
        tasks |z·∂L/∂z|, the first-order change of the loss if the gate closed for that task, and its mean over tasks
        where they share their gates. Both are divided by the slot's parameters.

        Args:
            z: The gates of the pass, as `sample` or `all_open` gave them.
            gradient: ∂L/∂z; None: it stands in `z.grad`.
        """
        if self._saliency is None:
            return
        if self._by_gates:
            gradient = z.grad if gradient is None and z is not None else gradient
            if z is not None and gradient is not None:
                now = (z.detach() * gradient).abs() / self._costs
                if self.bank.shared:
                    now = now.mean(0, keepdim=True).expand_as(now)
                self._saliency = _MEMORY * self._saliency + (1 - _MEMORY) * now
            return
        if gradient is not None:
            return  # weights have no gradient of their own in this pass
        there = [column for column, slot in enumerate(self._pool.candidates) if slot in self._pool.present]
        columns = torch.tensor(there).to(self._costs.device, non_blocking=True)
        now = first_order(self._pool) / self._costs[columns]
        self._saliency[:, columns] = _MEMORY * self._saliency[:, columns] + (1 - _MEMORY) * now

    def prune(self, step: int) -> bool:
        """Under `progressive`, every so often: closes for good what the target leaves no room for.

        All but a reserve, which stays until the last cut, so that the budget is used up where slots differ in size.

        Args:
            step: Gated steps done.

        Returns:
            Whether modules left the pool.
        """
        every = -(-self._steps // _PRUNINGS)
        if not self._progressive or self._pressure is None or (step % every and step < self._steps):
            return False
        room = self._pressure.target(step / self._steps)
        tasks = self.bank.alive.shape[0]
        costs = [self._pool.costs[slot].parameters for slot in self._pool.candidates]
        order, scope = by_strength(self.strength()), self._size.scope
        chosen = trim(order, costs, room, scope, tasks)
        spared = reserve(order, costs, chosen, scope) if step < self._steps else [set() for _ in chosen]
        alive = torch.zeros(tasks, len(costs), dtype=torch.bool)
        for task, slots in enumerate(chosen):
            alive[task, sorted(slots | spared[task])] = True
        self.bank.close(alive)
        used = zip(self._pool.candidates, self.bank.alive.any(0).tolist(), strict=True)
        gone = [slot for slot, open_ in used if not open_ and slot in self._pool.present]
        self._pool.discard(gone)
        self._open = self._open_size()
        return bool(gone)

    def strength(self) -> Tensor:
        """What slots are ranked by while gates learn, `T x S` on the CPU: the gates', or the moving saliency.

        Saliencies are ranked within each task, see `ranking.within_tasks`.
        """
        strength = self.bank.strength().cpu()
        if self._saliency is None:
            return strength
        return within_tasks(self._saliency.cpu(), strength > -torch.inf)

    def health(self) -> tuple[Event, ...]:
        """Warnings about gates that did not move, or that heard only one side."""
        alive = self.bank.alive.cpu()
        moved = float((self.bank.position().cpu() - self._start)[alive].abs().mean())
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
