"""What runs in a worker process, called here without Ray's actor around it."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from small_study import FaultyWorker, small_study

from slasearch.orchestrate.local_ray import environment
from slasearch.orchestrate.simulate import SimulatedWorker
from slasearch.orchestrate.trainable import (
    EVENTS,
    PROGRESS,
    REFUSAL,
    REPORT,
    SPEC,
    StudyTrainable,
    WorkerFactory,
    thread_variables,
)
from slasearch.orchestrate.versions import installed
from slasearch.records import CheckpointPlan, Event, Progress, TaskData, TrialReport, TrialSpec
from slasearch.space import resolve, seeds_for


@pytest.fixture(autouse=True)
def environment_kept() -> Iterator[None]:
    with environment(thread_variables(3)):
        yield


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    config, _ = small_study(tmp_path, 1)
    params = {"size_control.sparsity_weight": 0.5, "training.learning_rate": 1e-3}
    return resolve(config, params, seeds=seeds_for(config, 0, "optimise"), phase="optimise")


def trainable(spec: TrialSpec, factory: WorkerFactory, **driver: str) -> StudyTrainable:
    """Set up as Ray does it, without the folders that its constructor makes; `driver`: its versions that differ."""
    made = StudyTrainable.__new__(StudyTrainable)
    made.config = {SPEC: spec}
    versions = replace(installed(), **driver)
    made.setup(made.config, versions=versions, tasks=(), factory=factory, cache=None, threads=2)
    return made


def steps(made: StudyTrainable) -> list[dict[str, Any]]:
    results = [made.step()]
    while not results[-1]["done"]:
        results.append(made.step())
    return results


def test_each_step_is_one_report_and_the_worker_serves_trial_after_trial(spec: TrialSpec) -> None:
    made_workers = []

    def factory(tasks: Sequence[TaskData], *, cache: Path | None, threads: int) -> SimulatedWorker:
        made_workers.append(threads)
        return SimulatedWorker(tasks, cache=cache, threads=threads)

    made = trainable(spec, factory)
    first = steps(made)
    assert [(result["budget"], result["budget_max"]) for result in first] == [(1, 4), (2, 4), (3, 4), (4, 4), (4, 4)]
    assert all(PROGRESS in result for result in first[:-1])
    assert first[-1][REPORT].state == "complete"
    assert made.reset_config({SPEC: spec})
    assert steps(made)[-1] == first[-1], "expected the same spec to give the same report"
    assert made_workers == [2]


def test_a_simulated_trial_tells_its_latency_where_it_is_asked_for(spec: TrialSpec) -> None:
    timed_spec = replace(spec, latency=True)
    plain, timed = (list(SimulatedWorker((), cache=None, threads=1).run(one))[-1] for one in (spec, timed_spec))
    assert timed.objectives == {**plain.objectives, "latency": pytest.approx(1.02)}, "1 ms, and 20 parameters"


def test_a_trial_that_is_stopped_early_is_closed(spec: TrialSpec, tmp_path: Path) -> None:
    made = trainable(spec, partial(FaultyWorker, folder=tmp_path, faults={}))
    made.step()
    assert not (tmp_path / "closed").exists()
    made.reset_config({SPEC: spec})
    assert len(list((tmp_path / "closed").iterdir())) == 1
    made.step()
    made.cleanup()
    assert len(list((tmp_path / "closed").iterdir())) == 2


def test_broken_code_becomes_a_failed_report_and_the_next_trial_has_a_new_worker(
    spec: TrialSpec, tmp_path: Path
) -> None:
    made = trainable(spec, partial(FaultyWorker, folder=tmp_path, faults={1: "raise", 2: "silent"}))
    report: TrialReport = steps(made)[-1][REPORT]
    assert (report.state, report.reason) == ("fail", "RuntimeError: the worker broke")
    assert "Traceback" in (report.traceback or "")
    made.reset_config({SPEC: spec})
    assert "without a report" in (steps(made)[-1][REPORT].reason or "")
    made.reset_config({SPEC: spec})
    assert steps(made)[-1][REPORT].state == "complete"


def test_a_workers_warnings_reach_the_driver_once(spec: TrialSpec) -> None:
    class Warns(SimulatedWorker):
        def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
            logging.getLogger("slasearch.trial.prefix").warning("%s: damaged", "a.npy")
            logging.getLogger("slasearch.trial.prefix").info("nothing to see")
            yield from super().run(spec, plan)

    made = trainable(spec, Warns)
    told = [result.get(EVENTS) for result in steps(made)]
    assert told == [(Event("worker.warning", "a.npy: damaged", "warning"),), None, None, None, None]
    made.cleanup()
    logging.getLogger("slasearch").warning("after its end")
    assert made._events == []


def test_numeric_libraries_are_held_to_the_trials_threads(spec: TrialSpec) -> None:
    trainable(spec, SimulatedWorker)
    assert {os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"2"}


def test_a_worker_of_another_slasearch_makes_no_trial_and_says_what_to_do(spec: TrialSpec) -> None:
    made = StudyTrainable.__new__(StudyTrainable)
    made.config = {SPEC: spec}
    made.setup(made.config, versions=replace(installed(), slasearch="99.0"), unknown="of a later version")
    (only,) = steps(made)
    assert REPORT not in only
    got = f"expected slasearch 99.0, as the driver has it, got {installed().slasearch}. Install the driver's version"
    assert only[REFUSAL].startswith(f"node {socket.gethostname()}: {got} there")
    made.reset_config({SPEC: spec})
    assert REFUSAL in made.step()
    made.cleanup()


def test_a_worker_of_another_commit_makes_no_trial_either(spec: TrialSpec) -> None:
    (only,) = steps(trainable(spec, SimulatedWorker, code="0123456789abcdef"))
    here = installed()
    expected = f"expected slasearch {here.slasearch} with code 01234567, as the driver has it"
    assert f"{expected}, got {here.slasearch} with code {here.code[:8]}." in only[REFUSAL]


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        ({}, None),
        ({"torch": "1.0"}, r"has torch \S+ \(driver: 1\.0\): its"),
        ({"torch": "1.0", "transformers": "2"}, r"has torch \S+ \(driver: 1\.0\) and transformers \S+ \(driver: 2\)"),
    ],
)
def test_another_torch_or_transformers_is_told_once_by_each_worker(
    spec: TrialSpec, driver: dict[str, str], said: str | None
) -> None:
    made = trainable(spec, SimulatedWorker, **driver)
    results = steps(made)
    made.reset_config({SPEC: spec})
    results += steps(made)
    told = [event for result in results for event in result.get(EVENTS, ())]
    assert [event.level for event in told] == ([] if said is None else ["warning"])
    assert said is None or re.search(said, told[0].message)
    assert results[-1][REPORT].state == "complete"


def test_builds_of_one_version_do_not_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = {"torch": "2.9.0+cu126", "transformers": "5.20.0"}
    monkeypatch.setattr("importlib.metadata.version", builds.__getitem__)
    assert installed() == replace(installed(), torch="2.9.0")
