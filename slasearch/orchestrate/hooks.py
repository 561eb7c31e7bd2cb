"""Ray Tune's callback: starts, heartbeats, interrupts, cancelled trials, events, and the memory of ended trials."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from slasearch.orchestrate.desk import RunEnded, TrialDesk
from slasearch.orchestrate.interrupts import Interrupts
from slasearch.orchestrate.trainable import EVENTS

__all__ = ["StudyHooks"]


class StudyHooks(Callback):  # type: ignore[misc]
    """Called by Ray Tune's loop, at least ten times a second."""

    def __init__(self, desk: TrialDesk, interrupts: Interrupts, end_workers: Callable[[], None]) -> None:
        self._desk = desk
        self._interrupts = interrupts
        self._end_workers = end_workers

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """The first interrupt ends the study after the running trials; the second, or an error of the study, at once.

        A command may ask for either too, or for the end of single trials.

        Raises:
            RunEnded: The loop is to be left now; no worker of it runs any more.
        """
        if self._interrupts.count:
            self._desk.stop(self._interrupts.reason)
        self._desk.tick()
        if self._desk.cancelled:
            end_cancelled(trials, self._desk.cancelled)
        if self._desk.at_once or self._interrupts.count > 1 or self._desk.error is not None:
            self._end_workers()
            raise RunEnded

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Names the worker by its actor's id: trials with the same one shared a process."""
        actor = trial.temporary_state.ray_actor
        self._desk.started(trial.trial_id, actor._actor_id.hex()[:12] if actor else "")

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Passes on what a worker has to tell of itself."""
        for event in result.get(EVENTS, ()):
            self._desk.tell(event)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Ray keeps every trial to its end: keep no report and no spec with it."""
        drop_payload(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """As at completion."""
        drop_payload(trial)


def end_cancelled(trials: Iterable[Trial], cancelled: set[str]) -> None:
    """Kills the workers of cancelled trials; Ray Tune finds them lost. One that has no worker yet stays in the set."""
    for trial in trials:
        actor = trial.temporary_state.ray_actor
        if trial.trial_id in cancelled and actor is not None:
            ray.kill(actor)
            cancelled.discard(trial.trial_id)


def drop_payload(trial: Trial) -> None:
    """Takes the config and the last result, which may hold an adapter, out of an ended trial."""
    trial.run_metadata.last_result = {}
    trial.run_metadata.invalidate_cache()
    trial.evaluated_params = {}
    trial.set_config({})
