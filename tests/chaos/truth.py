"""What must hold of a study after all that was done to it: nothing lost, nothing twice, and all readers agree."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

import optuna
import sqlalchemy as sa
from chaos_table import Row
from click.testing import CliRunner
from optuna.study import StudyDirection
from session_kit import check_truth, optuna_command, optuna_trials, trials_of

from slasearch.cli.main import slasearch
from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig
from slasearch.search.constraints import excesses
from slasearch.search.winners import last_attempts, winners
from slasearch.service.dashboard import dashboard_app
from slasearch.storage.models import SlaMetric
from slasearch.storage.rows import TrialRow
from slasearch.storage.store import Store

Results = Counter[tuple[Any, ...]]
"""Everything that trials gave, each by its last attempt; bit for bit, but for ids, times and file paths."""


def results_of(config: StudyConfig, where: Locations) -> Results:
    """The results of a study that stands in the database."""
    with closing(Store(where.storage_url)) as store:
        rows = last_attempts(store.trials(store.study(config.name).id))
        return Counter(_result(store, row) for row in rows)


def _result(store: Store, row: TrialRow) -> tuple[Any, ...]:
    columns = [SlaMetric.task, SlaMetric.split, SlaMetric.condition, SlaMetric.level, SlaMetric.metric, SlaMetric.step]
    with store.engine.connect() as connection:
        found = connection.execute(sa.select(*columns, SlaMetric.value).where(SlaMetric.trial_id == row.id)).all()
    metrics = tuple(sorted((tuple(metric) for metric in found), key=repr))
    files = tuple((file.name, file.sha256, file.bytes) for file in store.artifacts(row.id))
    place = (row.optuna_study, row.phase, row.role, row.point, row.repeat, row.params, row.spec)
    return (*place, row.state, row.score, row.exported_parameters, row.robustness, row.budget, metrics, files)


def tell(
    row: Row,
    config: StudyConfig,
    where: Locations,
    expected: Results,
    acknowledged: Mapping[int, Mapping[str, float]],
) -> None:
    """Counts into `row` what a study that was run to its end has lost or holds twice, and then checks all the rest.

    Args:
        row: The scenario's row.
        config: The study.
        where: Where it lies.
        expected: Its results, had nothing disturbed it.
        acknowledged: The objectives of each attempt whose end a driver had taken note of, by its id.
    """
    rows = trials_of(where, config.name)
    found = results_of(config, where)
    by_id = {trial.id: trial for trial in rows}
    forgotten = [trial for trial, values in acknowledged.items() if not _kept(by_id.get(trial), values)]
    theirs = [trial for name in (config.name, f"{config.name}.confirm") for trial in optuna_trials(where, name)]
    row.studies += 1
    row.trials += len(last_attempts(rows))
    row.attempts += len(rows)
    row.lost += (expected - found).total() + len(forgotten)
    row.duplicated += (found - expected).total()
    row.left_open += sum(trial.open for trial in rows) + sum(not trial.state.is_finished() for trial in theirs)
    assert row.clean(), row
    check_truth(config, where)
    check_readers(config, where)


def _kept(row: TrialRow | None, values: Mapping[str, float]) -> bool:
    return row is not None and row.state == "complete" and {name: row.objective(name) for name in values} == values


# ---------------------------------------------------------------- readers


def check_readers(config: StudyConfig, where: Locations) -> None:
    """Optuna's library, its command and its dashboard, and ours agree: states, values, constraints, the best."""
    rows = trials_of(where, config.name)
    columns = (
        "id",
        "number",
        "state",
        "reason",
        "score",
        "exported_parameters",
        "robustness",
        "attempt",
        "optuna_study",
    )
    listed = command(where, "trials", config.name)
    assert [[trial[name] for name in columns] for trial in listed] == [
        [getattr(row, name) for name in columns] for row in rows
    ]
    seconds = [trial["seconds"] for trial in listed if trial["seconds"] is not None]
    assert all(0 <= taken < 600 for taken in seconds), "expected trials to take the time that they took"
    summary = command(where, "status", config.name)
    ended = Counter(row.state for row in last_attempts(rows))
    assert {name: summary[name] for name in ("complete", "pruned", "failed")} == {
        name: ended[state] for name, state in (("complete", "complete"), ("pruned", "pruned"), ("failed", "fail"))
    }
    assert (summary["waiting"], summary["running"], summary["planned"]) == (0, 0, ended.total())
    assert 0 <= summary["device_seconds"] <= sum(seconds) + 1e-6
    for which, name in (("search", config.name), ("confirm", f"{config.name}.confirm")):
        _check_optuna(config, where, name, [row for row in rows if row.optuna_study == which])
    _check_best(config, where, rows, summary)


