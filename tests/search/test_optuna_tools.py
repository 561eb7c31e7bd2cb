"""Optuna's own command and library read what a study wrote."""

import optuna
import pytest
from session_kit import optuna_command, progress, report, study, trials_of

from slasearch.search.study import StudySession


@pytest.fixture
def ended(where):
    """A study with two objectives: trials 0 and 2 are complete, 1 was pruned, 3 failed."""
    session = StudySession.open(study(optimise=4, pruner={"name": "successive_halving"}), where)
    for number in range(4):
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
        session.progress(ask.trial_id, progress(4, 0.5))
        if number == 1:
            session.prune(ask.trial_id, progress(4, 0.5))
        elif number == 3:
            session.finish(ask.trial_id, report(ask, state="fail", reason="loss is not finite"))
        else:
            session.finish(
                ask.trial_id, report(ask, objectives={"score": 0.5 + number / 10, "exported_parameters": 9.0})
            )
    session.close()
    return where


def test_the_command_lists_studies_and_trials_with_states_parameters_and_values(ended):
    studies = {entry["name"]: entry for entry in optuna_command(ended, "studies")}
    assert studies["toy"]["direction"] == ["MAXIMIZE", "MINIMIZE"]
    assert studies["toy"]["n_trials"] == 4
    assert studies["toy.confirm"]["n_trials"] == 0
    theirs, ours = optuna_command(ended, "trials", "--study-name", "toy"), trials_of(ended)
    assert [trial["state"] for trial in theirs] == ["COMPLETE", "PRUNED", "COMPLETE", "FAIL"]
    assert [trial["params"] for trial in theirs] == [row.values for row in ours]
    assert [trial.get("values") for trial in theirs if trial["state"] == "COMPLETE"] == [
        {"score": 0.5, "exported_parameters": 9.0},
        {"score": 0.7, "exported_parameters": 9.0},
    ]
    assert theirs[3]["user_attrs"]["reason"] == "loss is not finite"


def test_the_command_finds_the_best_trials(ended):
    best = optuna_command(ended, "best-trials", "--study-name", "toy")
    assert [trial["number"] for trial in best] == [2]
    assert best[0]["params"] == trials_of(ended)[2].values


def test_one_objective_shows_its_intermediate_values(where):
    session = StudySession.open(study(optimise=2, objectives=("score",), pruner={"name": "median"}), where)
    for number in range(2):
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
        for step in (2, 4):
            session.progress(ask.trial_id, progress(step, 0.1 * step + number))
        if number:
            session.finish(ask.trial_id, report(ask, objectives={"score": 0.9, "exported_parameters": 9.0}))
        else:
            session.prune(ask.trial_id, None)
    session.close()
    pruned, complete = optuna.load_study(study_name="toy", storage=where.storage_url).trials
    assert pruned.state is optuna.trial.TrialState.PRUNED
    assert pruned.intermediate_values == pytest.approx({25: 0.2, 50: 0.4})
    assert complete.intermediate_values == pytest.approx({25: 1.2, 50: 1.4})
    assert complete.value == 0.9
    best = optuna_command(where, "best-trial", "--study-name", "toy")
    assert (best["number"], best["value"]) == (1, {"score": 0.9})
