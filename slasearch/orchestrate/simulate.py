"""A worker that trains nothing: the whole machinery runs around it, to be tested and measured in seconds.

score = 0.9 − 0.05·(log10(learning rate) + 3)² − 0.2·λ + 0.01·noise(seeds) + 0.05·noise(layout)
parameters = 1000 / (1 + 100·λ)
latency = 1 + parameters / 1000 ms, where it is asked for

A control has the size that it is held to, and a layout a luck of its own, so that one of them is best. Another
response takes the score's place where an analysis is to be verified: `slasearch.testing.known_responses`.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from slasearch.records import CheckpointPlan, CostRow, MetricRow, Progress, TaskData, TrialReport, TrialSpec

__all__ = ["SimulatedWorker"]


def simulated_score(spec: TrialSpec) -> float:
    """The formula above."""
    noise = random.Random(spec.seeds.init * 100_003 + spec.seeds.data).uniform(-1, 1)
    rate = math.log10(spec.training.learning_rate)
    layout = random.Random(spec.control_variant).uniform(-1, 1) if spec.control_variant is not None else 0.0
    return 0.9 - 0.05 * (rate + 3) ** 2 - 0.2 * spec.size.sparsity_weight + 0.01 * noise + 0.05 * layout


class SimulatedWorker:
    """A `Worker` whose score follows a formula. `functools.partial` over it makes a factory with other options.

    Args:
        tasks: Not looked at.
        cache: Not looked at.
        threads: Not looked at.
        seconds: How long a trial takes.
        payload: Size of the adapter that a trial hands back (bytes).
        response: The score of a trial.
    """

    def __init__(
        self,
        tasks: Sequence[TaskData],
        *,
        cache: Path | None,
        threads: int,
        seconds: float = 0.0,
        payload: int = 0,
        response: Callable[[TrialSpec], float] = simulated_score,
    ) -> None:
        self._seconds = seconds
        self._payload = payload
        self._response = response

    def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
        """Reports a score that rises to its end; there is nothing to save."""
        reports = spec.training.reports
        score = self._response(spec)
        for report in range(1, reports + 1):
            time.sleep(self._seconds / reports)
            yield Progress(report, reports, score * report / reports, prunable=2 * report >= reports)
        yield TrialReport(
            "complete",
            reports,
            reports,
            objectives=self._objectives(spec, score),
            metrics=tuple(self._metrics(spec, score)),
            costs=(CostRow("train_seconds", self._seconds, "s"),),
            artifact={"adapter.safetensors": bytes(self._payload), "adapter.json": b"{}"} if self._payload else {},
        )

    def _objectives(self, spec: TrialSpec, score: float) -> dict[str, float]:
        parameters = round(1000 / (1 + 100 * spec.size.sparsity_weight))
        size = float(spec.control_size or parameters)
        objectives = {"score": score, "exported_parameters": size}
        objectives |= {"robustness": score - 0.05} if spec.measured else {}
        return objectives | ({"latency": 1 + size / 1000} if spec.latency else {})

    def _metrics(self, spec: TrialSpec, score: float) -> Iterator[MetricRow]:
        for task in spec.tasks:
            for split in spec.splits:
                yield MetricRow(task.name, split, "clean", 0.0, task.metric, score)
                for condition in spec.measured:
                    yield MetricRow(task.name, split, condition.kind, condition.level, task.metric, score - 0.05)
