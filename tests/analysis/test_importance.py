from collections.abc import Callable
from dataclasses import replace

import numpy as np
import optuna
import pytest
from synthetic import NOISE, RANKS, RATE, TYPOS, WEIGHT, Plan

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.importance import MINIMUM_SETTINGS, importance
from slasearch.errors import ReportError


@pytest.fixture(scope="module")
def many(frames_of: Callable[[Plan], StudyFrames]) -> StudyFrames:
    """An adaptive phase of 120 trials, with a score that is set to a known function of λ in the tests."""
    return frames_of(Plan(design=False, optimise=120, confirm=False))


def scored(frames: StudyFrames, score: object) -> StudyFrames:
    return replace(frames, trials=frames.trials.assign(score=score))


def test_the_field_that_decides_stands_out(many: StudyFrames) -> None:
    found = importance(scored(many, -np.abs(np.log10(many.params[WEIGHT]) + 1.0)))
    assert found.fields[0].name == WEIGHT
    assert found.fields[0].above_chance
    assert found.fields[0].share > 0.5
    assert {field.name for field in found.fields} == {WEIGHT, NOISE, TYPOS, RATE, RANKS}
    assert sum(field.share for field in found.fields) == pytest.approx(1.0)
    assert "not a share of variance" in found.method


def test_direction_of_the_objective_counts(many: StudyFrames) -> None:
    small = importance(many, "exported_parameters")
    assert small.fields[0].name in (WEIGHT, RANKS)
    assert small.fields[0].above_chance


def test_of_studies_in_which_nothing_leads_anywhere_one_in_twenty_names_a_field(many: StudyFrames) -> None:
    chance = np.random.default_rng(5)
    noise = (chance.normal(size=len(many.trials)) for _ in range(16))
    found = [importance(scored(many, score), seed=place) for place, score in enumerate(noise)]
    assert sum(any(field.above_chance for field in item.fields) for item in found) <= 3
    assert sum(item.warnings != () for item in found) >= 13


def test_where_many_are_equally_good_the_best_are_as_many(many: StudyFrames) -> None:
    found = importance(scored(many, np.where(many.trials["number"] % 10 < 6, 0.9, 0.5)))
    complete = many.search_trials("complete")
    assert found.quantile == pytest.approx((complete["number"] % 10 < 6).mean())
    assert f"the best {found.quantile:.0%}".replace("%", " %") in found.method


def test_same_seed_same_numbers(many: StudyFrames) -> None:
    assert importance(many, seed=3) == importance(many, seed=3)
    assert importance(many, seed=3) != importance(many, seed=4)


def test_divergences_are_optunas_own(many: StudyFrames) -> None:
    found = importance(many)
    complete = many.search_trials("complete")
    params = many.params.set_index("trial_id").loc[complete["trial_id"]]
    study = optuna.create_study(direction="maximize")
    space = {
        WEIGHT: optuna.distributions.FloatDistribution(0.01, 1.0, log=True),
        NOISE: optuna.distributions.FloatDistribution(0.0, 0.3),
        TYPOS: optuna.distributions.FloatDistribution(0.0, 0.4),
        RATE: optuna.distributions.FloatDistribution(3e-4, 1e-2, log=True),
        RANKS: optuna.distributions.CategoricalDistribution(["[1]", "[4]", "[1, 4]"]),
    }
    for (_, row), score in zip(params.iterrows(), complete["score"], strict=True):
        values = {name: row[name] for name in space}
        study.add_trial(optuna.trial.create_trial(params=values, distributions=space, value=score))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=found.quantile)
    theirs = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert {field.name: field.share for field in found.fields} == pytest.approx(theirs)


def test_repeats_of_a_setting_are_not_taken_for_evidence(many: StudyFrames) -> None:
    """The scores of twenty settings are by chance, each is seen six times."""
    complete = many.search_trials("complete").iloc[:120]
    place = np.arange(len(complete)) % 20
    fields = [WEIGHT, NOISE, TYPOS, RATE, RANKS]
    params = many.params.set_index("trial_id").loc[complete["trial_id"]].reset_index()
    params[fields] = params[fields].to_numpy()[place]
    chance = np.random.default_rng(2)
    told = 0
    for _ in range(10):
        score = chance.normal(size=20)[place] + chance.normal(size=len(place)) / 100
        found = importance(replace(many, trials=complete.assign(score=score), params=params))
        assert found.n == 20
        told += sum(field.above_chance for field in found.fields)
    assert told <= 6  # of 50, at a level of 5 %; with each trial for itself it is most of them


def test_too_few_trials_are_refused(frames_of: Callable[[Plan], StudyFrames]) -> None:
    with pytest.raises(ReportError, match=f"at least {MINIMUM_SETTINGS} settings with complete trials"):
        importance(frames_of(Plan(design=False, optimise=8, confirm=False)))


def test_fields_that_do_not_vary_are_refused(many: StudyFrames) -> None:
    params = many.params.copy()
    for name in (WEIGHT, NOISE, TYPOS, RATE, RANKS):
        params[name] = params[name].iloc[0]
    with pytest.raises(ReportError, match="a searched field that varies"):
        importance(replace(many, params=params))


def test_large_studies_are_subsampled(many: StudyFrames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slasearch.analysis.importance._LARGEST", 50)
    found = importance(many)
    assert found.n == 50
    assert all(field.n == 50 for field in found.fields)
