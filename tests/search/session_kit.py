"""Small studies and made-up reports for tests of the search: no training, a real database."""

from __future__ import annotations

import io
import json
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
import optuna.cli
import sqlalchemy as sa
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial

from slasearch.config.load import stored_study
from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig
from slasearch.records import CostRow, Event, GateRow, MetricRow, Progress, Slot, TrialReport
from slasearch.search.plan import plan, planned
from slasearch.search.study import Ask, StudySession
from slasearch.search.winners import last_attempts
from slasearch.space import design_points
from slasearch.storage.artifacts import Artifacts
from slasearch.storage.models import SlaLease, SlaMetric
from slasearch.storage.rows import TrialRow
from slasearch.storage.store import Store

RATE = "training.learning_rate"
WEIGHT = "size_control.sparsity_weight"
RANKS = "pool.ranks"


def study(
    *,
    name: str = "toy",
    design: dict[str, Any] | None = None,
    optimise: int = 0,
    sampler: dict[str, Any] | None = None,
    pruner: dict[str, Any] | None = None,
    confirm: dict[str, Any] | None = None,
    objectives: tuple[str, ...] = ("score", "exported_parameters"),
    limits: dict[str, Any] | None = None,
    **changes: Any,
) -> StudyConfig:
    phases: dict[str, Any] = {}
    if design is not None:
        phases["design"] = design
    if optimise:
        phases["optimise"] = {
            "trials": optimise,
            "sampler": sampler or {"name": "tpe"},
            "pruner": pruner or {"name": "none"},
        }
    if confirm is not None:
        phases["confirm"] = confirm
    return StudyConfig.model_validate(
        {
            "name": name,
            "tasks": [{"name": "spam", "source": "bundled:spam"}],
            "pool": {"sites": ["attn.q"], "kinds": ["lora"], "ranks": {"categorical": [[1], [4], [1, 4]]}},
            "size_control": {"mode": "penalty", "sparsity_weight": {"log_float": [0.01, 1.0]}},
            "training": {"epochs": 1, "learning_rate": {"log_float": [1e-4, 1e-2]}},
            "phases": phases,
            "objectives": [{"name": objective} for objective in objectives],
            "limits": limits or {},
            **changes,
        }
    )


SMALL_DESIGN = {
    "sampler": {"name": "one_at_a_time"},
    "levels": {WEIGHT: [0.02, 0.1, 0.5]},
    "base": {WEIGHT: 0.1},
    "seeds": 2,
}
FULL = study(
    design=SMALL_DESIGN,
    optimise=3,
    confirm={"top": 1, "seeds": 2, "controls": ["lora", "random", "linear_probe"], "tuning": 2},
)


def locations(folder: Path) -> Locations:
    return Locations(f"sqlite:///{folder / 'db' / 'study.db'}", folder / "home")


def report(ask: Ask, **changes: Any) -> TrialReport:
    """A complete report whose numbers follow from the trial's own spec."""
    size = ask.spec.control_size or (0 if ask.spec.control == "linear_probe" else 1000 + 10 * ask.number)
    score = 0.5 + 0.1 * ask.spec.size.sparsity_weight + ask.spec.seeds.init * 1e-4
    splits = ("validation", "test") if ask.phase == "confirm" else ("validation",)
    latency = {"latency": 5.0 + ask.number} if ask.spec.latency else {}
    values: dict[str, Any] = {
        "state": "complete",
        "budget": 8,
        "budget_max": 8,
        "objectives": {"score": score, "exported_parameters": float(size), **latency},
        "metrics": tuple(MetricRow("spam", split, "clean", 0.0, "accuracy", score) for split in splits),
        "gates": (GateRow("spam", Slot(0, "attn.q", "lora", 4), 0.9, 1.0, True, 3072),),
        "costs": (CostRow("train_seconds", 1.5, "s"),),
        "events": (Event("gate_health.ok", "all well"),),
        "artifact": {"adapter.safetensors": b"tensors", "adapter.json": b"{}"},
    }
    return TrialReport(**{**values, **changes})


def progress(step: int, score: float, *, prunable: bool = True, of: int = 8) -> Progress:
    row = MetricRow("spam", "validation", "clean", 0.0, "accuracy", score, step)
    return Progress(step, of, score, prunable, (row,))


def run_all(session: StudySession) -> list[Ask]:
    """Runs the study to the end, one trial at a time."""
    asks: list[Ask] = []
    while True:
        ask = session.next()
        if isinstance(ask, str):
            assert ask == "done"
            return asks
        session.started(ask.trial_id, ray_trial_id=f"ray{ask.trial_id}", worker="w")
        session.progress(ask.trial_id, progress(4, 0.5))
        session.finish(ask.trial_id, report(ask))
        asks.append(ask)


