"""When to stop a trial early. Only a trial whose gates are warm is ever stopped.

In the warm-up every gate is open: what a trial reports then is the score of another, larger model. Such a report stops
nothing, and no other trial is measured against it.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.pruners import BasePruner

from slasearch.config.plain import stored_json
from slasearch.config.schema import PrunerConfig
from slasearch.storage.rows import TrialRow

__all__ = [
    "Hyperband",
    "MedianPruner",
    "NoPruner",
    "Pruner",
    "Report",
    "SuccessiveHalving",
    "curves",
    "ended_early",
    "make_pruner",
    "share_done",
]


@dataclass(frozen=True)
class Report:
    """What a trial has reached: the share of its budget that is done, in (0, 1], and its validation score.

    `warm` is false in the gates' warm-up.
    """

    share: float
    score: float
    warm: bool = True


def share_done(budget: int, budget_max: int, reports: int) -> float:
    """The share of its budget that a trial has done when it reports, in (0, 1]: that of the nearest of its reports.

    A report comes after a whole step, up to half a step before or after its place. Trials of other lengths would else
    be late for a rung by a whole report, and be measured there against scores of half the budget.

    Args:
        budget: Steps done.
        budget_max: Steps in all.
        reports: How often a trial reports, its end included.
    """
    return round(reports * budget / budget_max) / reports


Curves = Mapping[int, Sequence[Report]]
"""What earlier trials reported, by their numbers."""


class Pruner(Protocol):
    """Judges each report of each search trial, in the order in which they come."""

    def judge(self, trial: int, report: Report, *, prunable: bool) -> bool:
        """Whether to stop the trial now.

        Args:
            trial: The trial's number in the search, that of its first attempt.
            report: What it has reached; higher scores are better.
            prunable: Whether it may be stopped at all; one that may not still counts for the others.
        """


class NoPruner:
    """Every trial runs to its full budget."""

    def judge(self, trial: int, report: Report, *, prunable: bool) -> bool:
        """Never."""
        return False


class MedianPruner:
    """Stops a trial whose best score so far is below the median of earlier complete trials at the same share.

    Args:
        judge: What Optuna's median pruner says of the trial of this number, whose report is stored already.
    """

    def __init__(self, judge: Callable[[int], bool]) -> None:
        self._judge = judge

    def judge(self, trial: int, report: Report, *, prunable: bool) -> bool:
        """Whether Optuna's pruner would stop the trial."""
        return prunable and report.warm and report.share < 1 and self._judge(trial)


class SuccessiveHalving:
    """Asynchronous successive halving, stopping variant (Li et al. 2020, arXiv 1810.05934), on the validation score.

    Rungs stand at the shares `first_share · reduction_factor^k` below 1 of a trial's own budget. A trial is judged
    at the first report at or past a rung: it goes on if it is among the best 1/reduction_factor of all scores seen
    at that rung so far, its own included, or if fewer than reduction_factor have been seen there. A rung that a trial
    reaches in its warm-up knows nothing of it: it is judged, and counts, from the next one on.

    Args:
        reduction_factor: At least 2.
        first_share: In (0, 1).
        earlier: What trials reported before.
    """

    def __init__(self, reduction_factor: int = 3, first_share: float = 0.25, earlier: Curves | None = None) -> None:
        self._factor = reduction_factor
        count = max(1, math.ceil(-math.log(first_share) / math.log(reduction_factor) - 1e-9))
        self.rungs = tuple(first_share * reduction_factor**k for k in range(count))
        self._scores: list[list[float]] = [[] for _ in self.rungs]
        self._counted: dict[int, int] = {}
        self._judged: dict[int, int] = {}
        _replay(self, earlier)

    def judge(self, trial: int, report: Report, *, prunable: bool) -> bool:
        """Whether the trial falls behind at a rung that it has just reached.

        What was said of the last report before a driver was lost may be lost too: a new attempt is judged there again.
        """
        counted, judged = self._counted.get(trial, 0), self._judged.get(trial, 0)
        reached = sum(report.share >= rung - 1e-9 for rung in self.rungs)
        self._counted[trial] = max(counted, reached)
        if prunable or reached <= counted or not report.warm:
            self._judged[trial] = max(judged, reached)
        if not report.warm:
            return False
        for scores in self._scores[counted:reached]:
            insort(scores, report.score)
        behind = reached > judged and not self._goes_on(self._scores[reached - 1], report.score)
        return prunable and report.share < 1 and behind

    def _goes_on(self, scores: Sequence[float], score: float) -> bool:
        """Whether a score is good enough among the rising `scores`, which hold it too."""
        if len(scores) < self._factor:
            return True
        better = len(scores) - bisect_right(scores, score)
        return better < math.ceil(len(scores) / self._factor)