def _check_optuna(config: StudyConfig, where: Locations, name: str, rows: Iterable[TrialRow]) -> None:
    objectives = [objective.name for objective in config.objectives]
    expected = {
        row.number: (
            row.state,
            [row.objective(objective) for objective in objectives] if row.state == "complete" else None,
            list(excesses(config.constraints, row).values()) if row.state == "complete" else [],
        )
        for row in rows
    }
    library = {
        trial.number: (
            trial.state.name.lower(),
            trial.values,
            [trial.constraints[constraint.name] for constraint in config.constraints if trial.constraints],
        )
        for trial in _study(where, name).trials
    }
    dashboard = {
        trial["number"]: (trial["state"].lower(), trial.get("values"), trial["constraints"])
        for trial in _dashboard(where, name)["trials"]
    }
    assert library == expected
    assert dashboard == expected
    commanded = optuna_command(where, "trials", "--study-name", name) if expected else []
    assert {trial["number"]: trial["state"].lower() for trial in commanded} == {
        number: state for number, (state, _, _) in expected.items()
    }
    values = "value" if len(objectives) == 1 else "values"
    assert {
        trial["number"]: [trial[values][objective] for objective in objectives]
        for trial in commanded
        if trial["state"] == "COMPLETE"
    } == {number: told for number, (state, told, _) in expected.items() if state == "complete"}


def _check_best(config: StudyConfig, where: Locations, rows: Iterable[TrialRow], summary: Mapping[str, Any]) -> None:
    best = {found["objective"]: found["number"] for found in summary["best"]}
    ours = {
        objective.name: row.number
        for objective in config.objectives
        for row in winners([objective], rows, top=1, constraints=config.constraints)
    }
    assert best == ours
    study = _study(where, config.name)
    if len(config.objectives) == 1:
        assert [study.best_trial.number] == list(best.values())
        assert optuna_command(where, "best-trial", "--study-name", config.name)["number"] == study.best_trial.number
    else:
        front = {trial.number for trial in study.best_trials}
        assert summary["front"] == len(front)
        assert {trial["number"] for trial in optuna_command(where, "best-trials", "--study-name", config.name)} == front
        for place, direction in enumerate(study.directions):
            pick = max if direction is StudyDirection.MAXIMIZE else min
            by_number = {trial.number: trial.values[place] for trial in study.best_trials}
            assert by_number[best[config.objectives[place].name]] == pick(by_number.values())
    if not config.constraints:  # the dashboard's own list of the best does not look at constraints
        shown = {trial["number"] for trial in _dashboard(where, config.name)["best_trials"]}
        assert len(shown) == 1
        assert shown <= {trial.number for trial in study.best_trials}


def _study(where: Locations, name: str) -> optuna.Study:
    """As anybody loads a study by its URL."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.load_study(study_name=name, storage=where.storage_url, sampler=optuna.samplers.RandomSampler())


def command(where: Locations, *words: str) -> Any:
    """What `slasearch WORDS --json` prints."""
    words = (*words, "--storage", where.storage_url, "--json")
    environment = {"SLASEARCH_HOME": str(where.home)}
    done = CliRunner().invoke(slasearch, words, env=environment, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def _dashboard(where: Locations, name: str) -> Any:
    """What the read-only dashboard tells its page of a study."""
    app = dashboard_app(where.storage_url)
    studies = _get(app, "/api/studies")["study_summaries"]
    return _get(app, f"/api/studies/{next(study['study_id'] for study in studies if study['study_name'] == name)}")


def _get(app: Any, path: str) -> Any:
    answered: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    body = b"".join(app(environ, lambda status, headers, *_: answered.append(status)))
    assert answered[0].startswith("200"), answered
    return json.loads(body)
