"""Ray Tune's scheduler: passes intermediate reports on and stops the trials that the study prunes."""

from __future__ import annotations

import re
from typing import Any

from ray.exceptions import RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from slasearch.orchestrate.desk import TrialDesk
from slasearch.orchestrate.trainable import PROGRESS

__all__ = ["StudyScheduler"]


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """First in, first out; stops a trial when the study says so. A trial's last report never comes by here."""

    def __init__(self, desk: TrialDesk) -> None:
        super().__init__()
        self._desk = desk

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """None: Ray starts what is pending; first-in-first-out would look through all trials at every step."""
        return None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """STOP when the trial is to be pruned."""
        prune = self._desk.report(trial.trial_id, result[PROGRESS])
        return str(TrialScheduler.STOP if prune else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """An exception in the worker's code fails the trial; anything else means that the worker is gone."""
        error = trial.get_pickled_error()
        self._desk.broke(trial.trial_id, _plain(str(error)), lost=not isinstance(error, RayTaskError))


def _plain(text: str) -> str:
    """Without the escape codes that Ray puts into its messages."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
