"""The structure of a trial and warnings of its gates in the terminal, of the small real study."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_the_structure_of_a_trial_is_a_grid_for_each_task(study: Path, command: Command) -> None:
    answer = command("trials", "tiny", "--structure", "1")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].startswith("trial 1: ")
    assert lines[2].startswith("spam: ")
    assert lines[3].split() == ["layer", "attn.q", "ffn.out"]
    assert [line.split()[0] for line in lines[4:6]] == ["5", "4"]


def test_the_structure_as_json_is_what_was_stored(study: Path, command: Command) -> None:
    row = next(row for row in json.loads(command("trials", "tiny", "--json").out) if row["trial"] == "c0")
    found = json.loads(command("trials", "tiny", "--structure", "c0", "--json").out)
    assert found["trial"] == "c0"
    assert found["parameters"] == row["exported_parameters"] == sum(task["parameters"] for task in found["tasks"])
    (task,) = found["tasks"]
    assert {module["kind"] for module in task["modules"]} <= {"lora", "bias"}
    assert task["slots"] == sum(len(module["slots"]) for module in task["modules"])


def test_a_structure_is_shown_without_the_metric_that_a_program_had_registered(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    own = Path(shutil.copytree(study, tmp_path / "own"))  # the study itself serves other tests, in any order
    monkeypatch.chdir(own)
    with closing(sqlite3.connect(own / ".slasearch" / "slasearch.db")) as database, database:
        (config,) = database.execute("SELECT config FROM sla_study WHERE name = 'tiny'").fetchone()
        changed = json.loads(config)
        changed["tasks"][0]["metric"] = "hits_of_mine"
        database.execute("UPDATE sla_study SET config = ? WHERE name = 'tiny'", (json.dumps(changed),))
    answer = command("trials", "tiny", "--structure", "1")
    assert (answer.code, answer.err) == (0, "")


def test_trials_without_modules_have_no_structure(study: Path, command: Command) -> None:
    rows = json.loads(command("trials", "tiny", "--json").out)
    probe = next(row["trial"] for row in rows if row["role"] == "control:linear_probe")
    answer = command("trials", "tiny", "--structure", probe)
    assert (answer.code, answer.out) == (1, "")
    assert f"structure of trial {probe}: expected stored gates, got none" in answer.err
    assert command("trials", "tiny", "--structure", "c99").code == 2


def test_trials_are_marked_with_their_warnings(finished: tuple[Path, Any], study: Path, command: Command) -> None:
    rows = json.loads(command("trials", "tiny", "--json").out)
    warned = {row["trial"]: [event["kind"] for event in row["warnings"]] for row in rows if row["warnings"]}
    assert warned, "four steps are too few for gates to move, which is told"
    answer = command("trials", "tiny")
    assert "warnings" in answer.out.splitlines()[0]
    short = next(iter(warned.values()))[0].removeprefix("gate_health.").replace("_", " ")
    assert short in answer.out
    told = [line for line in answer.err.splitlines() if line.startswith("gate health: ")]
    assert len(told) == len({kind for kinds in warned.values() for kind in kinds})
    assert all(line in finished[1].err for line in told)
