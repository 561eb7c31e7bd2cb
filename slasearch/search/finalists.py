"""Finalists: the best settings of the search and of each control, tried again before the best of them are confirmed.

Under one seed pair the best of many settings is mostly the luckiest, and to try all of them under several costs several
times as much. So the first few of each ranking, as many of the search's by each objective as of each control's, are
tried under further seed pairs, on validation as all that chooses; the best of them by the mean over all their trials
are confirmed (`chosen`, `ranked_tuned`). These are two rounds of sequential halving (Karnin et al. 2013). Who is a
finalist follows from the first round, so that it does not change while the second runs; only one that turns out to
break a bound of the study makes room for the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from slasearch.config.schema import ConfirmPhase, StudyConfig
from slasearch.search.job import Job
from slasearch.search.tuning import ranked_tuned
from slasearch.search.winners import FINALIST, Goal, finalists, searched, tried_again
from slasearch.storage.rows import TrialRow

__all__ = [
    "control_finalists",
    "finalists_ended",
    "missing_finalists",
    "most_control_finalists",
    "most_finalists",
]


def missing_finalists(config: StudyConfig, trials: Sequence[TrialRow]) -> Iterator[Job]:
    """The trials of the search's finalists that are not there yet, once the search has ended.

    They are trials of `tune`, so that no sampler learns from them and no sensitivity is read off them.

    Args:
        config: The study.
        trials: Last attempts.
    """
    confirm = config.phases.confirm
    if confirm is None or confirm.finalists == 1:
        return
    again = tried_again(trials)
    found = finalists(config.objectives, searched(trials), confirm.finalists, config.constraints, again)
    if len(found) <= confirm.top and not again:
        return  # no choice, unless it is what others that dropped out have left
    tried = [trial for trial in trials if trial.role in ("search", FINALIST) and trial.state != "pruned"]
    made = {(trial.params, trial.repeat) for trial in tried}
    for repeat, finalist in product(range(confirm.finalist_seeds), found):
        if (finalist.params, repeat) not in made:
            yield Job("tune", FINALIST, "fixed", repeat, finalist.values, pair_of=finalist.id)


def control_finalists(
    confirm: ConfirmPhase, control: tuple[str, int | None], goal: Goal, tuning: Sequence[TrialRow]
) -> Iterator[tuple[int, int]]:
    """Number and repeat of the trials of a control's finalists that are not there yet, once its settings were tried.

    Args:
        confirm: The study's.
        control: Its role, and the winner that it stands beside.
        goal: What it is tuned by.
        tuning: The last attempts at its tuning trials.
    """
    first = [trial for trial in tuning if trial.repeat < confirm.tuning_seeds]
    ranked = ranked_tuned(first, {control[1]: goal}, confirm).get(control, [])
    if confirm.finalists == 1 or len(ranked) == 1:
        return
    made = {(trial.point, trial.repeat) for trial in tuning}
    for repeat, finalist in product(range(confirm.tuning_seeds, confirm.finalist_seeds), ranked[: confirm.finalists]):
        if (finalist.point, repeat) not in made:
            yield finalist.point or 0, repeat


def finalists_ended(config: StudyConfig, trials: Sequence[TrialRow]) -> bool:
    """Whether the search's finalists have been tried again, so that winners are known; `trials` are last attempts."""
    tried = not any(trial.open for trial in trials if trial.role == FINALIST)
    return tried and next(missing_finalists(config, trials), None) is None


def most_finalists(config: StudyConfig, searched: int) -> int:
    """How many trials the search's finalists have at most, after `searched` trials, unless one of them drops out."""
    confirm, design, optimise = config.phases.confirm, config.phases.design, config.phases.optimise
    if confirm is None or confirm.finalists == 1:
        return 0
    had = design.seeds if design and not optimise else 1
    return max(confirm.finalist_seeds - had, 0) * min(confirm.finalists * len(config.objectives), searched // had)


def most_control_finalists(confirm: ConfirmPhase, settings: int) -> int:
    """How many trials the finalists of a control have at most, of which so many settings are tried."""
    if confirm.finalists == 1 or settings < 2:
        return 0
    return max(confirm.finalist_seeds - confirm.tuning_seeds, 0) * min(confirm.finalists, settings)
