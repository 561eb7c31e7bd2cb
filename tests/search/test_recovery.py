"""A driver may be killed at any point: nothing finished is lost, nothing counts twice, nothing stays open."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from session_kit import (
    SMALL_DESIGN,
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

from slasearch.errors import LeaseError, StorageError
from slasearch.search import book as book_module
from slasearch.search.book import DRIVER_LOST, NOT_ASKED
from slasearch.search.lease import Lease
from slasearch.search.study import StudySession
from slasearch.search.winners import last_attempts
from slasearch.storage.artifacts import Artifacts
from slasearch.storage.engine import optuna_storage
from slasearch.storage.models import SlaArtifact, SlaEvent, SlaLease, SlaStudy
from slasearch.storage.store import Store


class KilledError(BaseException):
    """Stands for SIGKILL: nothing in the code under test catches it."""


class Killer:
    """Counts steps that leave a trace outside the process, and kills after the one that is due."""

    def __init__(self, monkeypatch):
        self.steps = []
        self.due = None
        for owner, name in (
            (RDBStorage, "create_new_trial"),
            (RDBStorage, "set_trial_state_values"),
            (RDBStorage, "set_trial_intermediate_value"),
            (RDBStorage, "set_trial_user_attr"),
            (Artifacts, "write"),
            (book_module, "write_log"),
            (Artifacts, "discard_trial"),
        ):
            monkeypatch.setattr(owner, name, self._after(getattr(owner, name), name))
        monkeypatch.setattr(Store, "write", self._after(Store.write, "commit"))
        # A killed process releases nothing.
        monkeypatch.setattr(Lease, "release", lambda lease, store: None)

    def _after(self, function, name):
        def counted(*args, **kwargs):
            result = function(*args, **kwargs)
            self._step(name)
            return result

        return counted

    def _step(self, name):
        self.steps.append(name)
        if self.due is not None and len(self.steps) == self.due:
            self.due = None
            raise KilledError(name)

    def arm(self, step):
        self.steps.clear()
        self.due = step


CONFIG = study(optimise=2, confirm={"top": 1, "seeds": 1, "controls": ["lora"], "tuning": 0}, objectives=("score",))


def one_trial(session, done):
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id="r", worker="w")
    session.progress(ask.trial_id, progress(4, 0.5))
    session.finish(ask.trial_id, report(ask))
    done.append(ask.trial_id)


STEPS = [
    "commit",  # the study
    "commit",  # the lease
    "commit",  # our row, waiting
    "create_new_trial",
    "commit",  # our row, running
    "set_trial_state_values",
    "commit",  # the report
    "set_trial_intermediate_value",
    "commit",  # the lease is still ours
    "write",  # its adapter
    "write_log",
    "commit",  # our rows, complete
    "set_trial_state_values",
]


@pytest.mark.parametrize("step", range(1, len(STEPS) + 1))
def test_killed_after_any_step_of_a_trial(step, where, monkeypatch):
    killer = Killer(monkeypatch)
    killer.arm(step)
    done = []
    with pytest.raises(KilledError):
        one_trial(StudySession.open(CONFIG, where), done)
    dead_holder(where)
    session = StudySession.open(CONFIG, where)
    run_all(session)
    session.close()
    check_truth(CONFIG, where)
    rows = trials_of(where)
    assert len(last_attempts(rows)) == 4
    assert all(row.state == "complete" for row in last_attempts(rows))
    assert len(rows) - 4 == sum((row.reason or "").startswith(DRIVER_LOST) for row in rows) <= 1
    trained = [row for row in rows if row.state == "complete"]
    assert column(where, sa.select(SlaArtifact.trial_id).distinct()) == [row.id for row in trained]
    (folder,) = (where.home / "artifacts").iterdir()
    assert {int(path.name) for path in folder.iterdir()} == {row.id for row in trained}


def test_those_are_all_the_steps(where, monkeypatch):
    killer = Killer(monkeypatch)
    one_trial(StudySession.open(CONFIG, where), [])
    assert killer.steps == STEPS


def test_what_finished_before_the_kill_is_kept(where, monkeypatch):
    killer = Killer(monkeypatch)
    killer.arm(None)
    session = StudySession.open(CONFIG, where)
    done = []
    one_trial(session, done)
    killer.arm(3)
    with pytest.raises(KilledError):
        one_trial(session, done)
    dead_holder(where)
    session = StudySession.open(CONFIG, where)
    run_all(session)
    session.close()
    check_truth(CONFIG, where)
    rows = {row.id: row for row in trials_of(where)}
    assert done == [1]
    assert rows[1].state == "complete"
    assert 1 not in {row.retry_of for row in rows.values()}


def fails(session, done):
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id="r")
    session.finish(ask.trial_id, report(ask, state="fail", reason="no memory", traceback="Traceback …"))


def loses(session, done):
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id="r")
    session.lost(ask.trial_id, "node gone")


def prunes(session, done):
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id="r")
    session.prune(ask.trial_id, progress(2, 0.1))


@pytest.mark.parametrize("back", [1, 2, 3])
@pytest.mark.parametrize("ending", [fails, loses, prunes])
def test_killed_near_the_end_of_other_endings(ending, back, where, monkeypatch, tmp_path):
    killer = Killer(monkeypatch)
    killer.arm(None)
    ending(StudySession.open(CONFIG.model_copy(update={"name": "other"}), where), [])
    killer.arm(len(killer.steps) + 1 - back)
    with pytest.raises(KilledError):
        ending(StudySession.open(CONFIG, where), [])
    dead_holder(where)
    session = StudySession.open(CONFIG, where)
    run_all(session)
    session.close()
    check_truth(CONFIG, where)
    assert len(last_attempts(trials_of(where))) == 4


@pytest.mark.parametrize("step", range(1, 15, 2))
def test_killed_while_it_mends(step, where, monkeypatch):
    killer = Killer(monkeypatch)
    killer.arm(None)
    session = StudySession.open(CONFIG, where)
    for _ in range(2):
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
    dead_holder(where)
    killer.arm(step)
    with pytest.raises(KilledError):
        StudySession.open(CONFIG, where)
    dead_holder(where)
    session = StudySession.open(CONFIG, where)
    run_all(session)
    session.close()
    check_truth(CONFIG, where)
    rows = trials_of(where)
    assert len(last_attempts(rows)) == 4
    assert len(rows) == 6


def test_a_trial_that_was_asked_and_not_started_keeps_its_attempt(opened, where):
    first = opened(CONFIG).next()
    assert optuna_trials(where)[0].state is TrialState.WAITING
    again = opened(CONFIG).next()
    assert again == first
    assert len(optuna_trials(where)) == 1


def test_a_running_trial_of_a_lost_driver_is_run_again_with_the_same_choices(opened, where):
    session = opened(CONFIG)
    first = session.next()
    session.started(first.trial_id, ray_trial_id="r")
    again = opened(CONFIG).next()
    assert (again.attempt, again.spec) == (2, first.spec)
    old, new = trials_of(where)
    assert old.state == "fail"
    assert old.reason == "driver lost: the process that ran the study ended"
    assert (new.retry_of, new.params, new.init_seed) == (old.id, old.params, old.init_seed)
    trials = optuna_trials(where)
    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.WAITING]
    assert trials[0].user_attrs["reason"] == old.reason
    assert trials[1].user_attrs["retry_of"] == old.id
    assert "driver.took_over" in column(where, sa.select(SlaEvent.kind))


def test_lost_drivers_do_not_use_up_retries(opened, where):
    config = study(optimise=1, limits={"max_retries": 0})
    for attempt in range(1, 4):
        session = opened(config)
        ask = session.next()
        assert ask.attempt == attempt
        session.started(ask.trial_id, ray_trial_id="r")
    session.lost(ask.trial_id, "node gone")
    assert session.next() == "done"
    assert [row.state for row in trials_of(where)] == ["fail"] * 3


def test_the_time_until_a_driver_that_was_lost_while_it_mended_is_charged_to_no_trial(opened, where):
    session = opened(CONFIG, now=lambda: 1000.0)
    session.started(session.next().trial_id, ray_trial_id="r")
    dead_holder(where)
    a_day_later = 1000.0 + 24 * 3600
    store = Store(where.storage_url)
    Lease.take(store, store.study("toy").id, "toy", a_day_later)
    store.close()
    opened(CONFIG, now=lambda: a_day_later + 5)
    old = trials_of(where)[0]
    assert (old.state, old.started_at, old.ended_at) == ("fail", 1000.0, 1000.0)


def test_a_driver_that_has_lost_its_lease_writes_no_files(opened, where):
    """The next driver has thrown away what it left of the trial, and said in its log what became of it."""
    late = opened(CONFIG)
    ask = late.next()
    late.started(ask.trial_id, ray_trial_id="r")
    opened(CONFIG)  # takes over, as from a dead one
    (log,) = (where.home / "logs").rglob("*.log")
    before = log.read_bytes()
    with pytest.raises(LeaseError):
        late.finish(ask.trial_id, report(ask))
    assert log.read_bytes() == before
    assert not [path for path in (where.home / "artifacts").rglob("*") if path.is_file()]


def test_the_time_after_a_close_that_was_interrupted_is_charged_to_no_trial(where, monkeypatch):
    """A third Ctrl-C while running trials are put back to wait: the lease is given back, and one still runs."""
    session = StudySession.open(CONFIG, where, now=lambda: 1000.0)
    session.started(session.next().trial_id, ray_trial_id="r")

    def interrupted(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(book_module, "write_log", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.close()
    assert [row.state for row in trials_of(where)] == ["running"]
    session = StudySession.open(CONFIG, where, now=lambda: 1000.0 + 24 * 3600)
    old = trials_of(where)[0]
    assert (old.state, old.started_at, old.ended_at) == ("fail", 1000.0, 1000.0)
    session.close()


def test_a_study_that_another_driver_makes_in_the_same_moment_is_found(opened, where, monkeypatch):
    opened(CONFIG).next()
    find, looks = Store.find_study, []

    def find_late(store, name):
        looks.append(name)
        return None if len(looks) <= 2 else find(store, name)

    monkeypatch.setattr(Store, "find_study", find_late)
    run_all(opened(CONFIG))
    assert len(column(where, sa.select(SlaStudy.id))) == 1


def test_a_foreign_optuna_trial_does_not_stay_open(opened, where):
    opened(CONFIG).next()
    storage = optuna_storage(where.storage_url)
    storage.create_new_trial(storage.get_study_id_from_name("toy"))
    storage.engine.dispose()
    session = opened(CONFIG)
    assert optuna_trials(where)[1].state is TrialState.FAIL
    run_all(session)
    assert len(last_attempts(trials_of(where))) == 4
    assert all(trial.state.is_finished() for trial in optuna_trials(where))


def test_a_trial_is_not_mistaken_for_a_foreign_one_of_its_number(opened, where):
    config = study(optimise=3, objectives=("score",))
    session = opened(config)
    storage = optuna_storage(where.storage_url)
    storage.create_new_trial(storage.get_study_id_from_name("toy"))
    storage.engine.dispose()
    with pytest.raises(StorageError, match=r"expected trial number 0 to be free .* run the same command again"):
        session.next()
    session = opened(config)
    run_all(session)
    session.close()
    ours, (foreign, *theirs) = trials_of(where), optuna_trials(where)
    assert (foreign.state, foreign.user_attrs) == (TrialState.FAIL, {"reason": NOT_ASKED})
    assert [(trial.number, trial.params, trial.values) for trial in theirs] == [
        (row.number, row.values, [row.score]) for row in ours
    ]
    assert [row.number for row in ours] == [1, 2, 3]


def test_a_stale_writer_is_refused_in_both_sets_of_tables(opened, where):
    stale = opened(CONFIG)
    ask = stale.next()
    stale.started(ask.trial_id, ray_trial_id="r")
    fresh = opened(CONFIG)
    before = trials_of(where), [trial.state for trial in optuna_trials(where)]
    with pytest.raises(LeaseError, match="another driver has taken the study over"):
        stale.finish(ask.trial_id, report(ask))
    with pytest.raises(LeaseError):
        stale._search.tell(ask.number, TrialState.COMPLETE, [0.5])
    with pytest.raises(LeaseError):
        stale._search.record(0, {})
    with pytest.raises(LeaseError):
        stale.stop("late")
    assert (trials_of(where), [trial.state for trial in optuna_trials(where)]) == before
    stale.close()
    run_all(fresh)
    fresh.close()
    check_truth(CONFIG, where)


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from session_kit import *
from slasearch.search.book import Book

config = study(design=SMALL_DESIGN, optimise=2, confirm={{"top": 1, "seeds": 1, "controls": ["lora"], "tuning": 0}})
session = StudySession.open(config, locations(Path({home!r})))
done = 0
def tell(self, row):
    global done
    done += 1
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    original(self, row)
original, Book._tell = Book._tell, tell
run_all(session)
"""


