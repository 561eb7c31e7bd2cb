"""A role beside the others on average over several studies: is a structure better over all these tasks?

Each study is a source, with tasks and data of its own and a mean over them. Runs of two arms are pairs where both have
the same seed pair; intervals are over seed pairs and test examples (`slasearch.analysis.crossed`), and Holm's
adjustment is over the roles. The mean over sources speaks for these sources and no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from slasearch.analysis.arm_words import failed_caution, other_winners, unequal_sizes
from slasearch.analysis.crossed import Source, crossed_difference
from slasearch.analysis.effects import detectable
from slasearch.analysis.evidence import MARGIN, Standing, scores_by, standing
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.groups import SEEDS, WHAT, Group, full_role, group_of
from slasearch.analysis.intervals import Estimate, holm, log_interval
from slasearch.analysis.likeness import refuse_same_data, same_sources
from slasearch.analysis.measure import Measure, measuring
from slasearch.analysis.paired import MeanDifference, NonInferiority, Statistic, non_inferiority
from slasearch.analysis.roles import control_name, role_label
from slasearch.errors import ReportError
from slasearch.tasks.predictions import unpacked
from slasearch.tasks.sample import left_out

__all__ = ["Pooled", "PooledContrast", "PooledSource", "compare_pooled"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PooledSource:
    """The two arms in one study: their means over the runs that are pairs, and the difference by this study alone."""

    study: str
    first: float
    second: float
    difference: MeanDifference


@dataclass(frozen=True)
class PooledContrast:
    """The role minus another, on average over the sources."""

    role: str
    sources: tuple[PooledSource, ...]
    difference: MeanDifference
    non_inferiority: NonInferiority
    detectable: Statistic
    parameters: Estimate
    p_holm: float | None

    @property
    def standing(self) -> Standing:
        """How the role stands to the other."""
        return standing(self.difference.estimate, self.p_holm, self.non_inferiority)


@dataclass(frozen=True)
class Pooled:
    """A role of several studies beside their other roles; `parameters` is the geometric mean of its size in each."""

    role: str
    studies: tuple[str, ...]
    parameters: Estimate
    contrasts: tuple[PooledContrast, ...]
    measure: Measure
    method: str
    warnings: tuple[str, ...]

    def contrast(self, role: str) -> PooledContrast:
        """The role minus this other one."""
        return next(item for item in self.contrasts if item.role == full_role(role))


def compare_pooled(
    studies: Mapping[str, StudyFrames],
    *,
    role: str = "winner",
    trials: Mapping[str, int] | None = None,
    measure: Measure | None = None,
    margin: float = MARGIN,
    seed: int = 0,
) -> Pooled:
    """A role minus each other role that all studies have, averaged over the studies.

    Args:
        studies: By the names that they are to be called by; one is a mean over its own tasks.
        role: `winner`, or a control with or without `control:` before it.
        trials: For some studies the number of the search trial whose confirmation is meant.
        measure: What is compared, on the test split; None takes the undisturbed one.
        margin: Loss of score that does not matter, for non-inferiority.
        seed: Of the bootstrap.

    Raises:
        ReportError: A study lacks the role, all others, a pair or the predictions; two have a task on the same data; a
            metric is not built in; the measure is not on the test split, or the margin is none.
    """
    measure = measure or Measure()
    if measure.split != "test":
        raise ReportError(
            f"{WHAT}: expected the test split, whose predictions are kept, got {measure.split}. Leave the split out."
        )
    measured = {label: measuring(frames, measure) for label, frames in studies.items()}
    refuse_same_data(measured)
    groups = [group_of(label, frames, (trials or {}).get(label), measure) for label, frames in measured.items()]
    (first, *_) = [group.named(role).role for group in groups]
    others = _others(groups, first)
    contrasts = [_contrast(groups, first, other, measure, margin, seed) for other in others]
    adjusted = holm([one.difference.p for one in contrasts])
    contrasts = [replace(one, p_holm=p) for one, p in zip(contrasts, adjusted, strict=True)]
    sizes = _sizes(groups, first)
    unequal = [(role_label(one.role), one.parameters.mean) for one in contrasts]
    return Pooled(
        role=first,
        studies=tuple(studies),
        parameters=sizes,
        contrasts=tuple(contrasts),
        measure=measure,
        method=f"{measure.words}; {contrasts[0].difference.method}",
        warnings=(
            *_cautions(groups, first, others),
            *unequal_sizes(role_label(first), sizes.mean, unequal),
            *dict.fromkeys(text for one in contrasts for text in one.difference.warnings),
        ),
    )


def _others(groups: Sequence[Group], first: str) -> list[str]:
    """The roles beside the first that every study has."""
    shared = set.intersection(*(set(group.roles) for group in groups)) - {first}
    if not shared:
        each = "; ".join(f"{group.label}: {', '.join(map(control_name, group.roles))}" for group in groups)
        raise ReportError(
            f"{WHAT}: expected a second role that all studies have confirmed, got none ({each}). "
            "Give their confirm phases the same control."
        )
    return [role for role in groups[0].roles if role in shared]


class _Pairs:
    """Runs of two arms of one study under the same seeds.

    Args:
        group: The study.
        first: A role.
        second: Another one.
        measure: What is compared.
    """

    def __init__(self, group: Group, first: str, second: str, measure: Measure) -> None:
        self.label = group.label
        series = (MEAN, *group.frames.tasks)
        runs = {role: group.complete(role) for role in (first, second)}
        tables = {role: scores_by(rows, SEEDS, series)[MEAN].dropna() for role, rows in runs.items()}
        common = tables[first].index.intersection(tables[second].index).sort_values()
        if common.empty:
            raise ReportError(
                f"{WHAT}: expected runs of {role_label(first)} and {role_label(second)} of {group.label} under the "
                "same seeds, got none. Let the confirm phase run to its end."
            )
        self.scores = [tables[role].loc[common].to_numpy() for role in (first, second)]
        trials = {role: rows.groupby(list(SEEDS))["trial_id"].last() for role, rows in runs.items()}
        kept = _kept(group.frames, measure)
        both = [*trials[first].loc[common], *trials[second].loc[common]]
        values = [_pseudo_values(group, task, kept, both) for task in group.frames.tasks]
        count = len(common)
        self.source = Source(self.scores[0] - self.scores[1], tuple(one[:count] - one[count:] for one in values))


def _kept(frames: StudyFrames, measure: Measure) -> dict[tuple[int, str], tuple[bytes, bytes]]:
    """Labels and predictions by trial and task."""
    rows = frames.predictions
    mine = rows[(rows["condition"] == measure.condition) & np.isclose(rows["level"], measure.level)]
    columns = (mine[name].tolist() for name in ("trial_id", "task", "labels", "predicted"))
    return {(trial, task): (labels, said) for trial, task, labels, said in zip(*columns, strict=True)}


def _pseudo_values(
    group: Group, task: str, kept: Mapping[tuple[int, str], tuple[bytes, bytes]], trials: Sequence[int]
) -> Floats:
    """Runs by examples: what each example adds to the score of each run."""
    metric, rows, asked = group.frames.task_metrics[task], [], None
    for trial in trials:
        if (trial, task) not in kept:
            raise ReportError(
                f"{WHAT}: expected what runs of {group.label} predicted for each test example of {task}, got none: it "
                "ran before these were kept. Run it again, or compare without --pooled, over seeds alone."
            )
        labels, predicted = map(unpacked, kept[trial, task])
        if asked is not None and not np.array_equal(asked, labels):
            raise ReportError(
                f"{WHAT}: expected the same test examples of {task} in all runs of {group.label}, got others in trial "
                f"{group.frames.number_of(trial)}. Run the study again on data that do not change."
            )
        asked = labels
        without = left_out(metric, labels, predicted)
        if without is None:
            raise ReportError(
                f"{WHAT}: expected tasks of two test examples or more scored by accuracy, macro_f1 or mcc, got "
                f"{metric} of {len(labels)} for {task} of {group.label}. Compare without --pooled, over seeds alone."
            )
        # n·θ − (n − 1)·θ_(i), but for a constant: only differences between examples are used.
        rows.append(-(len(labels) - 1) * without)
    return np.stack(rows)


def _contrast(
    groups: Sequence[Group], first: str, other: str, measure: Measure, margin: float, seed: int
) -> PooledContrast:
    pairs = [_Pairs(group, first, other, measure) for group in groups]
    difference = crossed_difference([one.source for one in pairs], seed=seed)
    return PooledContrast(
        role=other,
        sources=tuple(
            PooledSource(
                one.label,
                float(one.scores[0].mean()),
                float(one.scores[1].mean()),
                crossed_difference([one.source], seed=seed),
            )
            for one in pairs
        ),
        difference=difference,
        non_inferiority=non_inferiority(difference, margin),
        detectable=detectable(difference),
        parameters=_sizes(groups, other),
        p_holm=difference.p,
    )


def _sizes(groups: Sequence[Group], role: str) -> Estimate:
    """The geometric mean over studies, which count alike as in the difference, however many runs they have."""
    runs = [group.complete(role).drop_duplicates("trial_id")["exported_parameters"] for group in groups]
    over = log_interval(log_interval(sizes).mean for sizes in runs)
    return Estimate(over.mean, None, None, sum(len(sizes) for sizes in runs), geometric=True)


def _cautions(groups: Sequence[Group], first: str, others: Sequence[str]) -> Iterator[str]:
    yield from same_sources({group.label: group.frames for group in groups})
    for group in groups:
        for role in (first, *others):
            complete = group.complete(role)["trial_id"].nunique()
            yield from failed_caution(f"{group.label}: {role_label(role)}", group.failed(role), complete)
        yield from other_winners(group.label, group.frames, group.pair_of)
        left = [role for role in group.roles if role not in (first, *others)]
        if left:
            yield f"left out, as not every study has it: {', '.join(map(role_label, left))} of {group.label}"
