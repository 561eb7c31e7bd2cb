"""Controls are tuned with a known number of trials on validation, and confirmed with the best of them."""

import itertools
import json
import random
from collections import Counter, deque
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_kit import (
    RATE,
    SMALL_DESIGN,
    WEIGHT,
    check_truth,
    optuna_trials,
    progress,
    report,
    run_all,
    study,
    trials_of,
)
from test_plan import row

from slasearch.orchestrate.simulate import SimulatedWorker
from slasearch.records import TrialSpec
from slasearch.registry import CONTROL_VARIANTS
from slasearch.search.job import PHASES, Job
from slasearch.search.plan import plan, planned
from slasearch.search.study import StudySession
from slasearch.search.tuning import best_tuned, settings_of, tuning_count
from slasearch.search.winners import chosen, goals, last_attempts, searched, winners
from slasearch.space import design_points, parameters
from slasearch.storage.rows import TrialRow

LAYOUTS = ("qv", "all", "last")
RANDOM_LAYOUTS = ("even", "first")
MEASURED = {"measured": [{"kind": "typos", "levels": [0.2]}]}


@pytest.fixture(scope="module", autouse=True)
def _layouts():
    """Two controls have layouts here, whatever those of the package are, and one has none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONTROL_VARIANTS, "lora", LAYOUTS)
        patch.setitem(CONTROL_VARIANTS, "random", RANDOM_LAYOUTS)
        yield


def confirming(**confirm):
    return {"top": 1, "seeds": 1, "controls": ["lora"], **confirm}


def tuned_study(tuning, **changes):
    return study(optimise=3, confirm=confirming(tuning=tuning), objectives=("score",), **changes)


ALONE = tuned_study(1).phases.confirm
WINNER = row(3, params=json.dumps({RATE: 0.002, WEIGHT: 0.3, "pool.ranks": "[4]"}), exported_parameters=700.0)
SEARCHED = [row(1), row(2), WINNER]


def jobs_of(config, rows, answer=lambda job: {}):
    """Every tuning job in its order, each answered at once as complete with what `answer` says."""
    rows, jobs = list(rows), []
    while isinstance(job := plan(config, rows, []), Job) and job.phase == "tune":
        jobs.append(job)
        rows.append(answered(job, len(rows) + 100, **answer(job)))
    return jobs, rows


def answered(job, number, **changes):
    facts = {
        "role": job.role,
        "pair_of": job.pair_of,
        "repeat": job.repeat,
        "point": job.point,
        "params": json.dumps(job.params, sort_keys=True),
        "control_size": job.control_size,
        "control_variant": job.control_variant,
        "optuna_study": job.optuna_study,
    }
    return row(number, job.phase, **{**facts, **changes})


# ---------------------------------------------------------------- what is tried


def by_layout(scores):
    """Answers with a score for each layout."""
    return lambda job: {"score": scores[job.control_variant]}


def test_each_layout_is_tried_with_the_winners_values_and_then_the_best_over_the_space_of_the_search():
    jobs, _ = jobs_of(tuned_study(8), SEARCHED, by_layout({"qv": 0.5, "all": 0.7, "last": 0.6}))
    assert [job.point for job in jobs] == list(range(8))
    assert [job.control_variant for job in jobs] == ["qv", "all", "last", "all", "all", "all", "all", "all"]
    assert all(job.params == WINNER.values for job in jobs[:3])
    assert [job.sampler for job in jobs] == ["fixed"] * 3 + ["qmc"] * 5
    assert all({**job.params, RATE: 0.002} == WINNER.values for job in jobs), "only fields of training vary"
    rates = sorted(job.params[RATE] for job in jobs[3:])
    assert len(set(rates)) == 5
    assert 1e-4 <= rates[0] < 1e-3 < rates[-1] <= 1e-2
    assert {(job.role, job.pair_of, job.control_size, job.repeat) for job in jobs} == {("control:lora", 3, 700, 0)}
    assert {job.optuna_study for job in jobs} == {"confirm"}


def test_equal_is_as_many_trials_as_the_search_has_made_failed_ones_too():
    rows = [*SEARCHED, row(4, state="fail"), row(5, state="pruned")]
    assert len(jobs_of(tuned_study("equal"), rows)[0]) == 5
    assert planned(tuned_study("equal"), [], [])["tune"] == 3
    assert planned(tuned_study("equal"), rows, [])["tune"] == 5


def test_tuning_waits_for_the_search_and_confirm_for_tuning():
    assert plan(tuned_study(2), [*SEARCHED[:2], replace(WINNER, state="running")], []) == "wait"
    _, rows = jobs_of(tuned_study(2), SEARCHED)
    assert plan(tuned_study(2), [*rows[:-1], replace(rows[-1], state="running")], []) == "wait"
    assert plan(tuned_study(2), rows, []).phase == "confirm"


def test_each_winner_tunes_its_own_controls_at_its_size_and_the_unsized_are_tuned_once():
    training = {"epochs": 1, "learning_rate": {"log_float": [1e-4, 1e-2]}, "batch_size": {"int": [8, 64]}}
    confirm = confirming(controls=["lora", "linear_probe"], tuning=4)
    config = study(optimise=3, confirm=confirm, training=training)
    rows = [replace(trial, params=json.dumps({**trial.values, "training.batch_size": 8})) for trial in SEARCHED]
    rows = [replace(rows[0], exported_parameters=80.0), *rows[1:]]
    jobs, rows = jobs_of(config, rows)
    assert Counter((job.control, job.pair_of, job.control_size) for job in jobs) == {
        ("linear_probe", None, None): 4,
        ("lora", 3, 700): 4,
        ("lora", 1, 80): 4,
    }
    assert planned(config, rows, [])["tune"] == 12
    probes = [job for job in jobs if job.control == "linear_probe"]
    assert {job.params.get(RATE) for job in probes} == {0.002}, "a probe does not feel the adapters' learning rate"
    assert len({job.params["training.batch_size"] for job in probes}) > 1


def test_without_a_field_that_acts_on_a_control_only_its_layouts_are_tried():
    fixed = {"training": {"epochs": 1, "learning_rate": 1e-3}}
    config = study(optimise=3, confirm=confirming(controls=["lora", "linear_probe"], tuning=50), **fixed)
    rows = [replace(trial, params=json.dumps({WEIGHT: trial.id / 10})) for trial in SEARCHED]
    jobs, _ = jobs_of(config, rows)
    assert Counter(job.control for job in jobs if job.pair_of == 3) == {"lora": 3}
    assert tuning_count(config, "lora", 2) == 2


def test_the_other_settings_are_for_the_best_third_of_the_layouts_in_turn(monkeypatch):
    six = ("qv", "qv_last", "linear_last", "linear_first", "linear_even", "attn_out")
    monkeypatch.setitem(CONTROL_VARIANTS, "lora", six)
    scores = {layout: 0.5 + number / 100 for number, layout in enumerate(six)}
    jobs, _ = jobs_of(tuned_study(9), SEARCHED, by_layout(scores | {"linear_last": 0.9, "linear_first": 0.6}))
    assert [job.control_variant for job in jobs[6:]] == ["linear_last", "linear_first", "linear_last"]
    assert len({job.params[RATE] for job in jobs[6:]}) == 3


def test_they_are_known_when_each_layout_has_been_tried_and_other_controls_go_on_meanwhile():
    config = study(
        optimise=3, confirm=confirming(controls=["lora", "adalora"], tuning=5, tuning_seeds=2), objectives=("score",)
    )
    rows = list(SEARCHED)
    for number in range(16):
        job = plan(config, rows, [])
        assert job.phase == "tune"
        first = job.role == "control:lora" and number == 0
        rows.append(answered(job, 100 + number, **({"state": "running", "score": None} if first else {})))
    assert Counter(row.role for row in rows[3:]) == {"control:lora": 6, "control:adalora": 10}
    assert plan(config, rows, []) == "wait"
    rows[3] = replace(rows[3], state="complete", score=2.0)
    jobs, _ = jobs_of(config, rows)
    assert [(job.control_variant, job.point, job.repeat) for job in jobs] == [
        ("qv", 3, 0), ("qv", 3, 1), ("qv", 4, 0), ("qv", 4, 1)
    ]  # fmt: skip


def test_a_retry_that_changes_the_order_of_layouts_leaves_settings_that_were_begun_as_they_are():
    config = study(optimise=3, confirm=confirming(tuning=5, tuning_seeds=2), objectives=("score",))
    scores = {"qv": 0.5, "all": 0.7, "last": 0.6}

    def answer(job):
        lost = job.control_variant == "qv"
        return {"state": "fail", "score": None} if lost else {"score": scores[job.control_variant]}

    rows = list(SEARCHED)
    for _ in range(7):
        job = plan(config, rows, [])
        rows.append(answered(job, len(rows) + 100, **answer(job)))
    assert (rows[-1].control_variant, rows[-1].point, rows[-1].repeat) == ("all", 3, 0)
    better = [replace(row, state="complete", score=0.9) if row.control_variant == "qv" else row for row in rows]
    jobs, _ = jobs_of(config, better)
    assert [(job.control_variant, job.point, job.repeat) for job in jobs] == [("all", 3, 1), ("qv", 4, 0), ("qv", 4, 1)]
    assert jobs[0].params == rows[-1].values
    assert jobs[0].sampler == rows[-1].sampler


def test_a_layout_that_failed_comes_last():
    def answer(job):
        return {"state": "fail", "score": None} if job.control_variant == "qv" else {"score": 0.5}

    assert [job.control_variant for job in jobs_of(tuned_study(5), SEARCHED, answer)[0][3:]] == ["all", "all"]


RATES = [1e-3, 2e-3, 4e-3, 8e-3]


def test_of_lists_of_choices_nothing_is_tried_twice_and_all_is_tried_at_most():
    listed = {"epochs": 1, "learning_rate": {"categorical": RATES}}
    config = tuned_study(50, training=listed)
    winner = replace(WINNER, params=json.dumps({RATE: 0.002, WEIGHT: 0.3, "pool.ranks": "[4]"}))
    for control, layouts in (("lora", LAYOUTS), ("adalora", (None,))):
        count = len(layouts) * len(RATES)
        assert tuning_count(config, control, 50) == count
        found = [settings_of(config, control, winner, number) for number in range(count)]
        tried = [(one.variant, one.params[RATE]) for one in found]
        assert sorted(tried, key=str) == sorted(itertools.product(layouts, RATES), key=str)
        assert tried[: len(layouts)] == [(layout, 0.002) for layout in layouts]
        assert [variant for variant, _ in tried[len(layouts) : len(layouts) + 3]] == [layouts[0]] * 3
        assert [one.sampler for one in found] == ["fixed"] * len(layouts) + ["grid"] * (count - len(layouts))
        assert {(one.params[WEIGHT], one.params["pool.ranks"]) for one in found} == {(0.3, "[4]")}
    best = [row(9, "tune", role="control:lora", control_variant="last")]
    found = [settings_of(config, "lora", winner, number, best) for number in range(3, 12)]
    assert [one.variant for one in found] == ["last"] * 3 + ["qv", "all"] * 3, "then the others in turn"


def test_a_control_that_is_a_search_is_tuned_over_the_pool_but_not_over_its_size():
    listed = {"epochs": 1, "learning_rate": {"categorical": RATES}}
    config = tuned_study(50, training=listed)
    assert tuning_count(config, "shared", 50) == 3 * len(RATES), "three lists of ranks"
    found = [settings_of(config, "shared", WINNER, number).params for number in range(12)]
    assert {(one["pool.ranks"], one[RATE]) for one in found} == set(itertools.product(("[1]", "[4]", "[1, 4]"), RATES))
    assert found[0] == WINNER.values
    assert {one[WEIGHT] for one in found} == {0.3}


def test_a_choice_that_is_not_always_active_is_tried_where_it_is():
    """Layers are searched with some places only: a combination of the others is there once, without layers."""
    layers = {"categorical": ["all", [3, 4, 5]], "when": {"pool.sites": [["attn.q"]]}}
    pool = {"kinds": ["lora"], "sites": {"categorical": [["attn.q"], ["attn.out"]]}, "layers": layers, "ranks": [1]}
    config = tuned_study(50, pool=pool, training={"epochs": 1, "learning_rate": {"categorical": RATES}})
    winner = replace(WINNER, params=json.dumps({RATE: 0.002, WEIGHT: 0.3, "pool.sites": '["attn.out"]'}))
    assert tuning_count(config, "shared", 50) == 3 * len(RATES)
    found = [settings_of(config, "shared", winner, number).params for number in range(3 * len(RATES))]
    places = {(one["pool.sites"], one.get("pool.layers")) for one in found}
    assert places == {('["attn.q"]', "all"), ('["attn.q"]', "[3, 4, 5]"), ('["attn.out"]', None)}
    assert len({json.dumps(one, sort_keys=True) for one in found}) == len(found)
    assert found[0] == winner.values


@pytest.mark.parametrize(
    ("control", "settings"),
    [
        ("lora", 3 * 4 * 2),
        ("bitfit", 4 * 2 * 2),
        ("full_fine_tuning", 4),
        ("adalora", 4),
        ("linear_probe", 0),
        ("shared", 48),
    ],
)
def test_fields_that_change_nothing_in_a_control_are_not_tuned_over(control, settings):
    """Rates of kinds that it does not have; and whether tasks train together where it trains them together anyhow."""
    listed = {
        "epochs": 1,
        "learning_rate": {"categorical": RATES},
        "kind_factors": {"bias": {"categorical": [1, 3]}, "bottleneck": {"categorical": [1, 3]}},
        "multitask": {"categorical": ["joint", "independent"]},
    }
    config = tuned_study(500, training=listed)
    assert tuning_count(config, control, 500) == settings


def test_one_candidate_is_no_choice_and_is_not_trained():
    assert tuning_count(tuned_study(9), "linear_probe", 9) == 0
    assert [tuning_count(tuned_study(9), "adalora", effort) for effort in (0, 1, 2, 9)] == [0, 0, 2, 9]
    assert jobs_of(tuned_study(0), SEARCHED)[0] == jobs_of(tuned_study(1), SEARCHED)[0] == []
    assert planned(tuned_study(1), SEARCHED, [])["tune"] == 0


def test_the_best_random_structure_is_chosen_among_as_many_structures_as_there_are_trials():
    config = tuned_study(7)
    assert tuning_count(config, "random_best", 7) == 7
    found = [settings_of(config, "random_best", WINNER, number) for number in range(7)]
    assert [one.variant for one in found] == [str(number) for number in range(7)]
    assert all(one.params == WINNER.values for one in found)


def test_conditions_on_fields_hold_in_tuning_trials():
    """A field that becomes active gets a value though the winner had none, one that ends to be active loses it."""
    config = tuned_study(
        30,
        training={
            "epochs": 1,
            "learning_rate": 1e-3,
            "schedule": {"categorical": ["linear", "constant"]},
            "weight_decay": {"float": [0.0, 0.1], "when": {"training.schedule": "linear"}},
        },
        gates={"warm_up": {"float": [0.0, 0.3], "when": {"training.schedule": "constant"}}},
    )
    assert [p.name for p in parameters(config) if p.when] == ["gates.warm_up", "training.weight_decay"]
    values = {"training.schedule": "linear", "training.weight_decay": 0.03, WEIGHT: 0.3, "pool.ranks": "[4]"}
    winner = replace(WINNER, params=json.dumps(values))
    found = [settings_of(config, "adalora", winner, number).params for number in range(30)]
    assert {one["training.schedule"] for one in found} == {"linear", "constant"}
    for one in found:
        linear = one["training.schedule"] == "linear"
        assert ("training.weight_decay" in one) is linear
        assert one.get("gates.warm_up") == (None if linear else 0.15)
    assert found[0] == values


def test_a_tuning_trial_is_the_same_however_many_there_are():
    few, many = (jobs_of(tuned_study(count), SEARCHED)[0] for count in (5, 40))
    assert many[:5] == few


# ---------------------------------------------------------------- what is confirmed


def confirmed(rows, config):
    rows = [*rows, row(90, "confirm", role="winner", pair_of=3, exported_parameters=555.0)]
    return next(job for job in plans(config, rows) if job.control == "lora")


def plans(config, rows):
    rows = list(rows)
    while isinstance(job := plan(config, rows, []), Job):
        yield job
        rows.append(answered(job, 1000 + len(rows)))


def test_a_control_is_confirmed_with_its_best_tuning_trial_at_the_size_of_the_winners_run():
    scores = [0.5, 0.7, 0.6, 0.9, 0.9, 0.1]
    jobs, rows = jobs_of(tuned_study(6), SEARCHED, lambda job: {"score": scores[job.point]})
    job = confirmed(rows, tuned_study(6))
    assert (job.params, job.control_variant) == (jobs[3].params, "all"), "ties go to the earlier trial"
    assert (job.control_size, job.phase) == (555, "confirm")


def test_settings_under_several_seed_pairs_count_by_their_mean():
    config = study(optimise=3, confirm=confirming(tuning=4, tuning_seeds=3), objectives=("score",))
    scores = {0: (0.70, 0.71, 0.72), 1: (0.95, 0.50, 0.50), 2: (0.74, 0.74, 0.71), 3: (0.60, 0.60, 0.60)}
    jobs, rows = jobs_of(config, SEARCHED, lambda job: {"score": scores[job.point][job.repeat]})
    assert [(job.point, job.repeat) for job in jobs] == list(itertools.product(range(4), range(3)))
    for number in range(4):
        assert len({json.dumps(job.params, sort_keys=True) for job in jobs if job.point == number}) == 1
    assert planned(config, rows, [])["tune"] == planned(config, SEARCHED, [])["tune"] == 12
    job = confirmed(rows, config)
    assert (job.params, job.control_variant) == (jobs[6].params, jobs[6].control_variant)
    equal = study(optimise=3, confirm=confirming(tuning="equal", tuning_seeds=2), objectives=("score",))
    found = [*SEARCHED, *(row(number, params="{}") for number in (5, 6))]
    assert len(jobs_of(equal, found)[0]) == 4, "five trials of the search are two settings of two seed pairs"


def test_a_configuration_of_the_search_counts_by_its_mean_over_seed_pairs():
    def under(number, rate, score, repeat):
        return row(number, "design", params=json.dumps({RATE: rate}), score=score, repeat=repeat, point=0)

    lucky = [under(1, 0.1, 0.9, 0), under(2, 0.1, 0.5, 1)]
    steady = [under(3, 0.2, 0.79, 0), under(4, 0.2, 0.81, 1)]
    objectives = study(optimise=3, objectives=("score",)).objectives
    for top, ids in ((1, [4]), (2, [4, 1])):
        assert [winner.trial.id for winner in chosen(objectives, [*lucky, *steady], top)] == ids
        assert [best.id for best in winners(objectives, [*lucky, *steady], top)] == ids


def test_only_complete_tuning_trials_of_its_own_winner_decide():
    best = best_tuned(
        [
            row(1, "tune", point=1, role="control:lora", pair_of=3, score=0.5),
            row(2, "tune", "fail", point=2, role="control:lora", pair_of=3, score=0.9),
            row(3, "tune", point=3, role="control:lora", pair_of=4, score=0.8),
            row(4, "tune", point=4, role="control:random", pair_of=3, score=0.8),
            row(5, "tune", point=5, role="control:lora", pair_of=3, score=None),
            row(6, "confirm", role="control:lora", pair_of=3, score=0.99),
        ],
        {},
        ALONE,
    )
    assert {key: trial.id for key, trial in best.items()} == {
        ("control:lora", 3): 1,
        ("control:lora", 4): 3,
        ("control:random", 3): 4,
    }


def test_the_best_is_by_what_the_winner_was_chosen_by():
    tuned = [
        row(1, "tune", point=1, role="control:lora", pair_of=3, score=0.5, robustness=0.4),
        row(2, "tune", point=2, role="control:lora", pair_of=3, score=0.9, robustness=0.3),
        row(3, "tune", point=3, role="control:lora", pair_of=3, score=0.7, robustness=0.4),
        row(4, "tune", point=4, role="control:lora", pair_of=3, score=0.7, robustness=None),
        row(5, "tune", point=5, role="control:lora", pair_of=4, score=0.6, robustness=0.1),
        row(6, "tune", point=6, role="control:lora", pair_of=4, score=0.5, robustness=0.2),
        row(7, "tune", point=7, role="control:linear_probe", score=0.6, robustness=0.1),
        row(8, "tune", point=8, role="control:linear_probe", score=0.5, robustness=0.2),
    ]

    def best(by):
        return [trial.id for trial in best_tuned(tuned, by, ALONE).values()]

    assert best({}) == [2, 5, 7]
    assert best({3: "robustness", 4: "score", None: "score"}) == [1, 5, 7], "ties go to the earlier trial"
    assert best({3: "score", 4: "robustness", None: "robustness"}) == [2, 6, 8]


def objectives(*names):
    return study(optimise=3, objectives=names, conditions=MEASURED).objectives


def test_the_goal_is_robustness_where_that_alone_chose_the_winner():
    rows = [
        row(1, score=0.9, robustness=0.1, exported_parameters=900.0),
        row(2, score=0.6, robustness=0.8, exported_parameters=900.0),
        row(3, score=0.5, robustness=0.2, exported_parameters=10.0),
    ]

    def found(*names, top=1):
        return goals(chosen(objectives(*names), searched(rows), top))

    assert found("score") == {1: "score", None: "score"}
    assert found("score", "robustness") == {1: "score", 2: "robustness", None: "score"}
    assert found("robustness") == {2: "robustness", None: "robustness"}
    assert found("robustness", "score") == {2: "robustness", 1: "score", None: "robustness"}
    assert found("exported_parameters", "robustness") == {3: "score", 2: "robustness", None: "score"}
    assert found("score", "robustness", top=2) == {1: "score", 2: "score", 3: "robustness", None: "score"}
    assert goals(chosen(objectives("score"), [], 1)) == {}


def test_a_winner_that_is_the_best_by_several_counts_is_one_by_score():
    same = json.dumps({WEIGHT: 0.5})
    rows = [
        row(1, score=0.9, robustness=0.7, params=same),
        row(2, score=0.8, robustness=0.8, params=same),
        row(3, score=0.7, robustness=0.7),
    ]
    for names in (("score", "robustness"), ("robustness", "score"), ("robustness", "exported_parameters")):
        (winner, *_) = chosen(objectives(*names), searched(rows), 1)
        assert (winner.trial.params, winner.goal) == (same, "score")


def robust_study(trials=3, **confirm):
    both = ("score", "robustness")
    return study(optimise=trials, confirm=confirming(tuning=4, **confirm), objectives=both, conditions=MEASURED)


def test_controls_beside_a_robust_winner_are_confirmed_with_their_most_robust_settings():
    config = robust_study(controls=["lora", "linear_probe"])
    rows = [replace(trial, robustness=number) for trial, number in zip(SEARCHED, (0.2, 0.8, 0.1), strict=True)]
    facts = [{"score": 0.5 + number / 10, "robustness": 0.5 - number / 10} for number in range(4)]
    jobs, rows = jobs_of(config, rows, lambda job: facts[job.point])
    again = {(job.control, job.pair_of): job for job in plans(config, rows) if job.role != "winner"}
    tuned = {(job.control, job.pair_of, job.point): job for job in jobs}
    for winner, best in ((3, 3), (2, 0)):
        job = tuned["lora", winner, best]
        found = again["lora", winner]
        assert (found.params, found.control_variant) == (job.params, job.control_variant)
    assert len(again) == 3


def test_another_winner_by_score_changes_what_a_control_is_confirmed_with():
    """A winner by both counts becomes one by robustness alone; its control is confirmed again, and counted."""
    config = robust_study()
    both = replace(SEARCHED[1], score=0.6, robustness=0.8)
    rows = [replace(SEARCHED[0], robustness=0.2), both, row(3, state="fail")]
    facts = [{"score": 0.5 + number / 10, "robustness": 0.5 - number / 10} for number in range(4)]
    jobs, rows = jobs_of(config, rows, lambda job: facts[job.point])
    rows += [answered(job, 200 + number, robustness=0.5) for number, job in enumerate(plans(config, rows))]
    assert plan(config, rows, []) == "done"
    config = robust_study(trials=4)
    rows += [replace(WINNER, id=900, score=0.9, robustness=0.1)]
    more, rows = jobs_of(config, rows, lambda job: facts[job.point])
    assert {job.pair_of for job in more} == {900}
    confirmed = [job for job in plans(config, rows) if job.pair_of == 2]
    assert [(job.role, job.params, job.control_variant) for job in confirmed] == [
        ("control:lora", jobs[0].params, jobs[0].control_variant)
    ]
    assert planned(config, rows, [])["confirm"] == 2 + 1 + 2


def test_a_control_whose_tuning_failed_is_confirmed_with_the_winners_values():
    _, rows = jobs_of(tuned_study(4), SEARCHED, lambda job: {"state": "fail", "score": None})
    job = confirmed(rows, tuned_study(4))
    assert (job.params, job.control_variant) == (WINNER.values, None)


def test_a_control_that_is_not_tuned_has_the_winners_values():
    job = confirmed(SEARCHED, tuned_study(0))
    assert (job.params, job.control_variant) == (WINNER.values, None)


# ---------------------------------------------------------------- more tuning later


def test_better_settings_of_more_tuning_are_confirmed_again_and_others_are_not():
    _, rows = jobs_of(tuned_study(3), SEARCHED, lambda job: {"score": 0.5 + job.point / 10})
    rows += [answered(job, 200 + n) for n, job in enumerate(plans(tuned_study(3), rows))]
    assert plan(tuned_study(3), rows, []) == "done"
    jobs, worse = jobs_of(tuned_study(5), rows, lambda job: {"score": 0.1})
    assert [job.point for job in jobs] == [3, 4]
    assert plan(tuned_study(5), worse, []) == "done"
    jobs, better = jobs_of(tuned_study(5), rows, lambda job: {"score": 0.9 + job.point / 100})
    again = list(plans(tuned_study(5), better))
    assert [(job.role, job.control_variant, job.params) for job in again] == [("control:lora", "last", jobs[1].params)]
    assert planned(tuned_study(5), better, [])["confirm"] == 3


def test_less_tuning_asks_for_nothing():
    _, rows = jobs_of(tuned_study(5), SEARCHED)
    assert plan(tuned_study(2), rows, []).phase == "confirm"
    assert planned(tuned_study(2), rows, [])["tune"] == 5


# ---------------------------------------------------------------- the plan as a whole

CONTROLS = st.lists(st.sampled_from(["lora", "random", "linear_probe"]), unique=True)
CONFIRM = st.fixed_dictionaries(
    {
        "top": st.integers(1, 2),
        "seeds": st.integers(1, 2),
        "controls": CONTROLS,
        "tuning": st.one_of(st.just("equal"), st.integers(0, 5)),
    }
)


class Run:
    """Plays a study to its end on rows in memory: some trials at a time, ending in a drawn order and state."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.rows: list[TrialRow] = []

    def to_the_end(self, config) -> None:
        design = design_points(config)
        while True:
            job = plan(config, self.rows, design)
            running = [index for index, trial in enumerate(self.rows) if trial.open]
            if job == "done" and not running:
                return
            bound = planned(config, self.rows, design)
            made = Counter(trial.phase for trial in last_attempts(self.rows))
            assert all(made[phase] <= bound[phase] for phase in PHASES)
            if isinstance(job, Job) and len(running) < 3 and self.draw.random() < 0.7:
                self.rows.append(self.begun(job))
            elif running:
                self.end(self.draw.choice(running))

    def begun(self, job) -> TrialRow:
        params = job.params if job.params is not None else {WEIGHT: self.draw.random(), RATE: 1e-3}
        number = len(self.rows) + 1
        return answered(replace(job, params=params), number, state="running", score=None, exported_parameters=None)

    def end(self, index) -> None:
        trial = self.rows[index]
        if self.draw.random() < 0.15:
            self.rows[index] = replace(trial, state="fail")
            if self.draw.random() < 0.5:
                self.rows.append(replace(trial, id=len(self.rows) + 1, attempt=2, retry_of=trial.id, state="running"))
            return
        numbers = {"score": self.draw.random(), "exported_parameters": float(self.draw.choice([0, 10, 20, 30]))}
        self.rows[index] = replace(trial, state="complete", robustness=self.draw.random(), **numbers)


