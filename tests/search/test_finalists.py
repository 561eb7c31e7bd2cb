"""The best settings of the search and of each control are tried again before the best of them are confirmed."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from session_kit import RATE, WEIGHT, check_truth, report, study, trials_of
from test_plan import row

from slasearch.analysis.arm_words import winner_label
from slasearch.analysis.frames import load_frames
from slasearch.analysis.goals import goals_of
from slasearch.analysis.ledger import cost_ledger
from slasearch.analysis.tuning import searched_trials, tuning_of, tuning_terms
from slasearch.config.fingerprint import difference
from slasearch.registry import CONTROL_VARIANTS
from slasearch.report.choice import best_trial
from slasearch.report.summary import seed_spread
from slasearch.search.job import PHASES, Job
from slasearch.search.plan import plan, planned
from slasearch.search.study import StudySession
from slasearch.search.summary import summarise
from slasearch.search.tuning import best_tuned
from slasearch.search.winners import chosen, searched, tried_again, winners
from slasearch.space import design_points
from slasearch.storage.rows import StudyRow

LAYOUTS = ("qv", "all", "last")
WEIGHTS = [0.1, 0.2, 0.3, 0.4]
STUDY = StudyRow(1, "toy", "{}", "", 0, "running", "0.1.0", 0.0, 0.0)
MEASURED = {"measured": [{"kind": "typos", "levels": [0.2]}]}
GRID = {"sampler": {"name": "grid"}, "levels": {WEIGHT: WEIGHTS}}


@pytest.fixture(scope="module", autouse=True)
def _layouts():
    """LoRA, from both starts, has these layouts here, whatever those of the package are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONTROL_VARIANTS, "lora", LAYOUTS)
        patch.setitem(CONTROL_VARIANTS, "lora_gradient", LAYOUTS)
        yield


def designed(confirm, *, objectives=("score",), **changes):
    whole = {"top": 1, "seeds": 1, "controls": ["lora"], "tuning": 4, **confirm}
    training = {"epochs": 1, "learning_rate": {"categorical": [0.001, 0.01]}}
    return study(design=GRID, confirm=whole, objectives=objectives, training=training, **changes)


def run_to_end(config, score, rows=(), fails=lambda job: False):
    """Every further job in its order, each answered at once; and all rows."""
    rows, jobs = list(rows), []
    while isinstance(job := plan(config, rows, design_points(config)), Job):
        jobs.append(job)
        names = ("role", "point", "repeat", "pair_of", "control_variant", "control_size")
        facts = {name: getattr(job, name) for name in names}
        mine = json.dumps(job.params, sort_keys=True)
        state = "fail" if fails(job) else "complete"
        values = {} if fails(job) else {"score": score(job), "exported_parameters": 1000.0}
        rows.append(row(len(rows) + 1, job.phase, state, params=mine, **facts, **values))
    assert job == "done"
    return jobs, rows


def scored(structures, layouts):
    """Scores by weight and seed pair, and by layout and seed pair; 0 beyond those given."""

    def score(job):
        found = structures[job.params[WEIGHT]] if job.control is None else layouts[job.control_variant]
        return found[job.repeat] if job.repeat < len(found) else 0.0

    return score


STRUCTURES = {0.1: (0.90, 0.5, 0.5), 0.2: (0.89, 0.8, 0.8), 0.3: (0.88, 0.9, 0.9), 0.4: (0.10, 1.0, 1.0)}
CONTROLS = {"qv": (0.7, 0.1, 0.1), "all": (0.6, 0.6, 0.6), "last": (0.5, 0.9, 0.9)}


def test_the_best_of_the_search_are_tried_again_and_the_best_by_the_mean_is_confirmed():
    config = designed({"finalists": 3, "controls": []})
    jobs, rows = run_to_end(config, scored(STRUCTURES, CONTROLS))
    again = [job for job in jobs if job.role == "finalist"]
    assert [(job.params[WEIGHT], job.repeat) for job in again] == [
        (0.1, 1), (0.2, 1), (0.3, 1), (0.1, 2), (0.2, 2), (0.3, 2)
    ]  # fmt: skip
    assert {(job.phase, job.sampler, job.control, job.optuna_study) for job in again} == {
        ("tune", "fixed", None, "confirm")
    }
    assert [job.params[WEIGHT] for job in jobs if job.role == "winner"] == [0.3], "not the luckiest, nor one left out"
    assert [found.id for found in winners(config.objectives, rows, 1, finalists=3)] == [3]
    assert [found.id for found in winners(config.objectives, rows, 4, finalists=3)] == [3, 2, 1, 4]
    assert best_trial(rows, "score", (), 3).values[WEIGHT] == 0.3
    (best,) = summarise(config, STUDY, rows, design_points(config), now=0.0).best
    assert (best.trial_id, best.runs) == (3, 3)
    assert best.value == pytest.approx((0.88 + 0.9 + 0.9) / 3)


