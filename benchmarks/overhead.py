"""What a trial costs besides its training: ours (searcher, session, Optuna, SQLite, Ray Tune) beside bare Ray Tune.

Both run trials that do nothing, with the same reports, concurrency and reuse of workers, on one local Ray, in turn; the
side that goes first changes from repetition to repetition. Cost = wall time between the ends of trials, from the moment
all workers are up, by their number (ms a trial). Differences and ratios are made within a repetition.

    python benchmarks/overhead.py [--trials N] [--repeats N] [--concurrency N] [--reports N] [--json [FILE]]
"""

from __future__ import annotations

import io
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kit import Journal, arguments, described, finish, machine, outcome
from ray import tune
from ray.tune.search import Searcher

from slasearch.config.load import parse_study
from slasearch.config.locations import Locations
from slasearch.orchestrate.driver import QUIET, run_study
from slasearch.orchestrate.local_ray import environment, local_ray
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.orchestrate.simulate import SimulatedWorker

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


def repetition(folder: Path, number: int, trials: int, concurrency: int, reports: int) -> dict[str, float]:
    """Both sides once, in milliseconds a trial, and what they make together."""
    sides = [("bare_ray_ms", bare), ("slasearch_ms", ours)]
    if number % 2:
        sides.reverse()
    found = {}
    for name, run in sides:
        place = folder / f"{name}{number}"
        place.mkdir()
        found[name] = run(place, trials, concurrency, reports)
    return {
        **found,
        "difference_ms": found["slasearch_ms"] - found["bare_ray_ms"],
        "ratio": found["slasearch_ms"] / found["bare_ray_ms"],
    }


def repetitions(journal: Journal, settings: Mapping[str, int], repeats: int) -> list[dict[str, float]]:
    """All of them, on one Ray."""
    with (
        tempfile.TemporaryDirectory(prefix="sla-bench-") as folder,
        environment(QUIET),
        local_ray(Path(folder), cpus=settings["concurrency"], variables={"OMP_NUM_THREADS": "1"}),
    ):
        return [
            journal.piece(f"repetition {number}", lambda number=number: repetition(Path(folder), number, **settings))
            for number in range(repeats)
        ]


def table(found: Mapping[str, Any]) -> str:
    """The result for people."""
    medians, settings = found["medians"], found["settings"]
    return "\n".join(
        [
            described(found["machine"]),
            f"{settings['trials']} trials of {settings['reports']} reports, {settings['concurrency']} at a time, "
            f"median of {found['repeats']} repetitions",
            f"bare Ray Tune  {medians['bare_ray_ms']:8.1f} ms a trial",
            f"slasearch      {medians['slasearch_ms']:8.1f} ms a trial, ratio {medians['ratio']:.1f}",
            f"difference     {medians['difference_ms']:8.1f} ms a trial "
            f"(target {DIFFERENCE_TARGET_MS:g}: {found['verdicts']['difference_ms']})",
        ]
    )


def main() -> int:
    parser = arguments(__doc__, repeats=4)  # as many with either side first
    parser.add_argument("--trials", type=int, default=60, help="of a side in a repetition (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=2, help="trials at a time (default: %(default)s)")
    parser.add_argument("--reports", type=int, default=4, help="of a trial (default: %(default)s)")
    options = parser.parse_args()
    if options.smoke:
        options.trials, options.repeats, options.concurrency = 6, 1, 1
    settings = {"trials": options.trials, "concurrency": options.concurrency, "reports": options.reports}
    about = machine("cpu", 1)
    journal = Journal(options, settings)
    found = repetitions(journal, settings, options.repeats)
    medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
    result = {
        "benchmark": "overhead",
        "machine": about,
        "settings": settings,
        "repeats": options.repeats,
        "medians": medians,
        "verdicts": {
            "difference_ms": outcome(
                medians["difference_ms"], DIFFERENCE_TARGET_MS, at_least=False, smoke=options.smoke
            )
        },
        "all": found,
    }
    return finish(result, table(result), journal, options.json)


if __name__ == "__main__":
    sys.exit(main())