def key(trial):
    settings = (trial.params, trial.control_variant) if trial.phase == "confirm" and trial.role != "winner" else ()
    return trial.phase, trial.role, trial.pair_of, trial.point, trial.repeat, *settings


@settings(max_examples=150, deadline=None)
@given(CONFIRM, st.booleans(), st.integers(1, 3), st.integers(0, 10**9))
def test_every_planned_trial_comes_exactly_once_and_a_grown_study_gets_the_rest(confirm, design, count, seed):
    same = {"objectives": ("score", "exported_parameters", "robustness")[:count], "conditions": MEASURED}
    config = study(design=SMALL_DESIGN if design else None, optimise=3, confirm=confirm, **same)
    run = Run(random.Random(seed))
    more = {**confirm, "tuning": "equal", "seeds": confirm["seeds"] + 1}
    grown = study(design=SMALL_DESIGN if design else None, optimise=4, confirm=more, **same)
    for stage in (config, grown):
        run.to_the_end(stage)
        ended = last_attempts(run.rows)
        counts = Counter(trial.phase for trial in ended)
        assert planned(stage, run.rows, design_points(stage)) == {phase: counts[phase] for phase in PHASES}
        made = Counter(key(trial) for trial in ended if trial.phase != "optimise")
        assert set(made.values()) <= {1}


