from __future__ import annotations

import shutil

import pytest
from session_kit import FULL, dead_holder, locations, run_all

from slasearch.search.study import StudySession
from slasearch.storage.engine import optuna_storage
from slasearch.storage.store import Store


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database with all tables and no study: copied, because making it takes longer than most tests."""
    file = tmp_path_factory.mktemp("template") / "study.db"
    store = Store(f"sqlite:///{file}")
    store.upgrade()
    optuna_storage(store.url).engine.dispose()
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    return file


@pytest.fixture
def where(tmp_path, empty_database):
    """Where a study's results lie."""
    (tmp_path / "db").mkdir()
    shutil.copy(empty_database, tmp_path / "db" / "study.db")
    return locations(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A study of all phases that has been run to its end, for tests that only read: where it lies, and its asks."""
    where = locations(tmp_path_factory.mktemp("finished"))
    session = StudySession.open(FULL, where)
    asks = run_all(session)
    session.close()
    return where, asks


@pytest.fixture
def opened(where):
    """Opens sessions; each new one ends the one before as a killed process would, without a word."""
    sessions = []

    def open_session(config, *, now=None):
        if sessions:
            dead_holder(where)
        sessions.append(StudySession.open(config, where, **({"now": now} if now else {})))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session._closing.pop_all()
        session._store.close()
