"""Workers of the scenarios, light enough for Ray's processes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from slasearch.config.plain import to_plain
from slasearch.orchestrate.simulate import SimulatedWorker
from slasearch.records import CheckpointPlan, Progress, TaskData, TrialReport, TrialSpec

__all__ = ["SickWorker", "SignedWorker", "VisibleWorker"]


def _digest(spec: TrialSpec) -> bytes:
    return hashlib.sha256(json.dumps(to_plain(spec), sort_keys=True).encode()).digest()


class SignedWorker(SimulatedWorker):
    """The simulated worker with an adapter whose bytes follow from the trial: no other trial's can pass for it."""

    def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
        for report in super().run(spec, plan):
            if isinstance(report, TrialReport):
                files = {"adapter.safetensors": 100 * _digest(spec), "adapter.json": b"{}"}
                yield replace(report, artifact=files)
            else:
                yield report


class SickWorker(SignedWorker):
    """Gives numbers that are none in about two of five trials, drawn by seed and trial; all four sorts of them."""

    def __init__(self, *, seed: int) -> None:
        super().__init__((), cache=None, threads=1)
        self._seed = seed

    def is_sick(self, spec: TrialSpec) -> bool:
        """Whether the trial will be."""
        return self._draw(spec).random() < 0.4

    def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
        sick, draw = self.is_sick(spec), self._draw(spec)
        value = draw.choice([math.nan, math.inf, -math.inf, None])
        for report in super().run(spec, plan):
            if not sick:
                yield report
            elif isinstance(report, Progress):
                yield replace(report, score=math.nan if value is None else value)
            else:
                objectives = {name: number for name, number in report.objectives.items() if name != "score"}
                metrics = tuple(replace(metric, value=math.nan) for metric in report.metrics)
                yield replace(
                    report, objectives=objectives | ({} if value is None else {"score": value}), metrics=metrics
                )

    def _draw(self, spec: TrialSpec) -> random.Random:
        return random.Random(f"{self._seed}:{_digest(spec).hex()}")


class VisibleWorker(SignedWorker):
    """Leaves a file named by its process in a folder as long as it runs a trial."""

    def __init__(
        self, tasks: Sequence[TaskData], *, cache: Path | None, threads: int, seconds: float, folder: Path
    ) -> None:
        super().__init__(tasks, cache=cache, threads=threads, seconds=seconds)
        self._mark = folder / str(os.getpid())

    def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
        self._mark.touch()
        try:
            yield from super().run(spec, plan)
        finally:
            self._mark.unlink(missing_ok=True)
