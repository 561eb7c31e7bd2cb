import json
import math
import re
import time
from dataclasses import replace

import optuna
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.trial import TrialState
from pydantic import ValidationError
from session_kit import (
    FULL,
    RATE,
    SMALL_DESIGN,
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

from slasearch.cli.status import status
from slasearch.errors import ConfigError, LeaseError, StorageError, StudyConflictError
from slasearch.records import Event, MetricRow
from slasearch.registry import PRUNER_OPTIONS, SAMPLER_OPTIONS
from slasearch.search import opening
from slasearch.search.pruners import Hyperband
from slasearch.search.study import StudySession
from slasearch.search.summary import Best, PhaseCount, read_summary, summarise
from slasearch.space import design_points
from slasearch.storage.artifacts import Artifacts
from slasearch.storage.models import SlaCost, SlaEvent, SlaGate, SlaMetric, SlaStudy
from slasearch.storage.store import Store


def started(session):
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id=f"ray{ask.trial_id}", worker="w")
    return ask


# ---------------------------------------------------------------- a whole study


def test_a_study_runs_to_its_end_and_the_same_command_again_does_nothing(finished):
    where, asks = finished
    check_truth(FULL, where)
    phases = [ask.phase for ask in asks]
    assert phases == sorted(phases, key=["design", "optimise", "tune", "confirm"].index)
    assert phases.count("design") == 6
    assert phases.count("optimise") == 3
    assert phases.count("tune") in (4, 8)
    before = trials_of(where), Store(where.storage_url).study("toy")
    assert before[1].state == "finished"
    again = StudySession.open(FULL, where)
    assert again.next() == "done"
    again.close()
    summary = again.summary()
    assert (summary.planned, summary.complete, summary.ran) == (len(asks), len(asks), 0)
    assert (trials_of(where), Store(where.storage_url).study("toy")) == before


def test_the_test_split_is_scored_in_confirm_only(finished):
    where, asks = finished
    assert {ask.spec.splits for ask in asks if ask.phase != "confirm"} == {("validation",)}
    assert {ask.spec.splits for ask in asks if ask.phase == "confirm"} == {("validation", "test")}
    tested = set(column(where, sa.select(SlaMetric.trial_id).where(SlaMetric.split == "test")))
    assert tested == {ask.trial_id for ask in asks if ask.phase == "confirm"}


def test_a_test_metric_outside_confirm_fails_the_trial_and_is_not_stored(opened, where):
    session = opened(study(optimise=1))
    ask = started(session)
    leak = MetricRow("spam", "test", "clean", 0.0, "accuracy", 0.9)
    session.progress(ask.trial_id, replace(progress(2, 0.5), metrics=(replace(leak, step=2),)))
    session.finish(ask.trial_id, report(ask, metrics=(leak,)))
    assert trials_of(where)[0].reason == "metrics: expected none on the test split in optimise, got some"
    assert column(where, sa.select(SlaMetric.split).distinct()) == ["validation"]


def test_confirm_pairs_winners_and_controls_by_seed_and_size(finished):
    where, _ = finished
    rows = {row.id: row for row in trials_of(where)}
    winners = [row for row in rows.values() if row.role == "winner"]
    assert len(winners) in (2, 4)
    for row in rows.values():
        if row.phase == "confirm" and row.role in ("control:lora", "control:random"):
            (pair,) = [w for w in winners if (w.pair_of, w.repeat) == (row.pair_of, row.repeat)]
            assert row.control_size == pair.exported_parameters
            assert (row.init_seed, row.data_seed) == (pair.init_seed, pair.data_seed)
            assert json.loads(row.spec)["control_size"] == row.control_size
        if row.phase == "confirm":
            assert row.init_seed >= 1000
            allowed = {other.params for other in rows.values() if other.role == "winner" or other.phase == "tune"}
            assert row.params in allowed
    assert sum(row.role == "control:linear_probe" for row in rows.values()) == 2


def test_everything_of_a_report_is_stored(opened, where):
    session = opened(study(optimise=1))
    ask = started(session)
    session.finish(ask.trial_id, report(ask))
    (row,) = trials_of(where)
    assert (row.state, row.budget, row.budget_max, row.worker) == ("complete", 8, 8, "w")
    assert row.exported_parameters == 1000
    assert column(where, sa.select(SlaGate.slot)) == ["0:attn.q:lora:r4:0"]
    assert column(where, sa.select(SlaCost.name)) == ["train_seconds"]
    assert column(where, sa.select(SlaEvent.kind)) == ["gate_health.ok"]
    store = Store(where.storage_url)
    artifacts = Artifacts.of(store.study("toy"), where.home, None)
    assert [artifacts.read(artifact) for artifact in store.artifacts(row.id)] == [b"tensors", b"{}"]
    log = (where.home / row.log).read_text()
    assert row.log == f"logs/{session._study.folder}/{row.id}-1.log"
    assert "state: complete" in log
    assert "event: info gate_health.ok: all well" in log


