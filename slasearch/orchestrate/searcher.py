"""Ray Tune's searcher: asks the study for trials and tells it of their ends."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from slasearch.orchestrate.desk import TrialDesk
from slasearch.orchestrate.trainable import CHECKPOINTS, REFUSAL, REPORT, SPEC

__all__ = ["StudySearcher"]


class StudySearcher(Searcher):  # type: ignore[misc]
    """Suggests what the desk hands out. To be used with `max_concurrent_trials`."""

    def __init__(self, desk: TrialDesk) -> None:
        super().__init__()
        self._desk = desk

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's config; None while the study waits for running trials; FINISHED at its end."""
        answer = self._desk.next(trial_id)
        if answer == "done":
            return str(Searcher.FINISHED)
        return None if answer == "wait" else {SPEC: answer, CHECKPOINTS: self._desk.checkpoints(trial_id)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells the trial's end. Lost workers were told by the scheduler, which knows the reason."""
        result = result or {}
        if REFUSAL in result:
            self._desk.refused(trial_id, result[REFUSAL])
        elif not error:
            self._desk.ended(trial_id, result.get(REPORT))

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the database is the only state."""
