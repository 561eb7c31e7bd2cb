"""Performance drops: what share of its clean test score an arm loses under each measured condition.

    PDR = (clean − disturbed) / clean        (Zhu et al. 2023, PromptBench, arXiv 2306.04528)

It is taken run by run, so that what a seed does to both scores drops out; the mean over tasks is that of the tasks' own
rates. A winner and its control of one repeat share seeds and measured inputs: their difference is taken pair by pair.
Below 0 the score rose. Where the clean score is not above 0, as a correlation can be, there is no rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from slasearch.analysis.arm_words import winner_label
from slasearch.analysis.compare import Verdict
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.intervals import Estimate, holm, p_of_zero, t_interval
from slasearch.analysis.sensitivity import measured_levels, of_kind
from slasearch.errors import ReportError

__all__ = ["UNDEFINED", "Drop", "PerformanceDrops", "performance_drops"]


@dataclass(frozen=True)
class Drop:
    """What one arm loses under one condition at one level on one series (`mean` or a task).

    `rate` is the PDR over runs (a share of the clean score) and `values` each run's own. `difference` is the winner's
    rate minus this control's over pairs of seeds (below 0 the winner loses less), `pairs` each pair's own; None and
    empty for the winner. `p` is that of a paired t-test, `p_holm` adjusted over all winners, controls, conditions and
    levels on the mean over tasks; the tasks' own p-values carry none.
    """

    role: str
    series: str
    condition: str
    level: float
    rate: Estimate
    values: tuple[float, ...]
    difference: Estimate | None = None
    pairs: tuple[float, ...] = ()
    p: float | None = None
    p_holm: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the winner is told apart from this control, at .05; `better` means that it loses less."""
        p = self.p if self.p_holm is None else self.p_holm
        if p is None or self.difference is None:
            return "no interval"
        if p >= 0.05:
            return "not told apart"
        return "better" if self.difference.mean < 0 else "worse"


@dataclass(frozen=True)
class PerformanceDrops:
    """One winner and its controls under every measured condition.

    `number` is the search trial that was confirmed, `label` why it was chosen. `complete` runs are in it, `failed` ones
    are not; `undefined` counts the rates of runs that do not exist, as their clean score is not above 0.
    """

    number: int
    label: str
    roles: tuple[str, ...]
    drops: tuple[Drop, ...]
    complete: int
    failed: int
    undefined: int
    method: str
    warnings: tuple[str, ...]

    @property
    def conditions(self) -> tuple[tuple[str, float], ...]:
        """Conditions with their levels, in the order of the study file."""
        return tuple(dict.fromkeys((drop.condition, drop.level) for drop in self.drops))

    def of(self, role: str, series: str = MEAN) -> tuple[Drop, ...]:
        """The drops of one arm on one series, in the order of the conditions."""
        return tuple(drop for drop in self.drops if (drop.role, drop.series) == (role, series))

    def worst(self, role: str, series: str = MEAN) -> Drop | None:
        """The condition and level at which the arm loses most on average; None where no rate exists."""
        found = [drop for drop in self.of(role, series) if drop.rate.n]
        return max(found, key=lambda drop: drop.rate.mean, default=None)


UNDEFINED = "their clean score is not above 0, or a score is missing"
"""Why the rate of a run may not exist."""


def performance_drops(frames: StudyFrames) -> tuple[PerformanceDrops, ...]:
    """Every winner with its controls, in the order in which the winners were confirmed.

    Raises:
        ReportError: The study measures no condition, or no winner has a complete run.
    """
    kinds = [condition.kind for condition in frames.config.conditions.measured]
    confirmed = frames.phase_trials("confirm", "complete")
    winners = confirmed.loc[confirmed["role"] == "winner", "pair_of"].dropna().unique()
    if not kinds or not len(winners):
        raise ReportError(
            "Performance drops: expected `conditions.measured` and complete trials of the confirm phase, got "
            f"{len(kinds)} conditions and {len(winners)} winners. Add them to the study, or run it to its end."
        )
    return _adjusted([_one_winner(frames, int(pair_of), kinds) for pair_of in winners])


