"""Arms of several stored studies beside one reference: the same tasks, the same data, the same metric.

An arm is a role of a study: its winner, or one of the controls beside that winner. Runs of two arms are pairs where
both have the same seed pair (init and data): on the same data they then see the same order, whatever the study.
Arms whose seeds differ are not paired, and Welch's t-interval is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from slasearch.analysis.arm_words import failed_caution, other_winners, unequal_sizes
from slasearch.analysis.evidence import MARGIN, Evidence, adjusted, contrast, scores_by
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.groups import SEEDS, WHAT, ArmName, Group, group_of, run_seconds
from slasearch.analysis.intervals import Estimate, log_interval, t_interval
from slasearch.analysis.likeness import refuse_unlike, unlike_settings
from slasearch.analysis.measure import Measure, measuring
from slasearch.errors import ReportError

__all__ = ["Contrast", "Contrasts", "StudyArm", "compare_studies"]


@dataclass(frozen=True)
class StudyArm:
    """An arm: scores by series (`mean` and each task) and size over its complete runs."""

    name: ArmName
    scores: tuple[tuple[str, Estimate], ...]
    parameters: Estimate
    seconds: Estimate
    complete: int
    failed: int

    def score(self, series: str = MEAN) -> Estimate:
        """The score of one series."""
        return dict(self.scores)[series]


@dataclass(frozen=True)
class Contrast:
    """An arm minus the reference on one series."""

    arm: ArmName
    series: str
    evidence: Evidence


@dataclass(frozen=True)
class Contrasts:
    """Arms beside a reference, which is the first of `arms`."""

    arms: tuple[StudyArm, ...]
    contrasts: tuple[Contrast, ...]
    measure: Measure
    method: str
    warnings: tuple[str, ...]

    @property
    def reference(self) -> StudyArm:
        """The arm that is taken off every other."""
        return self.arms[0]

    def contrast(self, arm: ArmName, series: str = MEAN) -> Contrast:
        """One arm minus the reference on one series."""
        return next(item for item in self.contrasts if (item.arm, item.series) == (arm, series))


def compare_studies(
    studies: Mapping[str, StudyFrames],
    *,
    role: str = "winner",
    against: tuple[str, str] | None = None,
    trials: Mapping[str, int] | None = None,
    measure: Measure | None = None,
    margin: float = MARGIN,
) -> Contrasts:
    """Arms minus a reference, with Holm's adjustment over all arms on the mean over tasks.

    Without `against` the reference is the role in the first study, and the arms are the same role in the others, or, of
    one study alone, its other roles. With `against` the arms are all roles of all studies but the reference.

    Args:
        studies: By the names that they are to be called by.
        role: `winner`, or a control with or without `control:` before it.
        against: Study and role of the reference.
        trials: For some studies the number of the search trial whose confirmation is meant; the others take the first
            of `confirmed_winners`.
        measure: What is compared; None takes the undisturbed test split.
        margin: Loss of score that does not matter, for non-inferiority.

    Raises:
        ReportError: Tasks, metrics or data differ, a study lacks the role, the trial or what is to be compared, nothing
            has been confirmed, or the margin is none.
    """
    measure = measure or Measure()
    found = {label: measuring(frames, measure) for label, frames in studies.items()}
    refuse_unlike(found, measure)
    groups = {label: group_of(label, frames, (trials or {}).get(label), measure) for label, frames in found.items()}
    first = next(iter(groups))
    reference = _arm_name(groups, *(against or (first, role)))
    if against or len(groups) == 1:
        named = [group.named(one) for group in groups.values() for one in group.roles]
        others = [name for name in named if name != reference]
    else:
        others = [_arm_name(groups, label, role) for label in groups if label != first]
    if not others:
        raise ReportError(
            f"{WHAT}: expected an arm to compare with {reference.label}, got none. "
            "Name another study, or one whose confirm phase has controls."
        )
    return _contrasts(groups, [reference, *others], measure, margin)


def _arm_name(groups: Mapping[str, Group], label: str, role: str) -> ArmName:
    if label not in groups:
        raise ReportError(f"{WHAT}: expected one of the studies {', '.join(groups)}, got {label}. Name it too.")
    return groups[label].named(role)


def _contrasts(groups: Mapping[str, Group], names: list[ArmName], measure: Measure, margin: float) -> Contrasts:
    series = (MEAN, *groups[names[0].study].frames.tasks)
    runs = {name: groups[name.study].complete(name.role) for name in names}
    tables = {name: scores_by(rows, SEEDS, series) for name, rows in runs.items()}
    arms = tuple(_arm(groups[name.study], name, tables[name], runs[name]) for name in names)
    reference, *others = names
    paired = {name: _are_pairs(tables[name], tables[reference]) for name in others}
    found = {name: contrast(tables[name], tables[reference], paired=paired[name], margin=margin) for name in others}
    means = dict(zip(others, adjusted([found[name][MEAN] for name in others]), strict=True))
    methods = dict.fromkeys(found[name][MEAN].difference.method for name in others)
    return Contrasts(
        arms=arms,
        contrasts=tuple(
            Contrast(name, one, means[name] if one == MEAN else found[name][one]) for name in others for one in series
        ),
        measure=measure,
        method="; ".join((measure.words, *methods)),
        warnings=(*measure.cautions, *_cautions(groups, arms, tables, paired)),
    )


def _arm(group: Group, name: ArmName, table: pd.DataFrame, runs: pd.DataFrame) -> StudyArm:
    trials = runs.drop_duplicates("trial_id")
    return StudyArm(
        name=name,
        scores=tuple((str(series), t_interval(table[series])) for series in table.columns),
        parameters=log_interval(trials["exported_parameters"]),
        seconds=run_seconds(trials),
        complete=len(trials),
        failed=group.failed(name.role),
    )


def _are_pairs(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Whether enough runs have a partner: half of the smaller arm's or more, and not only one of several."""
    smaller, common = min(len(first), len(second)), len(first.index.intersection(second.index))
    return 2 * common >= smaller and common >= min(2, smaller)


def _cautions(
    groups: Mapping[str, Group],
    arms: tuple[StudyArm, ...],
    tables: Mapping[ArmName, pd.DataFrame],
    paired: Mapping[ArmName, bool],
) -> Iterator[str]:
    reference = arms[0]
    for arm in arms:
        yield from failed_caution(arm.name.label, arm.failed, arm.complete)
        if arm.complete < 2:
            yield f"{arm.name.label}: one run, so no intervals"
    for name, pairs in paired.items():
        common = len(tables[name].index.intersection(tables[reference.name].index))
        alone = len(tables[name]) + len(tables[reference.name]) - 2 * common
        if not pairs:
            yield f"{name.label}: {common} runs share their seeds with {reference.name.label}, so runs are not paired"
        elif alone:
            yield f"{name.label}: {alone} runs of it or of {reference.name.label} have no partner and are in no pair"
    others = [(arm.name.label, arm.parameters.mean) for arm in arms[1:]]
    yield from unequal_sizes(reference.name.label, reference.parameters.mean, others)
    yield from unlike_settings({label: group.frames for label, group in groups.items()})
    for group in groups.values():
        yield from other_winners(group.label, group.frames, group.pair_of)
