"""What commands ask of a study: its driver carries it out, and where it has none the command does."""

import json
import re
import threading
from dataclasses import replace

import optuna
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.trial import TrialState
from session_kit import (
    SMALL_DESIGN,
    check_artifacts,
    check_truth,
    column,
    dead_holder,
    optuna_trials,
    report,
    run_all,
    study,
    trials_of,
)

from slasearch.cli.status import status
from slasearch.errors import LeaseError, StudyConflictError, StudyNotFoundError
from slasearch.search import command
from slasearch.search.book import CANCELLED, Book
from slasearch.search.command import Deleted, _delete_from_optuna, delete_study, send
from slasearch.search.requests import NOT_RUNNING, Carried, failed_trials
from slasearch.search.study import StudySession
from slasearch.search.winners import last_attempts
from slasearch.storage.artifacts import Artifacts
from slasearch.storage.engine import optuna_storage
from slasearch.storage.models import Base, SlaRequest, SlaStudy
from slasearch.storage.store import Store

CONFIG = study(design=SMALL_DESIGN, optimise=2)


def stored(where, name="toy"):
    store = Store(where.storage_url)
    row = store.study(name)
    store.close()
    return row


def failing(where, config=CONFIG, fail=(1,)):
    """A study that was run to its end, in which some trials failed by an error of their own."""
    session = StudySession.open(config, where)
    while (ask := session.next()) != "done":
        session.started(ask.trial_id, ray_trial_id="r")
        broken = {"state": "fail", "reason": "RuntimeError: broken"} if ask.number in fail else {}
        session.finish(ask.trial_id, report(ask, **broken))
    session.close()
    return session


def test_failed_trials_are_asked_again_with_the_same_parameters_and_the_next_run_runs_them(where):
    assert failing(where, fail=(1, 3)).summary().failed == 2
    failed = failed_trials(trials_of(where))
    request = send(where, stored(where), "retry", [row.id for row in failed])
    assert request.outcome == "2 trials are waiting for a new attempt"
    waiting = [row for row in trials_of(where) if row.state == "waiting"]
    assert [(row.retry_of, row.attempt, row.params, row.init_seed) for row in waiting] == [
        (row.id, 2, row.params, row.init_seed) for row in failed
    ]
    assert stored(where).state == "stopped"
    session = StudySession.open(CONFIG, where)
    assert {ask.spec.seeds.init for ask in run_all(session)} == {row.init_seed for row in failed}
    session.close()
    check_truth(CONFIG, where)
    assert (session.summary().failed, session.summary().retried) == (0, 2)


def test_a_study_whose_last_waiting_trial_was_cancelled_is_finished_and_not_stopped_for_ever(where):
    config = study(optimise=2)
    session = StudySession.open(config, where)
    for number in range(2):
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
        if number == 0:
            session.finish(ask.trial_id, report(ask))
    session.stop("interrupted")
    session.close()
    (waiting,) = [row for row in trials_of(where) if row.state == "waiting"]
    send(where, stored(where), "cancel", [waiting.id])
    session = StudySession.open(config, where)
    assert session.next() == "done"
    session.close()
    assert stored(where).state == "finished"


def test_a_trial_that_did_not_fail_is_not_asked_again_and_asking_twice_changes_nothing(where):
    failing(where)
    rows = trials_of(where)
    assert send(where, stored(where), "retry", [rows[0].id, rows[1].id]).outcome == (
        "1 trial is waiting for a new attempt; 1 had not failed"
    )
    assert send(where, stored(where), "retry", [rows[1].id]).outcome == (
        "0 trials are waiting for a new attempt; 1 had not failed"
    )
    assert len(trials_of(where)) == len(rows) + 1


def test_the_driver_carries_out_what_is_asked_while_the_command_waits(where):
    session = StudySession.open(CONFIG, where)
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id="r")
    session.finish(ask.trial_id, report(ask, state="fail", reason="RuntimeError: broken"))
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(send(where, stored(where), "retry", [ask.trial_id])), daemon=True
    )
    asking.start()
    while asking.is_alive():
        assert session.requests() == Carried()
        asking.join(0.05)
    assert answers[0].outcome == "1 trial is waiting for a new attempt"
    again = session.next()
    assert (again.attempt, again.spec) == (2, ask.spec)
    session.finish(again.trial_id, report(again))
    run_all(session)
    session.close()


