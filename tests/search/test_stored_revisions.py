"""A database that each revision of the tables has left behind, in mid-study, is upgraded and its study goes on.

`python tests/search/test_stored_revisions.py` prints the dump of the present revision; a new migration comes with it.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from session_kit import SMALL_DESIGN, check_truth, locations, progress, report, run_all, study, trials_of

from slasearch.config.load import stored_study
from slasearch.search import lease as lease_module
from slasearch.search.lease import this_process
from slasearch.search.study import StudySession
from slasearch.storage.engine import database_file, make_engine
from slasearch.storage.models import Base
from slasearch.storage.store import Store
from slasearch.storage.upgrade import newest_revision, stored_revision

DUMPS = Path(__file__).parent / "revisions"


def revisions():
    folder = Path(lease_module.__file__).parents[1] / "storage" / "migrations" / "versions"
    return sorted(path.name[:4] for path in folder.glob("[0-9]*.py"))


@pytest.mark.parametrize("revision", revisions())
def test_the_study_of_an_earlier_revision_goes_on(revision, tmp_path):
    where = locations(tmp_path)
    file = database_file(where.storage_url)
    file.parent.mkdir(parents=True)
    connection = sqlite3.connect(file)
    connection.executescript((DUMPS / f"{revision}.sql").read_text(encoding="utf-8"))
    connection.close()
    engine = make_engine(where.storage_url)
    assert stored_revision(engine) == revision
    store = Store(where.storage_url)
    store.upgrade()
    assert stored_revision(engine) == newest_revision()
    assert set(Base.metadata.tables) <= set(sa.inspect(engine).get_table_names())
    engine.dispose()
    config = stored_study(store.study("toy").config)
    before = [row for row in store.trials(1) if not row.open]
    for artifact in store.artifacts(1):
        (where.home / artifact.path).parent.mkdir(parents=True, exist_ok=True)
        (where.home / artifact.path).write_bytes({"adapter.safetensors": b"tensors"}.get(artifact.name, b"{}"))
    store.close()
    assert [row.state for row in before] == ["complete", "pruned", "fail"]
    session = StudySession.open(config, where)
    run_all(session)
    session.close()
    check_truth(config, where)
    rows = {row.id: row for row in trials_of(where)}
    assert [rows[row.id] for row in before] == before
    assert sum(row.reason is not None and row.reason.startswith("driver lost") for row in rows.values()) == 1
    assert session.summary().state == "finished"


def dump(folder: Path) -> str:
    """A study in mid-course: a complete trial, a pruned one, a failed one, and one whose driver has vanished."""
    config = study(
        design={**SMALL_DESIGN, "seeds": 1},
        optimise=2,
        sampler={"name": "random"},
        confirm={"top": 1, "seeds": 1, "controls": ["lora"], "tuning": 0},
    )
    where = locations(folder)
    vanished = replace(this_process(0.0), host="vanished", boot="", namespace="", pid=1, started="1")
    lease_module.this_process = lambda now: replace(vanished, since=1_750_000_000.0)
    session = StudySession.open(config, where, now=lambda: 1_750_000_000.0)

    def begun():
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id=f"ray{ask.trial_id}", worker="w")
        session.progress(ask.trial_id, progress(4, 0.5))
        return ask

    first, second, third = begun(), begun(), begun()
    session.finish(first.trial_id, report(first))
    session.prune(second.trial_id, progress(4, 0.5))
    session.finish(third.trial_id, report(third, state="fail", reason="no memory", traceback="Traceback …"))
    begun()
    session._store.close()
    connection = sqlite3.connect(database_file(where.storage_url))
    text = "\n".join(connection.iterdump())
    connection.close()
    return text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(dump(Path(folder)) + "\n")
