"""One-at-a-time curves: what score, size and robustness do along one factor while the others stay at their base.

What is trained under comes from the `design` phase, whose trials are placed on purpose and never pruned; adaptive
trials crowd where the sampler liked it and say nothing about a factor's effect, so they are not used. Levels at
evaluation come from the study's measured conditions, which every trial carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from slasearch.analysis.curves import Curve, Level, build_series, pairs_of_seeds
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.grids import comparable
from slasearch.analysis.intervals import NORMAL, holm, log_interval, p_of_zero, t_interval
from slasearch.analysis.parameters import distributions, scale_of
from slasearch.errors import ReportError
from slasearch.records import CLEAN_SAMPLE

__all__ = ["Response", "design_curves", "level_p_values", "measured_curves", "measured_levels", "responses"]

_MOST_TRIALS = 500
"""Trials of a search that a curve is drawn from; without a design a large study has no more to say here."""

Response = Literal["score", "change", "exported_parameters", "robustness"]


def responses(frames: StudyFrames) -> tuple[Response, ...]:
    """What this study's design can show: a change needs a base point, robustness measured conditions."""
    design = frames.config.phases.design
    change: tuple[Response, ...] = ("change",) if design and design.sampler.name == "one_at_a_time" else ()
    robustness: tuple[Response, ...] = ("robustness",) if frames.config.conditions.measured else ()
    return ("score", *change, "exported_parameters", *robustness)


def design_curves(frames: StudyFrames, response: Response = "score") -> tuple[Curve, ...]:
    """One curve for each factor of the design, in the order of the study file.

    Args:
        frames: The study.
        response: `score` (validation, undisturbed) and `change`, which is the score minus that of the base point with
            the same seed pair, give a series for each task and their mean (of one task the mean alone); the others one
            series, `mean`. The mean of `exported_parameters` is geometric.

    Raises:
        ReportError: The study has no design with levels, one that cannot have this response (see `responses`), or no
            complete design trial with it.
    """
    design = frames.config.phases.design
    if design is None or not design.levels:
        got, step = "none", "Add `phases.design` with `levels`"
        if design is not None:
            got, step = design.sampler.name, "A design of one of these is a study of another name"
        raise ReportError(f"One-at-a-time curves: expected a design phase of one_at_a_time or grid, got {got}. {step}.")
    if response not in responses(frames):
        raise ReportError(
            f"One-at-a-time curves: expected one of {', '.join(responses(frames))}, got {response}: "
            "a change needs a design of one_at_a_time, robustness needs `conditions.measured`."
        )
    trials = frames.phase_trials("design")
    values = _responses(frames, response)
    curves = [_design_curve(frames, factor, design.sampler.name, response, trials, values) for factor in design.levels]
    found = tuple(curve for curve in curves if curve.series)
    if not found:
        raise ReportError(
            f"One-at-a-time curves: expected complete design trials with {response}, got none of {len(trials)}. "
            "Run the study further, or look at its failures with `slasearch trials`."
        )
    return found


def _responses(frames: StudyFrames, response: Response) -> pd.DataFrame:
    """Columns `trial_id, series, value`."""
    if response == "score":
        return frames.clean_scores("validation")[["trial_id", "series", "value"]]
    if response == "change":
        return _changes(frames)
    values = frames.trials[["trial_id", response]].rename(columns={response: "value"})
    return values.dropna().assign(series=MEAN)


def _changes(frames: StudyFrames) -> pd.DataFrame:
    """Scores minus the base point's of the same repeat: the seeds' own level drops out."""
    trials = frames.phase_trials("design", "complete")
    scores = frames.clean_scores("validation").merge(trials[["trial_id", "repeat", "factor"]], on="trial_id")
    base = scores[scores["factor"].isna()]
    paired = scores.merge(base[["series", "repeat", "value"]], on=["series", "repeat"], suffixes=("", "_base"))
    return paired.assign(value=paired["value"] - paired["value_base"])[["trial_id", "series", "value"]]


def _design_curve(
    frames: StudyFrames, factor: str, sampler: str, response: Response, trials: pd.DataFrame, values: pd.DataFrame
) -> Curve:
    if sampler == "one_at_a_time":
        trials = trials[trials["factor"].isna() | (trials["factor"] == factor)]
        method = "one factor at a time, the others at their base"
    else:
        method = "grid: mean over all levels of the other factors"
    share = frames.config.conditions.share
    if response == "robustness" and share < 1:
        method += f"; measured on {100 * share:.3g} % of the examples, the same for all trials"
    complete = trials[trials["state"] == "complete"]
    params = frames.params.set_index("trial_id").reindex(complete["trial_id"])
    level = params[factor].to_numpy() if factor in params else None
    located = complete[["trial_id", "point", "repeat"]].assign(level=level).dropna()
    located, left_out = comparable(frames.config, factor, located) if sampler == "grid" else (located, ())
    data = values.merge(located, on="trial_id")
    repeats = located["repeat"].nunique()
    scale = scale_of(distributions(frames.config).get(factor))
    interval = log_interval if response == "exported_parameters" else t_interval
    return Curve(
        factor=factor,
        response=response,
        scale=scale,
        series=build_series(data, frames.series, _levels(frames, factor, data), interval),
        complete=len(located),
        failed=frames.failed(trials),
        method=f"{method}; validation split; {pairs_of_seeds(repeats)}",
        warnings=(*left_out, *(("one seed pair: no intervals",) if repeats == 1 else ())),
    )


