"""Finalists: the best settings of the search and of each control, tried again before the best of them are confirmed.

Under one seed pair the best of many settings is mostly the luckiest, and to try all of them under several costs several
times as much. So the first few of each ranking, as many of the search's by each objective as of each control's, are
tried under further seed pairs, on validation as all that chooses; the best of them by the mean over all their trials
are confirmed (`chosen`, `ranked_tuned`). These are two rounds of sequential halving (Karnin et al. 2013). Who is a
finalist follows from the first round alone, so that it does not change while the second runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from slasearch.config.schema import ConfirmPhase, StudyConfig
from slasearch.search.job import Job
from slasearch.search.tuning import ranked_tuned
from slasearch.search.winners import FINALIST, Goal, chosen, searched
from slasearch.storage.rows import TrialRow

__all__ = ["control_finalists", "missing_finalists", "most_finalists"]


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
    found = chosen(config.objectives, searched(trials), confirm.finalists, config.constraints)
    if len(found) <= confirm.top:
        return
    made = {(trial.params, trial.repeat) for trial in trials if trial.role in ("search", FINALIST)}
    for repeat, finalist in product(range(confirm.finalist_seeds), [winner.trial for winner in found]):
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


def most_finalists(confirm: ConfirmPhase, settings: Sequence[int]) -> int:
    """At most how many trials the finalists of controls have.

    Args:
        confirm: The study's.
        settings: How many settings are tried of each control beside each winner.
    """
    further = max(confirm.finalist_seeds - confirm.tuning_seeds, 0)
    return further * sum(min(confirm.finalists, count) for count in settings if count > 1 and confirm.finalists > 1)