def test_the_best_settings_of_a_control_are_tried_again_and_the_best_by_the_mean_is_confirmed():
    config = designed({"finalists": 2, "tuning": 3})
    jobs, rows = run_to_end(config, scored(STRUCTURES, CONTROLS))
    tune = [(job.control_variant, job.repeat) for job in jobs if job.role == "control:lora" and job.phase == "tune"]
    assert tune == [("qv", 0), ("all", 0), ("last", 0), ("qv", 1), ("all", 1), ("qv", 2), ("all", 2)]
    assert [job.control_variant for job in jobs if job.role == "control:lora"][-1] == "all"
    (best,) = best_tuned(rows, {}, config.phases.confirm).values()
    assert best.control_variant == "all"


def test_controls_are_tuned_for_the_winner_that_the_finalists_decide():
    config = designed({"finalists": 3})
    jobs, _ = run_to_end(config, scored(STRUCTURES, CONTROLS))
    order = [job.role for job in jobs]
    assert order.index("control:lora") > max(n for n, role in enumerate(order) if role == "finalist")
    assert {job.pair_of for job in jobs if job.role == "control:lora"} == {3}


def test_nothing_is_tried_again_where_all_would_be_confirmed_or_nothing_is_asked():
    jobs, _ = run_to_end(designed({"finalists": 9, "top": 4, "controls": []}), scored(STRUCTURES, CONTROLS))
    assert not any(job.role == "finalist" for job in jobs)
    jobs, _ = run_to_end(designed({}), scored(STRUCTURES, CONTROLS))
    assert {job.repeat for job in jobs} == {0}
    assert not any(job.role == "finalist" for job in jobs)


def test_finalists_lack_only_the_seed_pairs_that_they_were_not_tried_under():
    config = designed({"finalists": 2, "finalist_seeds": 4, "tuning_seeds": 2, "tuning": 3})
    design = config.phases.design.model_copy(update={"seeds": 3})
    config = config.model_copy(update={"phases": config.phases.model_copy(update={"design": design})})
    jobs, _ = run_to_end(config, scored(STRUCTURES, CONTROLS))
    assert [job.repeat for job in jobs if job.role == "finalist"] == [3, 3]
    again = [job.repeat for job in jobs if job.phase == "tune" and job.control and job.repeat > 1]
    assert again == [2, 2, 3, 3]


def test_a_setting_of_optimise_lacks_the_others_than_its_own_seed_pair():
    config = study(optimise=3, confirm={"finalists": 2, "controls": [], "seeds": 1}, objectives=("score",))
    rows = [row(number, params=json.dumps({WEIGHT: number / 10}), repeat=number - 1) for number in (1, 2, 3)]
    jobs, _ = run_to_end(config, lambda job: 0.5, rows)
    again = [(job.pair_of, job.repeat) for job in jobs if job.role == "finalist"]
    assert again == [(3, 0), (2, 0), (3, 1), (2, 2)]


def test_a_failed_run_of_a_finalist_is_not_tried_again_and_does_not_count():
    config = designed({"finalists": 2, "tuning": 3})

    def fails(job):
        return job.phase == "tune" and job.repeat == 1

    jobs, rows = run_to_end(config, scored(STRUCTURES, CONTROLS), fails=fails)
    assert Counter(job.repeat for job in jobs if job.role == "finalist") == {1: 2, 2: 2}
    (winner,) = winners(config.objectives, rows, 1, finalists=2)
    assert winner.values[WEIGHT] == 0.2, "(.89 + .8) / 2 is more than (.90 + .5) / 2"