def test_optuna_shows_what_each_trial_is(finished):
    where, _ = finished
    search, confirm = optuna_trials(where), optuna_trials(where, "toy.confirm")
    assert search[0].user_attrs == {
        "phase": "design",
        "sampler": "one_at_a_time",
        "role": "search",
        "short": "design point 0, seed 1",
        "trial": 1,
    }
    assert search[0].params[WEIGHT] == 0.1
    assert search[6].user_attrs["short"] == "optimise"
    assert re.fullmatch(r"lora qv of trial \d+, tuning trial 0", confirm[0].user_attrs["short"])
    assert confirm[0].user_attrs["variant"] == "qv"
    confirm = [trial for trial in confirm if trial.user_attrs["phase"] == "confirm"]
    assert confirm[0].user_attrs["role"] == "winner"
    assert confirm[0].user_attrs["short"].startswith("winner of trial ")
    assert optuna.load_study(study_name="toy", storage=where.storage_url).metric_names == [
        "score",
        "exported_parameters",
    ]


# ---------------------------------------------------------------- the end of a trial is told truthfully


@pytest.mark.parametrize(
    ("objectives", "reason"),
    [
        ({"score": math.nan, "exported_parameters": 1.0}, "objective score: expected a finite number, got nan"),
        ({"score": 0.5, "exported_parameters": math.inf}, "objective exported_parameters: expected .*, got inf"),
        ({"score": 0.5}, "objective exported_parameters: expected a finite number, got none"),
    ],
)
def test_a_number_that_is_none_fails_the_trial(opened, where, objectives, reason):
    session = opened(study(optimise=1))
    ask = started(session)
    session.finish(ask.trial_id, report(ask, objectives=objectives))
    (row,) = trials_of(where)
    (trial,) = optuna_trials(where)
    assert (row.state, row.score, trial.state, trial.values) == ("fail", None, TrialState.FAIL, None)
    assert row.reason == trial.user_attrs["reason"]
    assert re.fullmatch(reason, row.reason)
    assert session.next() == "done"
    assert not (where.home / "artifacts").exists()


def test_a_failed_trial_is_not_tried_again_and_its_traceback_is_in_the_log(opened, where):
    session = opened(study(optimise=2))
    ask = started(session)
    session.finish(ask.trial_id, report(ask, state="fail", reason="loss is NaN", traceback="Traceback: line 1"))
    (row,) = trials_of(where)
    assert (row.state, row.reason) == ("fail", "loss is NaN")
    log = (where.home / row.log).read_text()
    assert "reason: loss is NaN" in log
    assert log.endswith("Traceback: line 1\n")
    assert started(session).attempt == 1
    assert len(trials_of(where)) == 2


def test_a_pruned_trial_keeps_its_last_metrics_and_value(opened, where):
    session = opened(study(optimise=1, objectives=("score",)))
    ask = started(session)
    session.progress(ask.trial_id, progress(2, 0.3))
    session.prune(ask.trial_id, progress(4, 0.4))
    (row,) = trials_of(where)
    (trial,) = optuna_trials(where)
    assert (row.state, row.score, row.budget, row.budget_max) == ("pruned", 0.4, 4, 8)
    assert row.reason == "stopped by the pruner at step 4 of 8"
    assert (trial.state, trial.value) == (TrialState.PRUNED, 0.4)
    assert trial.intermediate_values == {25: 0.3, 50: 0.4}
    steps = sa.select(SlaMetric.step).where(SlaMetric.metric == "accuracy")
    assert column(where, steps) == [2, 4]


def test_of_several_reports_in_one_percent_the_last_one_counts_before_and_after_a_restart(opened, where, recwarn):
    session = opened(study(optimise=1, objectives=("score",)))
    ask = started(session)
    for step, score in ((399, 0.2), (400, 0.5), (401, 0.4)):
        session.progress(ask.trial_id, progress(step, score, of=800))
    assert session._search._trial(0).intermediate_values == {50: 0.4}
    assert [trial.intermediate_values for trial in optuna_trials(where)] == [{50: 0.4}]
    session.prune(ask.trial_id, None)
    assert [row.score for row in trials_of(where)] == [trial.value for trial in optuna_trials(where)] == [0.4]
    assert [str(warning.message) for warning in recwarn] == []


def test_with_several_objectives_optuna_gets_no_intermediate_values(opened, where):
    session = opened(study(optimise=30, sampler={"name": "tpe", "options": {"n_startup_trials": 4}}))
    for number in range(8):
        ask = started(session)
        session.progress(ask.trial_id, progress(4, 0.3))
        if number % 3:
            session.finish(ask.trial_id, report(ask))
        else:
            session.prune(ask.trial_id, None)
    trials = optuna_trials(where)
    assert {tuple(trial.intermediate_values) for trial in trials} == {()}
    assert [trial.state.name for trial in trials[:3]] == ["PRUNED", "COMPLETE", "COMPLETE"]
    assert trials[0].values is None


