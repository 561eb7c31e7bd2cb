"""Are the structures found better than the controls? Paired over seeds, on the test split, at equal size.

A winner is a search trial's settings run again with other seeds: each run learns a structure of its own. A winner and
its control of one repeat share seeds, data and measured inputs, so their difference is taken pair by pair and the
interval is over pairs. A mean over tasks speaks for these tasks and no others. How each control
was tuned stands beside it, and with each difference its evidence: further tests, and how small a difference these
seeds could have shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from slasearch.analysis.arm_words import failed_caution, unequal_sizes, winner_label
from slasearch.analysis.evidence import MARGIN, Evidence, adjusted, contrast, scores_by
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.goals import confirmed_winners, goals_of
from slasearch.analysis.groups import full_role, run_seconds
from slasearch.analysis.intervals import Estimate, log_interval, t_interval
from slasearch.analysis.measure import Measure, measured_scores, measuring
from slasearch.analysis.roles import control_name, role_label, role_phrase
from slasearch.analysis.tuning import Tuning, picked, searched_trials, tuning_cautions, tuning_of, tuning_terms
from slasearch.errors import ReportError
from slasearch.search.winners import Goal

Verdict = Literal["better", "worse", "not told apart", "no interval"]

__all__ = ["Arm", "Comparison", "Comparisons", "Verdict", "compare"]


@dataclass(frozen=True)
class Arm:
    """A winner or one of its controls: scores by series (`mean` and each task), size, robustness, time of a run.

    `complete` runs are in the estimates, `failed` ones are not. `tuning` is None for a winner.
    """

    role: str
    scores: tuple[tuple[str, Estimate], ...]
    parameters: Estimate
    robustness: Estimate
    seconds: Estimate
    complete: int
    failed: int
    tuning: Tuning | None = None

    def score(self, series: str = MEAN) -> Estimate:
        """The score of one series."""
        return dict(self.scores)[series]


@dataclass(frozen=True)
class Comparison:
    """Winner minus control on one series."""

    control: str
    series: str
    evidence: Evidence

    @property
    def difference(self) -> Estimate:
        """The mean difference with its interval."""
        return self.evidence.difference.interval

    @property
    def pairs(self) -> tuple[float, ...]:
        """Every pair's own difference."""
        return self.evidence.pairs

    @property
    def p(self) -> float | None:
        """Two-sided p of the difference; None without an interval."""
        return self.evidence.difference.p

    @property
    def p_holm(self) -> float | None:
        """The same after Holm's adjustment; None on single tasks."""
        return self.evidence.p_holm

    @property
    def verdict(self) -> Verdict:
        """What may be said at a level of .05, after Holm's adjustment where there is one."""
        p = self.p if self.p_holm is None else self.p_holm
        if p is None:
            return "no interval"
        if p >= 0.05:
            return "not told apart"
        return "better" if self.difference.mean > 0 else "worse"


@dataclass(frozen=True)
class Comparisons:
    """One winner beside its controls.

    `number` is the search trial that was confirmed, `label` why it was chosen, `searched` how many trials the search
    has made, `measure` what is compared.
    """

    winner_id: int
    number: int
    label: str
    arms: tuple[Arm, ...]
    differences: tuple[Comparison, ...]
    method: str
    searched: int
    measure: Measure
    warnings: tuple[str, ...]

    @property
    def winner(self) -> Arm:
        """The arm of the searched structures."""
        return self.arms[0]

    @property
    def terms(self) -> tuple[str, ...]:
        """On what terms the arms were compared, as clauses."""
        lora = any(arm.role == "control:lora" for arm in self.arms)
        size = ("a control LoRA is never smaller: it is rounded up by less than one rank-one unit",) if lora else ()
        tuning = tuning_terms(self.tunings, self.searched)
        return ("each run of the winner learns its own structure", *tuning, *size)

    @property
    def tunings(self) -> dict[str, Tuning]:
        """How each control was tuned, by its role."""
        return {arm.role: arm.tuning for arm in self.arms if arm.tuning is not None}

    @property
    def picked(self) -> str:
        """Which layouts were picked on validation, as a clause; empty without any."""
        return picked(self.tunings)

    @property
    def controls(self) -> tuple[Arm, ...]:
        """The arms beside the winner, in the order of the study file."""
        return self.arms[1:]

    def difference(self, control: str, series: str = MEAN) -> Comparison:
        """The comparison with one control on one series.

        Args:
            control: The control's role, `control:lora`, or its name alone.
            series: `mean` over tasks, or the name of a task.

        Raises:
            ReportError: The winner was not compared with such a control, or not on such a series.
        """
        found = {(item.control, item.series): item for item in self.differences}
        wanted = full_role(control), series
        if wanted not in found:
            controls = ", ".join(dict.fromkeys(control_name(one) for one, _ in found))
            names = ", ".join(dict.fromkeys(name for _, name in found))
            raise ReportError(
                f"Difference: expected a control ({controls}) and a series ({names}), got {control!r} and {series!r}."
            )
        return found[wanted]