def test_a_driver_that_does_not_answer_is_not_waited_for_forever(where):
    session = StudySession.open(CONFIG, where)
    request = send(where, stored(where), "cancel", None, wait=0.5)
    assert request.done_at is None
    assert session.requests() == Carried(stop=True)
    session.close()


def test_a_cancelled_trial_is_told_failed_and_not_tried_again_unless_it_is_named(where):
    session = StudySession.open(CONFIG, where)
    asks = [session.next(), session.next()]
    session.started(asks[0].trial_id, ray_trial_id="r")
    send(where, stored(where), "cancel", [ask.trial_id for ask in asks], wait=0)
    assert session.requests() == Carried(cancelled=tuple(ask.trial_id for ask in asks))
    session.started(asks[1].trial_id, ray_trial_id="late")
    for ask in asks:
        session.lost(ask.trial_id, "killed")
        session.finish(ask.trial_id, report(ask))
    rows = trials_of(where)
    assert [(row.state, row.reason) for row in rows] == [("fail", CANCELLED)] * 2
    assert [trial.state for trial in optuna_trials(where)] == [TrialState.FAIL] * 2
    assert CANCELLED in (where.home / rows[0].log).read_text()
    assert failed_trials(rows) == []
    run_all(session)
    session.close()
    check_truth(CONFIG, where)
    send(where, stored(where), "retry", [rows[0].id])
    assert [row.retry_of for row in trials_of(where) if row.state == "waiting"] == [rows[0].id]


def test_cancelling_a_trial_ends_the_attempt_that_waits_after_a_failed_one(where):
    failing(where)
    failed = failed_trials(trials_of(where))[0]
    send(where, stored(where), "retry", [failed.id])
    assert send(where, stored(where), "cancel", [failed.id]).outcome == "1 trial is cancelled"
    last = last_attempts(trials_of(where))[-1]
    assert (last.retry_of, last.state, last.reason) == (failed.id, "fail", CANCELLED)
    check_truth(CONFIG, where)


def test_cancelled_trials_do_not_count_as_failures_that_stop_a_study(where):
    session = StudySession.open(study(optimise=6, limits={"failure_window": 2}), where)
    for _ in range(3):
        ask = session.next()
        send(where, stored(where), "cancel", [ask.trial_id], wait=0)
        session.requests()
    assert len(run_all(session)) == 3
    session.close()


def test_stopping_a_study_that_nobody_runs_does_nothing_now_or_later(where):
    failing(where)
    assert send(where, stored(where), "cancel", None, at_once=True).outcome == NOT_RUNNING
    assert stored(where).state == "finished"
    grown = StudySession.open(study(design=SMALL_DESIGN, optimise=3), where)
    assert len(run_all(grown)) == 1
    grown.close()


def test_a_study_stopped_by_its_failures_has_failed_until_something_of_it_is_tried_again(where):
    config = study(optimise=6, limits={"failure_window": 2})
    failing(where, config, fail=(0, 1))
    assert (stored(where).state, len(trials_of(where))) == ("failed", 2)
    assert send(where, stored(where), "cancel", None).outcome == NOT_RUNNING
    assert stored(where).state == "failed"
    send(where, stored(where), "retry", [row.id for row in trials_of(where)])
    assert stored(where).state == "stopped"


def test_a_run_that_is_told_to_stop_while_it_opens_stops(where, monkeypatch):
    StudySession.open(CONFIG, where).close()
    send(where, stored(where), "cancel", None, wait=0)

    def meanwhile(book, *arguments):
        monkeypatch.undo()
        send(where, stored(where), "cancel", None, at_once=True, wait=0)
        book.mend(*arguments)

    monkeypatch.setattr(Book, "mend", meanwhile)
    session = StudySession.open(CONFIG, where)
    assert column(where, sa.select(SlaRequest.outcome)) == [NOT_RUNNING, None]
    assert session.requests() == Carried(stop=True, at_once=True)
    session.close()


def test_a_command_that_has_read_an_older_file_leaves_the_present_one(where):
    failing(where)
    read, grown = stored(where), study(design=SMALL_DESIGN, optimise=5)
    StudySession.open(grown, where).close()
    present = stored(where).config
    send(where, read, "cancel", None)
    assert stored(where).config == present != read.config


