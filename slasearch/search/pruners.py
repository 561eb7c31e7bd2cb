"""When to stop a trial early. Only a trial whose gates are warm (`Progress.prunable`) is ever stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

__all__ = ["MedianPruner", "NoPruner", "Pruner", "SuccessiveHalving"]


class Pruner(Protocol):
    """Judges each report of each search trial, in the order in which they come."""

    def judge(self, trial: int, share: float, score: float, *, prunable: bool) -> bool:
        """Whether to stop the trial now.

        Args:
            trial: The trial's id.
            share: Share of its budget that is done, in (0, 1].
            score: Its validation score; higher is better.
            prunable: Whether it may be stopped; a report that may not still counts for the others.
        """


class NoPruner:
    """Every trial runs to its full budget."""

    def judge(self, trial: int, share: float, score: float, *, prunable: bool) -> bool:
        """Never."""
        return False


class MedianPruner:
    """Stops a trial whose best score so far is below the median of earlier complete trials at the same share.

    Args:
        judge: What Optuna's median pruner says of the trial of this id, whose report is stored already.
    """

    def __init__(self, judge: Callable[[int], bool]) -> None:
        self._judge = judge

    def judge(self, trial: int, share: float, score: float, *, prunable: bool) -> bool:
        """Whether Optuna's pruner would stop the trial."""
        return prunable and share < 1 and self._judge(trial)


class SuccessiveHalving:
    """Asynchronous successive halving, stopping variant (Li et al. 2020, arXiv 1810.05934), on the validation score.

    Rungs stand at the shares `first_share · reduction_factor^k` below 1 of a trial's own budget. A trial is judged
    at the first report at or past a rung: it goes on if it is among the best 1/reduction_factor of all scores seen
    at that rung so far, its own included, or if fewer than reduction_factor have been seen there.

    Args:
        reduction_factor: At least 2.
        first_share: In (0, 1).
        curves: (share, score) pairs of earlier trials, by trial id.
    """

    def __init__(
        self,
        reduction_factor: int = 3,
        first_share: float = 0.25,
        curves: Mapping[int, Iterable[tuple[float, float]]] | None = None,
    ) -> None:
        self._factor = reduction_factor
        count = max(1, math.ceil(-math.log(first_share) / math.log(reduction_factor) - 1e-9))
        self._rungs = [first_share * reduction_factor**k for k in range(count)]
        self._seen: list[dict[int, float]] = [{} for _ in self._rungs]
        for trial, curve in (curves or {}).items():
            for share, score in curve:
                self.judge(trial, share, score, prunable=False)

    def judge(self, trial: int, share: float, score: float, *, prunable: bool) -> bool:
        """Whether the trial falls behind at a rung that it has just reached."""
        reached = [k for k, rung in enumerate(self._rungs) if share >= rung - 1e-9 and trial not in self._seen[k]]
        for k in reached:
            self._seen[k][trial] = score
        return bool(prunable and share < 1 and reached) and not self._goes_on(self._seen[reached[-1]], score)

    def _goes_on(self, seen: Mapping[int, float], score: float) -> bool:
        if len(seen) < self._factor:
            return True
        better = sum(other > score for other in seen.values())
        return better < math.ceil(len(seen) / self._factor)