def test_a_second_word_on_a_trial_counts_for_nothing(opened, where):
    session = opened(study(optimise=1))
    ask = started(session)
    session.finish(ask.trial_id, report(ask))
    before = trials_of(where)
    session.finish(ask.trial_id, report(ask, state="fail"))
    session.prune(ask.trial_id, progress(2, 0.1))
    session.lost(ask.trial_id, "late")
    session.started(ask.trial_id, ray_trial_id="other")
    assert session.progress(ask.trial_id, progress(2, 0.1)) is False
    assert trials_of(where) == before


def test_a_trial_may_end_without_having_been_called_started(opened, where):
    session = opened(study(optimise=1))
    ask = session.next()
    session.finish(ask.trial_id, report(ask))
    assert trials_of(where)[0].state == "complete"
    assert optuna_trials(where)[0].state is TrialState.COMPLETE


def test_a_lost_trial_is_tried_again_up_to_the_limit(opened, where):
    session = opened(study(optimise=1, limits={"max_retries": 2}))
    params = set()
    for attempt in (1, 2, 3):
        ask = started(session)
        assert ask.attempt == attempt
        params.add(json.dumps(ask.spec.training.learning_rate))
        session.lost(ask.trial_id, "node gone")
    assert session.next() == "done"
    assert len(params) == 1
    rows = trials_of(where)
    assert [row.state for row in rows] == ["fail"] * 3
    assert [row.retry_of for row in rows] == [None, 1, 2]
    summary = session.summary()
    assert (summary.planned, summary.failed, summary.retried) == (1, 1, 2)
    assert [trial.state for trial in optuna_trials(where)] == [TrialState.FAIL] * 3


# ---------------------------------------------------------------- continue, grow, refuse


def test_raised_counts_add_trials_to_a_finished_study(opened, where):
    session = opened(study(optimise=2))
    run_all(session)
    session.close()
    more = study(optimise=5, limits={"max_hours": 9})
    session = StudySession.open(more, where)
    assert session.summary().state == "finished"
    assert len(run_all(session)) == 3
    session.close()
    check_truth(more, where)
    assert json.loads(Store(where.storage_url).study("toy").config)["phases"]["optimise"]["trials"] == 5


def test_other_content_under_the_same_name_is_refused_with_the_difference(opened, where):
    opened(study(optimise=2)).close()
    told = r"study toy: exists with other content. No trial of it has begun: `slasearch delete toy` makes.*\n"
    with pytest.raises(StudyConflictError, match=told):
        StudySession.open(study(optimise=2, seed=7), where)
    session = StudySession.open(study(optimise=2), where)
    run_all(session)
    session.close()
    told = r"study toy: exists with other content. Give the study file another name.*\n.*seed: was 0, is 7"
    with pytest.raises(StudyConflictError, match=told):
        StudySession.open(study(optimise=2, seed=7), where)


def test_other_content_that_another_driver_stores_meanwhile_is_refused_too(where, monkeypatch):
    first = study(optimise=2, seed=7)

    def meanwhile(store, config):
        monkeypatch.undo()
        StudySession.open(first, where).close()

    monkeypatch.setattr(opening, "take", meanwhile)
    with pytest.raises(StudyConflictError, match="seed: was 7, is 0"):
        StudySession.open(study(optimise=2), where)
    StudySession.open(first, where).close()


def test_a_study_that_another_driver_ends_meanwhile_runs_again_all_the_same(opened, where, monkeypatch):
    """Read before the lease was had, its state would be that of a run, and never be written again."""
    run_all(first := opened(study(optimise=1)))
    found = opening.find_or_make

    def ended_meanwhile(*args):
        row = found(*args)
        first.close()
        return replace(row, state="running")

    monkeypatch.setattr("slasearch.search.study.find_or_make", ended_meanwhile)
    started(session := StudySession.open(study(optimise=2), where))
    assert column(where, sa.select(SlaStudy.state)) == ["running"]
    session.close()


def test_a_finished_search_can_be_confirmed_later_and_beside_more_controls(opened, where):
    session = opened(study(optimise=3))
    assert len(run_all(session)) == 3
    session.close()
    for controls, trials in ((["linear_probe"], 6), (["linear_probe", "lora"], 4), (["lora", "linear_probe"], 0)):
        config = study(optimise=3, confirm={"top": 1, "seeds": 2, "controls": controls, "tuning": 0})
        session = StudySession.open(config, where)
        assert len(run_all(session)) == trials, controls
        session.close()
        check_truth(config, where)
    with pytest.raises(StudyConflictError, match=r"phases\.confirm\.controls: was"):
        StudySession.open(study(optimise=3, confirm={"top": 1, "seeds": 2, "controls": ["lora"], "tuning": 0}), where)
    with pytest.raises(StudyConflictError, match=r"phases\.confirm\.controls"):
        StudySession.open(study(optimise=3), where)


