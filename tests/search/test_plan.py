import json
from dataclasses import replace

import pytest
from session_kit import RATE, WEIGHT, study

from slasearch.search.job import Job
from slasearch.search.plan import plan, planned
from slasearch.search.winners import last_attempts, winners
from slasearch.space import DesignPoint, design_points
from slasearch.storage.rows import TrialRow

CONFIRM = {"top": 1, "seeds": 2, "controls": ["lora", "linear_probe"], "tuning": 0}


def row(number, phase="optimise", state="complete", **changes):
    values = {
        "id": number,
        "study_id": 1,
        "optuna_study": "confirm" if phase == "confirm" else "search",
        "number": number,
        "phase": phase,
        "role": "search",
        "sampler": "tpe",
        "factor": None,
        "point": None,
        "repeat": 0,
        "attempt": 1,
        "retry_of": None,
        "state": state,
        "reason": None,
        "params": json.dumps({WEIGHT: number / 100}),
        "spec": "{}",
        "config_hash": "",
        "init_seed": 0,
        "data_seed": 0,
        "pair_of": None,
        "control_size": None,
        "control_variant": None,
        "created_at": 0.0,
    }
    if state == "complete":
        values |= {"score": 0.5 + number / 100, "exported_parameters": 1000.0 * number}
    return TrialRow(**{**values, **changes})


def design(points, repeats=1):
    return [DesignPoint({WEIGHT: 0.1 * (p + 1)}, p, r, None) for r in range(repeats) for p in range(points)]


def designed(number, point, repeat=0, state="complete"):
    return row(number, "design", state, point=point, repeat=repeat)


GRID = {"sampler": {"name": "grid"}, "levels": {WEIGHT: [0.1, 0.2]}}
BOTH = study(design=GRID, optimise=2)
ALL = study(design=GRID, optimise=1, confirm=CONFIRM)


VALUES = json.dumps({WEIGHT: 0.03})  # those of the winner, trial 3


def run(number, winner, repeat, state="complete", **changes):
    return row(number, "confirm", state, role="winner", pair_of=winner, repeat=repeat, **changes)


# ---------------------------------------------------------------- order of the phases


def test_the_design_comes_first_in_order_with_its_own_parameters():
    job = plan(BOTH, [], design(2))
    assert job == Job("design", "search", "grid", 0, {WEIGHT: 0.1}, point=0)
    assert plan(BOTH, [designed(1, 0, state="running")], design(2)).point == 1


def test_points_are_known_by_number_not_by_count():
    assert plan(BOTH, [designed(1, 1)], design(2)).point == 0


def test_each_repeat_is_a_trial_of_its_own():
    job = plan(BOTH, [designed(1, 0), designed(2, 1)], design(2, repeats=2))
    assert (job.point, job.repeat) == (0, 1)


def test_optimise_takes_its_seed_pairs_in_turn_also_after_a_retry():
    config = study(optimise=5)
    optimise = config.phases.optimise.model_copy(update={"seeds": 3})
    config = config.model_copy(update={"phases": config.phases.model_copy(update={"optimise": optimise})})
    rows = [row(n, repeat=(n - 1) % 3) for n in (1, 2, 3, 4)]
    assert [plan(config, rows[:made], []).repeat for made in range(5)] == [0, 1, 2, 0, 1]
    again = row(5, repeat=1, attempt=2, retry_of=2)
    assert plan(config, [*rows, again], []).repeat == 1, "a retry is no further trial"


def test_optimise_waits_for_the_last_design_trial():
    rows = [designed(1, 0), designed(2, 1, state="running")]
    assert plan(BOTH, rows, design(2)) == "wait"
    assert plan(BOTH, [designed(1, 0), designed(2, 1, state="waiting")], design(2)) == "wait"
    job = plan(BOTH, [designed(1, 0), designed(2, 1)], design(2))
    assert job == Job("optimise", "search", "tpe")
    assert job.params is None


def test_optimise_hands_out_its_trials_side_by_side():
    rows = [row(1, state="running")]
    assert plan(study(optimise=2), rows, []).phase == "optimise"
    assert plan(study(optimise=1), rows, []) == "wait"
    assert plan(study(optimise=1), [row(1)], []) == "done"


def test_confirm_waits_for_the_last_search_trial():
    rows = [designed(1, 0), designed(2, 1), row(3, state="running")]
    assert plan(ALL, rows, design(2)) == "wait"
    assert plan(ALL, [*rows[:2], row(3)], design(2)).phase == "confirm"


# ---------------------------------------------------------------- what counts


def test_failed_and_pruned_trials_are_done():
    rows = [designed(1, 0, state="fail"), designed(2, 1)]
    assert plan(study(design=GRID), rows, design(2)) == "done"
    assert plan(study(optimise=2), [row(1, state="fail"), row(2, state="pruned")], []) == "done"