# ---------------------------------------------------------------- in a session


def learning(ask, **changes):
    """A report whose score depends on what tuning varies: the rate, and the layout."""
    spec: TrialSpec = ask.spec
    bonus = {None: 0.0, "qv": 0.0, "all": 0.2, "last": 0.1}[spec.control_variant]
    score = 0.5 + bonus - abs(spec.training.learning_rate - 1e-3)
    return report(ask, objectives={"score": score, "exported_parameters": float(spec.control_size or 500)}, **changes)


def work(session, times=None, answer=learning):
    asks = []
    while times is None or len(asks) < times:
        ask = session.next()
        if ask == "done":
            break
        session.started(ask.trial_id, ray_trial_id="r", worker="w")
        assert session.progress(ask.trial_id, progress(4, 0.01)) is False, "what tunes a control is never pruned"
        session.finish(ask.trial_id, answer(ask))
        asks.append(ask)
    return asks


PRUNED = {"pruner": {"name": "median", "options": {"n_startup_trials": 1}}}


def test_a_session_tunes_on_validation_under_the_seeds_of_the_search(opened, where):
    config = tuned_study(8, sampler={"name": "random"}, **PRUNED)
    session = opened(config)
    asks = work(session)
    session.close()
    check_truth(config, where)
    tuning = [ask for ask in asks if ask.phase == "tune"]
    assert [ask.spec.control_variant for ask in tuning] == [*LAYOUTS, *["all"] * 5]
    assert {ask.spec.splits for ask in tuning} == {("validation",)}
    assert {ask.spec.seeds for ask in tuning} == {ask.spec.seeds for ask in asks if ask.phase == "optimise"}
    assert {(ask.spec.control, ask.spec.control_size) for ask in tuning} == {("lora", 500)}
    rows = {trial.id: trial for trial in trials_of(where)}
    (lora,) = [ask for ask in asks if ask.phase == "confirm" and ask.role == "control:lora"]
    best = max(tuning, key=lambda ask: rows[ask.trial_id].score)
    assert lora.spec.control_variant == best.spec.control_variant == "all"
    assert lora.spec.training.learning_rate == best.spec.training.learning_rate
    assert rows[lora.trial_id].control_variant == "all"
    assert len(optuna_trials(where)) == 3, "the search's own study holds no tuning trial"
    shorts = [trial.user_attrs["short"] for trial in optuna_trials(where, "toy.confirm")]
    assert shorts[1] == f"lora all of trial {rows[lora.trial_id].pair_of}, tuning trial 1"


