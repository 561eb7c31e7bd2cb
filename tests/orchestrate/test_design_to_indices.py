"""Once through the whole path: study file, simulated trials, database, analysis. Ray alone is left out."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from slasearch.analysis.frames import StudyFrames, load_frames
from slasearch.analysis.morris import morris_screening
from slasearch.analysis.sobol import Index, PairIndex, direct_indices
from slasearch.analysis.variance import sobol_indices
from slasearch.config.load import parse_study
from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig
from slasearch.orchestrate.desk import TrialDesk
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.orchestrate.scheduler import StudyScheduler
from slasearch.orchestrate.searcher import StudySearcher
from slasearch.orchestrate.simulate import SimulatedWorker
from slasearch.orchestrate.trainable import PROGRESS, REPORT, SPEC
from slasearch.records import TrialReport
from slasearch.search.study import StudySession
from slasearch.space import check, parameters, saltelli_unit
from slasearch.testing.known_responses import KnownResponse, ishigami, sobol_g

STUDY = """\
name: known
tasks: [{name: spam, source: "bundled:sms_spam"}]
size_control: {mode: penalty}
training: {epochs: 1, reports: 1}
"""
FIELDS = {
    "gates.learning_rate": "{log_float: [1e-3, 1e-1]}",
    "gates.warm_up": "{float: [0, 0.4]}",
    "gates.initial_openness": "{float: [0.2, 0.9]}",
    "size_control.sparsity_weight": "{log_float: [1e-2, 1e+1]}",
    "training.learning_rate": "{log_float: [1e-4, 1e-2]}",
    "training.head_learning_rate": "{log_float: [1e-3, 1e-1]}",
    "training.weight_decay": "{float: [0, 0.1]}",
    "conditions.train": "[{kind: typos, level: {float: [0, 0.5]}}]",
}
THREE = ["size_control.sparsity_weight", "training.weight_decay", "conditions.train"]
SIX = [name for name in FIELDS if name not in ("gates.warm_up", "training.weight_decay")]
EIGHT = list(FIELDS)
Function = Callable[[Sequence[float]], float]
Indices = tuple[tuple[Index, ...], tuple[Index, ...], tuple[PairIndex, ...]]
G8 = partial(sobol_g, a=(0, 1, 4.5, 9, 99, 99, 99, 99))
G6 = partial(sobol_g, a=(78, 12, 0.5, 2, 97, 33))


def study(design: str, fields: Sequence[str]) -> StudyConfig:
    overrides = [f"{name}={FIELDS[name]}" for name in fields]
    return parse_study(STUDY, "known.yaml", [*overrides, f"phases.design={design}"])


def run(config: StudyConfig, home: Path, function: Function) -> StudyFrames:
    """The study's trials through session, desk, searcher and scheduler, then its frames from the database."""
    assert check(config) == []
    where = Locations(f"sqlite:///{home}/study.db", home)
    worker = SimulatedWorker((), cache=None, threads=1, response=KnownResponse(function, parameters(config)))
    session = StudySession.open(config, where)
    try:
        desk = TrialDesk(session, ProgressPrinter(io.StringIO(), terminal=False))
        searcher, scheduler = StudySearcher(desk), StudyScheduler(desk)
        for number in itertools.count():
            name = f"ray{number}"
            answer = searcher.suggest(name)
            if not isinstance(answer, dict):
                break
            desk.started(name, "worker")
            for item in worker.run(answer[SPEC]):
                if isinstance(item, TrialReport):
                    searcher.on_trial_complete(name, {REPORT: item})
                else:
                    scheduler.on_trial_result(None, SimpleNamespace(trial_id=name), {PROGRESS: item})
        assert desk.error is None
    finally:
        session.close()
    return load_frames(where.storage_url, config.name)


def on_the_function(config: StudyConfig, function: Function, n: int, *, second_order: bool) -> Indices:
    names = [parameter.name for parameter in parameters(config)]
    unit = saltelli_unit(len(names), n, second_order=second_order, seed=config.seed)
    values = np.array([function(row) for row in unit.tolist()])
    return direct_indices(values, np.zeros_like(values), names, second_order=second_order)


@pytest.mark.parametrize(
    ("function", "fields", "n", "second_order"),
    [(ishigami, THREE, 32, True), (G6, SIX, 32, False), (G8, EIGHT, 32, False)],
    ids=["ishigami", "g6", "g8"],
)
def test_the_whole_path_changes_nothing(
    tmp_path: Path, function: Function, fields: Sequence[str], n: int, second_order: bool
) -> None:
    options = f"options: {{second_order: {int(second_order)}}}"
    config = study(f"{{sampler: {{name: saltelli, {options}}}, points: {n}, seeds: 2}}", fields)
    found = sobol_indices(run(config, tmp_path, function))
    first, total, pairs = on_the_function(config, function, n, second_order=second_order)
    for ours, theirs in zip((*found.first, *found.total), (*first, *total), strict=True):
        assert ours.field == theirs.field
        assert (ours.estimate, ours.low, ours.high) == pytest.approx(
            (theirs.estimate, theirs.low, theirs.high), abs=1e-9
        )
    assert [pair.estimate for pair in found.second] == pytest.approx([pair.estimate for pair in pairs], abs=1e-9)
    assert found.n == 2 * n * (2 * len(fields) + 2 if second_order else len(fields) + 2)
    assert (found.noise, found.warnings) == (0, ())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ishigami_through_the_whole_path(tmp_path: Path) -> None:
    found = sobol_indices(run(study("{sampler: {name: saltelli}, points: 1024, seeds: 2}", THREE), tmp_path, ishigami))
    assert [index.estimate for index in found.first] == pytest.approx((0.313905, 0.442411, 0), abs=0.03)
    assert [index.estimate for index in found.total] == pytest.approx((0.557589, 0.442411, 0.243684), abs=0.03)
    assert (found.n, found.warnings) == (10_240, ())


def test_a_screening_through_the_whole_path(tmp_path: Path) -> None:
    config = study("{sampler: {name: morris}, points: 6, seeds: 2}", EIGHT)
    weights = (1, 0, -2, 0, 3, 0, 0, 4)
    found = morris_screening(run(config, tmp_path, lambda u: sum(w * x for w, x in zip(weights, u, strict=True))))
    assert [effect.mu for effect in found.effects] == pytest.approx(weights, abs=1e-9)
    assert [effect.sigma for effect in found.effects] == pytest.approx([0] * 8, abs=1e-9)
    assert (found.trajectories, found.n) == (6, 6 * 9 * 2)


def test_a_design_grows_in_its_database(tmp_path: Path) -> None:
    few = sobol_indices(run(study("{sampler: {name: saltelli}, points: 32, seeds: 2}", THREE), tmp_path, ishigami))
    config = study("{sampler: {name: saltelli}, points: 64, seeds: 2}", THREE)
    many = sobol_indices(run(config, tmp_path, ishigami))
    assert (few.n, many.n) == (320, 640)
    first, _, _ = on_the_function(config, ishigami, 64, second_order=False)
    assert [index.estimate for index in many.first] == pytest.approx([index.estimate for index in first], abs=1e-9)


def test_known_functions() -> None:
    assert ishigami([0.75, 0.75, 0.5]) == pytest.approx(1 + 7)
    assert ishigami([0.75, 0.5, 1.0]) == pytest.approx(1 + 0.1 * math.pi**4)
    assert sobol_g([0.0, 1.0], a=[0, 1]) == pytest.approx(2 * 1.5)
    assert sobol_g([0.5, 0.75], a=[3, 5]) == pytest.approx(0.75)