def test_a_retried_trial_counts_once():
    rows = [row(1, state="fail"), row(2, state="running", retry_of=1, attempt=2)]
    assert [trial.id for trial in last_attempts(rows)] == [2]
    assert plan(study(optimise=2), rows, []).phase == "optimise"
    assert plan(study(optimise=1), rows, []) == "wait"


def test_a_raised_count_adds_trials_to_a_finished_study():
    rows = [row(1), row(2)]
    assert plan(study(optimise=2), rows, []) == "done"
    assert plan(study(optimise=3), rows, []).phase == "optimise"
    points = [designed(1, 0), designed(2, 1)]
    assert plan(study(design=GRID), points, design(3)).point == 2
    assert plan(study(design=GRID), points, design(2, repeats=2)).repeat == 1


def test_a_lowered_count_asks_for_nothing():
    assert plan(study(optimise=1), [row(1), row(2), row(3)], []) == "done"


# ---------------------------------------------------------------- winners


def test_winners_are_the_best_by_each_objective_once():
    rows = [row(1), row(2), row(3, exported_parameters=500.0)]
    best = winners(study(optimise=3).objectives, rows, 1)
    assert [winner.id for winner in best] == [3]
    best = winners(study(optimise=3).objectives, [*rows, row(4)], 1)
    assert [winner.id for winner in best] == [4, 3]


def test_only_complete_search_trials_win():
    rows = [row(1), row(5, state="pruned", score=0.9), row(6, state="fail"), run(7, 1, 0, score=0.99)]
    assert [winner.id for winner in winners(study(optimise=3).objectives, rows, 3)] == [1]


def test_repeats_of_one_configuration_win_once():
    same = json.dumps({WEIGHT: 0.5})
    rows = [row(1), row(8, params=same), row(9, params=same)]
    score = study(optimise=3, objectives=("score",)).objectives
    assert [winner.id for winner in winners(score, rows, 2)] == [9, 1]


def test_another_trial_of_a_winners_configuration_is_no_further_winner():
    same = json.dumps({WEIGHT: 0.5})
    rows = [row(1, exported_parameters=9000.0), row(8, params=same, exported_parameters=10.0), row(9, params=same)]
    assert [winner.id for winner in winners(study(optimise=3).objectives, rows, 1)] == [9]


def test_ties_go_to_the_better_score_then_to_the_earlier_trial():
    size = study(optimise=3, objectives=("exported_parameters",)).objectives
    rows = [row(number, exported_parameters=10.0, score=score) for number, score in ((1, 0.5), (2, 0.7), (3, 0.7))]
    assert [winner.id for winner in winners(size, rows, 3)] == [2, 3, 1]


def test_a_top_beyond_the_trials_takes_all():
    assert len(winners(study(optimise=3).objectives, [row(1), row(2)], 10)) == 2


def test_bounds_are_kept_on_average_over_the_seed_pairs_not_by_the_luckiest_run():
    lucky, steady = json.dumps({WEIGHT: 0.1}), json.dumps({WEIGHT: 0.2})
    rows = [
        row(n, params=lucky, score=score, exported_parameters=100.0) for n, score in ((1, 0.8), (2, 0.86), (3, 0.8))
    ]
    rows += [row(n, params=steady, score=0.9, exported_parameters=120.0) for n in (4, 5, 6)]
    size = study(optimise=6, objectives=("exported_parameters",), constraints=[{"name": "score", "min": 0.85}])
    assert [winner.id for winner in winners(size.objectives, rows, 2, size.constraints)] == [4]


def test_a_winner_stands_as_a_run_within_the_bounds_where_it_has_one():
    same = json.dumps({WEIGHT: 0.1})
    sizes = study(optimise=3, objectives=("score",), constraints=[{"name": "exported_parameters", "max": 100}])
    large, small = row(2, params=same, exported_parameters=105.0), row(1, params=same, exported_parameters=90.0)
    assert [winner.id for winner in winners(sizes.objectives, [small, large], 1, sizes.constraints)] == [1]
    assert [winner.id for winner in winners(sizes.objectives, [large], 1, sizes.constraints)] == []
    assert [winner.id for winner in winners(sizes.objectives, [small, large], 1)] == [2]


# ---------------------------------------------------------------- confirm

SEARCHED = [designed(1, 0), designed(2, 1), row(3, exported_parameters=1.0)]


def confirmed(rows, config=ALL):
    """Everything that confirm asks for until it waits or is done, each job answered as running."""
    rows = list(rows)
    jobs = []
    while isinstance(job := plan(config, rows, design(2)), Job):
        jobs.append(job)
        facts = {"role": job.role, "pair_of": job.pair_of, "repeat": job.repeat, "params": json.dumps(job.params)}
        rows.append(row(100 + len(rows), "confirm", "running", **facts))
    return jobs, job


