"""What the study knows of its trials' checkpoints, and where a new attempt is told to look for them."""

from dataclasses import replace
from pathlib import Path

import pytest
from session_kit import progress, report, study, trials_of

from slasearch.records import Checkpoint
from slasearch.search.command import delete_study, send
from slasearch.search.study import StudySession
from slasearch.storage.store import Store

FIRST, SECOND = Checkpoint(2, "a" * 64, "node-1"), Checkpoint(4, "b" * 64, "node-1")


@pytest.fixture
def session(where):
    session = StudySession.open(study(optimise=2), where)
    yield session
    session.close()


def begun(session):
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id="r")
    return ask


def test_a_new_attempt_looks_where_the_first_one_saved_and_knows_what_was_said(session, where):
    first = begun(session)
    assert first.checkpoints.known == ()
    for step, saved in ((3, FIRST), (5, SECOND), (6, SECOND)):
        session.progress(first.trial_id, replace(progress(step, 0.5), checkpoint=saved))
    session.lost(first.trial_id, "node gone")
    second = begun(session)
    assert second.checkpoints == replace(first.checkpoints, known=(FIRST, SECOND))
    third = Checkpoint(6, "c" * 64, "node-2")
    session.progress(second.trial_id, replace(progress(7, 0.5), checkpoint=third))
    session.lost(second.trial_id, "node gone")
    assert begun(session).checkpoints == replace(first.checkpoints, known=(FIRST, SECOND, third))
    other = begun(session)
    assert other.checkpoints.folder != first.checkpoints.folder
    assert other.checkpoints.known == ()
    assert Path(first.checkpoints.folder).parent == where.checkpoints / session._study.folder


def test_after_a_failure_of_its_own_nothing_is_known_as_the_worker_has_removed_it(session, where):
    """Else the retry would say that a folder which all nodes see might have held it."""
    ask = begun(session)
    session.progress(ask.trial_id, replace(progress(3, 0.5), checkpoint=FIRST))
    session.lost(ask.trial_id, "node gone")
    again = begun(session)
    assert again.checkpoints.known == (FIRST,)
    session.finish(again.trial_id, report(again, state="fail", reason="diverged"))
    store = Store(where.storage_url)
    send(where, store.study("toy"), "retry", [again.trial_id], wait=0)
    store.close()
    session.requests()
    third = begun(session)
    assert (third.attempt, third.checkpoints.known) == (3, ())


def test_a_study_may_save_nothing_or_in_a_folder_that_all_nodes_see(where, tmp_path):
    config = study(optimise=2, resources={"checkpoint_minutes": None})
    session = StudySession.open(config, where)
    assert session.next().checkpoints is None
    session.close()
    shared = study(optimise=2, resources={"checkpoint_minutes": 2.5, "checkpoint_folder": str(tmp_path / "shared")})
    session = StudySession.open(shared, where)
    plan = session.next().checkpoints
    assert (Path(plan.folder).parent, plan.minutes) == (
        tmp_path / "shared" / "slasearch-checkpoints" / session._study.folder,
        2.5,
    )
    session.close()


def test_checkpoints_of_a_cancelled_trial_and_of_a_deleted_study_are_removed(session, where):
    folders = []
    for ask in (begun(session), begun(session)):
        folders.append(Path(ask.checkpoints.folder))
        folders[-1].mkdir(parents=True)
        session.progress(ask.trial_id, replace(progress(3, 0.5), checkpoint=FIRST))
    store = Store(where.storage_url)
    row = store.study("toy")
    send(where, row, "cancel", [1], wait=0)
    session.requests()
    assert [folder.exists() for folder in folders] == [False, True]
    session.finish(2, report(replace(ask, trial_id=2)))
    session.close()
    delete_study(where, "toy")
    assert not folders[1].parent.exists()
    assert store.checkpoints([1, 2]) == ()
    store.close()
    with pytest.raises(LookupError):
        trials_of(where)


def test_folders_are_left_by_ended_trials_that_were_once_lost(where):
    session = StudySession.open(study(optimise=5, limits={"max_retries": 1}), where)
    lost, whole, failed = begun(session), begun(session), begun(session)
    session.lost(lost.trial_id, "node gone")
    session.finish(whole.trial_id, report(whole))
    session.finish(failed.trial_id, report(failed, state="fail", reason="diverged"))
    assert session.leftovers() == [], "expected a trial that waits to keep its checkpoints"
    again = begun(session)
    session.finish(again.trial_id, report(again))
    assert session.leftovers() == [Path(lost.checkpoints.folder)]
    starved = begun(session)
    no_room = report(starved, state="fail", reason="no room", out_of_memory=True)
    session.finish(starved.trial_id, no_room)
    session.finish(begun(session).trial_id, no_room)
    assert session.leftovers() == [Path(lost.checkpoints.folder), Path(starved.checkpoints.folder)]
    session.close()


def test_a_pruned_trial_that_had_saved_may_have_left_its_folder(session):
    """Its driver is killed between the answer that prunes it and the worker's obedience."""
    for saved in (FIRST, None):
        ask = begun(session)
        last = replace(progress(3, 0.5), checkpoint=saved)
        session.progress(ask.trial_id, last)
        session.prune(ask.trial_id, last)
        if saved is not None:
            folder = Path(ask.checkpoints.folder)
    assert session.leftovers() == [folder]