class Hyperband:
    """Hyperband (Li et al. 2018, arXiv 1603.06560): brackets of successive halving that begin to judge ever later.

    Successive halving with K rungs stops what starts slowly, such as a trial with a long ramp or a small learning rate.
    So bracket k = 0 … K judges from rung k on, the last one not at all, and each compares its own trials only. Of every
    Σ n_k trials in a row n_k = ⌈(K+1)/(K−k+1) · η^(K−k)⌉ belong to bracket k, as in the paper, where that gives all
    brackets about the same budget. Within such a block their order is drawn from the block's position alone: a trial's
    bracket follows from its number, and has nothing to do with what a sampler does in turn.

    Args:
        reduction_factor: η, at least 2.
        first_share: Share of a trial's budget at the first rung, from 0.001: blocks grow as it falls.
        earlier: What trials reported before.
    """

    def __init__(self, reduction_factor: int = 3, first_share: float = 0.25, earlier: Curves | None = None) -> None:
        rungs = SuccessiveHalving(reduction_factor, first_share).rungs
        last = len(rungs)
        self._brackets: list[Pruner] = [*(SuccessiveHalving(reduction_factor, rung) for rung in rungs), NoPruner()]
        sizes = (math.ceil((last + 1) / (left + 1) * reduction_factor**left) for left in range(last, -1, -1))
        self._block = [bracket for bracket, size in enumerate(sizes) for _ in range(size)]
        _replay(self, earlier)

    def bracket(self, trial: int) -> int:
        """Number of a trial's bracket: that of the first rung at which it is judged."""
        block, place = divmod(trial, len(self._block))
        return int(np.random.default_rng(block).permutation(self._block)[place])

    def judge(self, trial: int, report: Report, *, prunable: bool) -> bool:
        """Whether the trial falls behind in its own bracket."""
        return self._brackets[self.bracket(trial)].judge(trial, report, prunable=prunable)


def _replay(pruner: Pruner, earlier: Curves | None) -> None:
    for trial, reports in (earlier or {}).items():
        for report in reports:
            pruner.judge(trial, report, prunable=False)


def make_pruner(config: PrunerConfig, *, is_bad: Callable[[int, BasePruner], bool], earlier: Curves) -> Pruner:
    """The pruner of a study.

    Args:
        config: Name and options.
        is_bad: What one of Optuna's pruners says of the trial of this number.
        earlier: What trials reported before this session.
    """
    options: dict[str, Any] = dict(config.options)
    if config.name == "median":
        median = optuna.pruners.MedianPruner(**options)
        return MedianPruner(lambda number: is_bad(number, median))
    if config.name == "successive_halving":
        return SuccessiveHalving(**options, earlier=earlier)
    if config.name == "hyperband":
        return Hyperband(**options, earlier=earlier)
    return NoPruner()


def curves(
    rows: Iterable[TrialRow], reports: Mapping[int, Iterable[tuple[int, float]]], count: int
) -> dict[int, list[Report]]:
    """What search trials have reached, by the numbers of their first attempts: a rung counts what came there first.

    A trial that ended early on a plateau stands at its last score from there on.

    Args:
        rows: All trials of a study.
        reports: (step, score) pairs by the trial's id.
        count: How often a trial reports.
    """
    found: dict[int, list[Report]] = {}
    first: dict[int, int] = {}
    for row in sorted(rows, key=lambda row: row.id):
        if row.optuna_study != "search" or row.number is None:
            continue
        first[row.id] = row.number if row.retry_of is None else first[row.retry_of]
        if row.budget_max:
            warm_up = round(_warm_up(row) * row.budget_max)
            curve = [
                Report(share_done(step, row.budget_max, count), score, step > warm_up)
                for step, score in reports.get(row.id, ())
            ]
            found.setdefault(first[row.id], []).extend((*curve, *ended_early(row)))
    return found


def ended_early(row: TrialRow) -> list[Report]:
    """A complete trial's last score, if it ended before its budget did: there it would stand at the rungs it missed."""
    budget, most, score = row.budget or 0, row.budget_max or 0, row.score
    return [Report(1.0, score)] if row.state == "complete" and budget < most and score is not None else []


def _warm_up(row: TrialRow) -> float:
    """Share of a trial's steps with all gates open."""
    return float(stored_json(row.spec).get("gates", {}).get("warm_up", 0.0))