def test_a_finalist_that_breaks_a_bound_on_average_makes_room_for_the_next():
    config = designed({"finalists": 2, "controls": []}, constraints=[{"name": "score", "min": 0.7}])
    structures = {0.1: (0.90, 0.95, 0.1), 0.2: (0.80, 0.7, 0.7), 0.3: (0.75, 0.8, 0.8), 0.4: (0.72, 1.0, 1.0)}
    jobs, rows = run_to_end(config, scored(structures, CONTROLS))
    again = Counter(job.params[WEIGHT] for job in jobs if job.role == "finalist")
    assert again == {0.1: 2, 0.2: 2, 0.3: 2}
    assert [job.params[WEIGHT] for job in jobs if job.role == "winner"] == [0.3]
    assert [found.id for found in winners(config.objectives, rows, 3, config.constraints, 2)] == [3, 2, 4]


def test_where_all_break_a_bound_nothing_is_confirmed():
    config = designed({"finalists": 2, "controls": []}, constraints=[{"name": "score", "min": 0.7}])
    jobs, _ = run_to_end(config, scored({weight: (0.8, 0.1, 0.1) for weight in WEIGHTS}, CONTROLS))
    assert Counter(job.role for job in jobs) == {"search": 4, "finalist": 4}, "each is out after its second run"


def test_one_whose_further_runs_all_failed_is_behind_those_that_have_some():
    config = designed({"finalists": 2, "tuning": 3})

    def fails(job):
        lucky = job.params[WEIGHT] == 0.1 if job.control is None else job.control_variant == "qv"
        return job.phase == "tune" and job.repeat > 0 and lucky

    jobs, _ = run_to_end(config, scored(STRUCTURES, CONTROLS), fails=fails)
    assert [job.params[WEIGHT] for job in jobs if job.role == "winner"] == [0.2]
    assert [job.control_variant for job in jobs if (job.role, job.phase) == ("control:lora", "confirm")] == ["all"]


def test_a_pruned_trial_is_no_seed_pair_that_was_had():
    config = study(optimise=4, confirm={"finalists": 2, "controls": [], "seeds": 1}, objectives=("score",))
    values = [json.dumps({WEIGHT: weight}) for weight in (0.1, 0.2)]
    rows = [row(1, params=values[0], score=0.9), row(2, params=values[1], score=0.8)]
    rows += [row(3, "optimise", "pruned", params=values[0], repeat=1), row(4, params=values[1], score=0.8, repeat=1)]
    jobs, _ = run_to_end(config, lambda job: 0.5, rows)
    again = sorted((job.pair_of, job.repeat) for job in jobs if job.role == "finalist")
    assert again == [(1, 1), (1, 2), (2, 2)]


def test_a_former_finalist_that_is_still_the_best_stays_the_winner_when_the_search_goes_on():
    def going_on(trials):
        confirm = {"finalists": 2, "controls": [], "seeds": 1}
        return study(optimise=trials, confirm=confirm, objectives=("score",))

    steady = {0.1: (0.90, 0.9, 0.9), 0.2: (0.89, 0.8, 0.8), 0.3: (0.95, 0.7, 0.7), 0.4: (0.94, 0.7, 0.7)}
    rows = [row(number, params=json.dumps({WEIGHT: number / 10}), score=steady[number / 10][0]) for number in (1, 2)]
    _, rows = run_to_end(going_on(2), scored(steady, CONTROLS), rows)
    lucky = [row(100 + n, params=json.dumps({WEIGHT: n / 10}), score=steady[n / 10][0]) for n in (3, 4)]
    jobs, rows = run_to_end(going_on(4), scored(steady, CONTROLS), [*rows, *lucky])
    assert Counter(job.params[WEIGHT] for job in jobs) == {0.3: 2, 0.4: 2}, "nothing is confirmed again"
    assert [found.values[WEIGHT] for found in winners(going_on(4).objectives, rows, 1, finalists=2)] == [0.1]


def test_a_winner_stands_as_the_trial_that_is_the_best_by_what_it_won():
    """Its runs as a finalist belong to another of its trials, the best by another objective."""
    confirm = {"top": 1, "seeds": 1, "controls": ["lora"], "tuning": 3, "finalists": 2}
    config = study(optimise=4, confirm=confirm, objectives=("score", "robustness"), conditions=MEASURED)
    values = [json.dumps({"pool.ranks": "[1]", WEIGHT: weight}) for weight in (0.1, 0.2)]
    facts = {"exported_parameters": 1000.0}
    rows = [
        row(1, params=values[0], score=0.8, robustness=0.5, **facts),
        row(2, params=values[1], score=0.9, robustness=0.4, **facts),
        row(3, params=values[1], score=0.9, robustness=0.4, repeat=1, **facts),
        row(4, params=values[0], score=0.7, robustness=0.9, repeat=1, **facts),
    ]
    while isinstance(job := plan(config, rows, []), Job) and job.role in ("search", "finalist"):
        mine = json.dumps(job.params, sort_keys=True)
        names = {"role": job.role, "repeat": job.repeat, "pair_of": job.pair_of}
        rows.append(row(len(rows) + 1, job.phase, params=mine, score=0.8, robustness=0.6, **names, **facts))
    assert {trial.pair_of for trial in rows if trial.role == "finalist"} == {1, 2}
    assert job.pair_of in (2, 4)
    found = chosen(config.objectives, searched(rows), 1, (), 2, tried_again(rows))
    assert {winner.trial.id: winner.goal for winner in found} == {2: "score", 4: "robustness"}


