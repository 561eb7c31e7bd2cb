"""Waiting for a database whose connection is lost: the one place that asks again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from slasearch.errors import ConnectionLostError

__all__ = ["WAIT_SECONDS", "Patience"]

WAIT_SECONDS = 300.0
"""How long a lost database is waited for."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds between two tries: doubled from the first to the longest."""

R = TypeVar("R")


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


class Patience:
    """Asks a database again that was there before. One that never answered is an error at once, as is a refusal.

    Args:
        say: Told in a sentence that the wait begins, and that it has ended well; prints on stderr by default.
        pause: Sleeps for so many seconds; false: wait no longer.
        clock: Seconds on a clock that never goes back.

    Attributes:
        gave_up: Whether a wait was in vain: then nothing is waited for again, and whether the last write was committed
            is not known.
    """

    def __init__(
        self,
        *,
        say: Callable[[str], object] = lambda text: print(text, file=sys.stderr, flush=True),
        pause: Callable[[float], bool] = _sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gave_up = False
        self._say = say
        self._pause = pause
        self._clock = clock
        self._met = False

    def call(self, attempt: Callable[[], R]) -> R:
        """What `attempt` returns; it is called again while it raises ConnectionLostError.

        Raises:
            ConnectionLostError: The database has not come back in `WAIT_SECONDS`, or the wait was ended.
        """
        lost_at: float | None = None
        pause = FIRST_PAUSE
        while True:
            try:
                result = attempt()
            except ConnectionLostError as error:
                if not self._met or self.gave_up:
                    raise
                if lost_at is None:
                    lost_at = self._clock()
                    self._say(f"{error} Waiting up to {WAIT_SECONDS:g} s for it; running trials go on.")
                waited = self._clock() - lost_at
                self.gave_up = True  # unless the pause ends well: an interrupt ends the wait too
                if waited >= WAIT_SECONDS or not self._pause(pause):
                    raise ConnectionLostError(
                        f"{error} Waited {waited:.0f} s for it in vain. Run the same command again when it is up: what "
                        "had ended is kept, what ran is run again."
                    ) from error
                self.gave_up = False
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._met = True
                if lost_at is not None:
                    self._say(f"The database is back after {self._clock() - lost_at:.0f} s.")
                return result