def test_winners_and_unsized_controls_start_at_once():
    jobs, end = confirmed(SEARCHED)
    assert [(job.role, job.pair_of, job.repeat) for job in jobs] == [
        ("winner", 3, 0),
        ("winner", 3, 1),
        ("control:linear_probe", None, 0),
        ("control:linear_probe", None, 1),
    ]
    assert {json.dumps(dict(job.params)) for job in jobs} == {SEARCHED[2].params}
    assert {job.optuna_study for job in jobs} == {"confirm"}
    assert end == "wait"


def test_a_sized_control_follows_each_finished_winner_at_its_size():
    rows = [*SEARCHED, run(10, 3, 0, exported_parameters=1234.0), run(11, 3, 1, "running")]
    jobs, end = confirmed(rows)
    sized = [job for job in jobs if job.control == "lora"]
    assert [(job.pair_of, job.repeat, job.control_size) for job in sized] == [(3, 0, 1234)]
    assert end == "wait"


@pytest.mark.parametrize("parameters", [4321, {"categorical": [4321, 5000]}])
def test_under_a_budget_for_all_its_controls_have_the_budget_and_not_what_the_winner_came_to(parameters):
    def sizes(scope):
        size = {"mode": "budget", "parameters": parameters, "scope": scope}
        values = {"pool.ranks": "[4]", RATE: 1e-3}
        if not isinstance(parameters, int):
            values["size_control.parameters"] = 4321
        mine = json.dumps(values)
        config = study(
            optimise=1, confirm={**CONFIRM, "tuning": 2, "seeds": 1}, objectives=("score",), size_control=size
        )
        rows, found = [row(3, params=mine, exported_parameters=4000.0)], set()
        while isinstance(job := plan(config, rows, []), Job):
            found |= {(job.phase, job.control_size)} if job.control == "lora" else set()
            facts = {"role": job.role, "pair_of": job.pair_of, "repeat": job.repeat, "point": job.point}
            mine = json.dumps(job.params, sort_keys=True)
            variant = job.control_variant
            facts |= {"params": mine, "control_variant": variant, "exported_parameters": 4100.0}
            rows.append(row(10 + len(rows), job.phase, **facts))
        return found

    assert sizes("union") == {("tune", 4321), ("confirm", 4321)}
    assert sizes("per_task") == {("tune", 4000), ("confirm", 4100)}


def test_a_failed_winner_run_has_no_control_and_is_not_repeated():
    rows = [*SEARCHED, run(10, 3, 0, "fail"), run(11, 3, 1, exported_parameters=50.0)]
    jobs, _ = confirmed(rows)
    assert [(job.role, job.repeat) for job in jobs if job.control != "linear_probe"] == [("control:lora", 1)]


def test_confirm_ends_when_every_run_and_control_has_ended():
    rows = [
        *SEARCHED,
        *(run(10 + r, 3, r, exported_parameters=50.0) for r in range(2)),
        *(row(20 + r, "confirm", role="control:lora", pair_of=3, repeat=r, params=VALUES) for r in range(2)),
        *(row(30 + r, "confirm", "fail", role="control:linear_probe", repeat=r, params=VALUES) for r in range(2)),
    ]
    assert plan(ALL, rows, design(2)) == "done"
    assert planned(ALL, rows, design(2)) == {"design": 2, "optimise": 1, "tune": 0, "confirm": 6}
    more = study(design=GRID, optimise=1, confirm={**CONFIRM, "seeds": 3})
    jobs, end = confirmed(rows, more)
    assert [(job.role, job.repeat) for job in jobs] == [("winner", 2), ("control:linear_probe", 2)]
    assert end == "wait"


def test_a_new_winner_after_more_trials_is_confirmed_beside_the_old_one():
    more = study(design=GRID, optimise=2, confirm={**CONFIRM, "seeds": 1, "controls": []})
    rows = [*SEARCHED, run(10, 3, 0), row(40, exported_parameters=0.5)]
    jobs, _ = confirmed(rows, more)
    assert [(job.role, job.pair_of) for job in jobs] == [("winner", 40)]


def test_a_better_run_of_a_confirmed_configuration_under_another_seed_pair_confirms_nothing_again():
    def ran(seeds, rows):
        config = study(
            design={**GRID, "seeds": seeds}, confirm={**CONFIRM, "tuning": 2, "top": 2}, objectives=("score",)
        )
        rows, jobs = list(rows), []
        while isinstance(job := plan(config, rows, design_points(config)), Job):
            jobs.append(job)
            facts = {name: getattr(job, name) for name in ("role", "point", "repeat", "pair_of", "control_variant")}
            mine = json.dumps(job.params, sort_keys=True)
            score = job.params[WEIGHT] + job.repeat / 100
            rows.append(row(len(rows) + 1, job.phase, params=mine, score=score, exported_parameters=1000.0, **facts))
        assert len(rows) == sum(planned(config, rows, design_points(config)).values())
        return jobs, rows

    first, rows = ran(1, [])
    assert {job.pair_of for job in first if job.role == "winner"} == {1, 2}
    more, _ = ran(2, rows)
    assert [(job.phase, job.repeat) for job in more] == [("design", 1), ("design", 1)]