def compare(frames: StudyFrames, measure: Measure | None = None, *, margin: float = MARGIN) -> tuple[Comparisons, ...]:
    """Every winner with its controls, in the order of `confirmed_winners`.

    Holm's adjustment is over all winners and controls on the mean over tasks; the tasks' own p-values carry none.

    Args:
        frames: The study.
        measure: What is compared; None takes the undisturbed test split.
        margin: Loss of score that does not matter, for non-inferiority.

    Raises:
        ReportError: Nothing has been confirmed, the study lacks what is to be compared, or the margin is none.
    """
    measure = measure or Measure()
    frames = measuring(frames, measure)
    winners = confirmed_winners(frames)
    if not winners:
        raise ReportError(
            "Comparison with controls: expected complete trials of the confirm phase, got none. "
            "Add `phases.confirm` to the study, or run it to its end."
        )
    scores, by = measured_scores(frames, measure), goals_of(frames)
    found = [_one_winner(frames, winner, scores, by, measure, margin) for winner in winners]
    return _adjusted(found)


def _one_winner(
    frames: StudyFrames,
    pair_of: int,
    scores: pd.DataFrame,
    by: Mapping[int | None, Goal],
    measure: Measure,
    margin: float,
) -> Comparisons:
    mine = frames.confirmed(pair_of)
    roles = frames.confirm_roles(mine)
    arms = tuple(_arm(frames, role, pair_of, mine[mine["role"] == role], scores, by) for role in roles)
    runs = mine[mine["state"] == "complete"].merge(scores, on="trial_id")
    series = (MEAN, *frames.tasks)
    tables = {role: scores_by(runs[runs["role"] == role], ["repeat"], series) for role in roles}
    evidence = {role: contrast(tables["winner"], tables[role], paired=True, margin=margin) for role in roles[1:]}
    number = frames.number_of(pair_of)
    return Comparisons(
        winner_id=pair_of,
        number=number,
        label=winner_label(frames, pair_of),
        arms=arms,
        differences=tuple(Comparison(role, name, evidence[role][name]) for role in roles[1:] for name in series),
        method=f"{measure.words}; paired by seed pair over {_repeats(evidence, arms[0].complete)} repeats; "
        "95 % t-interval of the differences, none where all pairs are equal",
        searched=searched_trials(frames),
        measure=measure,
        warnings=(*measure.cautions, *_cautions(arms, number)),
    )


def _repeats(evidence: Mapping[str, Mapping[str, Evidence]], complete: int) -> str:
    """How many pairs a comparison has: with all controls the same, or from the fewest to the most."""
    counts = {of[MEAN].difference.n for of in evidence.values()} or {complete}
    return " to ".join(dict.fromkeys(str(count) for count in (min(counts), max(counts))))


def _arm(
    frames: StudyFrames,
    role: str,
    pair_of: int,
    runs: pd.DataFrame,
    scores: pd.DataFrame,
    by: Mapping[int | None, Goal],
) -> Arm:
    variants = runs["control_variant"].dropna()
    complete = runs[runs["state"] == "complete"]
    mine = scores[scores["trial_id"].isin(complete["trial_id"])]
    return Arm(
        role=role,
        scores=tuple(
            (series, t_interval(mine.loc[mine["series"] == series, "value"])) for series in (MEAN, *frames.tasks)
        ),
        parameters=log_interval(complete["exported_parameters"]),
        robustness=t_interval(complete["robustness"]),
        seconds=run_seconds(complete),
        complete=len(complete),
        failed=frames.failed(runs),
        tuning=None
        if role == "winner"
        else tuning_of(frames, role, pair_of, str(variants.iloc[0]) if len(variants) else None, by),
    )


def _cautions(arms: tuple[Arm, ...], number: int) -> Iterable[str]:
    winner = arms[0]
    if winner.complete < 2:
        yield "one seed pair: no intervals, so nothing can be said about better or worse"
    for arm in arms[1:]:
        yield from failed_caution(role_label(arm.role), arm.failed, arm.complete)
        if not arm.failed and arm.complete < winner.complete:
            yield f"{role_label(arm.role)}: {arm.complete} of {winner.complete} runs so far, and as many pairs"
    others = [(role_phrase(arm.role), arm.parameters.mean) for arm in arms[1:]]
    yield from unequal_sizes(f"trial {number}", winner.parameters.mean, others)
    yield from tuning_cautions({arm.role: arm.tuning for arm in arms if arm.tuning is not None})


def _adjusted(found: list[Comparisons]) -> tuple[Comparisons, ...]:
    means = [item for one in found for item in one.differences if item.series == MEAN]
    evidence = iter(adjusted([item.evidence for item in means]))
    return tuple(
        replace(
            one,
            differences=tuple(
                replace(item, evidence=next(evidence)) if item.series == MEAN else item for item in one.differences
            ),
        )
        for one in found
    )
