"""What reads a study reads the same from PostgreSQL as from SQLite."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.study import StudyDirection
from synthetic import write_study

from slasearch.analysis.frames import load_frames
from slasearch.analysis.learning import load_learning
from slasearch.report.write import write_report
from slasearch.service.dashboard import make_dashboard_server
from slasearch.storage.engine import optuna_storage

pytestmark = pytest.mark.postgres

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, postgres_server: Any) -> tuple[str, str]:
    """URLs of the same study in SQLite and in PostgreSQL."""
    urls = f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'study.db'}", postgres_server.new_database()
    for url in urls:
        write_study(url)
        storage = optuna_storage(url)
        storage.create_new_study([StudyDirection.MAXIMIZE], "synthetic")
        storage.engine.dispose()
    return urls


def test_frames_are_the_same_with_their_types(both: tuple[str, str]) -> None:
    sqlite, postgresql = (load_frames(url, "synthetic") for url in both)
    tables = [field.name for field in fields(sqlite) if isinstance(getattr(sqlite, field.name), pd.DataFrame)]
    assert len(tables) >= 6
    for name in tables:
        pd.testing.assert_frame_equal(getattr(sqlite, name), getattr(postgresql, name))
    assert len(sqlite.trials) > 30
    assert (sqlite.study, sqlite.config) == (postgresql.study, postgresql.config)
    pd.testing.assert_frame_equal(*(load_learning(url, "synthetic") for url in both))


@pytest.mark.parametrize("verb", [("status",), ("status", "synthetic"), ("trials", "synthetic")])
def test_reading_verbs_answer_the_same(verb: tuple[str, ...], both: tuple[str, str], command: Command) -> None:
    sqlite, postgresql = (command(*verb, "--storage", url) for url in both)
    assert sqlite.code == 0, sqlite.err
    assert (postgresql.code, postgresql.out) == (0, sqlite.out)


def test_a_report_is_written_from_postgresql(both: tuple[str, str], tmp_path: Path) -> None:
    written = write_report(both[1], "synthetic", tmp_path, ["csv"])
    assert len(written) > 5
    assert all(path.stat().st_size for path in written)


def test_the_dashboard_lists_the_study_in_postgresql(both: tuple[str, str]) -> None:
    server = make_dashboard_server(both[1], port=0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        connection.request("GET", "/api/studies")
        answer = connection.getresponse()
        names = [study["study_name"] for study in json.loads(answer.read())["study_summaries"]]
        connection.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (answer.status, names) == (200, ["synthetic"])
