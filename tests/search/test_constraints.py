"""Constraints: what may be chosen, what samplers and other programs are told, and what is said where nothing fits."""

from __future__ import annotations

import json
import math
import re

import optuna
import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from session_kit import RATE, WEIGHT, optuna_trials, report, run_all, study, trials_of

from slasearch.cli.status import status
from slasearch.cli.trials import trials
from slasearch.errors import ReportError
from slasearch.report.choice import best_trial
from slasearch.search.study import StudySession
from slasearch.search.summary import Bound, read_summary
from slasearch.storage.store import Store

SMALL = [{"name": "exported_parameters", "max": 1025}]
QUICK = [{"name": "latency", "max": 7.5}]


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


def test_a_latency_is_measured_where_it_is_bounded_and_keeps_slow_trials_out(opened, where):
    """Trial n takes 5 + n ms: the first three are quick enough."""
    config = study(optimise=6, confirm={"top": 1, "seeds": 1, "controls": []}, constraints=QUICK)
    asks = run_all(opened(config))
    assert all(ask.spec.latency for ask in asks)
    rows = trials_of(where)
    search = [row for row in rows if row.phase == "optimise"]
    assert [row.latency for row in search] == [5, 6, 7, 8, 9, 10]
    assert [trial.constraints["latency"] for trial in optuna_trials(where)] == [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]
    assert {row.pair_of for row in rows if row.phase == "confirm"} <= {row.id for row in search[:3]}
    assert best_trial(search, "score", config.constraints) == max(search[:3], key=lambda row: row.score)


def test_a_latency_that_nothing_bounds_is_not_measured(opened, where):
    assert not any(ask.spec.latency for ask in run_all(opened(study(optimise=2, constraints=SMALL))))
    assert [row.latency for row in trials_of(where)] == [None, None]


def test_a_trial_without_a_value_does_not_keep_the_bound(opened, where):
    config = study(optimise=2, constraints=QUICK)
    session = opened(config)
    for missing in ({}, {"latency": math.nan}):
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
        session.finish(ask.trial_id, report(ask, objectives={"score": 0.9, "exported_parameters": 1.0, **missing}))
    assert [row.state for row in trials_of(where)] == ["complete", "complete"]
    assert session.summary().best == ()
    assert session.summary().constraints == (Bound("latency", None, 7.5, "ms", 2),)


def test_the_front_and_the_lists_of_commands_tell_what_is_kept_out(opened, where):
    """Each trial is better and larger than the one before, so that all would be on the front; the last is too slow."""
    session = opened(study(optimise=3, constraints=[*QUICK, {"name": "score", "min": 0.0}]))
    for score, size, latency in ((0.5, 10.0, 5.0), (0.6, 20.0, 6.25), (0.7, 30.0, 8.5)):
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
        found = {"score": score, "exported_parameters": size, "latency": latency}
        session.finish(ask.trial_id, report(ask, objectives=found))
    summary = read_summary(Store(where.storage_url), "toy")
    assert summary.front == 2
    assert summary.constraints == (Bound("latency", None, 7.5, "ms", 1), Bound("score", 0.0, None, "", 0))
    shown = [CliRunner().invoke(verb, ["toy", "--storage", where.storage_url]).output for verb in (status, trials)]
    assert re.search(r"latency +- +7.5 +ms +1\n", shown[0])
    assert re.search(r"latency \(ms\).*\n(.*\n){2}.* 8\.5 ", shown[1])
    listed = CliRunner().invoke(trials, ["toy", "--json", "--storage", where.storage_url]).output
    assert [trial["latency"] for trial in json.loads(listed)] == [5, 6.25, 8.5]


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
        ([{"name": "accuracy", "min": 0.9}], "'score', 'exported_parameters', 'robustness' or 'latency'"),
        ([{"name": "score", "min": 0.9}, {"name": "score", "max": 1}], "expected each name once, .*, got score, score"),
        ([{"name": "robustness", "min": 0.9}], "expected conditions to measure robustness under, got none"),
    ],
)
def test_wrong_constraints_are_refused(constraints, message):
    with pytest.raises(ValidationError, match=message):
        study(optimise=1, constraints=constraints)
