"""The race over conditions: who is stopped, by what, and that a study goes on with the same rivals."""

import json
from itertools import product

import pytest
from pydantic import ValidationError
from scipy.stats import wilcoxon
from session_kit import report, study, trials_of

from slasearch.config.schema import ObjectiveConfig, StudyConfig
from slasearch.records import CLEAN_SAMPLE, MetricRow, Progress
from slasearch.search.race import Race, standing
from slasearch.space import resolve, seeds_for

LEVELS = tuple(round(0.1 * number, 1) for number in range(1, 11))


def objectives(measure="noisy_score", others=("score", "exported_parameters")):
    return [*(ObjectiveConfig(name=name) for name in others), ObjectiveConfig(name="robustness", measure=measure)]


def rows(values, *, clean=0.9, task="spam"):
    """Final rows: clean, and one level of typos after the other."""
    disturbed = zip(LEVELS, values, strict=False)
    return (
        MetricRow(task, "validation", "clean", 0.0, "accuracy", clean),
        MetricRow(task, "validation", "clean", 0.0, "loss", 0.3),
        MetricRow(task, "validation", "clean", 0.0, "accuracy", 0.1, step=4),
        *(MetricRow(task, "validation", "typos", level, "accuracy", value) for level, value in disturbed),
    )


def where_it_stands(values, *, score=0.9, size=1000.0, clean=0.9, measure="noisy_score"):
    return standing({"score": score, "exported_parameters": size}, rows(values, clean=clean), measure)


def race_with(*rivals, measure="noisy_score", significance=0.05, tasks=1):
    race = Race(objectives(measure), significance, conditions=10, tasks=tasks)
    for number, rival in enumerate(rivals):
        race.complete(number, rival)
    return race


GOOD = [0.9 - 0.02 * number for number in range(10)]


def behind(by=0.05, seen=10):
    return [value - by * (1 + number / 100) for number, value in enumerate(GOOD[:seen])]


def test_a_trial_is_out_as_soon_as_the_corrected_test_says_so():
    race = race_with(where_it_stands(GOOD))
    found = [race.out(where_it_stands(behind(seen=seen))) for seen in range(1, 11)]
    p = {seen: wilcoxon(range(1, seen + 1), alternative="greater").pvalue for seen in range(6, 11)}
    looks = 10 - 5
    first = next(seen for seen in p if p[seen] * looks <= 0.05)
    assert first == 7
    assert [reason is not None for reason in found] == [seen >= first for seen in range(1, 11)]
    assert found[first - 1] == (
        "out of the race after 7 of 10 conditions: trial 0 is as good in score and exported_parameters and better "
        f"under them (p {p[7] * looks:.2g} adjusted)"
    )


@pytest.mark.parametrize(
    "mine",
    [{"score": 0.91}, {"size": 999.0}, {"values": GOOD}, {"values": [value + 0.01 for value in GOOD]}],
    ids=["a better score", "a smaller size", "a tie under all conditions", "a better one"],
)
def test_a_trial_that_may_be_on_the_front_stays(mine):
    values = mine.pop("values", behind())
    assert race_with(where_it_stands(GOOD)).out(where_it_stands(values, **mine)) is None


def test_more_rivals_ask_for_more_evidence():
    rival = where_it_stands(GOOD)
    seen = where_it_stands(behind(seen=7))
    assert race_with(rival).out(seen) is not None
    assert race_with(rival, rival).out(seen) is None
    elsewhere = where_it_stands(GOOD, size=2000.0)
    assert race_with(rival, elsewhere).out(seen) is not None, "a larger one is no rival"


def test_with_the_relative_measure_scores_are_shares_of_the_clean_one():
    rival = where_it_stands(GOOD, clean=1.0, score=1.0, measure="relative")
    assert rival.disturbed["spam", "typos", 0.1] == pytest.approx(0.9)
    race = race_with(rival, measure="relative")
    lower_but_steadier = where_it_stands(behind(0.02), clean=0.8, score=0.8, measure="relative")
    assert race.out(lower_but_steadier) is None
    assert race.out(where_it_stands(behind(0.25), clean=0.8, score=0.8, measure="relative")) is not None
    sample = (*rows([0.6]), MetricRow("spam", "validation", CLEAN_SAMPLE, 0.0, "accuracy", 0.75))
    assert standing({}, sample, "relative").disturbed["spam", "typos", 0.1] == pytest.approx(0.8)


def test_with_the_worst_condition_one_low_score_is_enough():
    race = race_with(where_it_stands(GOOD), measure="worst")
    assert race.out(where_it_stands([0.73])) is None
    assert race.out(where_it_stands([0.72])) == (
        "out of the race after 1 of 10 conditions: trial 0 is as good in score and exported_parameters and better "
        "under them (its worst score 0.720 is no higher than 0.720)"
    )


