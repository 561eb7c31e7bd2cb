"""A small study for tests of orchestration, workers that misbehave, and what stands in the database afterwards."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from slasearch.config.load import parse_study
from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.orchestrate.simulate import SimulatedWorker
from slasearch.records import CheckpointPlan, Progress, TaskData, TrialReport, TrialSpec
from slasearch.search.summary import StudySummary

STUDY = """
name: small
tasks: [{{name: texts, source: "file:{home}/texts.jsonl"}}]
size_control: {{mode: penalty, sparsity_weight: {{float: [0.0, 1.0]}}}}
training:
  steps: 100
  batch_size: 8
  learning_rate: {{log_float: [1.0e-4, 1.0e-2]}}
  head_learning_rate: 1.0e-3
  weight_decay: 0.0
  schedule: constant
phases: {{optimise: {{trials: {trials}, sampler: {{name: random}}, pruner: {pruner}}}}}
resources: {{max_concurrent_trials: 2}}
limits: {{max_retries: {retries}, failure_window: 50}}
"""


HERE = {"PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))}
"""Environment in which workers find what this file defines."""


class Watching(ProgressPrinter):
    """Prints to nowhere and calls a function at every step of the loop with the study's summary."""

    def __init__(self, look: Callable[[StudySummary], None]) -> None:
        super().__init__(io.StringIO(), terminal=False)
        self.look = look

    def tick(self, summary: Callable[[], StudySummary], phase: str) -> None:
        self.look(summary())


def quiet() -> ProgressPrinter:
    return ProgressPrinter(io.StringIO(), terminal=False)


def small_study(home: Path, trials: int, *, retries: int = 2, prune: bool = False) -> tuple[StudyConfig, Locations]:
    home.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": f"text number {row}", "label": "ab"[row % 2]}) for row in range(40)]
    (home / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    pruner = "{name: median, options: {n_startup_trials: 3, n_min_trials: 1}}" if prune else "{name: none}"
    text = STUDY.format(home=home, trials=trials, retries=retries, pruner=pruner)
    return parse_study(text, "small"), Locations(f"sqlite:///{home}/study.db", home)


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(home / "study.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def states(home: Path, table: str = "sla_trial") -> dict[str, int]:
    return {state.lower(): count for state, count in rows(home, f"SELECT state, COUNT(*) FROM {table} GROUP BY state")}


PROGRESS_SCORES = {"bad": -10.0, "nan": 10.0}
"""Scores that have a trial pruned for sure, and never."""


class FaultyWorker(SimulatedWorker):
    """Does something else in its nth trial (counted over all processes by files), or in every trial when nth is 0."""

    def __init__(
        self,
        tasks: Sequence[TaskData],
        *,
        cache: Path | None,
        threads: int,
        folder: Path,
        faults: dict[int, str],
        seconds: float = 0.0,
    ) -> None:
        super().__init__(tasks, cache=cache, threads=threads, seconds=seconds, payload=200_000)
        self._folder = folder
        self._faults = faults

    def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
        number = mark(self._folder / "begun")
        fault = self._faults.get(number, self._faults.get(0, ""))
        try:
            for report in super().run(spec):
                if fault == "exit":
                    os._exit(1)
                if fault == "raise":
                    raise RuntimeError("the worker broke")
                if fault == "memory":
                    raise MemoryError("no room")
                if fault == "hang":
                    time.sleep(600)
                if fault == "silent":
                    return
                if fault in PROGRESS_SCORES and isinstance(report, Progress):
                    yield replace(report, score=PROGRESS_SCORES[fault])
                elif fault == "nan" and isinstance(report, TrialReport):
                    yield replace(report, objectives={**report.objectives, "score": float("nan")})
                else:
                    yield report
        finally:
            mark(self._folder / "closed")


class LostOnceWorker:
    """Trains, and takes its process along after the second report of the first attempt."""

    def __init__(self, tasks: Sequence[TaskData], *, cache: Path | None, threads: int, folder: Path) -> None:
        from slasearch.trial.run import TrialWorker

        self._worker = TrialWorker(tasks, cache=cache, threads=threads, device="cpu")
        self._folder = folder

    def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
        lost = mark(self._folder / "begun") == 1
        for number, report in enumerate(self._worker.run(spec, plan), start=1):
            yield report
            if lost and number == 2:
                os._exit(1)


class SlowWorker:
    """Trains, and rests for two seconds after each report."""

    def __init__(self, tasks: Sequence[TaskData], *, cache: Path | None, threads: int) -> None:
        from slasearch.trial.run import TrialWorker

        self._worker = TrialWorker(tasks, cache=cache, threads=threads, device="cpu")

    def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
        for report in self._worker.run(spec, plan):
            yield report
            time.sleep(2)


class LeavingWorker(SimulatedWorker):
    """The first few times (counted over all nodes by files) it leaves a checkpoint, and its process ends."""

    def __init__(
        self, tasks: Sequence[TaskData], *, cache: Path | None, threads: int, folder: Path, losses: int, seconds: float
    ) -> None:
        super().__init__(tasks, cache=cache, threads=threads, seconds=seconds)
        self._marks, self._losses = folder, losses

    def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
        assert plan is not None
        if mark(self._marks / "begun") <= self._losses:
            Path(plan.folder).mkdir(parents=True)
            (Path(plan.folder) / "000000001.json").touch()
            os._exit(1)
        yield from super().run(spec, plan)


def mark(folder: Path) -> int:
    """Adds a file and says how many there are; safe between processes."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        try:
            (folder / str(number)).touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return number


def main() -> None:
    """Arguments: home, trials, seconds a trial. Runs the study as a command of its own."""
    from slasearch.orchestrate.driver import run_study

    home, trials, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    config, locations = small_study(home, trials)
    began = time.monotonic()
    summary = run_study(config, locations, worker_factory=partial(SimulatedWorker, seconds=seconds))
    found = {
        "state": summary.state,
        "complete": summary.complete,
        "ran": summary.ran,
        "stop_reason": summary.stop_reason,
        "ray": "ray" in sys.modules,
        "seconds": time.monotonic() - began,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
