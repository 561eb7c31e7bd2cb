"""When a trial has nothing more to gain: its validation score has stopped rising after its structure was fixed.

Such a trial is complete: it skips the steps that are left, and what it has reached is its result. The weights are those
of the moment; none is taken back to an earlier, better report, which would flatter the score on the split that chooses.
A schedule of learning rates that falls to its end is cut off too, so patience should be generous under one.
"""

from __future__ import annotations

from collections.abc import Sequence

from slasearch.records import EarlyStopSpec, Event

__all__ = ["Plateau"]


class Plateau:
    """Watches the reports of one trial.

    Args:
        rule: How long to wait for how much.
        after: The step with which the structure is fixed: reports up to it count for nothing, since a score that gates
            are pulling down says nothing of what the structure will reach. For a control, which has its structure from
            the start, the step is the same as for the trials it is compared with, so that it is not trained less.
        total: Steps that are planned.
    """

    def __init__(self, rule: EarlyStopSpec, *, after: int, total: int) -> None:
        self._rule, self._after, self._total = rule, after, total
        self._best = float("-inf")
        self._waited = 0

    def reached(self, step: int, score: float) -> bool:
        """Takes a report; whether the score has not risen for as many reports as the rule waits."""
        if step <= self._after:
            return False
        if score > self._best + self._rule.min_delta:
            self._best, self._waited = score, 0
        else:
            self._waited += 1
        return self._waited >= self._rule.patience

    def state_dict(self) -> list[float]:
        """The best score so far and the reports since."""
        return [self._best, self._waited]

    def load_state_dict(self, state: Sequence[float]) -> None:
        """Goes on from what `state_dict` gave."""
        self._best, self._waited = state[0], int(state[1])

    def event(self, step: int) -> Event:
        """What there is to tell of a trial that ended at this step."""
        reports = "1 report" if self._rule.patience == 1 else f"{self._rule.patience} reports"
        text = (
            f"Ended at step {step} of {self._total}: in {reports} the validation score did not rise by more than "
            f"{self._rule.min_delta:g} above {self._best:.4f}."
        )
        return Event("plateau", text)
