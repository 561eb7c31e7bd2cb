"""What a trial costs besides its training: ours (searcher, session, Optuna, SQLite, Ray Tune) beside bare Ray Tune.

Both run trials that do nothing, with the same reports, concurrency and reuse of workers, on one local Ray, in turn.
Cost = wall time between the ends of trials, from the moment all workers are up, by their number (ms a trial).

    python benchmarks/overhead.py [--trials N] [--repeats N] [--concurrency N] [--reports N] [--json [FILE]]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from slasearch.config.load import parse_study
from slasearch.config.locations import Locations
from slasearch.orchestrate.driver import QUIET, run_study
from slasearch.orchestrate.local_ray import environment, local_ray
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.orchestrate.simulate import SimulatedWorker

TARGET_MS = 150.0
DIFFERENCE_TARGET_MS = 60.0
STUDY = """
name: overhead
tasks: [{{name: texts, source: "file:{folder}/texts.jsonl"}}]
size_control: {{mode: penalty, sparsity_weight: {{float: [0.0, 1.0]}}}}
training:
  steps: 100
  batch_size: 8
  learning_rate: {{log_float: [1.0e-4, 1.0e-2]}}
  head_learning_rate: 1.0e-3
  weight_decay: {{float: [0.0, 0.1]}}
  schedule: {{categorical: [linear, cosine]}}
  reports: {reports}
phases: {{optimise: {{trials: {trials}, sampler: {{name: tpe}}, pruner: {{name: none}}}}}}
resources: {{max_concurrent_trials: {concurrency}}}
"""


class Nothing(tune.Trainable):  # type: ignore[misc]
    """Reports as often as a trial of ours, and trains nothing."""

    def step(self) -> dict[str, Any]:
        """One report."""
        return {"score": 0.5, "done": self.training_iteration >= self.config["reports"]}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Always reusable."""
        return True


class Counter(Searcher):  # type: ignore[misc]
    """Suggests the same thing a number of times and notes when trials end."""

    def __init__(self, trials: int, reports: int) -> None:
        super().__init__()
        self.left = trials
        self.reports = reports
        self.ends: list[float] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The same again."""
        self.left -= 1
        return {"reports": self.reports} if self.left >= 0 else str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Notes the time."""
        self.ends.append(time.time())

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing, as ours."""


def bare(folder: Path, trials: int, concurrency: int, reports: int) -> float:
    """Milliseconds a trial of Ray Tune alone."""
    searcher = Counter(trials, reports)
    with environment(QUIET):
        tune.run(
            tune.with_resources(Nothing, {"cpu": 1}),
            name="bare",
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
            storage_path=str(folder),
            verbose=0,
        )
    return cost(searcher.ends, concurrency)


def ours(folder: Path, trials: int, concurrency: int, reports: int) -> float:
    """Milliseconds a trial of a study."""
    lines = [json.dumps({"text": f"text number {row}", "label": "ab"[row % 2]}) for row in range(40)]
    (folder / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    text = STUDY.format(folder=folder, trials=trials, concurrency=concurrency, reports=reports)
    printer = ProgressPrinter(io.StringIO(), terminal=False)
    database = folder / "study.db"
    locations = Locations(f"sqlite:///{database}", folder)
    run_study(parse_study(text, "overhead"), locations, progress=printer, worker_factory=SimulatedWorker)
    with sqlite3.connect(database) as connection:
        ends = [row[0] for row in connection.execute("SELECT ended_at FROM sla_trial WHERE state = 'complete'")]
    assert len(ends) == trials, f"expected {trials} complete trials, got {len(ends)}"
    return cost(ends, concurrency)


def cost(ends: list[float], concurrency: int) -> float:
    """Milliseconds between ends, without the first ones, which waited for their workers."""
    ends = sorted(ends)[2 * concurrency :]
    return (ends[-1] - ends[0]) / (len(ends) - 1) * 1000


def measure(trials: int, repeats: int, concurrency: int, reports: int) -> dict[str, Any]:
    """Medians over the repeats, with every single value."""
    values: dict[str, list[float]] = {"bare_ray_ms": [], "slasearch_ms": []}
    runs = (("bare_ray_ms", bare), ("slasearch_ms", ours))
    with (
        tempfile.TemporaryDirectory(prefix="sla-bench-") as folder,
        environment(QUIET),
        local_ray(Path(folder), cpus=concurrency, variables={"OMP_NUM_THREADS": "1"}),
    ):
        for repeat in range(repeats):
            for name, run in runs:
                place = Path(folder) / f"{name}{repeat}"
                place.mkdir()
                values[name].append(run(place, trials, concurrency, reports))
    medians = {name: statistics.median(found) for name, found in values.items()}
    return {
        "machine": machine(),
        "trials": trials,
        "repeats": repeats,
        "concurrency": concurrency,
        "reports": reports,
        **medians,
        "difference_ms": medians["slasearch_ms"] - medians["bare_ray_ms"],
        "ratio": medians["slasearch_ms"] / medians["bare_ray_ms"],
        "target_ms": TARGET_MS,
        "difference_target_ms": DIFFERENCE_TARGET_MS,
        "all": values,
    }


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "ray": ray.__version__,
        "system": platform.platform(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def table(found: dict[str, Any]) -> str:
    """The result for people."""
    on = found["machine"]
    return "\n".join(
        [
            f"{on['cpu']}, {on['cores']} cores, load {on['load']:.1f}; Python {on['python']}, Ray {on['ray']}",
            f"{found['trials']} trials of {found['reports']} reports, {found['concurrency']} at a time, "
            f"median of {found['repeats']} runs",
            f"bare Ray Tune  {found['bare_ray_ms']:8.1f} ms a trial",
            f"slasearch      {found['slasearch_ms']:8.1f} ms a trial",
            f"difference     {found['difference_ms']:8.1f} ms a trial, ratio {found['ratio']:.1f}",
            f"target         {found['target_ms']:8.1f} ms a trial: "
            + ("met" if found["slasearch_ms"] <= found["target_ms"] else "MISSED"),
            f"target         {found['difference_target_ms']:8.1f} ms of difference: "
            + ("met" if found["difference_ms"] <= found["difference_target_ms"] else "MISSED"),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--reports", type=int, default=4)
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="JSON into FILE; without FILE to stdout")
    parser.add_argument("--smoke", action="store_true", help="sizes that only show that everything runs")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.trials, arguments.repeats, arguments.concurrency = 6, 1, 1
    found = measure(arguments.trials, arguments.repeats, arguments.concurrency, arguments.reports)
    text = json.dumps(found, indent=2)
    if arguments.json not in (None, "-"):
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")
    print(text if arguments.json == "-" else table(found))
    return 0 if found["slasearch_ms"] <= TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