def test_other_data_under_the_same_study_are_refused_by_the_name_of_the_task(opened, where):
    digests = {"spam": "a" * 64, "bbc": "b" * 64}
    session = opened(study(optimise=2))
    session.check_data(digests)
    session.close()
    assert json.loads(Store(where.storage_url).study("toy").data) == digests
    session = StudySession.open(study(optimise=3), where)
    before = Store(where.storage_url).study("toy")
    session.check_data(digests)
    assert Store(where.storage_url).study("toy") == before
    with pytest.raises(
        StudyConflictError, match=r"study toy: .* got other data for bbc\. Put the old data back"
    ) as told:
        session.check_data({**digests, "bbc": "c" * 64})
    assert "`slasearch delete toy`: no trial of it has begun" in str(told.value)
    session.started(session.next().trial_id, ray_trial_id="r")
    with pytest.raises(StudyConflictError, match="Put the old data back, or give the study file another name"):
        session.check_data({**digests, "bbc": "c" * 64})
    session.close()
    assert json.loads(Store(where.storage_url).study("toy").data) == digests


def test_a_stored_file_that_cannot_be_read_is_reported(opened, where):
    opened(study(optimise=2)).close()
    store = Store(where.storage_url)
    store.write(lambda writer: writer.update_study(1, config='{"name": "toy", "of": "another age"}'))
    with pytest.raises(StudyConflictError, match=r"made by slasearch 0\.1\.0, whose study file this one cannot read"):
        StudySession.open(study(optimise=2), where)


def test_two_studies_share_a_database(opened, where):
    run_all(opened(study(optimise=2)))
    other = StudySession.open(study(name="other", optimise=3), where)
    run_all(other)
    other.close()
    assert len(trials_of(where)) == 2
    assert len(trials_of(where, "other")) == 3
    assert [trial.number for trial in optuna_trials(where, "other")] == [0, 1, 2]


def test_a_living_driver_keeps_others_out(where):
    session = StudySession.open(study(optimise=1), where)
    with pytest.raises(LeaseError, match=r"got process \d+ on .* since .* UTC"):
        StudySession.open(study(optimise=1), where)
    session.close()
    StudySession.open(study(optimise=1), where).close()