def test_of_trials_that_are_alike_few_are_stopped():
    """Independent scores, as the test takes them: over all looks of a race it stops at most α of them."""
    import numpy as np

    random = np.random.default_rng(0)
    stopped = 0
    for _ in range(400):
        race = race_with(where_it_stands(random.normal(0.8, 0.02, 10)), significance=0.1)
        mine = random.normal(0.8, 0.02, 10)
        stopped += any(race.out(where_it_stands(mine[:seen])) is not None for seen in range(1, 11))
    assert 0 < stopped <= 0.1 * 400


# ---------------------------------------------------------------- in a study


RACE = {"measured": [{"kind": "typos", "levels": list(LEVELS)}], "race": 0.05}


def racing(**changes):
    return study(optimise=3, objectives=("score", "exported_parameters", "robustness"), conditions=RACE, **changes)


def complete(ask, values, size):
    return report(
        ask,
        objectives={"score": 0.9, "exported_parameters": size, "robustness": sum(values) / len(values)},
        metrics=rows(values),
    )


def standing_report(values, size):
    return Progress(8, 8, 0.9, True, rows(values), exported_parameters=size)


def test_a_study_prunes_who_is_out_and_remembers_rivals_when_it_goes_on(opened, where):
    config = racing()
    session = opened(config)
    first = session.next()
    assert first.spec.race
    session.started(first.trial_id, ray_trial_id="a")
    assert not session.progress(first.trial_id, standing_report(GOOD[:7], 1000)), "nobody to be behind"
    session.finish(first.trial_id, complete(first, GOOD, 1000.0))

    session = opened(config)
    second = session.next()
    session.started(second.trial_id, ray_trial_id="b")
    last = standing_report(behind(seen=7), 1000)
    assert not session.progress(second.trial_id, standing_report(behind(seen=6), 1000))
    assert session.progress(second.trial_id, last)
    session.prune(second.trial_id, last)
    third = session.next()
    session.started(third.trial_id, ray_trial_id="c")
    assert not session.progress(third.trial_id, standing_report(behind(seen=7), 999))
    session.finish(third.trial_id, complete(third, behind(), 999.0))

    by_state = [(row.state, row.reason) for row in trials_of(where)]
    assert [state for state, _ in by_state] == ["complete", "pruned", "complete"]
    assert by_state[1][1].startswith("out of the race after 7 of 10 conditions: trial 0 is as good in score")


@pytest.mark.parametrize("again", [False, True])
def test_a_trial_beyond_a_bound_is_no_rival(opened, where, again):
    config = racing(constraints=[{"name": "score", "max": 0.95}, {"name": "robustness", "max": 0.8}])
    session = opened(config)
    first = session.next()
    session.started(first.trial_id, ray_trial_id="a")
    session.finish(first.trial_id, complete(first, GOOD, 1000.0))
    assert trials_of(where)[0].robustness > 0.8
    if again:
        session = opened(config)
    second = session.next()
    session.started(second.trial_id, ray_trial_id="b")
    assert not session.progress(second.trial_id, standing_report(behind(seen=7), 1000))


def test_only_the_search_races():
    config = racing(confirm={"top": 1, "seeds": 2, "controls": ["lora"]})
    params = {"pool.ranks": "[1]", "size_control.sparsity_weight": 0.1, "training.learning_rate": 1e-3}
    for phase, raced in product(("design", "optimise", "tune", "confirm"), (True, False)):
        without = config.conditions.model_copy(update={"race": None})
        its = config if raced else config.model_copy(update={"conditions": without})
        spec = resolve(its, params, seeds=seeds_for(its, 0, phase), phase=phase)
        assert spec.race == (raced and phase == "optimise")


def test_a_race_without_the_robustness_objective_is_refused():
    with pytest.raises(ValidationError, match=r"conditions.race: expected none, as robustness is no objective.*0\.05"):
        study(optimise=3, conditions=RACE)
    with pytest.raises(ValidationError, match=r"conditions.race: expected none without phases.optimise.*got 0\.05"):
        study(
            design={"sampler": {"name": "qmc"}, "points": 4},
            objectives=("score", "exported_parameters", "robustness"),
            conditions=RACE,
        )
    without = {field: value for field, value in racing().model_dump(by_alias=True).items() if field != "objectives"}
    with pytest.raises(ValidationError, match=r"conditions.race: expected none, as robustness is no objective.*0\.05"):
        StudyConfig.model_validate(without)
    assert json.loads(racing().model_dump_json())["conditions"]["race"] == 0.05
