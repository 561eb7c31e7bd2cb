"""λ over the gated steps: a ramp to one value, or a path from small to large that gives a whole curve in one run.

    λ(t) = λ_{k−1} + (λ_k − λ_{k−1}) · shape(t in stage k),    λ_0 = 0

Gates start wide open and have farthest to go in the first stage: it takes half of the gated steps, and the others share
the rest evenly. Each stage begins with the gates and weights that the one before has left (warm start), so a path of K
values costs one run instead of K, and its sizes fall along it. At the end of a stage that structure is read which
finalisation would take there, and scored with its gates' values and without further training; then the gates go on as
if nothing had been read. A trial of one λ, as a path of one, is read in the same way, so that the two can be compared:
a path tells the truth only if its stages are long enough for the gates to come to rest.

Along regularisation paths see Friedman et al. 2010 (Journal of Statistical Software 33); stages and read-out are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from slasearch.adapters.finalise import finalise
from slasearch.adapters.gates.bank import GateBank
from slasearch.adapters.pool import Pool
from slasearch.errors import ConfigError
from slasearch.records import SPARSITY_PATH, WHOLE_TRIAL, MetricRow, SizeSpec, Structure

__all__ = ["LambdaPath", "ramp", "read_out", "stage_rows"]


def ramp(schedule: str, share: float) -> float:
    """Factor on λ when `share` (clipped to [0, 1]) of the ramp is done: rises from 0 to 1."""
    share = min(1.0, max(0.0, share))
    if schedule == "cosine":
        return 0.5 * (1 - math.cos(math.pi * share))
    if schedule == "cubic":
        return 1 - (1 - share) ** 3
    return share


class LambdaPath:
    """What λ is at each gated step.

    Args:
        size: The λ, or the path of several, and the shape of the ramp.
        steps: Steps in which gates learn.
        ramp_steps: Steps over which λ grows, shared out over the stages by their lengths; at most all of them.

    Raises:
        ConfigError: There are too few steps for so many stages.
    """

    def __init__(self, size: SizeSpec, *, steps: int, ramp_steps: float) -> None:
        path = size.path if size.mode == "penalty" else ()
        self._weights = path or (size.sparsity_weight,)
        later = len(self._weights) - 1
        first = steps - steps // 2 if later else steps
        if later > steps - first:
            expected = f"at most {steps - first + 1} values, as gates learn in {steps} steps"
            raise ConfigError([f"size_control.path: expected {expected}, got {later + 1}. Raise training.steps."])
        self._ends = [first, *(first + round((steps - first) * stage / later) for stage in range(1, later + 1))]
        self._ramp, self._schedule = min(1.0, ramp_steps / steps), size.schedule
        self.points: Mapping[int, float] = dict(zip(self._ends, path, strict=True)) if path else {}
        """Gated steps done at the end of each stage of a path, and the stage's λ; empty without a path."""

    def weight(self, step: int) -> float:
        """λ at gated step number `step` (from 0)."""
        stage = sum(step >= end for end in self._ends)
        start, before = (self._ends[stage - 1], self._weights[stage - 1]) if stage else (0, 0.0)
        ramp_steps = self._ramp * (self._ends[stage] - start)
        done = 1.0 if ramp_steps <= 0 else ramp(self._schedule, (step - start + 1) / ramp_steps)
        return before + (self._weights[stage] - before) * done

    def progress(self, step: int) -> float:
        """Share (0 to 1) of the annealing that is done: temperatures come to their end with the first stage."""
        return min(1.0, step / self._ends[0])


def read_out(pool: Pool, bank: GateBank, size: SizeSpec) -> tuple[Structure, torch.Tensor]:
    """The structure that finalisation would take now, and z of each (task, slot) with the values it would fold in.

    Args:
        pool: The pool, which stays as it is.
        bank: Its gates, `T x S`, read at the temperature of their end.
        size: What decides the size.

    Returns:
        The structure, and z as a `T x S` tensor, 0 where a slot is not in the task's structure.
    """
    share = bank.family.share
    bank.family.set_progress(1.0)
    done = finalise(pool, bank, size)
    bank.family.set_progress(share)
    z = torch.zeros_like(bank.value())
    for task, (_, slots) in enumerate(done.structure.paths):
        for slot in slots:
            z[task, pool.candidates.index(slot)] = done.values[slot]
    return done.structure, z


def stage_rows(weight: float, scores: Sequence[MetricRow], parameters: int) -> tuple[MetricRow, ...]:
    """A stage's numbers as they are stored: under the condition `sparsity_path` with λ as its level.

    Args:
        weight: The stage's λ.
        scores: What `evaluate` gave for it.
        parameters: Exported parameters of its structure.
    """
    found = [
        MetricRow(row.task, row.split, SPARSITY_PATH, weight, row.metric, row.value, None, row.examples)
        for row in scores
        if row.metric != "loss"
    ]
    size = MetricRow(WHOLE_TRIAL, "validation", SPARSITY_PATH, weight, "exported_parameters", float(parameters))
    return (*found, size)
