"""Samplers that breed: generations are kept over a restart, and nothing that is stored is a pickle."""

from __future__ import annotations

import math

import pytest
from session_kit import RATE, WEIGHT, optuna_trials, report, study, trials_of

from slasearch.errors import ConfigError
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
