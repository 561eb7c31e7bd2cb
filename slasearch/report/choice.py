"""Which trial of a study is meant.

Trials are called as people see them in Optuna's dashboard: a search trial by its number (`12`), a trial of `tune` or
`confirm` by its number there with a `c` before it (`c3`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from slasearch.config.constraints import ConstraintConfig
from slasearch.config.schema import ObjectiveConfig
from slasearch.errors import ReportError, TrialNotFoundError
from slasearch.search.constraints import feasible
from slasearch.search.winners import winners
from slasearch.storage.rows import TrialRow

__all__ = ["Objective", "best_trial", "find_trial", "trial_label"]

Objective = Literal["score", "exported_parameters", "robustness"]


def trial_label(trial: TrialRow) -> str:
    """`12`, `c3` in `tune` and `confirm`, or `-` as long as the trial only waits."""
    if trial.number is None:
        return "-"
    return f"c{trial.number}" if trial.optuna_study == "confirm" else str(trial.number)


def find_trial(trials: Sequence[TrialRow], label: str) -> TrialRow:
    """The trial that is called `label`.

    Raises:
        TrialNotFoundError: There is none.
    """
    if re.fullmatch(r"c?\d+", label):
        for trial in trials:
            if trial_label(trial) == label:
                return trial
    last = trial_label(trials[-1]) if trials else "none"
    raise TrialNotFoundError(
        f"trial: expected a number such as 12, or c3 for a trial of tune or confirm (the study's last is {last}), "
        f"got {label!r}. `slasearch trials NAME` lists them."
    )


def best_trial(
    trials: Sequence[TrialRow],
    objective: Objective,
    constraints: Sequence[ConstraintConfig] = (),
    finalists: int = 1,
) -> TrialRow:
    """The best complete search trial by `objective`; if it was confirmed, the best of its runs over seeds.

    Scores are those on validation: the test split chooses nothing.

    Args:
        trials: All trials of a study.
        objective: `score`, `robustness` (most is best) or `exported_parameters` (least is best).
        constraints: The study's; configurations that break one on average are not chosen, nor runs that break one.
        finalists: How many of the best configurations are ranked by what they came to when they were tried again.

    Raises:
        ReportError: No trial is complete, or none has this objective.
    """
    target = ObjectiveConfig(name=objective)
    having = [trial for trial in trials if trial.state == "complete" and trial.objective(objective) is not None]
    best = winners([target], having, top=1, constraints=constraints, finalists=finalists)
    if not best:
        raise ReportError(
            f"best by {objective}: expected a complete search trial with this objective{_kept(constraints)}, got none "
            f"among {len(trials)}. Let the study run on, or choose another objective."
        )
    runs = [trial for trial in having if trial.role == "winner" and trial.params == best[0].params]
    runs = [trial for trial in runs if feasible(constraints, trial)]
    sign = -1 if target.direction == "minimize" else 1
    return max(runs or best, key=lambda trial: sign * (trial.objective(objective) or 0.0))


def _kept(constraints: Sequence[ConstraintConfig]) -> str:
    return " that keeps the study's constraints" if constraints else ""
