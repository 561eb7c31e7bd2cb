"""What arms score at which size: one study a size, and each method a curve over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from slasearch.analysis.arm_words import other_winners
from slasearch.analysis.evidence import scores_by
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.groups import SEEDS, ArmName, Group, group_of
from slasearch.analysis.intervals import Estimate, log_interval, t_interval
from slasearch.analysis.likeness import refuse_unlike, unlike_settings
from slasearch.analysis.measure import Measure, measuring

__all__ = ["SizedArm", "arms_by_size", "cautions_by_size"]


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
        ReportError: A study has confirmed nothing, or not this trial, or lacks what is to be measured; or studies of
            the same tasks have other data, metrics or disturbances.
    """
    measure = measure or Measure()
    measured = {label: measuring(frames, measure) for label, frames in studies.items()}
    tasks: dict[str, tuple[str, ...]] = {}
    for alike in _of_the_same_tasks(measured):
        refuse_unlike(alike, measure)
        tasks |= dict.fromkeys(alike, tuple(next(iter(alike.values())).tasks))
    groups = [group_of(label, frames, (trials or {}).get(label), measure) for label, frames in measured.items()]
    order = list(dict.fromkeys(tasks[label] for label in studies))
    roles = list(dict.fromkeys(role for group in groups for role in group.roles))
    arms = [_arm(group, role, tasks[group.label]) for group in groups for role in group.roles]
    arms.sort(key=lambda arm: (order.index(arm.tasks), roles.index(arm.name.role), arm.parameters.mean))
    return tuple(arms)


def cautions_by_size(
    studies: Mapping[str, StudyFrames], *, trials: Mapping[str, int] | None = None, measure: Measure | None = None
) -> Iterator[str]:
    """What is unlike in studies of the same tasks beside the size, and which of several confirmed trials is meant."""
    measure = measure or Measure()
    measured = {label: measuring(frames, measure) for label, frames in studies.items()}
    for alike in _of_the_same_tasks(measured):
        yield from unlike_settings(alike)
    for label, frames in measured.items():
        group = group_of(label, frames, (trials or {}).get(label), measure)
        yield from other_winners(label, frames, group.pair_of)


def _of_the_same_tasks(studies: Mapping[str, StudyFrames]) -> list[dict[str, StudyFrames]]:
    found: dict[tuple[str, ...], dict[str, StudyFrames]] = {}
    for label, frames in studies.items():
        found.setdefault(tuple(sorted(frames.tasks)), {})[label] = frames
    return list(found.values())


def _arm(group: Group, role: str, tasks: tuple[str, ...]) -> SizedArm:
    runs = group.complete(role)
    return SizedArm(
        name=group.named(role),
        tasks=tasks,
        parameters=log_interval(runs.drop_duplicates("trial_id")["exported_parameters"]),
        score=t_interval(scores_by(runs, SEEDS, (MEAN,))[MEAN]),
    )
