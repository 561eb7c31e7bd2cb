"""Our side of search_speed.py: a study through slasearch's own driver.

With equal work a trial trains what a trial of the stock stack trains, a given LoRA without gates: the pool holds the
LoRA's places, and the control `all_open` has all of them open.

    python benchmarks/ours.py '{"work": …}'

This is what search_speed.py runs; the last line is the result as JSON.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

from workload import NOISE, Workload

from slasearch.config.load import parse_study
from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig
from slasearch.orchestrate.driver import run_study
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.records import CheckpointPlan, Progress, SeedPair, TaskData, TrialReport, TrialSpec

__all__ = ["EqualWorker", "equal_study"]

TRIALS = "SELECT id, state, score, params, started_at, ended_at FROM sla_trial ORDER BY ended_at"
COSTS = "SELECT trial_id, name, value FROM sla_cost WHERE name IN ('train_seconds', 'evaluate_seconds')"


class EqualWorker:
    """Trains every module of the pool without gates, the head at the rate of the modules, as the stock stack does."""

    def __init__(self, tasks: Sequence[TaskData], *, cache: Path | None, threads: int, work: Workload) -> None:
        from slasearch.trial.run import TrialWorker

        self._work = work
        self._worker = TrialWorker(tasks, cache=cache, threads=threads, device=work.device)

    def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
        """The trial of the worker that trains, without checkpoints."""
        rate = spec.training.learning_rate
        training = replace(spec.training, head_learning_rate=rate)
        seeds = SeedPair(self._work.seed_of(rate), self._work.seed_of(rate))
        return self._worker.run(replace(spec, control="all_open", training=training, seeds=seeds))


def equal_study(work: Workload) -> StudyConfig:
    """The study of the given rates, as points of a design."""
    noise = [{"kind": "embedding_gaussian", "level": NOISE}] if work.noise else []
    return StudyConfig.model_validate(
        {
            "name": "ours",
            "backbone": {"id": "bundled:minilm", "precision": work.precision, "pooling": work.pooling},
            "tasks": [
                {
                    "name": "task",
                    "source": work.source,
                    "text_pair": work.text_pair,
                    "max_tokens": work.max_tokens,
                    "limits": {"train": work.train, "validation": work.validation, "test": 1},
                }
            ],
            "pool": {"sites": ["attn.q", "attn.v"], "kinds": ["lora"], "ranks": [8], "layers": list(work.layers)},
            "size_control": {"mode": "penalty", "sparsity_weight": 0.0},
            "training": {
                "epochs": work.epochs,
                "batch_size": work.batch_size,
                "learning_rate": {"log_float": list(work.rate_range)},
                "reports": work.epochs,
                "seeds": {"init": work.seed, "data": work.seed},
            },
            "conditions": {"train": noise},
            "phases": {
                "design": {"sampler": {"name": "grid"}, "levels": {"training.learning_rate": list(work.rates or ())}}
            },
            "resources": _resources(work),
        }
    )


def _resources(work: Workload) -> dict[str, Any]:
    gpus = 1 / work.concurrency if work.device == "cuda" else 0.0
    return {
        "cpus_per_trial": work.threads,
        "gpus_per_trial": gpus,
        "max_concurrent_trials": work.concurrency,
    }


def search(work: Workload) -> dict[str, Any]:
    """The whole search of equal work, from Ray's start to its end."""
    with tempfile.TemporaryDirectory(prefix="sla-bench-") as folder:
        locations = Locations(f"sqlite:///{folder}/study.db", Path(folder))
        return _run(equal_study(work), locations, partial(EqualWorker, work=work))


def search_until(study_file: Path, work: Workload, target: float) -> dict[str, Any]:
    """A study of its own making, stopped once a complete trial has the target score; `reached` is when, or None."""
    text = Template(study_file.read_text(encoding="utf-8")).substitute(_fields(work))
    with tempfile.TemporaryDirectory(prefix="sla-bench-") as folder:
        database = Path(folder) / "study.db"
        watch = _Watch(database, target)
        watch.start()
        try:
            found = _run(parse_study(text, study_file.name), Locations(f"sqlite:///{database}", Path(folder)), None)
        finally:
            watch.end()
    ends = [trial["ended"] for trial in found["trials"] if trial["score"] >= target]
    return {**found, "reached": min(ends, default=None)}


def _fields(work: Workload) -> dict[str, Any]:
    return {
        "source": work.source,
        "text_pair": "null" if work.text_pair is None else work.text_pair,
        "precision": work.precision,
        "pooling": work.pooling,
        "rate_range": list(work.rate_range),
        "trials": work.trials,
        "train": work.train,
        "validation": work.validation,
        "max_tokens": work.max_tokens,
        "batch_size": work.batch_size,
        "seed": work.seed,
        "first_seed": 1000 * (work.seed + 1),  # no two repetitions share a seed pair
        **_resources(work),
    }


def _run(config: StudyConfig, locations: Locations, factory: Any) -> dict[str, Any]:
    began = time.time()
    printer = ProgressPrinter(io.StringIO(), terminal=False)
    run_study(config, locations, progress=printer, worker_factory=factory)
    seconds = time.time() - began
    with sqlite3.connect(locations.storage_url.removeprefix("sqlite:///")) as connection:
        rows = connection.execute(TRIALS).fetchall()
        costs = {(trial, name): value for trial, name, value in connection.execute(COSTS)}
    trials = [
        {
            "rate": json.loads(params)["training.learning_rate"],
            "score": score,
            "seconds": ended - started,
            "train_s": costs[number, "train_seconds"],
            "evaluate_s": costs[number, "evaluate_seconds"],
            "ended": ended,
        }
        for number, state, score, params, started, ended in rows
        if state == "complete"
    ]
    states = [state for _, state, *_ in rows]
    return {
        "search_s": seconds,
        "trials": trials,
        "failed": states.count("fail"),
        "pruned": states.count("pruned"),
    }


class _Watch(threading.Thread):
    """Ends the study as a user would, by Ctrl-C, once it has what was asked for."""

    def __init__(self, database: Path, target: float) -> None:
        super().__init__(daemon=True)
        self._database, self._target = database, target
        self._over = threading.Event()

    def run(self) -> None:
        """Looks twice a second; a second interrupt stops the trials that still run."""
        while not self._over.wait(0.5):
            if self._reached():
                os.kill(os.getpid(), signal.SIGINT)
                self._over.wait(0.5)
                if not self._over.is_set():
                    os.kill(os.getpid(), signal.SIGINT)
                return

    def end(self) -> None:
        """No more looking."""
        self._over.set()

    def _reached(self) -> bool:
        query = "SELECT 1 FROM sla_trial WHERE state = 'complete' AND score >= ? LIMIT 1"
        try:
            with sqlite3.connect(f"file:{self._database}?mode=ro", uri=True) as connection:
                return connection.execute(query, (self._target,)).fetchone() is not None
        except sqlite3.OperationalError:  # there is no database yet
            return False


def main() -> None:
    settings = json.loads(sys.argv[1])
    work = Workload(**settings["work"])
    target = settings.get("target")
    print(json.dumps(search(work) if target is None else search_until(Path(settings["study"]), work, target)))


if __name__ == "__main__":
    main()