def test_each_objective_has_finalists_of_its_own():
    config = designed({"finalists": 2, "controls": []}, objectives=("score", "exported_parameters"))

    def size(number, weight, score, parameters):
        values = {"score": score, "exported_parameters": parameters, "params": json.dumps({WEIGHT: weight, RATE: 0.01})}
        return row(number, "design", point=number - 1, **values)

    rows = [size(1, 0.1, 0.9, 4000.0), size(2, 0.2, 0.8, 3000.0), size(3, 0.3, 0.7, 2000.0), size(4, 0.4, 0.6, 1000.0)]
    rows = [*rows, *(size(n, w, 0.1, 9000.0) for n, w in ((5, 0.1), (6, 0.2), (7, 0.3), (8, 0.4)))]
    rows[4:] = [replace(found, params=json.dumps({**found.values, RATE: 0.001})) for found in rows[4:]]
    jobs, _ = run_to_end(config, lambda job: 0.5, rows)
    assert {job.pair_of for job in jobs if job.role == "finalist"} == {1, 2, 3, 4}


def test_finalists_may_come_to_a_study_that_has_ended_and_grow():
    first, rows = run_to_end(designed({}), scored(STRUCTURES, CONTROLS))
    assert [job.params[WEIGHT] for job in first if job.role == "winner"] == [0.1]
    more, rows = run_to_end(designed({"finalists": 2}), scored(STRUCTURES, CONTROLS), rows)
    assert [job.params[WEIGHT] for job in more if job.role == "winner"] == [0.2]
    last, rows = run_to_end(designed({"finalists": 3, "finalist_seeds": 4}), scored(STRUCTURES, CONTROLS), rows)
    again = Counter(job.params[WEIGHT] for job in last if job.role == "finalist")
    assert again == {0.1: 1, 0.2: 1, 0.3: 3}
    assert difference(designed({}), designed({"finalists": 3, "finalist_seeds": 4})) == []


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 6),
    st.lists(st.integers(0, 9), min_size=60, max_size=60),
    st.sets(st.integers(0, 40)),
)
def test_there_are_as_many_trials_as_planned(finalists, more, tuning_seeds, tuning, scores, failing):
    pairs = tuning_seeds + more
    confirm = {"finalists": finalists, "finalist_seeds": pairs, "tuning_seeds": tuning_seeds, "tuning": tuning}
    config = designed({**confirm, "controls": ["lora", "adalora", "random_best"]})
    points = design_points(config)
    most = planned(config, [], points)
    rows = []
    while isinstance(job := plan(config, rows, points), Job):
        facts = {name: getattr(job, name) for name in ("role", "point", "repeat", "pair_of", "control_variant")}
        lost = len(rows) in failing
        values = {} if lost else {"score": scores[len(rows) % 60] / 10, "exported_parameters": 1000.0}
        mine = json.dumps(job.params, sort_keys=True)
        rows.append(row(len(rows) + 1, job.phase, "fail" if lost else "complete", params=mine, **facts, **values))
    made = Counter(trial.phase for trial in rows)
    assert planned(config, rows, points) == {phase: made[phase] for phase in PHASES}
    assert all(made[phase] <= most[phase] for phase in PHASES)


def test_until_the_finalists_have_ended_counts_are_upper_bounds():
    config = designed(
        {"finalists": 2, "controls": ["lora", "lora_gradient"]}, objectives=("score", "exported_parameters")
    )
    points, rows, counts = design_points(config), [], []
    while isinstance(job := plan(config, rows, points), Job):
        counts.append(sum(planned(config, rows, points).values()))
        facts = {name: getattr(job, name) for name in ("role", "point", "repeat", "pair_of", "control_variant")}
        mine = json.dumps(job.params, sort_keys=True)
        values = {"score": scored(STRUCTURES, CONTROLS)(job) if job.phase != "confirm" else 0.5}
        rows.append(row(len(rows) + 1, job.phase, params=mine, exported_parameters=1000.0, **facts, **values))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == len(rows)


