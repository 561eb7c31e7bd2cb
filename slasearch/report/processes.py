"""Work with small answers, shared by as many processes as there are cores.

Processes are forked, so that what is analysed and drawn need not be sent to them: the trials of a large study, and
figures, which hold functions that cannot be pickled. A program that has loaded torch or ray has threads that a fork
would cut off in whatever they do: there, and where a system cannot fork, all is done in this process.

Linear algebra has one thread in each, here as there: sums are then made in the same order, whatever the machine, and
threads that wait for each other on busy cores cost more than they bring (a surrogate: 2 s with one, 40 to 100 s with
two beside a study).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

__all__ = ["in_processes"]

T = TypeVar("T")

_MOST = 4
"""Processes at a time: each takes memory of its own."""
_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux: what a process gets when its parent ends."""
_jobs: Sequence[Callable[[], object]] = ()
"""What the processes inherit, by their number."""


def in_processes(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """What some jobs return, in their order; each is begun in order, too.

    Raises:
        Exception: What the first job that fails raises.
    """
    global _jobs
    count = min(_MOST, os.cpu_count() or 1, len(jobs)) if _may_fork() else 1
    if count < 2:
        return [_alone(job) for job in jobs]
    _jobs = jobs
    try:
        with ProcessPoolExecutor(count, multiprocessing.get_context("fork"), _begin, (os.getpid(),)) as pool:
            return list(pool.map(_run, range(len(jobs))))  # type: ignore[arg-type]
    finally:
        _jobs = ()


def _may_fork() -> bool:
    return sys.platform == "linux" and not {"torch", "ray"} & set(sys.modules)


def _begin(parent: int) -> None:
    """A process leaves interrupts to its parent, and ends with it: one that is killed could not end it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _run(number: int) -> object:
    return _alone(_jobs[number])


def _alone(job: Callable[[], T]) -> T:
    with threadpool_limits(1):
        return job()