def test_a_session_tunes_by_robustness_beside_a_robust_winner(opened, where):
    """Tuning trials are measured under the conditions, and the most robust one is confirmed."""

    def answer(ask):
        said = learning(ask)
        return replace(said, objectives={**said.objectives, "robustness": 1 - said.objectives["score"]})

    config = robust_study()
    session = opened(config)
    asks = work(session, answer=answer)
    session.close()
    check_truth(config, where)
    rows = {trial.id: trial for trial in trials_of(where)}
    assert {ask.spec.measured for ask in asks if ask.phase == "tune"} == {asks[0].spec.measured}
    assert asks[0].spec.measured
    by = goals(chosen(config.objectives, searched(rows.values()), 1))
    assert sorted(by.values()) == ["robustness", "score", "score"]
    for winner, goal in by.items():
        for run in (trial for trial in rows.values() if (trial.role, trial.pair_of) == ("control:lora", winner)):
            tuned = [trial for trial in rows.values() if trial.phase == "tune" and trial.pair_of == winner]
            best = max(tuned, key=lambda trial: trial.objective(goal))
            if run.phase == "confirm":
                assert (run.params, run.control_variant) == (best.params, best.control_variant)


def simulated(ask):
    reports = SimulatedWorker([], cache=None, threads=1).run(ask.spec)
    return deque(reports, maxlen=1)[0]


