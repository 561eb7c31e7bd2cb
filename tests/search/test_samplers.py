"""Samplers that breed keep their generations over a restart, store no pickle, and grouped TPE is Optuna's."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.samplers import TPESampler
from session_kit import RATE, WEIGHT, optuna_trials, report, study, trials_of

from slasearch.errors import ConfigError
from slasearch.search.samplers import GroupedTpeSampler
from slasearch.search.study import StudySession


def run_some(config, where, trials, score):
    """One run command that ends after some trials."""
    session = StudySession.open(config, where)
    for _ in range(trials):
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
        row = trials_of(where)[-1]
        values = {"score": score(row.values), "exported_parameters": 9.0}
        session.finish(ask.trial_id, report(ask, objectives=values))
    session.close()


def near(values):
    """Best, 1, where λ is .3 and the learning rate .003."""
    distance = (math.log(values[WEIGHT] / 0.3) / 4.6) ** 2 + (math.log(values[RATE] / 0.003) / 4.6) ** 2
    return 1 - distance


@pytest.mark.parametrize("sampler", ["nsgaii", "nsgaiii", "cmaes"])
def test_generations_go_on_over_restarts(where, sampler):
    objectives = ("score",) if sampler == "cmaes" else ("score", "exported_parameters")
    options = {"population_size": 4}
    config = study(optimise=18, sampler={"name": sampler, "options": options}, objectives=objectives)
    for _ in range(6):
        run_some(config, where, 3, near)
    found = [trial.system_attrs for trial in optuna_trials(where)]
    generations = [value for attributes in found for name, value in attributes.items() if name.endswith(":generation")]
    assert generations == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4]
    assert {name for attributes in found for name in attributes} == {
        {"nsgaii": "NSGAIISampler", "nsgaiii": "NSGAIIISampler", "cmaes": "cmaes"}[sampler] + ":generation"
    }


def test_cmaes_comes_close_to_the_best_point(where):
    config = study(optimise=80, sampler={"name": "cmaes"}, objectives=("score",))
    run_some(config, where, 80, near)
    scores = [row.score for row in trials_of(where)]
    assert sum(scores[-10:]) / 10 > 0.999
    assert sum(scores[:10]) / 10 < 0.97


def test_cmaes_says_what_it_cannot_search(where):
    with pytest.raises(ConfigError, match=r"sampler.name: expected one objective with cmaes, .*, got 2 objectives"):
        StudySession.open(study(optimise=1, sampler={"name": "cmaes"}), where)
    fixed = {"training": {"epochs": 1, "learning_rate": 0.001}}
    with pytest.raises(ConfigError, match=r"expected at least 2 searched numbers that every trial has .*, got 1"):
        StudySession.open(study(optimise=1, sampler={"name": "cmaes"}, objectives=("score",), **fixed), where)


def conditional(trial):
    """Two branches, one with a branch of its own, and a field that all share."""
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    inner = trial.suggest_int("rank", 1, 8) if kind == "a" else trial.suggest_categorical("shape", ["x", "y", "z"])
    deep = trial.suggest_float("share", 0, 1) if inner == "z" else 0.0
    return math.log(rate) + deep + (inner if kind == "a" else 0)


@pytest.mark.parametrize("objectives", [1, 2])
def test_grouped_tpe_draws_what_optunas_own_draws(objectives):
    ours = optuna.create_study(directions=["maximize"] * objectives)
    for number in range(60):
        drawn = []
        for sampler in (GroupedTpeSampler(seed=number), TPESampler(multivariate=True, group=True, seed=number)):
            again = optuna.create_study(directions=ours.directions, sampler=sampler)
            again.add_trials(ours.trials)
            trial = again.ask()
            value = conditional(trial)
            drawn.append(trial.params)
        assert drawn[0] == drawn[1]
        state = optuna.trial.TrialState.PRUNED if number % 7 == 0 else optuna.trial.TrialState.COMPLETE
        again.tell(trial, None if number % 7 == 0 else [value] * objectives, state=state)
        ours.add_trial(again.trials[-1])
    assert len({frozenset(trial.params) for trial in ours.trials}) == 3