def test_a_session_that_cannot_be_made_gives_the_lease_back(where, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(StudySession, "_make_pruner", lambda session: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            StudySession.open(study(optimise=1), where)
    StudySession.open(study(optimise=1), where).close()


def test_closing_early_leaves_nothing_running_and_the_next_session_goes_on(opened, where):
    config = study(optimise=3)
    session = opened(config)
    run_first = started(session)
    session.next()
    session.close()
    assert session.summary().state == "stopped"
    assert [row.state for row in trials_of(where)] == ["fail", "waiting", "waiting"]
    assert TrialState.RUNNING not in {trial.state for trial in optuna_trials(where)}
    session = StudySession.open(config, where)
    asks = run_all(session)
    session.close()
    check_truth(config, where)
    assert sorted(ask.attempt for ask in asks) == [1, 1, 2]
    assert run_first.spec in [ask.spec for ask in asks if ask.attempt == 2]


def test_options_are_checked_before_anything_is_made(where):
    config = study(optimise=1, sampler={"name": "tpe", "options": {"n_start": 3}})
    with pytest.raises(ConfigError, match=r"study toy: phases.optimise.sampler.options.n_start: expected an option of"):
        StudySession.open(config, where)
    halving = {"name": "successive_halving", "options": {"reduction_factor": 1}}
    with pytest.raises(ConfigError, match="reduction_factor: expected a whole number from 2 to 100, got 1"):
        StudySession.open(study(optimise=1, pruner=halving), where)
    with pytest.raises(ValidationError, match="one fit for objectives other than score, got median"):
        study(optimise=1, objectives=("exported_parameters",), pruner={"name": "median"})
    assert Store(where.storage_url).studies() == []
    halving["options"]["reduction_factor"] = 2
    StudySession.open(study(optimise=1, pruner=halving), where).close()


@pytest.mark.parametrize(
    ("kind", "name", "option", "value"),
    [
        (kind, name, option, value)
        for kind, tables in (("sampler", SAMPLER_OPTIONS), ("pruner", PRUNER_OPTIONS))
        for name, options in tables.items()
        for option, table in options.items()
        for value in ((0.001, 0.999) if table.strict else (table.low, table.high))
    ],
)
def test_every_option_works_at_both_ends_of_its_range(opened, where, kind, name, option, value):
    """With so many reports that one reaches the latest first rung."""
    objectives = ("score",) if name in ("median", "cmaes") else ("score", "exported_parameters")
    often = {"epochs": 1, "learning_rate": {"log_float": [1e-4, 1e-2]}, "reports": 1000}
    chosen = {kind: {"name": name, "options": {option: value}}}
    config = study(optimise=3, objectives=objectives, training=often, **chosen)
    assert len(run_all(opened(config))) == 3


# ---------------------------------------------------------------- when to stop


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


def test_max_hours_hands_out_no_more_and_running_trials_may_finish(opened, where):
    clock = Clock()
    session = opened(study(optimise=5, limits={"max_hours": 1}), now=clock)
    ask = started(session)
    clock.now += 3601
    assert session.next() == "done"
    session.finish(ask.trial_id, report(ask))
    session.close()
    summary = session.summary()
    assert (summary.state, summary.complete, summary.planned) == ("stopped", 1, 5)
    assert "1.00 h of at most 1 h" in summary.stop_reason
    assert "limit.max_hours" in column(where, sa.select(SlaEvent.kind))


def test_max_device_hours_charge_running_trials_and_earlier_runs(opened, where):
    clock = Clock()
    config = study(optimise=9, limits={"max_device_hours": 2})
    session = opened(config, now=clock)
    asks = [started(session), started(session)]
    clock.now += 1800
    for ask in asks:
        session.finish(ask.trial_id, report(ask))
    session.close()
    session = StudySession.open(config, where, now=clock)
    ask = started(session)
    clock.now += 3599
    assert session.next() != "done"
    clock.now += 1
    assert session.next() == "done"
    session.finish(ask.trial_id, report(ask))
    session.close()
    assert "2.00 h of at most 2 device hours" in session.summary().stop_reason


def test_a_grown_study_whose_limit_is_used_up_is_stopped_and_says_so_once(opened, where):
    clock = Clock()
    limits = {"max_device_hours": 1}
    session = opened(study(optimise=1, limits=limits), now=clock)
    ask = started(session)
    clock.now += 3600
    session.finish(ask.trial_id, report(ask))
    assert session.next() == "done"
    session.close()
    assert session.summary().state == "finished"
    assert "limit.max_device_hours" not in column(where, sa.select(SlaEvent.kind))
    for _ in range(3):
        session = StudySession.open(study(optimise=2, limits=limits), where, now=clock)
        assert session.next() == "done"
        session.close()
        summary = session.summary()
        assert (summary.state, summary.ran, summary.planned) == ("stopped", 0, 2)
        assert summary.stop_reason == "limits.max_device_hours: 1.00 h of at most 1 device hours are used"
    assert column(where, sa.select(SlaEvent.kind)).count("limit.max_device_hours") == 1


def test_each_interruption_of_a_study_that_ran_is_an_event(opened, where):
    config = study(optimise=5)
    for _ in range(2):
        session = StudySession.open(config, where)
        ask = started(session)
        session.stop("interrupted")
        session.finish(ask.trial_id, report(ask))
        session.close()
    assert column(where, sa.select(SlaEvent.kind)).count("study.stopped") == 2


def test_a_study_whose_trials_keep_failing_stops(opened, where):
    config = study(optimise=50, limits={"failure_window": 4})
    session = opened(config)
    for number in range(5):
        ask = started(session)
        bad = number in (1, 3, 4)
        session.finish(ask.trial_id, report(ask, **({"state": "fail", "reason": "x"} if bad else {})))
    assert session.next() == "done"
    session.close()
    assert session.summary().state == "failed"
    assert "3 of the last 4 trials failed" in session.summary().stop_reason
    session = StudySession.open(config, where)
    assert session.next() != "done"
    session.close()


@pytest.mark.parametrize("fate", ["lost", "out of memory"])
def test_trials_that_are_tried_again_do_not_count_as_failures_that_stop_a_study(opened, where, fate):
    """Six trials of one node, each of which may be tried once more."""
    session = opened(study(optimise=50, limits={"failure_window": 4, "max_retries": 1}))

    def all_are_lost():
        asks = [started(session) for _ in range(6)]
        for ask in asks:
            if fate == "lost":
                session.lost(ask.trial_id, "the node died")
            else:
                session.finish(ask.trial_id, report(ask, state="fail", reason="no memory", out_of_memory=True))
        return {ask.attempt for ask in asks}

    assert all_are_lost() == {1}
    assert all_are_lost() == {2}
    assert session.next() == "done"
    assert "4 of the last 4 trials failed" in session.summary().stop_reason


def test_a_study_in_which_nothing_is_complete_has_failed(opened, where):
    config = study(optimise=2, confirm={"seeds": 1})
    session = opened(config)
    for _ in range(2):
        ask = started(session)
        session.finish(ask.trial_id, report(ask, state="fail"))
    assert session.next() == "done"
    session.close()
    assert session.summary().state == "failed"
    assert trials_of(where)[0].reason == "the trial failed and gave no reason"
    assert "study.nothing_complete" in column(where, sa.select(SlaEvent.kind))


def test_stop_hands_out_no_more(opened, where):
    session = opened(study(optimise=5))
    started(session)
    session.stop("interrupted")
    assert session.next() == "done"
    session.close()
    assert (session.summary().state, session.summary().stop_reason) == ("stopped", "interrupted")


def test_what_is_told_of_a_node_is_stored_once_in_later_sessions_too(opened, where):
    event = Event("node.versions", "Node two has another torch.", "warning")
    config = study(optimise=1)
    session = opened(config)
    assert [session.tell(event), session.tell(event)] == [True, False]
    assert session.tell(replace(event, message="Node three has another torch."))
    session.close()
    session = opened(config)
    assert not session.tell(event)
    kinds = sa.select(SlaEvent.message).where(SlaEvent.kind == "node.versions")
    assert column(where, kinds) == ["Node two has another torch.", "Node three has another torch."]


# ---------------------------------------------------------------- pruning and sampling through the session


@pytest.mark.parametrize(
    ("pruner", "objectives"),
    [
        ({"name": "median", "options": {"n_startup_trials": 3}}, ("score",)),
        ({"name": "successive_halving"}, ("score",)),
        ({"name": "successive_halving"}, ("score", "exported_parameters")),
    ],
)
def test_a_bad_trial_is_stopped_when_it_may_be_and_only_in_optimise(opened, where, pruner, objectives):
    config = study(design=SMALL_DESIGN, optimise=4, pruner=pruner, objectives=objectives)
    session = opened(config)
    for number in range(6):
        ask = started(session)
        assert session.progress(ask.trial_id, progress(4, 0.8 if number else 0.1)) is False
        session.finish(ask.trial_id, report(ask))
    bad, good, cold = started(session), started(session), started(session)
    assert session.progress(cold.trial_id, progress(4, 0.1, prunable=False)) is False
    assert session.progress(bad.trial_id, progress(4, 0.2)) is True
    assert session.progress(good.trial_id, progress(4, 0.9)) is False
    session.prune(bad.trial_id, progress(4, 0.2))
    session = opened(config)
    again = [started(session) for _ in range(3)]
    assert {ask.attempt for ask in again} == {1, 2}
    (new,) = [ask for ask in again if ask.attempt == 1]
    assert session.progress(new.trial_id, progress(4, 0.2)) is True, "a restart remembers what others have reached"


def test_hyperband_stops_by_a_trials_number_in_a_later_session_too(opened, where):
    pruner = {"name": "hyperband", "options": {"first_share": 0.5}}
    config = study(optimise=30, pruner=pruner)
    brackets = [Hyperband(first_share=0.5).bracket(number) for number in range(30)]
    session = opened(config)
    stopped = {}
    for number in range(20):
        if number == 10:
            session = opened(config)
        ask = started(session)
        stopped[ask.number] = session.progress(ask.trial_id, progress(4, 0.9 - 0.01 * number))
        if stopped[ask.number]:
            session.prune(ask.trial_id, progress(4, 0.9))
        else:
            session.finish(ask.trial_id, report(ask))
    seen = [number for number, bracket in enumerate(brackets) if bracket == 0]
    assert {number for number, pruned in stopped.items() if pruned} == set(seen[2:]) & set(range(20)), (
        "from the third on each is the worst of its bracket"
    )


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband"])
@pytest.mark.parametrize("went_on", [False, True])
def test_a_new_attempt_is_judged_where_what_was_said_of_the_last_report_may_be_lost(opened, where, pruner, went_on):
    config = study(optimise=40, pruner={"name": pruner, "options": {"reduction_factor": 2, "first_share": 0.5}})
    session = opened(config)
    for number in range(20):
        ask = started(session)
        session.progress(ask.trial_id, progress(4, 0.8 + number / 1000))
        session.finish(ask.trial_id, report(ask))
    stopped = 0
    while not stopped:
        ask = started(session)
        stopped = session.progress(ask.trial_id, progress(4, 0.1))
    if went_on:
        session.progress(ask.trial_id, progress(5, 0.1))
    session = opened(config)
    again = next(again for again in iter(lambda: started(session), None) if again.spec == ask.spec)
    assert again.attempt == 2
    assert session.progress(again.trial_id, progress(4, 0.1)) is not went_on
    assert session.progress(again.trial_id, progress(5, 0.1)) is False


@pytest.mark.parametrize("restarted", [False, True])
def test_a_report_of_the_warm_up_is_no_measure_for_others(opened, where, restarted):
    halving = {"name": "successive_halving", "options": {"reduction_factor": 2, "first_share": 0.25}}
    config = study(optimise=9, pruner=halving, objectives=("score",), gates={"warm_up": 0.25})
    session = opened(config)
    for _ in range(4):
        ask = started(session)
        assert session.progress(ask.trial_id, progress(2, 0.9, prunable=False)) is False
        session.finish(ask.trial_id, report(ask))
    assert all(trial.intermediate_values == {} for trial in optuna_trials(where))
    if restarted:
        session = opened(config)
    scores = [0.3, 0.4, 0.1]
    asks = [started(session) for _ in scores]
    answers = [session.progress(ask.trial_id, progress(3, score)) for ask, score in zip(asks, scores, strict=True)]
    assert answers == [False, False, True]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_trial_that_ended_early_on_a_plateau_stands_at_its_last_score_from_there_on(opened, where, restarted):
    halving = {"name": "successive_halving", "options": {"reduction_factor": 2, "first_share": 0.5}}
    config = study(optimise=9, pruner=halving, objectives=("score",))
    session = opened(config)
    for score in (0.9, 0.8):
        ask = started(session)
        assert session.progress(ask.trial_id, progress(2, score)) is False
        session.finish(ask.trial_id, report(ask, budget=2, objectives={"score": score}))
    if restarted:
        session = opened(config)
    asks = [started(session) for _ in range(2)]
    assert session.progress(asks[0].trial_id, progress(4, 0.85)) is False
    assert session.progress(asks[1].trial_id, progress(4, 0.7)) is True
    assert [(row.state, row.budget, row.budget_max) for row in trials_of(where)][:2] == [("complete", 2, 8)] * 2
    assert [trial.state.name for trial in optuna_trials(where)][:2] == ["COMPLETE"] * 2


def test_a_report_that_is_no_number_does_not_stop_the_trial(opened, where):
    session = opened(study(optimise=1, objectives=("score",)))
    ask = started(session)
    assert session.progress(ask.trial_id, progress(4, math.nan)) is False
    session.prune(ask.trial_id, None)
    assert optuna_trials(where)[0].value is None


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("tpe", {}),
        ("random", {}),
        ("qmc", {}),
        ("gp", {"n_startup_trials": 2}),
        ("nsgaii", {"population_size": 2}),
        ("nsgaiii", {"population_size": 2}),
        ("cmaes", {"population_size": 4}),
    ],
)
def test_a_restarted_driver_draws_the_same_next_point_as_one_that_never_stopped(where, sampler, options):
    objectives = ("score",) if sampler == "cmaes" else ("score", "exported_parameters")
    config = study(optimise=5, sampler={"name": sampler, "options": options}, objectives=objectives)
    drawn = []
    for name in ("steady", "stopping"):
        named = config.model_copy(update={"name": name})
        session = StudySession.open(named, where)
        for number in range(5):
            if name == "stopping" and number % 3 == 2:
                session.close()
                session = StudySession.open(named, where)
            ask = started(session)
            session.finish(ask.trial_id, report(ask))
        session.close()
        drawn.append([row.params for row in trials_of(where, name)])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 5


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_a_lost_trial_changes_nothing_of_what_later_ones_draw(where, sampler):
    drawn = []
    for name in ("steady", "losing"):
        session = StudySession.open(study(name=name, optimise=5, sampler={"name": sampler}), where)
        while not isinstance(ask := session.next(), str):
            session.started(ask.trial_id, ray_trial_id="r")
            if name == "losing" and ask.number in (1, 2, 4):
                session.lost(ask.trial_id, "node gone")
            else:
                session.finish(ask.trial_id, report(ask))
        session.close()
        drawn.append([row.params for row in trials_of(where, name) if row.retry_of is None])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 5


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_a_sampler_learns_from_the_design(opened, where, sampler):
    """After a design that favours a large weight, it proposes larger weights than chance would."""
    levels = [0.011, 0.02, 0.03, 0.05, 0.08, 0.2, 0.4, 0.6, 0.8, 0.99]
    design = {"sampler": {"name": "grid"}, "levels": {WEIGHT: levels}}
    config = study(design=design, optimise=8, objectives=("score",), sampler={"name": sampler})
    session = opened(config)
    run_all(session)
    weights = [row.values[WEIGHT] for row in trials_of(where) if row.phase == "optimise"]
    assert sum(weight > 0.1 for weight in weights) >= 6


