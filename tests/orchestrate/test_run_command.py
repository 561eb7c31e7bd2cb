"""Run commands as processes of their own: killed, run again, two at a time, and interrupted from the terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import small_study
from small_study import rows, states

TRIALS = 10


def begin(home: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(small_study.__file__)), str(home), str(TRIALS), str(seconds)]
    # An address in the environment must not matter, and a group of its own stands for a terminal's foreground job.
    variables = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables, start_new_session=True
    )


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "expected it sooner"
        time.sleep(0.05)


def complete(home: Path) -> int:
    tables = (
        rows(home, "SELECT name FROM sqlite_master WHERE name = 'sla_trial'") if (home / "study.db").exists() else []
    )
    return states(home).get("complete", 0) if tables else 0


def noted(home: Path) -> list[psutil.Process]:
    """Ray's processes that the run command has noted and that live."""
    found = []
    for path in (home / "ray").glob("*.json"):
        for pid, started in json.loads(path.read_text(encoding="utf-8"))["processes"]:
            if psutil.pid_exists(pid) and abs(psutil.Process(pid).create_time() - started) < 1:
                found.append(psutil.Process(pid))
    return found


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_killed_runs_go_on_beside_another_study(tmp_path: Path) -> None:
    killed, other = tmp_path / "killed", tmp_path / "other"
    first, beside = begin(killed, 1.0), begin(other, 2.0)
    wait_for(lambda: complete(killed) >= 3)
    processes = noted(killed)
    assert len(processes) >= 3
    workers = [child for process in processes for child in process.children(recursive=True)]
    wait_for(lambda: "running" in states(killed))  # now and then one has ended and the next has not begun
    first.kill()
    first.communicate()
    assert states(killed)["running"] >= 1

    wait_for(lambda: complete(other) >= 1)
    os.killpg(beside.pid, signal.SIGTERM)
    again = begin(killed, 0.05)
    stopped, finished = result(beside), result(again)

    assert (finished["state"], finished["complete"]) == ("finished", TRIALS)
    found = states(killed)
    assert found == {"complete": TRIALS, "fail": found["fail"]}
    assert states(killed, "trials") == found
    lost = rows(killed, "SELECT id FROM sla_trial WHERE state = 'fail'")
    retried = rows(killed, "SELECT retry_of FROM sla_trial WHERE retry_of IS NOT NULL")
    assert sorted(lost) == sorted(retried)
    assert 1 <= len(lost) <= 2
    assert living(processes + workers) == []

    assert stopped["state"] == "stopped"
    assert stopped["stop_reason"] == "ended by SIGTERM"
    assert 1 <= stopped["complete"] < TRIALS
    assert states(other) == {"complete": stopped["complete"]}, (
        "expected a signal to the process group to leave workers alone"
    )

    for home in (killed, other):
        assert list((home / "ray").glob("*.json")) == []

    idle = result(begin(killed, 0.05))
    assert (idle["ran"], idle["ray"]) == (0, False), "expected a finished study to start no Ray"
    assert states(killed) == found


TRAINED = """
name: trained
tasks: [{name: texts, source: "file:texts.jsonl"}]
size_control: {mode: penalty, sparsity_weight: {float: [0.0, 1.0]}}
training: {steps: 100, batch_size: 8, learning_rate: 1.0e-3}
phases: {optimise: {trials: 3, sampler: {name: random}, pruner: {name: none}}}
resources: {max_concurrent_trials: 1}
"""


def test_stdout_is_one_document_though_a_worker_dies(tmp_path: Path) -> None:
    small_study.small_study(tmp_path, 1)  # for its texts
    (tmp_path / "trained.yaml").write_text(TRAINED)
    command = [sys.executable, "-m", "slasearch", "run", "trained.yaml", "--json"]
    url = f"sqlite:///{tmp_path}/study.db"
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "SLASEARCH_HOME": str(tmp_path), "SLASEARCH_STORAGE": url}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables, cwd=tmp_path
    )

    def workers() -> list[psutil.Process]:
        children = [child for ray in noted(tmp_path) for child in ray.children(recursive=True)]
        return [child for child in children if "Trainable" in child.name()]

    wait_for(lambda: complete(tmp_path) == 1 and "running" in states(tmp_path))
    for worker in workers():
        worker.kill()
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, (out, err.splitlines()[-3:])
    assert json.loads(out)["complete"] == 3
    assert rows(tmp_path, "SELECT reason FROM sla_trial WHERE state = 'fail'")[0][0].startswith("worker lost")
    assert all(json.loads(line)["event"] in ("progress", "note") for line in err.splitlines())
