"""Constraints: what may be chosen, what samplers and other programs are told, and what is said where nothing fits."""

from __future__ import annotations

import math

import optuna
import pytest
from pydantic import ValidationError
from session_kit import RATE, WEIGHT, optuna_trials, report, run_all, study, trials_of

from slasearch.errors import ReportError
from slasearch.report.choice import best_trial
from slasearch.search.study import StudySession
from slasearch.search.summary import read_summary
from slasearch.storage.store import Store

SMALL = [{"name": "exported_parameters", "max": 1025}]


def test_only_trials_within_bounds_are_confirmed_exported_and_called_best(opened, where):
    """Trial n has 1000 + 10 n parameters: the first three are small enough."""
    config = study(optimise=6, confirm={"top": 1, "seeds": 1, "controls": []}, constraints=SMALL)
    run_all(opened(config))
    rows = trials_of(where)
    within = [row for row in rows if row.phase == "optimise" and row.number <= 2]
    best = max(within, key=lambda row: row.score)
    outside = [row.score for row in rows if row.phase == "optimise" and row.number > 2]
    confirmed = {row.pair_of for row in rows if row.phase == "confirm"}
    assert confirmed <= {row.id for row in within}
    assert best.id in confirmed
    assert best_trial([row for row in rows if row.phase == "optimise"], "score", config.constraints) == best
    found = {entry.objective: entry.value for entry in read_summary(Store(where.storage_url), "toy").best}
    assert found["score"] == pytest.approx(best.score)
    assert max(outside) != best.score


def test_optuna_and_its_dashboard_know_which_trials_break_a_bound(opened, where):
    run_all(opened(study(optimise=6, constraints=SMALL)))
    trials = optuna_trials(where)
    assert [trial.constraints["exported_parameters"] for trial in trials] == [-25, -15, -5, 5, 15, 25]
    best = optuna.load_study(study_name="toy", storage=where.storage_url).best_trials
    assert {trial.number for trial in best} <= {0, 1, 2}
    assert read_summary(Store(where.storage_url), "toy").front == len(best)
    assert [trial.system_attrs["constraints"] for trial in trials] == [[-25], [-15], [-5], [5], [15], [25]]


def test_a_range_has_one_excess(opened, where):
    bounds = [{"name": "exported_parameters", "min": 1010, "max": 1030}]
    run_all(opened(study(optimise=5, constraints=bounds)))
    assert [trial.constraints["exported_parameters"] for trial in optuna_trials(where)] == [10, 0, -10, 0, 10]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsgaii", "nsgaiii", "cmaes"])
def test_a_sampler_learns_the_bounds_also_after_a_restart(where, sampler):
    """The score rises with λ, but so does the size: beyond λ = .03, the lowest quarter, it is too large."""
    objectives = ("score",) if sampler in ("cmaes", "gp") else ("score", "exported_parameters")
    options = {"population_size": 6} if sampler in ("nsgaii", "nsgaiii", "cmaes") else {}
    config = study(
        optimise=36,
        sampler={"name": sampler, "options": options},
        objectives=objectives,
        constraints=[{"name": "exported_parameters", "max": 30}],
    )
    for _ in range(2):
        session = StudySession.open(config, where)
        for _ in range(18):
            ask = session.next()
            session.started(ask.trial_id, ray_trial_id="r")
            values = trials_of(where)[-1].values
            near = -abs(math.log(values[RATE] / 0.003))
            found = {"score": math.log(values[WEIGHT]) + 0.1 * near, "exported_parameters": 1000 * values[WEIGHT]}
            session.finish(ask.trial_id, report(ask, objectives=found))
        session.close()
    sizes = [row.exported_parameters for row in trials_of(where)]
    assert sum(size <= 30 for size in sizes[-12:]) > sum(size <= 30 for size in sizes[:12])


def test_where_nothing_fits_the_study_says_so(opened, where):
    config = study(optimise=2, confirm={"top": 1, "seeds": 1, "controls": []}, constraints=[
        {"name": "exported_parameters", "max": 10}
    ])  # fmt: skip
    run_all(opened(config))
    assert read_summary(Store(where.storage_url), "toy").best == ()
    with pytest.raises(ReportError, match="with this objective that keeps the study's constraints, got none among 2"):
        best_trial(trials_of(where), "score", config.constraints)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ([{"name": "score"}], "expected min, max or both, got neither"),
        ([{"name": "score", "min": 0.9, "max": 0.8}], "expected min of at most max, got 0.9 and 0.8"),
        ([{"name": "score", "min": 0.9}, {"name": "score", "max": 1}], "expected each name once, .*, got score, score"),
        ([{"name": "robustness", "min": 0.9}], "expected conditions to measure robustness under, got none"),
    ],
)
def test_wrong_constraints_are_refused(constraints, message):
    with pytest.raises(ValidationError, match=message):
        study(optimise=1, constraints=constraints)