# ---------------------------------------------------------------- reading


def test_the_summary_reads_the_same_from_session_and_database(opened, where):
    session = opened(FULL)
    for _ in range(3):
        ask = started(session)
        session.finish(ask.trial_id, report(ask))
    started(session)
    session.next()
    summary = session.summary()
    assert summary.phases["design"] == PhaseCount(planned=6, complete=3, pruned=0, failed=0, waiting=1, running=1)
    assert (summary.ended, summary.phases["design"].ended) == (3, 3)
    assert summary.planned == 6 + 3 + 2 * 2 * 2 + 2 * (2 * 3 + 1)
    assert [best.objective for best in summary.best] == ["score", "exported_parameters"]
    assert summary.best[1] == Best("exported_parameters", 1, 0, 1000.0)
    store = Store(where.storage_url)
    read = read_summary(store, "toy")
    assert read.device_seconds == pytest.approx(summary.device_seconds, abs=60)
    assert replace(read, ran=summary.ran, device_seconds=summary.device_seconds) == summary
    session.close()
    assert read_summary(store, "toy").state == "stopped"


def test_the_best_is_the_mean_over_the_seed_pairs_of_a_configuration(opened, where):
    """The scores of the last of three points, under one seed pair after the other, are .9 and .7."""
    session = opened(study(design=SMALL_DESIGN, objectives=("score",)))
    for score in (0.1, 0.75, 0.9, 0.1, 0.75, 0.7):
        ask = started(session)
        session.finish(ask.trial_id, report(ask, objectives={"score": score, "exported_parameters": 10.0}))
    (best,) = read_summary(Store(where.storage_url), "toy").best
    assert (best.trial_id, best.number, best.value, best.runs) == (3, 2, pytest.approx(0.8), 2)
    answer = CliRunner().invoke(status, ["toy", "--storage", where.storage_url])
    assert re.search(r"best by +trial +value +seed pairs\nscore +2 +0\.8 +2\n", answer.stdout)
    session.close()