def test_a_command_makes_no_study_that_is_deleted_meanwhile(where, monkeypatch):
    failing(where)
    read = stored(where)

    def deletes(*_):
        delete_study(where, "toy")
        return False

    monkeypatch.setattr(command, "has_driver", deletes)
    with pytest.raises(StudyNotFoundError):
        send(where, read, "cancel", None)
    assert column(where, sa.select(SlaStudy.name)) == []


def test_what_a_lost_driver_left_undone_is_carried_out_when_the_study_is_opened(where):
    failing(where)
    failed = failed_trials(trials_of(where))[0]
    holder = StudySession.open(CONFIG, where)
    send(where, stored(where), "retry", [failed.id], wait=0)
    send(where, stored(where), "cancel", None, wait=0)
    dead_holder(where)
    session = StudySession.open(CONFIG, where)
    assert column(where, sa.select(SlaRequest.outcome)) == ["1 trial is waiting for a new attempt", NOT_RUNNING]
    assert len(run_all(session)) == 1, "expected a request to stop an earlier driver to stop no later one"
    session.close()
    holder._closing.pop_all()


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_a_trial_without_memory_is_tried_again_up_to_the_limit(where, limit):
    session = StudySession.open(study(optimise=1, limits={"max_retries": limit}), where)
    while (ask := session.next()) != "done":
        session.finish(ask.trial_id, report(ask, state="fail", reason="CUDA ran out", out_of_memory=True))
    session.close()
    rows = trials_of(where)
    assert [row.attempt for row in rows] == list(range(1, limit + 2))
    assert {row.reason for row in rows} == {"out of memory: CUDA ran out"}
    assert len({(row.params, row.init_seed, row.data_seed) for row in rows}) == 1


def test_asking_by_hand_uses_up_no_retries(where):
    config = study(optimise=1, limits={"max_retries": 1})
    failing(where, config, fail=(0,))
    send(where, stored(where), "retry", [trials_of(where)[0].id])
    session = StudySession.open(config, where)
    attempts = []
    while (ask := session.next()) != "done":
        attempts.append(ask.attempt)
        session.lost(ask.trial_id, "node gone")
    session.close()
    assert attempts == [2, 3]


# ---------------------------------------------------------------- delete


def rows_of(where):
    return {
        table.name: column(where, sa.select(sa.func.count()).select_from(table))[0]
        for table in Base.metadata.sorted_tables
    }


def test_a_deleted_study_leaves_nothing_and_others_stay_whole(where):
    other = study(name="other", optimise=2)
    failing(where, other, fail=())
    before = rows_of(where), optuna_trials(where, "other")
    failing(where)
    send(where, stored(where), "retry", [row.id for row in failed_trials(trials_of(where))])
    assert (where.home / "artifacts" / stored(where).folder).is_dir()
    assert delete_study(where, "toy") == Deleted(9, ())
    assert (rows_of(where), optuna_trials(where, "other")) == before
    kept = [stored(where, "other").folder] * 2
    assert [path.name for kind in ("artifacts", "logs") for path in (where.home / kind).iterdir()] == kept
    with pytest.raises(StudyNotFoundError, match="other"):
        delete_study(where, "toy")
    failing(where)
    check_truth(other, where)


def somebody_elses(where, name, trials, *directions):
    study = optuna.create_study(study_name=name, storage=where.storage_url, directions=directions)
    for value in range(trials):
        study.add_trial(optuna.trial.create_trial(values=[float(value)] * len(directions)))
    study._storage._backend.engine.dispose()


@pytest.mark.parametrize(
    ("name", "trials", "directions"),
    [("toy", 2, ("maximize", "minimize")), ("toy.confirm", 1, ("minimize",)), ("toy", 0, ("minimize",))],
)
def test_somebody_elses_optuna_study_is_neither_taken_over_nor_deleted(where, name, trials, directions):
    somebody_elses(where, name, trials, *directions)
    found = optuna_trials(where, name)
    told = rf"got one under which they have a study that slasearch has not made \({name}, trials: {trials}\)\. Give"
    with pytest.raises(StudyConflictError, match=told):
        StudySession.open(CONFIG, where)
    assert column(where, sa.select(SlaStudy.name)) == []
    assert optuna_trials(where, name) == found
    StudySession.open(study(name="other", optimise=1), where).close()
    storage = optuna_storage(where.storage_url)
    _delete_from_optuna(storage, name)
    kept = name in {study.study_name for study in storage.get_all_studies()}
    storage.engine.dispose()
    assert kept == (trials > 0)


