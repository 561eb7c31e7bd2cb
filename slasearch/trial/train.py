"""Steps of a trial: warm-up with every gate open, gates that learn, and training of the final structure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slasearch.records import Slot, Structure, TrainingSpec
from slasearch.trial.data import TrainingData
from slasearch.trial.gating import GateLearner
from slasearch.trial.model import TaskModel

__all__ = ["Diverged", "StepPlan", "Trainer", "plan_steps", "rate"]


_LOOK_EVERY = 16
"""Steps after which a device is asked whether a loss was not finite."""
_HARDLY_OPEN = 1e-6
"""A gate's value below which what a module's gradients were says nothing about what they will be."""


class Diverged(ArithmeticError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class StepPlan:
    """Optimiser steps of a trial: `warm` of the `gated` ones have every gate open; `finish` follow finalisation."""

    warm: int
    gated: int
    finish: int

    @property
    def total(self) -> int:
        """All steps."""
        return self.gated + self.finish


def plan_steps(
    training: TrainingSpec, warm_up: float, finish_share: float, batches_per_epoch: int, *, fixed: bool
) -> StepPlan:
    """How a trial's steps are shared out.

    Args:
        training: Length.
        warm_up: Share of all steps with every gate open.
        finish_share: Share of all steps kept for the time after finalisation.
        batches_per_epoch: Steps that see every example once.
        fixed: The structure is given (a control): no step is gated.
    """
    if training.steps is not None:
        total = training.steps
    else:
        assert training.epochs is not None
        total = max(1, round(training.epochs * batches_per_epoch))
    if fixed:
        return StepPlan(warm=0, gated=0, finish=total)
    finish = min(total - 1, max(1, round(finish_share * total))) if total > 1 else 0
    gated = total - finish
    return StepPlan(warm=min(gated - 1, round(warm_up * total)), gated=gated, finish=finish)


def rate(schedule: str, share: float) -> float:
    """Factor on the peak learning rate when `share` (0 to 1) of the steps is done."""
    if schedule == "linear":
        return 1.0 - share
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * share))
    return 1.0


class Trainer:
    """Steps of one trial.

    Args:
        model: Backbone, pool and heads, or another method's modules.
        data: Training batches, endless, for all steps; see `train_on`.
        gate_data: Held-out batches on which gates learn (first-order, one gate step after each weight step), or None:
            gates learn on the training batches.
        weights: Weight of each task's loss.
        training: Rates and schedule.
        plan: How many steps of which sort.
        generator: Source of the gates' noise, on the CPU.
    """

    def __init__(
        self,
        model: TaskModel,
        data: TrainingData,
        gate_data: TrainingData | None,
        *,
        weights: list[float],
        training: TrainingSpec,
        plan: StepPlan,
        generator: torch.Generator,
    ) -> None:
        self.model, self.plan, self.training = model, plan, training
        self.tokens = 0
        self.step = 0
        self._weights, self._generator = weights, generator
        self._gate_data, self._gate_batches = gate_data, None if gate_data is None else iter(gate_data)
        self._gate_drawn = 0
        self.train_on(data)
        self._schedule_start, self._schedule_length = 0, max(1, plan.total)
        self._worst = torch.zeros(())
        self._optimizer = self._make_optimizer()

    def train_on(self, data: TrainingData, *, until: int | None = None) -> None:
        """Other training batches from now on, up to step number `until` (None: to the end)."""
        self.data, self._batches, self._drawn = data, iter(data), 0
        self._until = self.plan.total if until is None else until

    def state_dict(self) -> dict[str, Any]:
        """What it takes to go on later, besides the model and the gates: plain values and tensors."""
        moments = self._optimizer.state
        return {
            "step": self.step,
            "tokens": self.tokens,
            "schedule": [self._schedule_start, self._schedule_length],
            "drawn": [self._drawn, self._gate_drawn],
            "depths": [self.data.depth, 0 if self._gate_data is None else self._gate_data.depth],
            "noise": self._generator.get_state(),
            "worst": self._worst,
            "moments": [dict(moments[weight]) if weight in moments else {} for weight in self._clipped],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state.

        Args:
            state: What `state_dict` gave, with the same data and with a model that is as it was then.
        """
        self.step, self.tokens = state["step"], state["tokens"]
        self._schedule_start, self._schedule_length = state["schedule"]
        self._drawn, self._gate_drawn = state["drawn"]
        self._batches = self.data.batches(self._drawn)
        self.data.go_on(state["depths"][0])
        if self._gate_data is not None:
            self._gate_batches = self._gate_data.batches(self._gate_drawn)
            self._gate_data.go_on(state["depths"][1])
        self._generator.set_state(state["noise"])
        self._worst = state["worst"]
        self._optimizer = self._make_optimizer()
        for weight, moments in zip(self._clipped, state["moments"], strict=True):
            if moments:
                self._optimizer.state[weight] = {name: value.to(weight.device) for name, value in moments.items()}

    def restart_schedule(self) -> None:
        """For fresh modules: a fresh optimiser, and learning rates that start over for the steps that are left."""
        self._schedule_start, self._schedule_length = self.step, max(1, self.plan.total - self.step)
        self._optimizer = self._make_optimizer()

    def drop_removed(self) -> None:
        """After slots were removed from the pool: the optimiser forgets them, and keeps its moments of the others."""
        moments = self._optimizer.state
        self._optimizer = self._make_optimizer()
        self._optimizer.state.update({weight: moments[weight] for weight in self._clipped if weight in moments})

    def fold_moments(self, values: Mapping[Slot, float]) -> None:
        """After gates were folded into modules: moments as if the weights had held their gate's value from the start.

        The gradient of z·w is that of w over z. With moments left as they were, Adam's steps would be longer, by up to
        1/z, until it has forgotten them.

        Args:
            values: z of each slot in the pool.
        """
        for slot, value in values.items():
            for module in self.model.pool.modules_of(slot):
                for name in module.linear_in:
                    moments = self._optimizer.state.get(module.get_parameter(name), {})
                    if abs(value) < _HARDLY_OPEN:
                        moments.clear()
                    elif moments:
                        moments["exp_avg"] /= value
                        moments["exp_avg_sq"] /= value**2

    def _make_optimizer(self) -> torch.optim.Optimizer:
        heads = [parameter for head in self.model.heads.values() for parameter in head.parameters()]
        groups = [{"params": heads, "peak": self.training.head_learning_rate, "heads": True}]
        factors = dict(self.training.kind_factors) | self.model.rates
        for kind, weights in self.model.weights_by_kind().items():
            peak = self.training.learning_rate * factors.get(kind, 1.0)
            groups.append({"params": weights, "peak": peak, "heads": False})
        self._clipped = [weight for group in groups for weight in group["params"]]  # type: ignore[attr-defined]
        return torch.optim.AdamW(groups, lr=1.0, weight_decay=self.training.weight_decay, fused=True)

    def run_gated(self, learner: GateLearner) -> Iterator[int]:
        """The gated steps; yields the number of steps done after each.

        Raises:
            Diverged: The loss is not finite.
        """
        while self.step < self.plan.gated:
            done = self.step - self.plan.warm
            if done < 0:
                self._weight_step(learner.all_open(), learner)
            else:
                learner.begin(done)
                self._gate_step(learner)
                if learner.prune(done + 1):
                    self.drop_removed()
            yield self.step

    def run_fixed(self, structure: Structure) -> Iterator[int]:
        """The steps after finalisation; yields the number of steps done after each.

        Raises:
            Diverged: The loss is not finite.
        """
        while self.step < self.plan.total:
            self._weight_step(structure)
            yield self.step

    def _gate_step(self, learner: GateLearner) -> None:
        """One step of weights and gates together, or of one after the other on their own batches."""
        logits = learner.bank.family.logits
        z = learner.sample(self._generator)
        if self._gate_data is None or self._gate_batches is None:
            self._weight_step(z, learner)
        else:
            self._weight_step(z.detach(), learner)
            batch, noise = next(self._gate_batches)
            self._gate_drawn += 1
            lower = self._gate_data.lower(self.model, batch, self.plan.gated - self.step + 1)
            held_out = learner.sample(self._generator)
            loss = self.model.loss(batch, self._weights, held_out, noise, lower)
            logits.grad, effect = torch.autograd.grad(loss, [logits, held_out])
            learner.observe(held_out, effect)
        learner.step(learner.penalty())

    def _watch(self, loss: Tensor) -> None:
        """Raises if a loss was not finite: at once on a CPU, now and then where looking would stop the device."""
        self._worst = torch.maximum(self._worst.to(loss), torch.where(torch.isfinite(loss), 0.0, 1.0))
        last = self.step + 1 in (self.plan.gated, self.plan.total)
        if loss.device.type != "cpu" and self.step % _LOOK_EVERY and not last:
            return
        if bool(self._worst):
            raise Diverged(f"the loss is {float(loss)} at step {self.step + 1} of {self.plan.total}")

    def check(self) -> None:
        """Raises `Diverged` if a loss so far was not finite, of which a device may not have been asked yet."""
        if bool(self._worst):
            raise Diverged("a loss was not finite")

    def _weight_step(self, gates: Tensor | Structure | None, learner: GateLearner | None = None) -> None:
        share = (self.step - self._schedule_start) / self._schedule_length
        factor = 1.0 if learner is None else learner.rate_factor
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * rate(self.training.schedule, share) * (1.0 if group["heads"] else factor)
        batch, noise = next(self._batches)
        self._drawn += 1
        self._optimizer.zero_grad(set_to_none=True)
        lower = self.data.lower(self.model, batch, self._until - self.step)
        loss = self.model.loss(batch, self._weights, gates, noise, lower)
        self._watch(loss.detach())
        loss.backward()  # type: ignore[no-untyped-call]
        if learner is not None:
            learner.observe(gates if isinstance(gates, Tensor) else None)
        nn.utils.clip_grad_norm_(self._clipped, self.training.gradient_clip)
        self._optimizer.step()
        self.step += 1
        self.model.after_step(self.step, self.plan.total)
        self.tokens += int(batch.attention_mask.sum())
