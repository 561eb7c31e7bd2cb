"""Every verb on a real study: run by Ray Tune on MiniLM, stored in SQLite, read back."""

import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import Plan

import slasearch
from slasearch.cli.report import FORMATS
from slasearch.cli.run import INTERRUPTED, exit_code
from slasearch.orchestrate.interrupts import Interrupts
from slasearch.report.write import REPORT_FORMATS
from slasearch.search.summary import StudySummary

Command = Callable[..., Any]


def count(folder: Path, table: str) -> int:
    with sqlite3.connect(folder / ".slasearch" / "slasearch.db") as connection:
        found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return found


def test_run_ends_with_the_result_table_and_the_next_commands(finished: tuple[Path, Any]) -> None:
    folder, answer = finished
    assert answer.code == 0, answer.err
    assert "LoRA" in answer.out
    assert "5 complete" in answer.err
    assert "slasearch export tiny --best score" in answer.err
    assert "Traceback" not in answer.err
    assert count(folder, "sla_trial") == 5


def test_running_again_does_nothing_and_says_so(study: Path, command: Command) -> None:
    before = (study / ".slasearch" / "slasearch.db").stat().st_size, count(study, "trials"), count(study, "sla_metric")
    answer = command("run", "tiny.yaml")
    assert answer.code == 0
    assert "Nothing to do" in answer.err
    after = (study / ".slasearch" / "slasearch.db").stat().st_size, count(study, "trials"), count(study, "sla_metric")
    assert after == before


def test_another_content_under_the_same_name_is_refused(study: Path, command: Command) -> None:
    answer = command("run", "tiny.yaml", "--set", "training.batch_size=16")
    assert (answer.code, answer.out) == (2, "")
    assert "training.batch_size: was 8, is 16" in answer.err


def test_an_invalid_file_is_not_run(study: Path, command: Command) -> None:
    answer = command("run", "tiny.yaml", "--set", "training.batch_size=none", "--set", "seed=-1")
    assert (answer.code, answer.out) == (2, "")
    assert "training.batch_size" in answer.err
    assert "seed" in answer.err


def test_dry_run_counts_and_makes_no_database(tmp_path: Path, study: Path, command: Command) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'new.db'}"
    answer = command("run", "tiny.yaml", "--dry-run", "--storage", url)
    assert answer.code == 0
    assert re.search(r"design\s+2\n", answer.out)
    assert "size_control.sparsity_weight" in answer.out
    assert not (tmp_path / "new").exists()