def dead_holder(where: Locations) -> None:
    """Makes whoever holds the lease look like a process that has ended."""
    store = Store(where.storage_url)
    with store.engine.begin() as connection:
        for row in connection.execute(sa.select(SlaLease.__table__)).all():
            if row.holder:
                holder = json.dumps({**json.loads(row.holder), "started": "0"})
                connection.execute(sa.update(SlaLease).where(SlaLease.study_id == row.study_id).values(holder=holder))
    store.close()


def trials_of(where: Locations, name: str = "toy") -> list[TrialRow]:
    store = Store(where.storage_url)
    rows = store.trials(store.study(name).id)
    store.close()
    return rows


def optuna_trials(where: Locations, name: str = "toy") -> list[FrozenTrial]:
    """As anybody else's Optuna reads them."""
    storage = optuna.storages.RDBStorage(where.storage_url, skip_compatibility_check=True, skip_table_creation=True)
    trials = storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
    storage.engine.dispose()
    return trials


def column(where: Locations, query: Any) -> list[Any]:
    store = Store(where.storage_url)
    with store.engine.connect() as connection:
        values = list(connection.scalars(query).all())
    store.close()
    return values


def check_truth(config: StudyConfig, where: Locations) -> None:
    """What must hold in the database of a study that has been run to its end, whatever happened on the way."""
    rows = trials_of(where, config.name)
    ended = last_attempts(rows)
    assert plan(config, rows, design_points(config)) == "done"
    assert all(not row.open for row in rows)
    assert len(ended) == sum(planned(config, rows, design_points(config)).values())
    points = [(row.point, row.repeat) for row in ended if row.phase == "design"]
    assert len(set(points)) == len(points)
    tuned = [(row.role, row.pair_of, row.point, row.repeat) for row in ended if row.phase == "tune"]
    assert len(set(tuned)) == len(tuned)
    confirmed = [
        (row.role, row.pair_of, row.repeat, row.params, row.control_variant) for row in ended if row.phase == "confirm"
    ]
    assert len(set(confirmed)) == len(confirmed)
    by_id = {row.id: row for row in rows}
    for row in rows:
        before = None if row.retry_of is None else by_id[row.retry_of]
        assert row.attempt == (1 if before is None else before.attempt + 1)
        if before is not None:
            assert (before.state, before.spec, before.params) == ("fail", row.spec, row.params)
    retried = [row.retry_of for row in rows if row.retry_of is not None]
    assert len(set(retried)) == len(retried)
    check_artifacts(rows, where)
    objectives = [objective.name for objective in config.objectives]
    for which, name in (("search", config.name), ("confirm", f"{config.name}.confirm")):
        ours = {row.number: row for row in rows if row.optuna_study == which}
        theirs = {trial.number: trial for trial in optuna_trials(where, name)}
        assert ours.keys() == theirs.keys()
        for number, row in ours.items():
            assert theirs[number].state.name.lower() == row.state
            assert theirs[number].params == row.values
            if row.state == "complete":
                assert theirs[number].values == [row.objective(objective) for objective in objectives]
    metrics = column(where, sa.select(sa.func.count()).select_from(SlaMetric))[0]
    columns = (SlaMetric.trial_id, SlaMetric.task, SlaMetric.split, SlaMetric.metric, SlaMetric.step)
    different = column(where, sa.select(sa.func.count()).select_from(sa.select(*columns).distinct().subquery()))[0]
    assert metrics == different


def check_artifacts(rows: list[TrialRow], where: Locations) -> None:
    """Files of complete trials alone, each with the SHA-256 that stands in the database."""
    store = Store(where.storage_url)
    held = {row.id: store.artifacts(row.id) for row in rows}
    studies = {study.id: study for study in store.studies()}
    store.close()
    assert all(row.state == "complete" for row in rows if held[row.id])
    for row in rows:
        study = studies[row.study_id]
        files = Artifacts.of(study, where.home, stored_study(study.config).resources.storage_path)
        for artifact in held[row.id]:
            files.read(artifact)


def optuna_command(where: Locations, *words: str) -> Any:
    """What `optuna WORDS -f json` prints."""
    arguments = ["optuna", *words, "--storage", where.storage_url, "-f", "json"]
    out = io.StringIO()
    with patch.object(sys, "argv", arguments), redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        assert optuna.cli.main() == 0, out.getvalue()
    return json.loads(out.getvalue())