def test_status_says_how_to_go_on_with_a_study_that_has_not_ended(opened, where):
    session = opened(study(optimise=2))
    session.next()
    session.close()
    answer = CliRunner().invoke(status, ["toy", "--storage", where.storage_url])
    assert "study toy: stopped" in answer.stdout
    assert "slasearch run FILE goes on with it." in answer.stderr
    run_all(opened(study(optimise=2)))
    assert "goes on" not in CliRunner().invoke(status, ["toy", "--storage", where.storage_url]).stderr


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(0.9, 100.0), (0.8, 50.0), (0.7, 60.0)], 2),
        ([(0.9, 100.0), (0.9, 50.0), (0.7, 50.0)], 1),
        ([(0.9, 100.0), (0.9, 100.0), (0.7, 20.0)], 3),
    ],
)
def test_the_summary_counts_trials_that_none_other_beats_and_names_the_last_failure(opened, where, points, front):
    session = opened(FULL)
    for _ in range(3):
        ask = started(session)
        session.finish(ask.trial_id, report(ask))
    lost = started(session)
    session.lost(lost.trial_id, "the node\nis gone")
    store = Store(where.storage_url)
    rows = [
        replace(row, score=points[at][0], exported_parameters=points[at][1]) if at < 3 else row
        for at, row in enumerate(store.trials(store.study("toy").id))
    ]
    summary = summarise(FULL, store.study("toy"), rows, design_points(FULL), now=0.0)
    assert summary.front == front
    assert summary.last_failure == f"trial {lost.number}: worker lost: the node is gone"
    ended = [row.ended_at - row.started_at for row in rows if row.ended_at and row.started_at]
    assert summary.device_seconds == pytest.approx(sum(ended))
    assert len(ended) == 4


