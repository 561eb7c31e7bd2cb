"""Which trial `export --best` means, and how trials are called."""

from dataclasses import replace

import pytest

from slasearch.errors import ReportError, TrialNotFoundError
from slasearch.report.choice import best_trial, find_trial, trial_label
from slasearch.storage.rows import TrialRow

FIRST = TrialRow(
    id=1,
    study_id=1,
    optuna_study="search",
    number=0,
    phase="optimise",
    role="search",
    sampler="tpe",
    factor=None,
    point=None,
    repeat=0,
    attempt=1,
    retry_of=None,
    state="complete",
    reason=None,
    params='{"a": 0}',
    spec="{}",
    config_hash="",
    init_seed=0,
    data_seed=0,
    pair_of=None,
    control_size=None,
    control_variant=None,
    created_at=0.0,
    score=0.5,
    exported_parameters=100.0,
)


def searched(number: int, **fields: object) -> TrialRow:
    return replace(FIRST, id=number + 1, number=number, params=f'{{"a": {number}}}', **fields)  # type: ignore[arg-type]


def confirmed(number: int, pair_of: int, role: str = "winner", **fields: object) -> TrialRow:
    row = replace(FIRST, id=100 + number, number=number, optuna_study="confirm", phase="confirm", role=role)
    row = replace(row, pair_of=pair_of, repeat=number, params=searched(pair_of - 1).params)
    return replace(row, **fields)  # type: ignore[arg-type]


def test_the_best_complete_search_trial_is_taken() -> None:
    rows = [FIRST, searched(1, score=0.7), searched(2, score=0.9, state="pruned"), searched(3, score=0.6)]
    assert trial_label(best_trial(rows, "score")) == "1"


def test_the_fewest_parameters_are_the_best() -> None:
    rows = [FIRST, searched(1, exported_parameters=50.0), searched(2, exported_parameters=70.0)]
    assert trial_label(best_trial(rows, "exported_parameters")) == "1"


def test_a_confirmed_trial_is_replaced_by_the_best_of_its_runs() -> None:
    rows = [
        FIRST,
        searched(1, score=0.7),
        confirmed(0, pair_of=2, score=0.6),
        confirmed(1, pair_of=2, score=0.65),
        confirmed(2, pair_of=2, score=0.9, state="fail"),
        confirmed(3, pair_of=1, score=0.95),
        confirmed(4, pair_of=2, role="control:lora", score=0.99),
    ]
    assert trial_label(best_trial(rows, "score")) == "c1"


def test_the_runs_are_those_of_the_configuration_whichever_of_its_trials_they_stand_beside() -> None:
    lucky = searched(1, score=0.7, exported_parameters=60.0)
    small = replace(lucky, id=9, number=8, score=0.65, exported_parameters=50.0)
    rows = [FIRST, lucky, small, confirmed(0, pair_of=2, score=0.66, exported_parameters=55.0)]
    assert trial_label(best_trial(rows, "score")) == "c0"
    assert trial_label(best_trial(rows, "exported_parameters")) == "c0"


def test_a_trial_without_the_objective_is_not_the_best() -> None:
    rows = [FIRST, searched(1, robustness=0.2)]
    assert trial_label(best_trial(rows, "robustness")) == "1"
    with pytest.raises(ReportError, match="best by robustness: expected a complete search trial"):
        best_trial([FIRST], "robustness")


def test_trials_are_found_by_the_numbers_that_people_see() -> None:
    rows = [FIRST, searched(12), confirmed(12, pair_of=1), replace(FIRST, id=50, number=None, state="waiting")]
    assert find_trial(rows, "12") is rows[1]
    assert find_trial(rows, "c12") is rows[2]
    assert trial_label(rows[3]) == "-"
    for label in ("-", "99", "c", "12 ", "-1", ""):
        with pytest.raises(TrialNotFoundError, match="expected a number such as 12"):
            find_trial(rows, label)
    with pytest.raises(TrialNotFoundError, match="the study's last is none"):
        find_trial([], "0")
