"""A database that goes away in mid-study: nothing is lost or there twice, and nobody writes without the lease."""

from __future__ import annotations

import random
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from session_kit import check_truth, column, dead_holder, locations, optuna_trials, progress, report, run_all, study
from session_kit import trials_of as rows_of
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from slasearch.config.locations import Locations
from slasearch.errors import ConnectionLostError, LeaseError
from slasearch.search.study import StudySession
from slasearch.storage.engine import make_engine
from slasearch.storage.models import SlaLease
from slasearch.storage.patience import Patience

pytestmark = pytest.mark.postgres

CONFIG = study(
    design={"sampler": {"name": "qmc"}, "points": 3, "seeds": 1},
    optimise=2,
    sampler={"name": "random"},
    confirm={"top": 1, "seeds": 1, "controls": ["lora"], "tuning": 0},
    objectives=("score",),
)


@pytest.fixture
def where(tmp_path, postgres_url):
    return Locations(postgres_url, tmp_path / "home")


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory):
    """The study on an undisturbed SQLite file, as `told` tells it."""
    where = locations(tmp_path_factory.mktemp("sqlite"))
    run(where)
    return told(where)


def run(where, patience=None):
    session = StudySession.open(CONFIG, where, patience=patience)
    run_all(session)
    session.close()


def told(where):
    """All that the two sets of tables say of each trial, but for ids and times."""
    ours = [
        (row.optuna_study, row.number, row.phase, row.point, row.state, row.attempt, row.spec, row.score, row.budget)
        for row in rows_of(where)
    ]
    theirs = [
        (trial.number, trial.state, trial.params, trial.values, trial.intermediate_values, trial.user_attrs["role"])
        for name in ("toy", "toy.confirm")
        for trial in optuna_trials(where, name)
    ]
    return ours, theirs


def patient(said):
    """Waits for nothing, and for a database that was never met too."""
    patience = Patience(say=said.append, pause=lambda seconds: True)
    patience.call(lambda: None)
    return patience


def test_the_same_study_gives_the_same_trials_and_values_on_both_databases(where, on_sqlite):
    run(where)
    check_truth(CONFIG, where)
    assert told(where) == on_sqlite


@pytest.mark.parametrize("committed", [False, True], ids=["before the commit", "before its answer"])
def test_connections_lost_at_half_of_all_commits_change_nothing(committed, where, on_sqlite, monkeypatch):
    real = PGDialect_psycopg.do_commit
    draw = random.Random(1)
    lost = []

    def commit(dialect, connection):
        if draw.random() < 0.5:
            if committed:
                real(dialect, connection)
            connection.dbapi_connection.close()
            lost.append(1)
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        real(dialect, connection)

    monkeypatch.setattr("optuna.storages._rdb.storage.time.sleep", lambda seconds: None)
    said = []
    with monkeypatch.context() as patched:
        patched.setattr(PGDialect_psycopg, "do_commit", commit)
        run(where, patient(said))
    assert len(lost) > 50
    assert sum("Waiting" in text for text in said) > 25
    check_truth(CONFIG, where)
    assert told(where) == on_sqlite


def test_a_server_that_is_restarted_between_any_two_steps_of_a_trial_is_not_noticed(where, on_sqlite, postgres_server):
    said = []
    session = StudySession.open(CONFIG, where, patience=patient(said))
    modes = iter(("fast", "immediate") * 4)

    def restart():
        if (mode := next(modes, None)) is not None:
            postgres_server.restart(mode)

    while not isinstance(ask := session.next(), str):
        restart()
        session.started(ask.trial_id, ray_trial_id=f"ray{ask.trial_id}", worker="w")
        restart()
        session.progress(ask.trial_id, progress(4, 0.5))
        restart()
        session.finish(ask.trial_id, report(ask))
    session.close()
    check_truth(CONFIG, where)
    assert told(where) == on_sqlite


def test_a_driver_that_gave_up_leaves_the_study_to_the_next(where, postgres_server):
    session = StudySession.open(CONFIG, where, patience=Patience(say=lambda text: None, pause=lambda seconds: False))
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id="r")
    postgres_server.stop("immediate")
    try:
        with pytest.raises(ConnectionLostError, match="Run the same command again"):
            session.finish(ask.trial_id, report(ask))
        session.close()
    finally:
        postgres_server.start()
    run(where)
    check_truth(CONFIG, where)
    assert [row.state for row in rows_of(where)].count("fail") == 1


def test_a_lease_that_was_lost_in_the_meantime_is_noticed_after_the_reconnection(where):
    late = StudySession.open(CONFIG, where, patience=patient([]))
    ask = late.next()
    late.started(ask.trial_id, ray_trial_id="r")
    end_connections(where)
    dead_holder(where)
    fresh = StudySession.open(CONFIG, where)
    before = told(where)
    with pytest.raises(LeaseError, match="another driver has taken the study over"):
        late.finish(ask.trial_id, report(ask))
    late.close()
    assert told(where) == before
    run_all(fresh)
    fresh.close()
    check_truth(CONFIG, where)


def test_no_password_is_printed_or_stored(tmp_path, postgres_server, capsys, caplog):
    where = Locations(postgres_server.new_database(password="s3cret"), tmp_path / "home")
    session = StudySession.open(CONFIG, where)
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id="r")
    end_connections(where)
    session.finish(ask.trial_id, report(ask))
    run_all(session)
    session.close()
    written = [path.read_bytes() for path in Path(tmp_path).rglob("*") if path.is_file()]
    assert written
    captured = capsys.readouterr()
    assert all(b"s3cret" not in data for data in written)
    assert "s3cret" not in captured.out + captured.err + caplog.text
    engine = make_engine(where.storage_url)
    with engine.connect() as connection:
        for table in sa.inspect(connection).get_table_names():
            assert "s3cret" not in str(connection.exec_driver_sql(f'SELECT * FROM "{table}"').all())
    engine.dispose()


def test_the_lease_is_given_back_at_the_end(where):
    run(where)
    assert column(where, sa.select(SlaLease.holder)) == [None]


def end_connections(where):
    """As an administrator does, or a server that is restarted."""
    engine = make_engine(where.storage_url)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    engine.dispose()