def test_a_study_of_another_version_is_listed_as_unreadable_beside_the_others_and_can_be_deleted(where, tmp_path):
    shared = {"resources": {"checkpoint_folder": str(tmp_path / "shared"), "storage_path": str(tmp_path / "adapters")}}
    failing(where, study(optimise=2, **shared), fail=())
    failing(where, study(name="other", optimise=2), fail=())
    folder = stored(where).folder
    places = [tmp_path / "adapters" / folder, tmp_path / "shared" / "slasearch-checkpoints" / folder]
    places[1].mkdir(parents=True)
    assert all(place.is_dir() for place in places)
    store = Store(where.storage_url)
    config = json.dumps({**json.loads(stored(where).config), "of_another_age": 1})
    store.write(lambda writer: writer.update_study(stored(where).id, config=config))
    why = r"study toy: of_another_age: expected .*, got .*slasearch 0\.1\.0 cannot read it: .*`slasearch delete toy`"
    answer = CliRunner().invoke(status, ["--storage", where.storage_url])
    assert re.search(r"toy +unreadable +- +- .*\nother +finished +2/2 +0 ", answer.stdout)
    assert re.search(why, answer.stderr)
    listed = json.loads(CliRunner().invoke(status, ["--json", "--storage", where.storage_url]).stdout)
    assert [(entry["name"], entry["state"]) for entry in listed] == [("toy", "unreadable"), ("other", "finished")]
    with pytest.raises(StudyConflictError, match=why):
        send(where, stored(where), "cancel", None)
    assert store.requests(stored(where).id) == []
    assert delete_study(where, "toy") == Deleted(2, ())
    assert [row.name for row in store.studies()] == ["other"]
    assert not any(place.exists() for place in places)


def test_a_request_whose_study_is_deleted_meanwhile_says_so(where, monkeypatch):
    failing(where)

    def deletes(*_):
        monkeypatch.undo()
        delete_study(where, "toy")
        return True

    asked = stored(where)
    monkeypatch.setattr(command, "has_driver", deletes)
    with pytest.raises(StudyNotFoundError, match="got one that was deleted meanwhile"):
        send(where, asked, "cancel", None)
    assert column(where, sa.select(SlaStudy.name)) == []


def test_a_study_that_is_being_run_is_not_deleted(where):
    session = StudySession.open(CONFIG, where)
    with pytest.raises(LeaseError, match="expected nobody to run it"):
        delete_study(where, "toy")
    run_all(session)
    session.close()
    check_truth(CONFIG, where)


@pytest.mark.parametrize("later", [60.0, 0.001])
def test_a_study_of_the_same_name_in_another_database_beside_it_keeps_its_files(where, later):
    """Two databases in one folder have one home."""
    other = replace(where, storage_url=where.storage_url.replace("study.db", "other.db"))
    assert other.storage_url != where.storage_url
    config = study(optimise=2)
    for number, place in enumerate((where, other)):
        clock = 1_750_000_000.0 + later * number
        session = StudySession.open(config, place, now=lambda at=clock: at)
        run_all(session)
        session.close()
    logs = [where.home / row.log for row in trials_of(other)]
    delete_study(where, "toy")
    check_artifacts(trials_of(other), other)
    assert all(log.is_file() for log in logs)
    assert not any((where.home / "logs").glob("toy-1750000000000000"))


def test_an_interrupted_deletion_keeps_the_study_from_being_run_and_is_finished_by_the_next(where, monkeypatch):
    failing(where)

    def interrupted(artifacts):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Artifacts, "discard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            delete_study(where, "toy")
    with pytest.raises(StudyConflictError, match="slasearch delete toy --yes"):
        StudySession.open(CONFIG, where)
    delete_study(where, "toy")
    assert column(where, sa.select(SlaStudy.name)) == []
    assert failing(where).summary().failed == 1