def _one_winner(frames: StudyFrames, pair_of: int, kinds: list[str]) -> PerformanceDrops:
    runs = frames.confirmed(pair_of)
    complete = runs[runs["state"] == "complete"]
    roles = tuple(frames.confirm_roles(complete))
    rates = _rates(frames, complete, kinds)
    repeats = complete.loc[complete["role"] == "winner", "repeat"].nunique()
    undefined = int(rates.loc[rates["series"] != MEAN, "value"].isna().sum())
    return PerformanceDrops(
        number=frames.number_of(pair_of),
        label=winner_label(frames, pair_of),
        roles=roles,
        drops=tuple(_drops(frames, rates, roles, kinds)),
        complete=len(complete),
        failed=frames.failed(runs),
        undefined=undefined,
        method="test split; (clean − disturbed) ÷ clean of each run, mean over tasks of their own rates; "
        f"paired by seed over {pairs_of_seeds(repeats)}",
        warnings=(
            *(("one seed pair: no intervals",) if repeats < 2 else ()),
            *((f"{undefined} rates of runs do not exist: {UNDEFINED}",) if undefined else ()),
        ),
    )


def _rates(frames: StudyFrames, complete: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """Columns `trial_id, repeat, role, condition, level, series, value`: the rate of each run, NaN where it has none.

    The mean stands only where every task has a rate.
    """
    scores = frames.scores
    scores = scores[(scores["split"] == "test") & (scores["series"] != MEAN)]
    scores = scores.merge(complete[["trial_id", "repeat", "role"]], on="trial_id")
    keys = ["trial_id", "series"]
    found = []
    for kind in kinds:
        rows = of_kind(scores, kind)
        clean = rows.loc[rows["level"] == 0, [*keys, "value"]].rename(columns={"value": "clean"})
        rows = rows[rows["level"] > 0].merge(clean, on=keys)
        rate = ((rows["clean"] - rows["value"]) / rows["clean"]).where(rows["clean"] > 0)
        found.append(rows.assign(value=rate, condition=kind))
    own = pd.concat(found, ignore_index=True)
    run = ["trial_id", "repeat", "role", "condition", "level"]
    tasks = len(frames.tasks)
    means = (own.groupby(run, sort=False)["value"].sum(min_count=tasks) / tasks).reset_index().assign(series=MEAN)
    return pd.concat([own[[*run, "series", "value"]], means], ignore_index=True)


def _drops(frames: StudyFrames, rates: pd.DataFrame, roles: tuple[str, ...], kinds: list[str]) -> Iterator[Drop]:
    wide = rates.pivot_table(
        index=["series", "condition", "level", "repeat"], columns="role", values="value", aggfunc="mean"
    )
    groups = {key: rows for key, rows in wide.groupby(level=["series", "condition", "level"], sort=False)}
    for series in (MEAN, *frames.tasks):
        for kind in kinds:
            for level in measured_levels(frames, kind)[1:]:
                rows = groups.get((series, kind, level))
                if rows is not None:
                    yield from (_drop(rows, role, series, kind, level) for role in roles)


def _drop(rows: pd.DataFrame, role: str, series: str, kind: str, level: float) -> Drop:
    """`rows` has a column for each role and a row for each repeat."""
    own = rows[role].dropna() if role in rows else pd.Series(dtype="float64")
    values = tuple(float(value) for value in own)
    if role == "winner" or "winner" not in rows:
        return Drop(role, series, kind, level, t_interval(own), values)
    pairs = (rows["winner"] - own).dropna()
    difference = t_interval(pairs)
    return Drop(
        role, series, kind, level, t_interval(own), values, difference, tuple(map(float, pairs)), p_of_zero(difference)
    )


def _adjusted(found: list[PerformanceDrops]) -> tuple[PerformanceDrops, ...]:
    keys = [(i, j) for i, one in enumerate(found) for j, drop in enumerate(one.drops) if drop.series == MEAN]
    p_values = dict(zip(keys, holm([found[i].drops[j].p for i, j in keys]), strict=True))
    return tuple(
        replace(one, drops=tuple(replace(drop, p_holm=p_values.get((i, j))) for j, drop in enumerate(one.drops)))
        for i, one in enumerate(found)
    )
