"""`retry`, `cancel` and `delete` on copies of a finished study."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slasearch.search.lease import Lease
from slasearch.storage.store import Store

Command = Callable[..., Any]


@pytest.fixture
def copy(tmp_path: Path, finished: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the study, in which trial 1 has failed."""
    shutil.copytree(finished[0] / ".slasearch", tmp_path / ".slasearch", ignore=shutil.ignore_patterns("cache", "ray"))
    shutil.copy(finished[0] / "tiny.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect(tmp_path / ".slasearch" / "slasearch.db") as connection:
        connection.execute(
            "UPDATE sla_trial SET state = 'fail', reason = 'broken' WHERE number = 1 AND phase = 'design'"
        )
        trial = "(SELECT trial_id FROM trials WHERE number = 1 AND study_id = 1)"
        connection.execute(f"UPDATE trials SET state = 'FAIL' WHERE trial_id = {trial}")
        connection.execute(f"DELETE FROM trial_values WHERE trial_id = {trial}")
    return tmp_path


def test_retry_without_trials_takes_all_that_failed(copy: Path, command: Command) -> None:
    found = json.loads(command("retry", "tiny", "--json").out)
    assert found == {
        "study": "tiny",
        "trials": ["1"],
        "done": True,
        "outcome": "1 trial is waiting for a new attempt",
    }
    assert json.loads(command("status", "tiny", "--json").out)["waiting"] == 1
    answer = command("retry", "tiny")
    assert (answer.code, answer.out, answer.err) == (0, "", "study tiny: nothing to do\n")


def test_a_retried_trial_is_run_by_the_next_run(copy: Path, command: Command) -> None:
    assert command("retry", "tiny", "--trial", "1").code == 0
    answer = command("run", "tiny.yaml")
    assert answer.code == 0, answer.err
    rows = json.loads(command("trials", "tiny", "--json").out)
    assert [(row["trial"], row["state"], row["attempt"]) for row in rows if row["phase"] == "design"] == [
        ("0", "complete", 1),
        ("1", "fail", 1),
        ("2", "complete", 2),
    ]


def test_trials_in_another_state_and_unknown_ones_are_refused(copy: Path, command: Command) -> None:
    answer = command("retry", "tiny", "--trial", "0")
    assert answer.code == 2
    assert "expected a trial that has failed, got one that is complete" in answer.err
    assert command("retry", "tiny", "--trial", "77").code == 2
    assert "expected a trial that waits or runs, got one that is fail" in command("cancel", "tiny", "--trial", "1").err
    assert command("cancel", "tiny", "--trial", "1", "--now").code == 2
    assert command("retry", "nosuch").code == 2


def test_cancel_ends_a_waiting_trial_or_says_that_nobody_runs_the_study(copy: Path, command: Command) -> None:
    command("retry", "tiny")
    assert "1 trial is cancelled" in command("cancel", "tiny", "--trial", "1").err
    assert "nobody runs the study" in command("cancel", "tiny").err
    assert json.loads(command("retry", "tiny", "--json").out)["trials"] == []


def test_delete_asks_first_and_leaves_nothing(copy: Path, command: Command) -> None:
    answer = command("delete", "tiny")
    assert answer.code == 2
    assert "--yes" in answer.err
    assert command("status", "tiny").code == 0
    assert json.loads(command("delete", "tiny", "--yes", "--json").out) == {
        "study": "tiny",
        "trials": 5,
        "deleted": True,
        "astray": [],
    }
    assert command("status", "tiny").code == 2
    assert not list((copy / ".slasearch").glob("*/tiny"))


def test_delete_is_refused_while_the_study_is_run(copy: Path, command: Command) -> None:
    store = Store(f"sqlite:///{copy / '.slasearch' / 'slasearch.db'}")
    Lease.take(store, store.study("tiny").id, "tiny", 0.0)
    answer = command("delete", "tiny", "--yes")
    assert answer.code == 1
    assert "expected nobody to run it" in answer.err
    store.close()