def test_dry_run_says_what_this_machine_lacks(study: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    more = ("--set", "resources.cpus_per_trial=3", "--set", "resources.gpus_per_trial=0.5")
    answer = command("run", "tiny.yaml", "--dry-run", *more)
    assert answer.code == 0
    assert "gpus_per_trial: expected at most the 0 GPUs of this machine, got 0.5" in answer.err
    assert "cpus_per_trial: expected at most the 2 cores of this machine, got 3" in answer.err
    assert len(json.loads(command("run", "tiny.yaml", "--dry-run", "--json", *more).out)["notes"]) == 2
    assert command("run", "tiny.yaml", "--dry-run", "--address", "auto", *more).err == "", "a cluster has its own"
    assert command("run", "tiny.yaml", "--dry-run").err == ""


def test_trials_that_repeat_one_another_are_told(study: Path, command: Command) -> None:
    fixed = ("size_control.sparsity_weight=0.5", "phases={optimise: {trials: 5, seeds: 2}}")
    words = ("run", "tiny.yaml", "--dry-run", *(word for change in fixed for word in ("--set", change)))
    answer = command(*words)
    told = "expected a field that is searched, got none: of 5 trials all beyond the first 2 repeat earlier ones"
    assert answer.code == 0
    assert told in answer.err
    assert command(*words, "--set", "phases.optimise.seeds=5").err == ""


def test_data_of_a_program_are_refused_before_a_study_is_made(study: Path, command: Command) -> None:
    words = ("run", "tiny.yaml", "--set", "tasks.0.source=object:mine", "--set", "name=program")
    told = "got object:mine, which a program hands over. Run the study from Python: slasearch.run_study("
    for more, code in (((), 2), (("--dry-run",), 0)):
        answer = command(*words, *more)
        assert answer.code == code
        assert told in answer.err
    assert "program" not in command("status").out


@pytest.mark.parametrize("address", ["ray://10.0.0.5:10001", "10.0.0.5", "head:", "http://head:8265"])
@pytest.mark.parametrize("words", [["--dry-run"], []])
def test_a_wrong_address_is_refused_before_anything_runs(
    address: str, words: list[str], study: Path, command: Command
) -> None:
    answer = command("run", "tiny.yaml", "--address", address, *words)
    assert (answer.code, answer.out) == (2, "")
    assert f"expected auto or HOST:PORT, got '{address}'" in " ".join(answer.err.split())


def test_no_password_goes_into_a_clusters_command_lines(study: Path, command: Command) -> None:
    storage = "postgresql+psycopg://me:hidden@host/results"
    for words in ((), ("--dry-run",), ("--json",)):
        answer = command("run", "tiny.yaml", "--address", "auto", "--storage", storage, *words)
        assert (answer.code, answer.out) == (2, "")
        assert "--storage: expected a URL without a password beside --address" in answer.err
        assert "$SLASEARCH_STORAGE_PASSWORD_FILE" in answer.err
        assert "hidden" not in answer.err
    assert command("run", "tiny.yaml", "--dry-run", "--storage", storage).code == 0


def test_validate_says_ok_or_every_problem(study: Path, command: Command) -> None:
    (study / "bad.yaml").write_text("name: bad name\ntasks: []\n")
    answer = command("validate", "tiny.yaml", "bad.yaml")
    assert answer.code == 2
    assert answer.out == "tiny.yaml: ok\n"
    assert len([line for line in answer.err.splitlines() if line.startswith("bad.yaml:")]) >= 3
    found = json.loads(command("validate", "--json", "tiny.yaml", "bad.yaml").out)
    assert [entry["valid"] for entry in found] == [True, False]
    assert command("validate", "tiny.yaml").code == 0


def test_columns_that_a_table_lacks_are_told_before_anything_runs(study: Path, command: Command) -> None:
    (study / "rows.csv").write_text("text,label\nx,good\ny,bad\n")
    source = ("--set", "tasks.0.source=file:rows.csv", "--set", "tasks.0.label=lable")
    told = "expected one of the columns of rows.csv (text, label), got 'lable'; did you mean 'label'?"
    for words in (("validate", "tiny.yaml"), ("run", "tiny.yaml", "--dry-run"), ("run", "tiny.yaml")):
        answer = command(*words, *source)
        assert answer.code == 2
        assert told in answer.err
    both = command("validate", "tiny.yaml", *source, "--set", "pool.layers=[99]")
    assert told in both.err
    assert "pool.layers" in both.err, "with all that is wrong elsewhere"


def test_status_counts_trials_by_phase(study: Path, command: Command) -> None:
    assert re.search(r"tiny\s+finished\s+5/5\s+0", command("status").out)
    answer = command("status", "tiny")
    assert re.search(r"design\s+2\s+2\s+0\s+0", answer.out)
    assert "study tiny: finished" in answer.out
    assert re.search(r"0\.0\d device hours", answer.out)
    assert answer.err == ""
    found = json.loads(command("status", "tiny", "--json").out)
    assert (found["planned"], found["phases"]["confirm"]["complete"]) == (5, 3)
    assert json.loads(command("status", "--json").out) == [found]


def test_a_study_whose_driver_was_killed_is_listed_as_interrupted(
    tmp_path: Path, study: Path, command: Command
) -> None:
    copy = tmp_path / "copy.db"
    with sqlite3.connect(study / ".slasearch" / "slasearch.db") as source, sqlite3.connect(copy) as target:
        source.backup(target)
        target.execute("UPDATE sla_study SET state = 'running'")
    url = f"sqlite:///{copy}"
    assert re.search(r"tiny\s+interrupted\s+5/5", command("status", "--storage", url).out)
    assert "tiny: interrupted" in command("status", "tiny", "--storage", url).out


def copied(study: Path, file: Path) -> bytes:
    with sqlite3.connect(study / ".slasearch" / "slasearch.db") as source, sqlite3.connect(file) as target:
        source.backup(target)
    return file.read_bytes()


def test_trials_of_another_state_in_optunas_tables_are_counted(tmp_path: Path, study: Path, command: Command) -> None:
    file = tmp_path / "copy.db"
    copied(study, file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE trials SET state = 'RUNNING' WHERE number = 1 AND study_id = 1")
    answer = command("status", "tiny", "--storage", f"sqlite:///{file}")
    assert answer.out.startswith("study tiny: finished, unsettled\n")
    assert answer.err.startswith("1 trial has another state in Optuna's tables, as after a full disk. Rely neither")
    assert "finished, unsettled" in command("status", "--storage", f"sqlite:///{file}").out
    assert json.loads(command("status", "tiny", "--json", "--storage", f"sqlite:///{file}").out)["unsettled"] == 1


VERBS_OF_A_DATABASE = (
    ("status",),
    ("status", "tiny", "--json"),
    ("trials", "tiny"),
    ("report", "tiny", "--out", "never"),
    ("export", "tiny", "--best", "score", "--out", "never"),
    ("delete", "tiny", "--yes"),
    ("cancel", "tiny"),
    ("run", "tiny.yaml"),
)


@pytest.mark.parametrize("words", VERBS_OF_A_DATABASE, ids=" ".join)
def test_a_damaged_database_is_one_line(words: tuple[str, ...], tmp_path: Path, study: Path, command: Command) -> None:
    """40 flipped bytes, in the statements that made the tables: SQLite quotes them in a message that is no UTF-8."""
    file = tmp_path / "copy.db"
    content = bytearray(copied(study, file))
    begin = content.index(b"CREATE TABLE")
    for place in range(begin, begin + 40):
        content[place] ^= 0x92
    file.write_bytes(content)
    answer = command(*words, "--storage", f"sqlite:///{file}")
    assert answer.code == 4
    assert answer.out == ""
    (line,) = [line for line in answer.err.splitlines() if "study tiny in sqlite" not in line]
    assert "The file is damaged; restore a copy" in line
    assert not (study / "never").exists()


@pytest.mark.parametrize(
    "words", [("status", "tiny"), ("report", "tiny", "--out", "never"), ("delete", "tiny", "--yes")]
)
def test_a_damaged_study_in_a_sound_database_is_one_line(
    words: tuple[str, ...], tmp_path: Path, study: Path, command: Command
) -> None:
    file = tmp_path / "copy.db"
    copied(study, file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE sla_study SET config = replace(config, '\"', '?')")
    answer = command(*words, "--storage", f"sqlite:///{file}")
    assert (answer.code, answer.out) == (4, "")
    assert answer.err.startswith("Error: database: expected JSON where it was stored, got a damaged text")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("words", VERBS_OF_A_DATABASE, ids=" ".join)
def test_an_emptied_database_is_not_begun_anew(
    words: tuple[str, ...], tmp_path: Path, study: Path, command: Command
) -> None:
    file = tmp_path / "copy.db"
    file.touch()
    answer = command(*words, "--storage", f"sqlite:///{file}")
    assert (answer.code, answer.out) == (4, "")
    assert f"expected a database in {file}, got an empty file. If studies were in it, restore a copy" in answer.err
    assert file.stat().st_size == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("resources.cpus_per_trial=1000000", "expected a number of at most 1024, got 1000000"),
        ("tasks.0.source=object:os.system", "expected a name of letters, digits, _ and -, by which a program"),
        (f"seed={'9' * 5000}", 'expected a whole number, got "9999'),
        (f"pool.ranks={{categorical: {[[rank] for rank in range(1, 3001)]}}}", "expected at most 500 entries, got"),
    ],
    ids=["cpus", "object", "digits", "choices"],
)
def test_what_no_run_could_use_is_refused_at_once(change: str, message: str, study: Path, command: Command) -> None:
    answer = command("validate", "tiny.yaml", "--set", change)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err


def test_a_pipe_is_no_table(tmp_path: Path, study: Path, command: Command) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    answer = command("validate", "tiny.yaml", "--set", f"tasks.0.source=file:{tmp_path}/pipe.jsonl")
    assert (answer.code, answer.out) == (2, "")
    assert "expected a file or a folder, got something that is no plain file" in answer.err


def test_a_trial_of_more_cpus_than_this_machine_has_is_refused(tmp_path: Path, study: Path, command: Command) -> None:
    url = f"sqlite:///{tmp_path / 'large.db'}"
    answer = command("run", "tiny.yaml", "--set", "resources.cpus_per_trial=1000", "--storage", url)
    assert (answer.code, answer.out) == (4, "")
    assert "expected a node with 1000 CPUs and 0 GPUs for a trial, got" in answer.err
    assert json.loads(command("status", "tiny", "--json", "--storage", url).out)["failed"] == 0


def test_the_hint_for_a_driver_is_that_of_its_database(command: Command) -> None:
    answer = command("status", "--storage", "mysql://me@nowhere/x")
    assert answer.code == 4
    assert "Use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME" in answer.err


def test_a_grown_study_whose_limit_is_used_up_says_which(tmp_path: Path, study: Path, command: Command) -> None:
    url = f"sqlite:///{tmp_path / 'copy.db'}"
    with sqlite3.connect(study / ".slasearch" / "slasearch.db") as source, sqlite3.connect(tmp_path / "copy.db") as to:
        source.backup(to)
    more = ("--set", "phases.design.seeds=2", "--set", "limits.max_device_hours=0.000001", "--storage", url)
    for _ in range(2):
        answer = command("run", "tiny.yaml", *more)
        assert answer.code == 0
        assert re.search(r"stopped: limits.max_device_hours: .* are used \(5 complete.* raise that limit", answer.err)
        assert "Nothing to do" not in answer.err


def test_an_unknown_study_is_said_with_those_there_are(study: Path, command: Command) -> None:
    answer = command("trials", "nosuch")
    assert (answer.code, answer.out) == (2, "")
    assert "tiny" in answer.err


def test_trials_are_called_by_optunas_numbers(study: Path, command: Command) -> None:
    rows = json.loads(command("trials", "tiny", "--json").out)
    assert [row["trial"] for row in rows] == ["0", "1", "c0", "c1", "c2"]
    assert {row["state"] for row in rows} == {"complete"}
    assert rows[1]["parameters"] == {"size_control.sparsity_weight": 1.0}
    table = command("trials", "tiny").out.splitlines()
    assert len(table) == 6
    assert "sparsity_weight=0.1" in table[1]
    assert ["sparsity_weight" in line for line in table[1:]] == [True, True, True, False, False], "controls feel none"


def test_parameters_of_one_last_name_are_told_apart(database_of: Callable[[Plan], str], command: Command) -> None:
    answer = command("trials", "synthetic", "--storage", database_of(Plan()))
    line = answer.out.splitlines()[1]
    assert "embedding_gaussian.level=0 " in line
    assert "typos.level=0" in line
    assert " learning_rate=0.003" in line


def test_the_log_of_a_trial_is_printed(study: Path, command: Command) -> None:
    assert command("trials", "tiny", "--log", "c0", "--json").code == 2
    assert "--log without --structure" in command("trials", "tiny", "--log", "c0", "--structure", "0").err
    answer = command("trials", "tiny", "--log", "c0")
    assert answer.code == 0
    assert "complete" in answer.out
    for label in ("c99", "-1", "0x", "-"):
        assert command("trials", "tiny", f"--log={label}").code == 2


def test_a_lost_log_is_said(study: Path, command: Command) -> None:
    row = json.loads(command("trials", "tiny", "--json").out)[1]
    path = study / ".slasearch" / row["log"]
    kept = path.read_bytes()
    path.unlink()
    answer = command("trials", "tiny", "--log", "1")
    path.write_bytes(kept)
    assert (answer.code, answer.out) == (1, "")
    assert row["log"] in answer.err


def test_no_file_outside_the_home_folder_is_printed_as_a_log(tmp_path: Path, study: Path, command: Command) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    copy = tmp_path / "home" / "copy.db"
    with sqlite3.connect(study / ".slasearch" / "slasearch.db") as source, sqlite3.connect(copy) as target:
        source.backup(target)
        target.execute("UPDATE sla_trial SET log = '../secret.txt'")
    answer = command("trials", "tiny", "--log", "1", "--storage", f"sqlite:///{copy}")
    assert (answer.code, answer.out) == (1, "")
    assert "expected a log file, got none (../secret.txt" in answer.err


def test_report_writes_what_is_asked_for(study: Path, command: Command) -> None:
    answer = command("report", "tiny", "--out", "report", "--format", "html,csv")
    assert answer.code == 0, answer.err
    files = [Path(line) for line in answer.out.splitlines()]
    assert {file.suffix for file in files} == {".html", ".csv", ".json"}
    assert all(file.stat().st_size > 0 for file in files)
    again = command("report", "tiny", "--out", "report", "--format", "csv", "--json")
    assert {Path(name).suffix for name in json.loads(again.out)} == {".csv", ".json"}
    assert FORMATS == REPORT_FORMATS
    assert command("report", "tiny", "--out", "report", "--format", "html,docx").code == 2


def test_doctor_looks_at_the_database(study: Path, command: Command) -> None:
    checks = json.loads(command("doctor", "--json").out)
    database = next(check for check in checks if check["area"] == "storage")
    assert database["status"] == "ok"
    assert "studies: 1" in database["found"]
    assert command("doctor").out.startswith("status")


def test_the_dashboard_serves_the_study_until_it_is_interrupted(study: Path) -> None:
    words = [sys.executable, "-m", "slasearch", "dashboard", "--port", "0"]
    with subprocess.Popen(words, cwd=study, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, line
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)
        connection.request("GET", "/api/studies")
        names = {entry["study_name"] for entry in json.loads(connection.getresponse().read())["study_summaries"]}
        connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    assert names == {"tiny", "tiny.confirm"}


def test_run_talks_json_to_programs(study: Path, command: Command) -> None:
    again = command("run", "tiny.yaml", "--json")
    assert again.code == 0
    assert json.loads(again.out) == json.loads(command("status", "tiny", "--json").out)
    events = [json.loads(line) for line in again.err.splitlines()]
    assert [event["event"] for event in events] == ["note", "note"]
    assert "Nothing to do" in events[1]["text"]

    plan = json.loads(command("run", "tiny.yaml", "--json", "--dry-run").out)
    assert (plan["study"], plan["trials"]["design"], plan["downloads"]) == ("tiny", 2, [])
    assert list(plan["searched"]) == ["size_control.sparsity_weight"]

    wrong = command("run", "nosuch.yaml", "--json")
    assert (wrong.code, wrong.out) == (2, "")
    (error,) = map(json.loads, wrong.err.splitlines())
    assert (error["event"], "no such file" in error["text"]) == ("error", True)


def test_python_reaches_the_same_functions(study: Path) -> None:
    assert set(slasearch.__all__) <= set(dir(slasearch))
    frames = slasearch.load_study("tiny")
    assert len(frames.trials) == 5
    summary = slasearch.run_study("tiny.yaml")
    assert (summary.ran, summary.state) == (0, "finished")
    assert callable(slasearch.register_kind)
    with pytest.raises(AttributeError, match="nosuch"):
        slasearch.nosuch  # noqa: B018


def summary(state: str, *, failed: int = 0, stop_reason: str | None = None) -> StudySummary:
    return StudySummary("s", state, 4, 2, 0, failed, 0, 0, {}, (), stop_reason=stop_reason)


def test_run_ends_with_the_code_of_what_happened() -> None:
    assert exit_code(summary("finished")) == 0
    assert exit_code(summary("finished", failed=1)) == 3
    assert exit_code(summary("failed", failed=4)) == 1
    assert exit_code(summary("stopped", stop_reason="1.00 h of at most 1 h have passed.")) == 0
    assert exit_code(summary("stopped", failed=1, stop_reason="interrupted by Ctrl-C")) == 130
    assert exit_code(summary("finished", stop_reason="interrupted by Ctrl-C")) == 0
    assert exit_code(summary("finished", failed=1, stop_reason="interrupted by Ctrl-C")) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_words_of_an_interruption_are_known(number: signal.Signals) -> None:
    interrupts = Interrupts()
    with interrupts.handled(), interrupts.counted():
        os.kill(os.getpid(), number)
    assert interrupts.reason.startswith(INTERRUPTED)
