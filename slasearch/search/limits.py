"""When a study stops before its plan is done: hours, device hours, and a breaker for trials that keep failing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from slasearch.config.schema import LimitsConfig
from slasearch.records import Event
from slasearch.storage.rows import TrialRow

__all__ = ["Limits", "device_seconds"]


class Limits:
    """The limits of one run command.

    Args:
        config: The study's limits.
        opened_at: When the command began (epoch seconds).
    """

    def __init__(self, config: LimitsConfig, opened_at: float) -> None:
        self._config = config
        self._opened_at = opened_at
        self._failed: deque[bool] = deque(maxlen=config.failure_window)

    def ended(self, *, failed: bool) -> None:
        """Counts a trial that has ended since the command began, and is not tried again.

        A node that is lost with many trials says nothing of these.
        """
        self._failed.append(failed)

    def reached(self, rows: Iterable[TrialRow], now: float) -> Event | None:
        """The first limit that is reached, as an event; None if the study may go on."""
        config = self._config
        if len(self._failed) == config.failure_window and 2 * sum(self._failed) > config.failure_window:
            return Event(
                "limit.failures",
                f"limits.failure_window: {sum(self._failed)} of the last {config.failure_window} trials failed: "
                "the study stops. Look at their logs, mend the cause, and run the same command again.",
                "error",
            )
        hours = (now - self._opened_at) / 3600
        if config.max_hours is not None and hours >= config.max_hours:
            return Event(
                "limit.max_hours",
                f"limits.max_hours: {hours:.2f} h of at most {config.max_hours:g} h have passed",
                "warning",
            )
        if config.max_device_hours is not None:
            hours = device_seconds(rows, now) / 3600
            if hours >= config.max_device_hours:
                message = f"{hours:.2f} h of at most {config.max_device_hours:g} device hours are used"
                return Event("limit.max_device_hours", f"limits.max_device_hours: {message}", "warning")
        return None


def device_seconds(rows: Iterable[TrialRow], now: float) -> float:
    """Wall time of all attempts together, running ones up to now (s). A clock that was set back takes none off."""
    ends = ((row.started_at, now if row.ended_at is None else row.ended_at) for row in rows if row.started_at)
    return sum(max(0.0, ended - started) for started, ended in ends)