def test_a_driver_killed_by_sigkill_is_taken_over_at_once(tmp_path, where):
    folder = str(Path(__file__).parent)
    script = SCRIPT.format(folder=folder, home=str(tmp_path))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert [row.state for row in trials_of(where)] == ["complete"] * 3
    assert [trial.state.name for trial in optuna_trials(where)] == ["COMPLETE", "COMPLETE", "RUNNING"]
    config = study(design=SMALL_DESIGN, optimise=2, confirm={"top": 1, "seeds": 1, "controls": ["lora"], "tuning": 0})
    session = StudySession.open(config, where)
    run_all(session)
    session.close()
    check_truth(config, where)
    assert len(trials_of(where)) == session.summary().planned
    assert column(where, sa.select(SlaStudy.state)) == ["finished"]


def test_a_driver_whose_clock_was_set_after_its_start_lives_and_is_charged_by_its_own(where, monkeypatch):
    """As of a machine that begins before its clock is right: others judge it by the time that it is now."""
    real, late = time.time, 7200.0
    monkeypatch.setattr(time, "time", lambda: real() - late)
    session = StudySession.open(CONFIG, where)
    session.started(session.next().trial_id, ray_trial_id="r")
    late, right = 0.0, real()
    session.renew()
    store = Store(where.storage_url)
    with store.engine.connect() as connection:
        (renewed_at,) = connection.execute(sa.select(SlaLease.renewed_at)).one()
    store.close()
    assert renewed_at >= right
    dead_holder(where)
    StudySession.open(CONFIG, where).close()
    old = trials_of(where)[0]
    assert old.state == "fail"
    assert 0 <= old.ended_at - old.started_at < 60
    with pytest.raises(LeaseError):
        session.next()
    session.close()
