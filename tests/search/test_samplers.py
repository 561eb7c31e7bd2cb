"""Samplers that breed keep their generations over a restart, store no pickle, and grouped TPE is Optuna's."""

from __future__ import annotations

import math
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from session_kit import RATE, WEIGHT, locations, optuna_trials, report, study, trials_of

from slasearch.config.schema import SamplerConfig
from slasearch.errors import ConfigError
from slasearch.search.cma_es import PARENTS, CmaEsSampler
from slasearch.search.mirror import MirroredStudy
from slasearch.search.samplers import GroupedTpeSampler, make_sampler
from slasearch.search.study import StudySession
from slasearch.space import Parameter


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
    generations = [next(iter(attributes.values())) for attributes in found]
    assert generations == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4]
    names = {"nsgaii": {"NSGAIISampler"}, "nsgaiii": {"NSGAIIISampler"}, "cmaes": {"cmaes", "cmaes:parents"}}[sampler]
    assert {name for attributes in found for name in attributes} == {f"{name}:generation" for name in names}


def torn(values):
    """Three objectives that no trial is the best in, so that chance and order among equals matter."""
    a, b = math.log(values[WEIGHT]) / 4.6, math.log(values[RATE])
    return {
        "score": math.sin(7 * a) + 0.1 * b,
        "exported_parameters": 1000 + 100 * math.cos(3 * a + b),
        "robustness": math.sin(b) + a,
    }


@pytest.mark.parametrize("sampler", ["nsgaii", "nsgaiii"])
def test_parents_are_the_same_whoever_asks_for_them_first(where, sampler):
    drawn = []
    for name, restarts in (("straight", ()), ("torn", (4, 5, 7, 8))):
        config = study(
            name=name,
            optimise=10,
            sampler={"name": sampler, "options": {"population_size": 3}},
            objectives=("score", "exported_parameters", "robustness"),
            conditions={"measured": [{"kind": "typos", "levels": [0.1]}]},
        )
        session = StudySession.open(config, where)
        for number in range(10):
            if number in restarts:
                session.close()
                session = StudySession.open(config, where)
            ask = session.next()
            session.started(ask.trial_id, ray_trial_id="r")
            values = torn(session._book[ask.trial_id].values)
            session.finish(ask.trial_id, report(ask, objectives=values))
        session.close()
        drawn.append([row.values for row in trials_of(where, name)])
    assert drawn[0] == drawn[1]


def drawn(where):
    """The learning rates that were drawn, and the generation that each complete trial stands in."""
    rows = [row for row in trials_of(where) if row.state == "complete"]
    generations = [next(iter(trial.system_attrs.values())) for trial in optuna_trials(where)]
    return [row.values[RATE] for row in rows], [generations[row.number] for row in rows]


@pytest.mark.parametrize("sampler", ["nsgaii", "nsgaiii", "cmaes"])
@pytest.mark.parametrize("loss", ["worker", "driver"])
def test_a_trial_that_is_tried_again_stays_in_its_generation_and_changes_no_later_draw(
    where, tmp_path, monkeypatch, sampler, loss
):
    objectives = ("score",) if sampler == "cmaes" else ("score", "exported_parameters")
    config = study(optimise=10, sampler={"name": sampler, "options": {"population_size": 4}}, objectives=objectives)
    undisturbed = locations(tmp_path / "undisturbed")
    run_some(config, undisturbed, 10, near)
    run_some(config, where, 2, near)
    session = StudySession.open(config, where)
    if loss == "worker":
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
        session.lost(ask.trial_id, "node gone")
    else:
        with monkeypatch.context() as patched:  # the driver ends between its own row and Optuna's
            patched.setattr(MirroredStudy, "record", broken)
            with pytest.raises(KeyboardInterrupt):
                session.next()
    session.close()
    run_some(config, where, 8, near)
    assert drawn(where) == drawn(undisturbed)
    assert drawn(where)[1] == [0] * 4 + [1] * 4 + [2] * 2


