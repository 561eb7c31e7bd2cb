"""Ctrl-C and SIGTERM: counted while trials run, `KeyboardInterrupt` before and after."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["SIGNALS", "Interrupts", "sigterm_kept"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Those that ask a run command to end."""


@contextmanager
def sigterm_kept() -> Iterator[None]:
    """The handler of SIGTERM is the same afterwards: that of Ray, which ends the process at once, does not stay."""
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, earlier)


class Interrupts:
    """How often the user has asked to stop. Outside the main thread no signals are seen."""

    def __init__(self) -> None:
        self.count = 0
        self.reason = ""
        self._counting = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Both signals come here; the earlier handlers are put back at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        earlier = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Signals raise nothing here: whoever runs the loop looks at `count`."""
        self._counting = True
        try:
            yield
        finally:
            self._counting = False

    def pause(self, seconds: float) -> bool:
        """Sleeps; false if the user has asked twice to stop, which means at once."""
        time.sleep(seconds)
        return self.count < 2

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.reason = "interrupted by Ctrl-C" if number == signal.SIGINT else "ended by SIGTERM"
        if not self._counting:
            raise KeyboardInterrupt
