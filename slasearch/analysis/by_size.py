"""What arms score at which size: one study a size, and each method a curve over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slasearch.analysis.evidence import scores_by
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.groups import SEEDS, ArmName, Group, group_of
from slasearch.analysis.intervals import Estimate, log_interval, t_interval
from slasearch.analysis.measure import Measure, measuring

__all__ = ["SizedArm", "arms_by_size"]


@dataclass(frozen=True)
class SizedArm:
    """A role of a study: its score, the mean over `tasks`, and its size, both over its complete runs."""

    name: ArmName
    tasks: tuple[str, ...]
    parameters: Estimate
    score: Estimate


def arms_by_size(
    studies: Mapping[str, StudyFrames],
    *,
    trials: Mapping[str, int] | None = None,
    measure: Measure | None = None,
) -> tuple[SizedArm, ...]:
    """Every confirmed arm of every study: those of the same tasks together, role by role, the smallest first.

    Args:
        studies: By the names that they are to be called by; their tasks may differ.
        trials: For some studies the number of the search trial whose confirmation is meant; the first one that was
            confirmed stands for the others.
        measure: What is measured; None takes the undisturbed test split.

    Raises:
        ReportError: A study has confirmed nothing, or not this trial, or lacks what is to be measured.
    """
    measure = measure or Measure()
    groups = [
        group_of(label, measuring(frames, measure), (trials or {}).get(label), measure)
        for label, frames in studies.items()
    ]
    tasks = list(dict.fromkeys(_tasks(group) for group in groups))
    roles = list(dict.fromkeys(role for group in groups for role in group.roles))
    arms = [_arm(group, role) for group in groups for role in group.roles]
    arms.sort(key=lambda arm: (tasks.index(arm.tasks), roles.index(arm.name.role), arm.parameters.mean))
    return tuple(arms)


def _tasks(group: Group) -> tuple[str, ...]:
    return tuple(group.frames.tasks)


def _arm(group: Group, role: str) -> SizedArm:
    runs = group.complete(role)
    return SizedArm(
        name=group.named(role),
        tasks=_tasks(group),
        parameters=log_interval(runs.drop_duplicates("trial_id")["exported_parameters"]),
        score=t_interval(scores_by(runs, SEEDS, (MEAN,))[MEAN]),
    )
