"""Work on a report is shared by processes, in a program that has no threads to lose."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from slasearch.report.processes import in_processes

SHARED = """
import os, sys, time
from slasearch.report.processes import in_processes
if sys.argv[1] == "answers":
    found = in_processes([lambda n=n: (time.sleep(0.05), n, os.getpid()) for n in range(20)])
    assert [n for _, n, _ in found] == list(range(20))
    print(len({pid for *_, pid in found}), os.getpid() in {pid for *_, pid in found})
elif sys.argv[1] == "pids":
    def wait():
        os.write(1, b"%d\\n" % os.getpid())  # whole lines: two processes share the pipe
        time.sleep(60)
    in_processes([wait, wait])
else:
    def fail():
        raise OSError(28, "No space left on device")
    try:
        in_processes([lambda: 1, fail, lambda: 2])
    except OSError as error:
        print(error.strerror)
"""


def said(what: str) -> str:
    done = subprocess.run([sys.executable, "-c", SHARED, what], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="one process does it all here")
def test_jobs_run_beside_each_other_and_answer_in_order() -> None:
    count, mine = said("answers").split()
    assert 2 <= int(count) <= 4
    assert mine == "False"


@pytest.mark.skipif(sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="one process does it all here")
def test_processes_end_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SHARED, "pids"], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            children = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
            assert all(child.ppid() == parent.pid for child in children)
        finally:
            parent.kill()
        _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


def test_an_error_comes_back_as_it_was() -> None:
    assert said("errors") == "No space left on device"


def test_a_program_with_threads_does_it_all_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    assert in_processes([os.getpid] * 3) == [os.getpid()] * 3
