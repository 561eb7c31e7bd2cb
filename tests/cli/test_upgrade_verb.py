"""`upgrade` on databases of earlier revisions, and what reading verbs say before it."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slasearch.storage.upgrade import newest_revision

Command = Callable[..., Any]

DUMPS = Path(__file__).parents[1] / "search" / "revisions"


@pytest.fixture
def earlier(tmp_path: Path) -> str:
    """URL of a database that the first revision has left behind."""
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.executescript((DUMPS / "0001.sql").read_text(encoding="utf-8"))
    return f"sqlite:///{tmp_path / 'study.db'}"


def test_readers_of_an_earlier_revision_are_told_to_upgrade_and_can_read_then(earlier: str, command: Command) -> None:
    for words in (["status"], ["trials", "toy"], ["report", "toy", "--out", "out"], ["export", "toy", "--trial", "0"]):
        out = ["--out", "out"] if words[0] == "export" else []
        answer = command(*words, *out, "--storage", earlier)
        assert answer.code == 4, words
        assert "got 0001, made by an earlier release. Take a copy of it, then run `slasearch upgrade`." in answer.err
    answer = command("upgrade", "--storage", earlier)
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.endswith(f"study.db: upgraded from revision 0001 to {newest_revision()}\n")
    rows = json.loads(command("trials", "toy", "--storage", earlier, "--json").out)
    assert [row["state"] for row in rows] == ["complete", "pruned", "fail", "running"]


def test_a_database_of_this_release_is_left_alone(earlier: str, command: Command, tmp_path: Path) -> None:
    found = json.loads(command("upgrade", "--storage", earlier, "--json").out)
    assert (found["before"], found["now"]) == ("0001", newest_revision())
    before = sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir())
    answer = command("upgrade", "--storage", earlier)
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.endswith(f"at revision {newest_revision()} already, nothing to do\n")
    assert sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir()) == before


def test_nothing_is_made_where_there_is_no_database(command: Command, tmp_path: Path) -> None:
    answer = command("upgrade", "--storage", f"sqlite:///{tmp_path / 'none.db'}")
    assert answer.code == 4
    assert "expected the file" in answer.err
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    answer = command("upgrade", "--storage", f"sqlite:///{tmp_path / 'other.db'}")
    assert answer.code == 4
    assert "expected slasearch's tables, got none. Run a study first" in answer.err
    assert not (tmp_path / "none.db").exists()
