"""Ray Tune's scheduler: passes intermediate reports on and stops the trials that the study prunes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from slasearch.orchestrate.desk import TrialDesk
from slasearch.orchestrate.trainable import PROGRESS

__all__ = ["StudyScheduler"]

LONGEST_REASON = 300
_NO_CAUSE = "The actor never ran"
"""How Ray ends what it says of an actor that died early, after the line with the cause."""


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """First in, first out; stops a trial when the study says so. A trial's last report never comes by here."""

    def __init__(self, desk: TrialDesk) -> None:
        super().__init__()
        self._desk = desk
        self._controller: Any = None

    def end_workers(self) -> None:
        """Kills every worker of the run, idle and starting ones too, and frees what they reserved."""
        if self._controller is not None:
            self._controller._actor_manager.cleanup()  # Ray Tune has no public way that does not wait for busy workers

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """None: Ray starts what is pending; first-in-first-out would look through all trials at every step."""
        self._controller = tune_controller
        return None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """STOP when the trial is to be pruned."""
        prune = self._desk.report(trial.trial_id, result[PROGRESS])
        return str(TrialScheduler.STOP if prune else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """The worker is gone: an exception in its code would have come as a report."""
        self._desk.lost(trial.trial_id, last_words(trial))


def last_words(trial: Trial) -> str:
    """The last line of what Ray has noted about a trial's error that tells a cause, without its escape codes."""
    text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()]
    lines = [line for line in lines if line and not line.startswith(_NO_CAUSE)]
    return lines[-1][:LONGEST_REASON] if lines else "no reason known"
