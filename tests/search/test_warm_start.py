"""A sampler that begins from the trials of an earlier study: what it learns, what it leaves alone, what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from session_kit import (
    RANKS,
    RATE,
    WEIGHT,
    check_truth,
    column,
    dead_holder,
    optuna_trials,
    progress,
    report,
    run_all,
    study,
    trials_of,
)

from slasearch.config.schema import StudyConfig
from slasearch.errors import ConfigError, StudyConflictError
from slasearch.search.command import delete_study
from slasearch.search.study import StudySession
from slasearch.search.warm_start import as_optuna
from slasearch.storage.models import SlaStudy, SlaWarmStart

SCORE = ("score",)


def near(values):
    """Best, 1, where λ is .3 and the learning rate .003."""
    return 1 - (math.log(values[WEIGHT] / 0.3) / 4.6) ** 2 - (math.log(values[RATE] / 0.003) / 4.6) ** 2


def run_some(session, trials):
    """Ends some trials truthfully; returns the parameters of each."""
    drawn = []
    for _ in range(trials):
        ask = session.next()
        values = session._book[ask.trial_id].values
        session.started(ask.trial_id, ray_trial_id="r")
        session.finish(
            ask.trial_id, report(ask, objectives={"score": near(values), "exported_parameters": 1e3 * values[WEIGHT]})
        )
        drawn.append(values)
    return drawn


def warm(config, source="old", **more):
    """The study, named `new`, with a sampler that begins from another one."""
    plain = config.model_dump(by_alias=True)
    plain["phases"]["optimise"]["warm_start"] = {"study": source, **more}
    return StudyConfig.model_validate({**plain, "name": "new"})


def ended(where, config, digests=None):
    session = StudySession.open(config, where)
    drawn = run_some(session, config.phases.optimise.trials)
    session.check_data(digests or {})
    session.close()
    return drawn


@pytest.fixture
def old(where):
    """An earlier study of 30 random trials and one objective, in the same database."""
    config = study(name="old", optimise=30, sampler={"name": "random"}, objectives=SCORE)
    ended(where, config, {"spam": "a" * 64})
    return config


def mean(drawn):
    return sum(map(near, drawn)) / len(drawn)


@pytest.mark.parametrize("name", ["tpe", "gp", "nsgaii", "cmaes"])
def test_the_first_proposals_are_already_good(where, old, name):
    options = {"population_size": 6} if name == "nsgaii" else {}
    config = study(name="cold", optimise=6, sampler={"name": name, "options": options}, objectives=SCORE)
    cold = ended(where, config)
    begun = ended(where, warm(config))
    assert mean(begun) > mean(cold)
    assert mean(begun) > 0.9


def test_earlier_trials_are_no_trials_of_the_new_study(where, old):
    config = warm(study(optimise=4, objectives=SCORE, confirm={"top": 1, "seeds": 1, "controls": ["lora"]}))
    session = StudySession.open(config, where)
    assert session.summary().planned == 4 + 4 + 2
    asks = run_all(session)
    session.close()
    assert [ask.number for ask in asks[:4]] == [0, 1, 2, 3]
    check_truth(config, where)
    assert [trial.number for trial in optuna_trials(where, "new")] == [0, 1, 2, 3]
    assert len(trials_of(where, "new")) == len(asks) == 10
    assert len(trials_of(where, "old")) == 30
    assert session.summary().complete == 10
    best = max(near(row.values) for row in trials_of(where, "old"))
    assert all(row.score != best for row in trials_of(where, "new"))


@pytest.mark.parametrize("fate", ["grown", "deleted"])
def test_a_restart_draws_the_same_whatever_became_of_the_earlier_study(where, old, fate):
    config = warm(study(optimise=8, objectives=SCORE), trials=20)
    straight = ended(where, config)
    delete_study(where, "new")
    session = StudySession.open(config, where)
    first = run_some(session, 4)
    session.next()
    session._store.close()  # as a killed process would, with a trial on its way
    dead_holder(where)
    if fate == "grown":
        grown = study(name="old", optimise=40, sampler={"name": "random"}, objectives=SCORE)
        session = StudySession.open(grown, where)
        run_some(session, 10)
        session.close()
    else:
        delete_study(where, "old")
    session = StudySession.open(config, where)
    assert (session.warm.source, len(session.warm.trials), session.warm.left_out) == ("old", 20, 0)
    assert [*first, *run_some(session, 4)] == straight
    session.close()


def test_the_last_trials_within_the_ranges_are_taken_and_the_others_counted(where, old):
    narrow = {"mode": "penalty", "sparsity_weight": {"log_float": [0.1, 2.0]}}
    ranks = {"sites": ["attn.q"], "kinds": ["lora"], "ranks": {"categorical": [[1], [4]]}}
    config = warm(study(optimise=1, objectives=SCORE, size_control=narrow, pool=ranks), trials=3)
    session = StudySession.open(config, where)
    rows = trials_of(where, "old")
    within = [row for row in rows if row.values[WEIGHT] >= 0.1 and row.values[RANKS] in ("[1]", "[4]")]
    assert 3 < len(within) < 30
    assert session.warm.left_out == 30 - len(within)
    assert [(trial.number, trial.params, trial.score) for trial in session.warm.trials] == [
        (row.number, row.values, row.score) for row in within[-3:]
    ]
    session.close()
    assert session.warm.words == (
        "the sampler begins from 3 complete trials of study old "
        f"({30 - len(within)} left out, as they lie outside the ranges or lack a value that is bounded)"
    )


def test_what_no_value_depends_on_may_differ(where, old):
    bound = [{"name": "exported_parameters", "max": 300}]
    design = {"sampler": {"name": "qmc"}, "points": 2}
    seeds = {"epochs": 1, "learning_rate": {"log_float": [1e-4, 1e-2]}, "seeds": {"init": 7}}
    pruner = {"name": "median"}
    config = warm(
        study(optimise=1, design=design, objectives=SCORE, constraints=bound, training=seeds, seed=5, pruner=pruner)
    )
    session = StudySession.open(config, where)
    for trial, row in zip(as_optuna(session.warm, config), trials_of(where, "old"), strict=True):
        assert trial.constraints["exported_parameters"] == row.exported_parameters - 300
        assert trial.values == [row.score]
    session.close()


TASK = {"name": "spam", "source": "bundled:spam"}
POOL = {"sites": ["attn.q"], "kinds": ["lora"], "ranks": {"categorical": [[1], [4], [1, 4]]}}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"backbone": {"id": "path:other"}},
            'backbone.id: expected "bundled:minilm", as in study old, got "path:other"',
        ),
        ({"tasks": [{**TASK, "max_tokens": 32}]}, "tasks.0.max_tokens: expected 64, as in study old, got 32"),
        ({"tasks": [{**TASK, "source": "bundled:bbc"}]}, 'tasks.0.source: expected "bundled:spam", as in study old'),
        ({"objectives": ("exported_parameters",)}, 'objectives.0.name: expected "score", as in study old'),
        ({"objectives": ("score", "exported_parameters")}, "objectives.1.name: expected absent, as in study old"),
        ({"pool": {**POOL, "ranks": [4]}}, "pool.ranks: expected searched, as in study old, got not searched"),
        (
            {"pool": {**POOL, "layers": {"categorical": [[0], [1]]}}},
            "pool.layers: expected not searched, as in study old, got searched",
        ),
        (
            {"pool": {**POOL, "ranks": {**POOL["ranks"], "when": {"gates.family": "sigmoid"}}}},
            "pool.ranks.when.gates.family: expected absent, as in study old",
        ),
    ],
)
def test_a_study_whose_values_mean_something_else_is_refused(where, old, changes, line):
    with pytest.raises(ConfigError) as caught:
        StudySession.open(warm(study(**{"optimise": 1, "objectives": SCORE, **changes})), where)
    lines = str(caught.value).splitlines()
    assert any(found.startswith(f"study new: {line}") for found in lines), lines
    assert not any("log_float" in found or "categorical" in found for found in lines)
    assert lines[-1].endswith("mend it, or leave it out.")
    assert column(where, sa.select(SlaStudy.name)) == ["old"]


def test_a_study_that_is_missing_or_has_no_trial_to_learn_from_is_refused(where, old):
    config = study(optimise=1, objectives=SCORE)
    with pytest.raises(
        ConfigError, match=r"warm_start.study: expected a study in the same database \(old\), got 'new'"
    ):
        StudySession.open(warm(config, source="new"), where)
    high = {"mode": "penalty", "sparsity_weight": {"log_float": [2.0, 3.0]}}
    with pytest.raises(ConfigError, match="within this one's ranges, got old with 30, all of them outside"):
        StudySession.open(warm(study(optimise=1, objectives=SCORE, size_control=high)), where)
    StudySession.open(study(name="empty", optimise=1, objectives=SCORE), where).close()
    with pytest.raises(ConfigError, match="within this one's ranges, got empty with none"):
        StudySession.open(warm(config, source="empty"), where)
    assert column(where, sa.select(SlaWarmStart.source)) == []


def test_earlier_trials_without_a_value_that_is_bounded_are_left_out(where, old):
    """A Gaussian process takes no trials that differ in their constraints."""
    bounds = [{"name": "latency", "max": 7.5}]
    mixed = study(name="mixed", optimise=6, sampler={"name": "random"}, objectives=SCORE, constraints=bounds)
    session = StudySession.open(mixed, where)
    for number in range(6):
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
        latency = {"latency": 5.0 + number} if number else {}
        session.finish(ask.trial_id, report(ask, objectives={"score": 0.5, "exported_parameters": 9.0, **latency}))
    session.close()
    process = {"name": "gp", "options": {"n_startup_trials": 1}}
    bounded = study(optimise=3, sampler=process, objectives=SCORE, constraints=bounds)
    with pytest.raises(ConfigError, match=r"that this one bounds \(latency\), got old with 30, none of which has"):
        StudySession.open(warm(bounded), where)
    config = warm(bounded, source="mixed")
    session = StudySession.open(config, where)
    assert (len(session.warm.trials), session.warm.left_out) == (5, 1)
    unmeasured = replace(session.warm.trials[0], latency=None)  # as earlier versions stored them
    told = as_optuna(replace(session.warm, trials=(unmeasured, *session.warm.trials)), config)
    assert [trial.constraints["latency"] for trial in told] == [-1.5, -0.5, 0.5, 1.5, 2.5]
    assert len(run_all(session)) == 3
    session.close()


def test_other_data_are_refused_and_other_studies_data_are_not_asked_for(where, old):
    session = StudySession.open(warm(study(optimise=1, objectives=SCORE)), where)
    with pytest.raises(StudyConflictError, match=r"expected the data of study old.*got other data for spam\. Put"):
        session.check_data({"spam": "b" * 64})
    session.check_data({"spam": "a" * 64})
    session.close()


@pytest.mark.parametrize("name", ["random", "qmc"])
def test_samplers_that_learn_nothing_take_no_trials(name):
    with pytest.raises(ValidationError, match=f"expected none with the sampler {name}, which learns from no trial"):
        warm(study(optimise=1, sampler={"name": name}))


def test_a_pruner_knows_nothing_of_earlier_trials(where, old):
    config = warm(study(optimise=4, objectives=SCORE, pruner={"name": "median", "options": {"n_startup_trials": 2}}))
    session = StudySession.open(config, where)
    judged = []
    for score in (0.9, 0.8, 0.1, 0.1):
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
        judged.append(session.progress(ask.trial_id, progress(4, score)))
        session.finish(ask.trial_id, report(ask, objectives={"score": score, "exported_parameters": 9.0}))
    session.close()
    assert judged == [False, False, True, True]


def test_several_objectives_are_learnt_from_too(where):
    source = study(name="old", optimise=12, sampler={"name": "random"})
    ended(where, source)
    config = warm(study(optimise=3))
    session = StudySession.open(config, where)
    assert [trial.values for trial in as_optuna(session.warm, config)] == [
        [row.score, row.exported_parameters] for row in trials_of(where, "old")
    ]
    run_some(session, 3)
    session.close()
