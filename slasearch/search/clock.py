"""The time of a run command."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["steady_clock"]

# Where the system has it, the clock that goes on while a laptop sleeps: others must not take its driver for a dead one.
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_clock() -> Callable[[], float]:
    """Epoch seconds as the system's clock had them at this call, and goes on evenly when that is set meanwhile."""
    began = time.time() - time.clock_gettime(_SINCE_BOOT)
    return lambda: began + time.clock_gettime(_SINCE_BOOT)
