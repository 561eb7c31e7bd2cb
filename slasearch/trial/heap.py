"""What the C library does with freed memory while trials run on a CPU."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of parameters, as `malloc.h` has them."""
_NEVER = 2**31 - 1
_SIZES = (2**30, 2**25)
"""Bytes from which a block is mapped for itself: as many as the library takes; older ones take 32 MiB at most."""


def keep_freed_memory() -> None:
    """Keeps freed memory in this process for the next step, where glibc gives most of it back to the kernel.

    Every step frees what the one before has, so that the kernel maps and clears the same pages over and over: some 7 %
    of a step's time (docs/performance.md). The process stays as large as it ever was. Other C libraries are left alone.
    """
    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_parameter is not None and any(set_parameter(_MMAP_THRESHOLD, size) for size in _SIZES):
        set_parameter(_TRIM_THRESHOLD, _NEVER)