@pytest.mark.parametrize("sampler", ["nsgaii", "nsgaiii"])
def test_a_restart_after_hundreds_of_generations_finds_the_parents_of_the_last_one(sampler):
    """Of which each follows from those before: the same as a study finds that knows those of the first 300."""
    space = [Parameter("x", ("x",), FloatDistribution(0.0, 1.0))]
    name = {"nsgaii": "NSGAIISampler", "nsgaiii": "NSGAIIISampler"}[sampler] + ":generation"

    def made(first, last):
        return [
            optuna.trial.create_trial(
                params={"x": math.sin(number) ** 2},
                distributions={"x": FloatDistribution(0.0, 1.0)},
                values=[math.sin(3 * number), math.cos(5 * number)],
                system_attrs={name: number // 3},
            )
            for number in range(3 * first, 3 * last)
        ]

    def asked(optuna_study, number):
        config = SamplerConfig.model_validate({"name": sampler, "options": {"population_size": 3}})
        optuna_study.sampler = make_sampler(config, seed=1, number=number, index=0, space=space)
        return optuna_study.ask({"x": FloatDistribution(0.0, 1.0)})

    fresh, knowing = (optuna.create_study(directions=["minimize", "minimize"]) for _ in range(2))
    for last in (100, 200, 300):
        knowing.add_trials(made(last - 100, last))
        asked(knowing, last)
    knowing.add_trials(made(300, 500))
    fresh.add_trials(made(0, 500))
    assert asked(fresh, 9).params == asked(knowing, 9).params
    found = [study._storage.get_study_system_attrs(study._study_id) for study in (fresh, knowing)]
    assert all(len(attributes) >= 500 for attributes in found)


def test_cmaes_does_not_unlearn_what_it_was_told_by_one_that_ends_late():
    """Four trials at a time of generations of four: the first to be drawn ends after the second generation began."""
    space = [Parameter(name, (name,), FloatDistribution(0.0, 1.0)) for name in ("x", "y")]
    config = SamplerConfig.model_validate({"name": "cmaes", "options": {"population_size": 4}})
    optuna_study = optuna.create_study()
    fields = {parameter.name: parameter.distribution for parameter in space}
    asked = []

    def ask():
        number = len(asked)
        optuna_study.sampler = make_sampler(config, seed=1, number=number, index=number, space=space)
        asked.append(optuna_study.ask(fields))

    def told():
        strategy, parents = CmaEsSampler(space, seed=0, population_size=4)._told(optuna_study)
        return strategy.generation, strategy._mean.tolist(), parents

    for _ in range(5):
        ask()
    for trial in (4, 1, 3, 2):
        optuna_study.tell(asked[trial], asked[trial].params["x"])
    before = told()
    assert (before[0], sorted(before[2])) == (1, [1, 2, 3, 4])
    optuna_study.tell(asked[0], -1.0)
    assert told() == before
    ask()
    assert optuna_study.trials[5].system_attrs[PARENTS] == before[2]
    late = optuna_study._storage._get_trial(0)
    late.datetime_complete -= timedelta(hours=2)  # summer time is over
    optuna_study._storage._set_trial(0, late)
    assert told() == before


def broken(*_args):
    raise KeyboardInterrupt


def test_cmaes_comes_close_to_the_best_point(where):
    config = study(optimise=80, sampler={"name": "cmaes"}, objectives=("score",))
    run_some(config, where, 80, near)
    scores = [row.score for row in trials_of(where)]
    assert sum(scores[-10:]) / 10 > 0.999
    assert sum(scores[:10]) / 10 < 0.97


def test_cmaes_stays_within_the_ranges_at_their_upper_ends(monkeypatch):
    space = [
        Parameter("whole", ("whole",), IntDistribution(1, 10)),
        Parameter("number", ("number",), FloatDistribution(0.1, 0.7)),
        Parameter("log", ("log",), FloatDistribution(1e-4, 1e-2, log=True)),
    ]
    corner = SimpleNamespace(generation=0, ask=lambda: np.ones(3))
    monkeypatch.setattr(CmaEsSampler, "_told", lambda sampler, study: (corner, []))
    optuna_study = optuna.create_study(sampler=CmaEsSampler(space, seed=0))
    drawn_values = optuna_study.ask({parameter.name: parameter.distribution for parameter in space}).params
    assert drawn_values == {"whole": 10, "number": pytest.approx(0.7), "log": pytest.approx(1e-2)}
    assert all(parameter.distribution._contains(drawn_values[parameter.name]) for parameter in space)


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
