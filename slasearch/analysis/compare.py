"""Are the structures found better than the controls? Paired over seeds, on the test split, at equal size.

A winner is a search trial's settings run again with other seeds: each run learns a structure of its own. A winner and
its control of one repeat share seeds, data and measured inputs, so their difference is taken pair by pair and the
interval is over pairs. A mean over tasks speaks for these tasks and no others. How each control
was tuned stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.goals import goals_of
from slasearch.analysis.intervals import Estimate, holm, paired_p, t_interval
from slasearch.analysis.roles import role_label, role_phrase
from slasearch.analysis.tuning import Tuning, picked, searched_trials, tuning_cautions, tuning_of, tuning_terms
from slasearch.errors import ReportError
from slasearch.records import DIRECTIONS
from slasearch.search.winners import Goal

Verdict = Literal["better", "worse", "not told apart", "no interval"]

__all__ = ["Arm", "Comparison", "Comparisons", "Verdict", "compare", "winner_label"]

SIZE_TOLERANCE = 0.05
"""Sizes that differ by more than this share are pointed out."""


@dataclass(frozen=True)
class Arm:
    """A winner or one of its controls: test scores by series (`mean` and each task), size, robustness.

    `complete` runs are in the estimates, `failed` ones are not. `tuning` is None for a winner.
    """

    role: str
    scores: tuple[tuple[str, Estimate], ...]
    parameters: Estimate
    robustness: Estimate
    complete: int
    failed: int
    tuning: Tuning | None = None

    def score(self, series: str = MEAN) -> Estimate:
        """The test score of one series."""
        return dict(self.scores)[series]


@dataclass(frozen=True)
class Comparison:
    """Winner minus control on one series: the mean difference, its interval and every pair's own difference."""

    control: str
    series: str
    difference: Estimate
    pairs: tuple[float, ...]
    p: float | None
    p_holm: float | None

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
    has made.
    """

    winner_id: int
    number: int
    label: str
    arms: tuple[Arm, ...]
    differences: tuple[Comparison, ...]
    method: str
    searched: int
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
        """The comparison with one control on one series."""
        return next(item for item in self.differences if (item.control, item.series) == (control, series))


def compare(frames: StudyFrames) -> tuple[Comparisons, ...]:
    """Every winner with its controls, in the order in which the winners were confirmed.

    Holm's adjustment is over all winners and controls on the mean over tasks; the tasks' own p-values carry none.

    Raises:
        ReportError: Nothing has been confirmed.
    """
    confirmed = frames.phase_trials("confirm", "complete")
    winners = confirmed[confirmed["role"] == "winner"]
    if winners.empty:
        raise ReportError(
            "Comparison with controls: expected complete trials of the confirm phase, got none. "
            "Add `phases.confirm` to the study, or run it to its end."
        )
    scores, by = frames.clean_scores("test"), goals_of(frames)
    found = [_one_winner(frames, int(pair_of), scores, by) for pair_of in winners["pair_of"].dropna().unique()]
    return _adjusted(found)


def _one_winner(frames: StudyFrames, pair_of: int, scores: pd.DataFrame, by: Mapping[int | None, Goal]) -> Comparisons:
    mine = frames.confirmed(pair_of)
    roles = frames.confirm_roles(mine)
    arms = tuple(_arm(frames, role, pair_of, mine[mine["role"] == role], scores, by) for role in roles)
    wide = mine[mine["state"] == "complete"].merge(scores, on="trial_id")
    differences = tuple(
        _difference(wide[wide["series"] == series], role, series)
        for role in roles[1:]
        for series in (MEAN, *frames.tasks)
    )
    number = frames.number_of(pair_of)
    return Comparisons(
        winner_id=pair_of,
        number=number,
        label=winner_label(frames, pair_of),
        arms=arms,
        differences=differences,
        method=f"test split; paired by seed pair over {arms[0].complete} repeats; "
        "95 % t-interval of the differences, none where all pairs are equal",
        searched=searched_trials(frames),
        warnings=tuple(_cautions(arms, number)),
    )


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
        parameters=t_interval(complete["exported_parameters"]),
        robustness=t_interval(complete["robustness"]),
        complete=len(complete),
        failed=frames.failed(runs),
        tuning=None
        if role == "winner"
        else tuning_of(frames, role, pair_of, str(variants.iloc[0]) if len(variants) else None, by),
    )


def _difference(scores: pd.DataFrame, role: str, series: str) -> Comparison:
    by_repeat = scores.pivot_table(index="repeat", columns="role", values="value", aggfunc="mean")
    by_repeat = by_repeat.reindex(columns=["winner", role])
    pairs = (by_repeat["winner"] - by_repeat[role]).dropna()
    return Comparison(
        control=role,
        series=series,
        difference=t_interval(pairs),
        pairs=tuple(float(value) for value in pairs),
        p=paired_p(pairs),
        p_holm=None,
    )


def _cautions(arms: tuple[Arm, ...], number: int) -> Iterable[str]:
    winner = arms[0]
    if winner.complete < 2:
        yield "one seed pair: no intervals, so nothing can be said about better or worse"
    for arm in arms[1:]:
        if arm.failed:
            total = arm.failed + arm.complete
            yield f"{role_label(arm.role)}: {arm.failed} of {total} runs failed and are in no pair"
    sizes = [(role_phrase(arm.role), arm.parameters.mean / (winner.parameters.mean or np.nan)) for arm in arms[1:]]
    unequal = [f"{name} {_share(share)}" for name, share in sizes if share > 0 and abs(share - 1) > SIZE_TOLERANCE]
    if unequal:
        yield f"of another size than trial {number}: {', '.join(unequal)}"
    yield from tuning_cautions({arm.role: arm.tuning for arm in arms if arm.tuning is not None})


def _share(share: float) -> str:
    """`12 % larger`, `28 % smaller`, `324 times as large`."""
    if share >= 2:
        return f"{share:.2g} times as large" if share < 10 else f"{share:,.0f} times as large".replace(",", "\u202f")
    return f"{abs(share - 1) * 100:.0f} % {'larger' if share > 1 else 'smaller'}"


def _adjusted(found: list[Comparisons]) -> tuple[Comparisons, ...]:
    keys = [(i, j) for i, one in enumerate(found) for j, item in enumerate(one.differences) if item.series == MEAN]
    p_values = holm([found[i].differences[j].p for i, j in keys])
    adjusted = dict(zip(keys, p_values, strict=True))
    return tuple(
        replace(
            one,
            differences=tuple(replace(item, p_holm=adjusted.get((i, j))) for j, item in enumerate(one.differences)),
        )
        for i, one in enumerate(found)
    )


def winner_label(frames: StudyFrames, trial_id: int) -> str:
    """Why a search trial was confirmed: the objectives of the study in which no complete trial was better."""
    complete = frames.search_trials("complete").set_index("trial_id")
    names = {"score": "score", "exported_parameters": "size", "robustness": "robustness"}
    found = []
    for objective in frames.config.objectives:
        values = complete[objective.name].dropna()
        best = values.max() if DIRECTIONS[objective.name] == "maximize" else values.min()
        if trial_id in values.index and values.loc[trial_id] == best:
            found.append(names[objective.name])
    return f"best by {', '.join(found)}" if found else "among the best"
