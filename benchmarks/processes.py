"""What processes take while a benchmark runs: CPU, and memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import psutil

__all__ = ["SECONDS", "PeakMemory", "beside", "sampled"]

SECONDS = 1.0
"""Between two samples; one of 2 GiB of memory takes some 50 ms of CPU."""

T = TypeVar("T")


@contextmanager
def sampled(look: Callable[[], None]) -> Iterator[None]:
    """Calls a function at the start of the block, every `SECONDS` in a thread of its own, and at the end."""
    over = threading.Event()

    def again() -> None:
        while not over.wait(SECONDS):
            look()

    thread = threading.Thread(target=again, daemon=True)
    look()
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        look()


class PeakMemory:
    """The most memory that a process and its descendants had together in any sample, in MiB.

    The sum is of proportional set sizes: a page that several processes share counts once. What was there for less than
    the time between two samples may be missed.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self.mib = 0.0

    def look(self) -> None:
        """Takes a sample; nothing once the process has ended."""
        total = 0
        with suppress(psutil.Error):
            for process in (self._root, *self._root.children(recursive=True)):
                with suppress(psutil.Error):  # it has ended
                    total += process.memory_full_info().pss
        self.mib = max(self.mib, total / 2**20)


def beside(measure: Callable[[], T]) -> tuple[T, float]:
    """What a function returns, and how many cores others kept busy meanwhile, the kernel and a hypervisor included.

    That is the busy time of all cores less the CPU time of this process and its descendants, over the wall time.
    What a descendant took after it was last seen counts as foreign unless its parents waited for it.
    """
    me, first, last = psutil.Process(), _tree(psutil.Process()), {}
    waited, busy, began = _with_waited(me), _busy(), time.perf_counter()
    with sampled(lambda: last.update(_tree(me))):
        found = measure()
    wall, busy, waited = time.perf_counter() - began, _busy() - busy, _with_waited(me) - waited
    # Each misses something: samples the ends of processes, the system's sums those that nobody waits for, as Ray's.
    own = max(waited, sum(seconds - first.get(process, 0.0) for process, seconds in last.items()))
    return found, max(0.0, busy - own) / wall


def _tree(root: psutil.Process) -> dict[psutil.Process, float]:
    """CPU seconds of a process and each of its descendants."""
    found = {}
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.Error):  # it has ended
            times = process.cpu_times()
            found[process] = times.user + times.system
    return found


def _with_waited(process: psutil.Process) -> float:
    """CPU seconds of a process and of those that it waited for."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _busy() -> float:
    """CPU seconds of all cores since the machine started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)