def level_p_values(frames: StudyFrames, changes: Sequence[Curve]) -> dict[tuple[str, Level], float | None]:
    """For each level beside the base, by factor and level, p that the mean over tasks does not change there.

    Adjusted by Holm over all levels of the design; None with one seed pair.

    Args:
        frames: The study.
        changes: Its design curves of `change`.
    """
    trials = frames.phase_trials("design")
    base = set(trials.loc[trials["factor"].isna(), "trial_id"])
    found = {
        (curve.factor, point.level): p_of_zero(point.estimate)
        for curve in changes
        for point in curve.named(MEAN).points
        if not base.issuperset(point.trial_ids)
    }
    return dict(zip(found, holm(list(found.values())), strict=True))


def _levels(frames: StudyFrames, factor: str, data: pd.DataFrame) -> list[Level]:
    """Numbers by size, categories in the order of their choices."""
    found = list(dict.fromkeys(data["level"]))
    choices = getattr(distributions(frames.config).get(factor), "choices", None)
    if choices is None:
        return sorted(found)
    return [choice for choice in choices if choice in found]


def measured_levels(frames: StudyFrames, kind: str) -> tuple[float, ...]:
    """Levels at which a condition is measured, 0 (clean) first."""
    levels = next(condition.levels for condition in frames.config.conditions.measured if condition.kind == kind)
    return (0.0, *sorted(levels))


def measured_curves(frames: StudyFrames) -> tuple[Curve, ...]:
    """Score against the level of each measured condition, a series for each task and their mean (of one task the mean).

    The trials are the base point of the design over its seeds, or, where there is none, all complete trials of the
    search; the method says which.

    Raises:
        ReportError: The study measures no condition, or no complete trial of the search carries one.
    """
    kinds = [condition.kind for condition in frames.config.conditions.measured]
    if not kinds:
        raise ReportError(
            "Curves over measured conditions: expected `conditions.measured` in the study, got none. "
            "Add kinds and levels, and run the study under a new name."
        )
    trials, method = _measured_trials(frames)
    if trials.empty:
        raise ReportError(
            "Curves over measured conditions: expected at least one complete trial of the search, got none. "
            "Run the study further, or look at its failures with `slasearch trials`."
        )
    failed = frames.failed(frames.search_trials())
    data = frames.scores[frames.scores["split"] == "validation"].merge(trials[["trial_id", "repeat"]], on="trial_id")
    found = {kind: of_kind(data, kind) for kind in kinds}
    return tuple(
        Curve(
            factor=kind,
            response="score",
            scale="linear",
            series=build_series(rows, frames.series, measured_levels(frames, kind)),
            complete=len(trials),
            failed=failed,
            method="; ".join((method, *_sampling(rows))),
            warnings=("one trial: no intervals",) if len(trials) < 2 else (),
        )
        for kind, rows in found.items()
    )


def of_kind(scores: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Rows of one condition, and as its level 0 the clean ones, each measured on the same examples as its trial's."""
    sampled = scores["condition"] == CLEAN_SAMPLE
    whole = (scores["condition"] == "clean") & ~scores["trial_id"].isin(scores.loc[sampled, "trial_id"])
    return scores[sampled | whole | (scores["condition"] == kind)]


def _sampling(scores: pd.DataFrame) -> tuple[str, ...]:
    """What is to be said of scores that were measured on a sample of the split, if they were."""
    rows = scores[scores["error"].notna()]
    if rows.empty:
        return ()
    sizes = rows.loc[rows["series"] != MEAN, "examples"]
    count = f"{sizes.min():,.0f}" if sizes.min() == sizes.max() else f"{sizes.min():,.0f} to {sizes.max():,.0f}"
    text = f"measured on {count} examples of each task, the same for all trials"
    errors = rows.loc[rows["series"] == MEAN, "error"]
    if errors.empty:
        return (text,)
    return (f"{text}: by their choice ± {NORMAL * errors.max():.3f} at most on a trial's mean (95 %)",)


def _measured_trials(frames: StudyFrames) -> tuple[pd.DataFrame, str]:
    design = frames.phase_trials("design", "complete")
    base = design[design["factor"].isna() & (design["sampler"] == "one_at_a_time")]
    if len(base):
        return base, f"base point of the design; validation split; {pairs_of_seeds(len(base))}"
    complete = frames.search_trials("complete")
    count = len(complete)
    if count > _MOST_TRIALS:
        complete = complete.iloc[np.linspace(0, count - 1, _MOST_TRIALS).round().astype(int)]
    # Every trial is its own block: the interval then speaks of the trials of the search, not of seeds.
    trials = complete.assign(repeat=range(len(complete)))
    which = f"{count}" if count == len(trials) else f"{len(trials)} of {count}, evenly over their order"
    return (
        trials,
        f"complete trials of the search: {which}; validation split; intervals over trials, not seeds",
    )