def test_simulated_trials_tune_too(opened, where):
    config = study(optimise=4, confirm=confirming(controls=["lora", "random"], tuning=9, seeds=2))
    session = opened(config)
    asks = work(session, answer=simulated)
    session.close()
    check_truth(config, where)
    rows = trials_of(where)
    best = {trial.control_variant for trial in best_tuned(rows, {}, ALONE).values()}
    assert len(best & set(LAYOUTS)) == 1, "one layout is best whatever the rate, and whoever the winner"
    confirmed = {row.control_variant for row in rows if row.phase == "confirm" and row.role != "winner"}
    assert confirmed == best
    assert sum(ask.phase == "tune" for ask in asks) == session.summary().phases["tune"].planned


def test_tuning_goes_on_where_it_stopped_and_grows_later(opened, where):
    config = tuned_study(5)
    steady = work(StudySession.open(config.model_copy(update={"name": "steady"}), where))
    work(opened(config), times=5)
    session = opened(config)
    assert session.summary().phases["tune"].ended == 2
    open_ask = session.next()
    session.started(open_ask.trial_id, ray_trial_id="r")
    session = opened(config)
    rest = work(session)
    session.close()
    check_truth(config, where)
    assert [replace(ask.spec, study="steady") for ask in rest] == [ask.spec for ask in steady[5:]]
    assert [ask.attempt for ask in rest] == [2] + [1] * 4

    more = tuned_study(7)
    session = StudySession.open(more, where)
    again = work(session, answer=lambda ask: learning(ask, state="fail", reason="no memory"))
    session.close()
    check_truth(more, where)
    assert [ask.phase for ask in again] == ["tune", "tune"], "no better settings: nothing is confirmed again"
    session = StudySession.open(more, where)
    assert run_all(session) == []
    session.close()
