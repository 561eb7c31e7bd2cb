"""Studies of trials that take milliseconds, and drivers of them that may be killed at any moment.

A driver is a process of its own: the real session on a real database, and trials of the simulated worker, two at a time
in an order drawn by a seed. Ray alone is left out, so that a driver lives within a tenth of a second.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from chaos_workers import SignedWorker
from session_kit import locations, study

from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig
from slasearch.errors import SlaSearchError
from slasearch.records import CheckpointPlan, Progress, TrialReport, TrialSpec
from slasearch.search.study import StudySession

__all__ = [
    "OBJECTIVES",
    "POINTS",
    "SEED",
    "Study",
    "at_moment",
    "chaos_study",
    "drive",
    "forms",
    "forms_on_databases",
    "locations",
    "long_only",
    "nothing",
    "texts",
]

SEED = int(os.environ.get("CHAOS_SEED", "1"))
"""Seed of everything that is drawn: moments, order of reports, victims."""
OBJECTIVES: Mapping[str, dict[str, Any]] = {
    "two objectives and a bound": {
        "objectives": ("score", "exported_parameters"),
        "constraints": [{"name": "score", "min": 0.78}],
    },
    "one objective": {"objectives": ("score",)},
}
POINTS = 12
"""Of the design, in most scenarios: some 25 trials in all phases."""
AT_A_TIME = 2

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["pytest", "optuna", "psycopg", "slasearch.search.study", "slasearch.orchestrate.simulate"]
)


def forms(short: int, long: int) -> pytest.MarkDecorator:
    """How often a scenario's disturbance is done: in the default run, and by `make chaos`."""
    long_form = pytest.param(long, marks=pytest.mark.chaos, id="long")
    return pytest.mark.parametrize("times", [pytest.param(short, id="short"), long_form])


def forms_on_databases(short: int, long: int) -> pytest.MarkDecorator:
    """The same on SQLite; on PostgreSQL the long form alone."""
    cases = [
        pytest.param("SQLite", short, id="SQLite-short"),
        pytest.param("SQLite", long, marks=pytest.mark.chaos, id="SQLite-long"),
        pytest.param("PostgreSQL", long, marks=[pytest.mark.chaos, pytest.mark.postgres], id="PostgreSQL-long"),
    ]
    return pytest.mark.parametrize(("database", "times"), cases)


def long_only(times: int) -> pytest.MarkDecorator:
    """A scenario whose short form another test is."""
    return pytest.mark.parametrize("times", [pytest.param(times, marks=pytest.mark.chaos, id="long")])


def chaos_study(kind: str, points: int, **changes: Any) -> StudyConfig:
    """All four phases; each trial's parameters and seeds follow from the study alone, whatever happens on the way."""
    fields = {
        "design": {"sampler": {"name": "qmc"}, "points": points, "seeds": 1},
        "optimise": points // 4,
        "sampler": {"name": "qmc"},
        "confirm": {"top": 1, "seeds": 2, "controls": ["lora", "random"], "tuning": 1},
        "limits": {"failure_window": 10_000, "max_retries": 1000},
    }
    return study(name="chaos", **{**fields, **OBJECTIVES[kind], **changes})


Worker = Callable[[TrialSpec, CheckpointPlan | None], Iterator[Progress | TrialReport]]


def texts(folder: Path) -> list[dict[str, Any]]:
    """The `tasks` of a study that reads its texts, as a whole run command does; they are written into the folder."""
    lines = [json.dumps({"text": f"text number {number}", "label": "ab"[number % 2]}) for number in range(40)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return [{"name": "texts", "source": f"file:{folder}/texts.jsonl"}]


def simulated(spec: TrialSpec, plan: CheckpointPlan | None) -> Iterator[Progress | TrialReport]:
    """A trial of the worker that trains nothing."""
    return SignedWorker((), cache=None, threads=1).run(spec, plan)


# ---------------------------------------------------------------- drivers


@dataclass(frozen=True)
class Study:
    """A study and its drivers. `notes`: a file in which they leave a line for each result that they acknowledge."""

    config: StudyConfig
    where: Locations
    notes: Path

    def objectives(self) -> list[str]:
        """Their names."""
        return [objective.name for objective in self.config.objectives]

    def start(self, **how: Any) -> BaseProcess:
        """A driver that has begun; `how` are arguments of `drive`."""
        process = PROCESSES.Process(target=drive, args=(self,), kwargs=how, daemon=True)
        process.start()
        return process

    def run(self, **how: Any) -> int:
        """A driver from its begin to its end, however that comes: the exit code, negative for a signal's number."""
        process = self.start(**how)
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    def acknowledged(self) -> dict[int, dict[str, float]]:
        """The objectives of the attempts whose end was acknowledged, by their ids."""
        return {line["trial"]: line["objectives"] for line in self._lines() if "trial" in line}

    def errors(self) -> list[str]:
        """What drivers have ended with: kind and text."""
        return [line["error"] for line in self._lines() if "error" in line]

    def note(self, **line: Any) -> None:
        """Adds a line that a kill right afterwards does not take away."""
        with self.notes.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")

    def _lines(self) -> Iterator[dict[str, Any]]:
        text = self.notes.read_text(encoding="utf-8") if self.notes.exists() else ""
        return map(json.loads, text.splitlines())


def nothing() -> None:
    """Nothing is done first."""


def drive(
    study: Study,
    *,
    seed: int,
    worker: Worker = simulated,
    dies_at: int | None = None,
    before: Callable[[], object] = nothing,
    slow: float = 0.0,
) -> None:
    """Opens the study and runs it to its end, as the run command does but without Ray.

    Args:
        study: The study.
        seed: Of the order in which the running trials report.
        worker: Runs a trial.
        dies_at: Kills the process at that step; steps are begins, ends and commits of database statements.
        before: Called first of all.
        slow: Seconds that pass between two reports.
    """
    before()
    if dies_at is not None:
        _die_at(dies_at)
    try:
        with closing(StudySession.open(study.config, study.where)) as session:
            _run(session, study, random.Random(seed), worker, slow)
    except SlaSearchError as error:
        study.note(error=f"{type(error).__name__}: {error}")


def _run(session: StudySession, study: Study, draw: random.Random, worker: Worker, slow: float = 0.0) -> None:
    live: dict[int, Iterator[Progress | TrialReport]] = {}
    while True:
        while len(live) < AT_A_TIME and not isinstance(ask := session.next(), str):
            session.started(ask.trial_id, ray_trial_id=f"r{ask.trial_id}", worker="w")
            live[ask.trial_id] = worker(ask.spec, ask.checkpoints)
        if not live:
            return
        session.renew()
        session.requests()
        time.sleep(slow)
        trial = draw.choice(sorted(live))
        report = next(live[trial])
        if isinstance(report, Progress):
            session.progress(trial, report)
            continue
        del live[trial]
        session.finish(trial, report)
        if all(math.isfinite(report.objectives.get(name, math.nan)) for name in study.objectives()):
            study.note(trial=trial, objectives=dict(report.objectives))


def _die_at(step: int) -> None:
    left = [step]

    def count(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for event in ("before_cursor_execute", "after_cursor_execute", "commit"):
        sa.event.listen(sa.Engine, event, count)


def wait_until(moment: float) -> None:
    """Begins at a moment of the monotonic clock that several processes share."""
    while (left := moment - time.monotonic()) > 0:
        time.sleep(left / 2 if left > 0.002 else 0)


def at_moment(moment: float) -> Callable[[], object]:
    """For `before`: several drivers at once."""
    return partial(wait_until, moment)