@pytest.mark.parametrize(("top", "finalists"), [(2, 2), (3, 2)])
def test_finalists_are_more_than_are_confirmed(top, finalists):
    with pytest.raises(ValidationError, match=rf"more finalists than the {top} that are confirmed \(top\), or 1"):
        designed({"top": top, "finalists": finalists})


def test_finalists_are_tried_more_often_than_others():
    with pytest.raises(ValidationError, match=r"more seed pairs \(finalist_seeds\) than the 3 of all settings"):
        designed({"finalists": 2, "tuning_seeds": 3})


# ---------------------------------------------------------------- in a database


def ended(config, where, objectives):
    """Runs a study to its end, its trials with these objectives by weight or layout and seed pair, .5 in `confirm`."""
    session = StudySession.open(config, where)
    while not isinstance(ask := session.next(), str):
        which = ask.spec.size.sparsity_weight if ask.spec.control is None else ask.spec.control_variant
        repeat = ask.spec.seeds.init
        values = {name: 0.5 if ask.phase == "confirm" else found[which][repeat] for name, found in objectives.items()}
        session.started(ask.trial_id, ray_trial_id=f"ray{ask.trial_id}", worker="w")
        session.finish(ask.trial_id, report(ask, objectives={**values, "exported_parameters": 1000.0}))
    session.close()
    assert ask == "done"


def test_finalists_are_stored_counted_and_told(where):
    config = designed({"finalists": 2, "tuning": 3})
    ended(config, where, {"score": {**STRUCTURES, **CONTROLS}})
    check_truth(config, where)
    rows = trials_of(where)
    again = [row for row in rows if row.role == "finalist"]
    assert [(row.phase, row.init_seed, row.data_seed, row.point) for row in again] == [
        ("tune", 1, 1, None), ("tune", 1, 1, None), ("tune", 2, 2, None), ("tune", 2, 2, None)
    ]  # fmt: skip
    by_id = {row.id: row for row in rows}
    assert all(by_id[row.pair_of].params == row.params for row in again)
    frames = load_frames(where.storage_url, "toy")
    tuning = tuning_of(frames, "control:lora", 2, "all", {})
    assert (tuning.trials, tuning.finalists, tuning.finalist_seeds) == (7, 2, 3)
    assert by_id[tuning.best].control_variant == "all"
    assert tuning.value == pytest.approx(0.6)
    assert list(tuning_terms({"control:lora": tuning}, searched_trials(frames))) == [
        "controls were tuned with 7 trials each, the search with 8",
        "the best settings of each control, and of the search, 2 at most, were tried under 3 seed pairs before one was "
        "picked",
        "settings picked by validation score",
    ]
    assert (winner_label(frames, 2), winner_label(frames, 1)) == ("best by score", "among the best")
    spread = seed_spread(frames)
    assert (spread.runs, spread.settings) == (4, 2)
    assert spread.deviation == 0.0, "each of the two had one score under both further pairs; the first is not counted"
    spent = {(one.phase, one.part): one.attempts for one in cost_ledger(frames).entries}
    assert spent == {("design", "search"): 4, ("tune", "search"): 4, ("tune", "controls"): 7,
                     ("confirm", "winners"): 1, ("confirm", "controls"): 1}  # fmt: skip


def test_where_robustness_alone_chose_a_winner_its_finalists_chose_it(where):
    """By the first seed pair weight .1 is best in both; by all three weight .2 is, by robustness alone weight .3."""
    objectives = ("score", "robustness")
    config = designed({"finalists": 3, "tuning": 3}, objectives=objectives, conditions=MEASURED)
    robust = {**STRUCTURES, 0.3: (0.88, 0.99, 0.99), **CONTROLS}
    ended(config, where, {"score": {**robust, 0.3: (0.88, 0.1, 0.1)}, "robustness": robust})
    rows = trials_of(where)
    found = {row.pair_of: row.values[WEIGHT] for row in rows if row.role == "winner"}
    assert sorted(found.values()) == [0.2, 0.3]
    goals = goals_of(load_frames(where.storage_url, "toy"))
    assert {found[winner]: goal for winner, goal in goals.items() if winner is not None} == {
        0.2: "score",
        0.3: "robustness",
    }