def test_a_first_setting_of_a_control_is_the_same_under_all_seed_pairs_though_the_winner_has_changed_meanwhile():
    def going_on(trials):
        confirm = {**CONFIRM, "controls": ["linear_probe"], "tuning": 2, "tuning_seeds": 2}
        training = {"epochs": 1, "batch_size": {"int": [8, 64]}}
        return study(optimise=trials, confirm=confirm, objectives=("score",), training=training)

    def tuned(config, rows):
        job = plan(config, rows, [])
        facts = {"role": job.role, "point": job.point, "repeat": job.repeat, "params": json.dumps(job.params)}
        return row(100 + len(rows), job.phase, score=0.1, **facts)

    sizes = {n: json.dumps({"training.batch_size": 8 * n, "pool.ranks": "[1]", WEIGHT: 0.1}) for n in (1, 2, 3)}
    rows = [row(1, params=sizes[1]), row(2, params=sizes[2])]
    rows.append(tuned(going_on(2), rows))
    rows.append(row(3, params=sizes[3], score=0.9))
    while plan(going_on(3), rows, []).phase == "tune":
        rows.append(tuned(going_on(3), rows))
    found = [(trial.point, trial.repeat, trial.params) for trial in rows if trial.phase == "tune"]
    assert [(point, repeat) for point, repeat, _ in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [json.loads(params)["training.batch_size"] for _, _, params in found[:2]] == [16, 16]
    assert len({(point, params) for point, _, params in found}) == 2


def test_without_a_complete_trial_confirm_is_skipped():
    rows = [designed(1, 0, state="fail"), designed(2, 1, state="fail"), row(3, state="pruned")]
    assert plan(ALL, rows, design(2)) == "done"
    assert planned(ALL, rows, design(2))["confirm"] == 0


# ---------------------------------------------------------------- counts


def test_planned_counts_what_is_missing_and_what_is_there():
    assert planned(BOTH, [], design(2)) == {"design": 2, "optimise": 2, "tune": 0, "confirm": 0}
    assert planned(BOTH, [designed(1, 0), row(2), row(3), row(4)], design(2))["optimise"] == 3


def test_planned_confirm_is_an_upper_bound_before_and_exact_after_the_search():
    # two objectives, one winner each at most: 2 x (run + lora) x 2 seeds + 2 probes
    assert planned(ALL, [], design(2))["confirm"] == 10
    # one trial is best by both: 2 runs + 2 lora + 2 probes
    assert planned(ALL, SEARCHED, design(2))["confirm"] == 6
    running = [*SEARCHED, run(10, 3, 0, "running")]
    assert planned(ALL, running, design(2))["confirm"] == 6
    failed = [*SEARCHED, run(10, 3, 0, "fail")]
    assert planned(ALL, failed, design(2))["confirm"] == 5


def test_planned_counts_the_largest_study_without_making_its_trials(monkeypatch):
    monkeypatch.setattr("slasearch.search.plan.Job", None)
    monkeypatch.setattr("slasearch.search.confirm.Job", None)
    confirm = {"top": 1000, "seeds": 1000, "controls": ["lora", "random"]}
    largest = study(optimise=100_000, confirm=confirm)
    assert planned(largest, [row(1)], [])["tune"] == 2 * 1000 * 2 * 100_000
    searched = study(optimise=2, confirm={**confirm, "controls": ["lora", "linear_probe"], "tuning": 100_000})
    counts = planned(searched, [row(1), row(2)], [])
    assert counts == {"design": 0, "optimise": 2, "tune": 2 * 100_000, "confirm": 2 * 1000 * 2 + 1000}


def test_planned_leaves_out_runs_of_earlier_winners_and_counts_them_as_made():
    more = study(design=GRID, optimise=2, confirm={**CONFIRM, "seeds": 1, "controls": ["lora"]})
    rows = [*SEARCHED, row(40, exported_parameters=0.5), run(10, 3, 0, "running")]
    assert planned(more, rows, design(2))["confirm"] == 1 + 2


def test_jobs_name_their_control_and_optuna_study():
    job = Job("confirm", "control:lora", "fixed")
    assert (job.control, job.optuna_study) == ("lora", "confirm")
    assert (replace(job, role="winner").control, Job("design", "search", "grid").optuna_study) == (None, "search")
    assert replace(job, phase="tune").optuna_study == "confirm"