def test_a_study_whose_driver_is_dead_reads_as_interrupted(opened, where):
    started(opened(FULL))
    store = Store(where.storage_url)
    later = time.time() + 3600
    assert read_summary(store, "toy").state == "running"
    dead_holder(where)
    found = read_summary(store, "toy", now=later)
    assert (found.state, found.running) == ("interrupted", 1)
    assert found.device_seconds < 60, "what ran ended with its driver"


def test_a_database_that_goes_away_is_a_storage_error(opened, where):
    session = opened(study(optimise=2))
    with session._store.engine.begin() as connection:
        connection.exec_driver_sql("drop table trial_user_attributes")
    with pytest.raises(StorageError, match=r"no such table: trial_user_attributes\. The database was made"):
        session.next()


def test_another_writer_in_the_optuna_study_is_noticed(opened, where):
    session = opened(study(optimise=2))
    optuna.load_study(study_name="toy", storage=where.storage_url).add_trial(
        optuna.trial.create_trial(state=TrialState.FAIL)
    )
    with pytest.raises(StorageError, match="expected trial number 0 to be free for a new trial"):
        session.next()


def test_the_rate_stays_inside_its_distribution(opened, where):
    session = opened(study(optimise=6))
    run_all(session)
    assert all(1e-4 <= row.values[RATE] <= 1e-2 for row in trials_of(where))
