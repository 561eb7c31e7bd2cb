"""A full disk, a folder that cannot be written and a locked file: one clear error, and what was there is kept."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest
import sqlalchemy as sa
from session_kit import check_truth, report, run_all, study, trials_of

from slasearch.errors import StorageError
from slasearch.search.study import StudySession
from slasearch.search.summary import read_summary
from slasearch.storage import engine as engine_module
from slasearch.storage.engine import database_file
from slasearch.storage.store import Store

CONFIG = study(
    optimise=4,
    sampler={"name": "random"},
    confirm={"top": 1, "seeds": 1, "controls": [], "tuning": 0},
    objectives=("score",),
)


def one_trial(session):
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id="r")
    session.finish(ask.trial_id, report(ask))


def for_ever(step, session):
    while True:
        step(session)


def goes_on_from(where, kept):
    """The same command again: what was complete is still there, and the study comes to its exact end."""
    session = StudySession.open(CONFIG, where)
    run_all(session)
    session.close()
    check_truth(CONFIG, where)
    rows = trials_of(where)
    assert rows[: len(kept)] == kept
    assert sum(row.state == "complete" for row in rows) == 5


def test_a_full_disk_is_told_and_keeps_what_was_there(where):
    session = StudySession.open(CONFIG, where)
    one_trial(session)
    kept = trials_of(where)
    with session._store.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    for engine in (session._store.engine, session._search._storage.engine):
        # Of every connection that is taken from the pool: the limit is one connection's own.
        sa.event.listen(engine, "checkout", lambda found, *_: found.execute(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(StorageError, match=r"disk is full\. Free some space and run the same command again"):
        for_ever(one_trial, session)
    with suppress(StorageError):
        session.close()
    goes_on_from(where, kept)


def test_a_disk_that_is_full_between_both_sets_of_tables_leaves_neither_for_truth(where):
    """Our rows say that the trial is complete, Optuna's that it runs."""
    session = StudySession.open(CONFIG, where)
    one_trial(session)
    store = Store(where.storage_url)
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id="r")
    full = sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
    session._search._storage.set_trial_state_values = Mock(side_effect=full)
    with pytest.raises(StorageError, match="disk is full"):
        session.finish(ask.trial_id, report(ask))
    session.close()
    told = read_summary(store, CONFIG.name)
    assert (told.complete, told.unsettled) == (2, 1)
    rows = trials_of(where)
    goes_on_from(where, rows)
    assert read_summary(store, CONFIG.name).unsettled == 0


def test_a_locked_file_is_told_and_keeps_what_was_there(where, monkeypatch):
    monkeypatch.setattr(engine_module, "BUSY_SECONDS", 0.05)
    session = StudySession.open(CONFIG, where)
    one_trial(session)
    kept = trials_of(where)
    other = sqlite3.connect(database_file(where.storage_url), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageError, match=r"database is locked\. Another process"):
        one_trial(session)
    with suppress(StorageError):
        session.close()
    other.execute("ROLLBACK")
    other.close()
    goes_on_from(where, kept)


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from session_kit import locations
from test_sqlite_troubles import CONFIG, StorageError, StudySession
try:
    StudySession.open(CONFIG, locations(Path({home!r})))
except StorageError as error:
    print(error)
"""


def without_rights(command):
    """The command, under which a folder's permissions count for root too."""
    caps = "-dac_override,-dac_read_search"
    return command if os.getuid() else ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}", *command]


def test_an_upgrade_of_a_file_that_cannot_be_written_is_one_clear_error(tmp_path):
    file = tmp_path / "study.db"
    connection = sqlite3.connect(file)
    connection.executescript((Path(__file__).parent / "revisions" / "0002.sql").read_text(encoding="utf-8"))
    connection.close()
    before = file.read_bytes()
    file.chmod(0o444)
    tmp_path.chmod(0o555)
    command = [sys.executable, "-m", "slasearch", "upgrade", "--storage", f"sqlite:///{file}"]
    done = subprocess.run(without_rights(command), capture_output=True, text=True, check=False)
    tmp_path.chmod(0o755)
    file.chmod(0o644)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (4, "", 1), done.stderr
    assert "Make the file and its folder writable" in done.stderr or "folder exists and is writable" in done.stderr
    assert file.read_bytes() == before


def test_a_database_in_a_folder_that_cannot_be_written_can_be_read(where, tmp_path):
    session = StudySession.open(CONFIG, where)
    one_trial(session)
    session.close()
    file = database_file(where.storage_url)
    before = file.read_bytes()
    file.chmod(0o444)
    file.parent.chmod(0o555)

    def ask(verb):
        command = [sys.executable, "-m", "slasearch", verb, "--json", "--storage", where.storage_url]
        done = subprocess.run(without_rights(command), capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    studies, checks = ask("status"), ask("doctor")
    file.parent.chmod(0o755)
    file.chmod(0o644)
    assert [(study["name"], study["complete"]) for study in studies] == [("toy", 1)]
    assert next(check["status"] for check in checks if check["name"] == "database") == "ok"
    assert next(check["status"] for check in checks if check["name"] == "home folder") == "problem"
    assert file.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_told_and_keeps_what_was_there(where, tmp_path):
    session = StudySession.open(CONFIG, where)
    one_trial(session)
    session.close()
    kept = trials_of(where)
    folder, file = database_file(where.storage_url).parent, database_file(where.storage_url)
    before = file.read_bytes()
    file.chmod(0o444)
    folder.chmod(0o555)
    script = SCRIPT.format(folder=str(Path(__file__).parent), home=str(tmp_path))
    done = subprocess.run(without_rights([sys.executable, "-c", script]), capture_output=True, text=True, check=False)
    folder.chmod(0o755)
    file.chmod(0o644)
    assert "Traceback" not in done.stderr, done.stderr
    assert "Make the file and its folder writable" in done.stdout or "folder exists and is writable" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert file.read_bytes() == before
    goes_on_from(where, kept)
