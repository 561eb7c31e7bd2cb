"""Score and size along sparsity paths: trials that go through several λ, beside trials of one λ each.

Both kinds are read in the same way, at the end of a stage, before their structure is trained further: trials of one λ
are those whose path is that λ alone. A study that is to tell whether its paths may be trusted searches
`size_control.path` over a path and its single values, in a design with several seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from slasearch.analysis.curves import Curve, build_series, pairs_of_seeds
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.intervals import Estimate, log_interval, t_interval
from slasearch.errors import ReportError
from slasearch.records import SPARSITY_PATH

__all__ = ["ALONE", "ALONG", "FACTOR", "PathAgreement", "has_path", "path_agreement", "path_curves"]

FACTOR = "size_control.sparsity_weight"
"""What the curves run along: λ."""
_PATH = "size_control.path"
ALONG, ALONE = "path", "one λ"
"""Names of the series: stages of a path, and trials of one λ each."""

PathResponse = Literal["score", "exported_parameters"]
_RESPONSES: tuple[PathResponse, ...] = ("score", "exported_parameters")


@dataclass(frozen=True)
class PathAgreement:
    """How a path's stage at λ differs from trials of that λ alone, paired over settings and seed pairs.

    Of `score` (the mean over tasks) `difference` is path − alone, of `exported_parameters` the ratio path ÷ alone with
    its geometric mean.
    """

    weight: float
    response: PathResponse
    difference: Estimate

    @property
    def agrees(self) -> bool | None:
        """Whether the 95 % interval holds no difference; None if nothing is known of the spread but there is one.

        With few seeds an interval is wide: that it holds no difference does not mean that there is none.
        """
        same = 1.0 if self.response == "exported_parameters" else 0.0
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return True if math.isclose(self.difference.mean, same, abs_tol=1e-12) else None
        return low <= same <= high


def has_path(frames: StudyFrames) -> bool:
    """Whether some trial of the search has gone along a path."""
    return bool((frames.metrics["condition"] == SPARSITY_PATH).any())


def path_curves(frames: StudyFrames) -> tuple[Curve, ...]:
    """Two curves over λ, of `score` (mean over tasks) and of `exported_parameters`, with a series for each kind.

    Raises:
        ReportError: No complete trial of the search has gone along a path.
    """
    trials = _trials(frames)
    points = _points(frames, trials)
    if points.empty:
        raise ReportError(
            "Curves along sparsity paths: expected complete trials of the search with `size_control.path`, got none. "
            "Add a path to the study, or run it further."
        )
    method = f"validation split, before the structure is trained further; {pairs_of_seeds(trials['repeat'].nunique())}"
    levels = sorted(points["level"].unique())
    return tuple(
        Curve(
            factor=FACTOR,
            response=response,
            scale="log" if levels[0] > 0 else "linear",
            series=build_series(
                points[points["response"] == response],
                (ALONG, ALONE),
                levels,
                log_interval if response == "exported_parameters" else t_interval,
            ),
            complete=points["trial_id"].nunique(),
            failed=frames.failed(frames.search_trials()),
            method=method,
            warnings=("one seed pair: no intervals",) if trials["repeat"].nunique() < 2 else (),
        )
        for response in _RESPONSES
    )


def path_agreement(frames: StudyFrames) -> tuple[PathAgreement, ...]:
    """For each λ that both kinds of trials were read at, and each response, how they differ.

    Trials are pairs where all else that is searched is equal, and so is the seed pair; empty where none are.
    """
    points = _points(frames, _trials(frames))
    points = points.assign(setting=_beside_path(frames).loc[points["trial_id"]].to_numpy())
    means = points.groupby(["response", "level", "repeat", "setting", "series"])["value"].mean().unstack("series")
    pairs = means.reindex(columns=[ALONG, ALONE]).dropna().reset_index()
    found = []
    for response in _RESPONSES:
        for level, rows in pairs[pairs["response"] == response].groupby("level"):
            sizes = response == "exported_parameters"
            # Of a seed pair that several settings have one number, so that n counts seed pairs.
            values = rows[[ALONG, ALONE]].transform(np.log) if sizes else rows[[ALONG, ALONE]]
            by_repeat = (values[ALONG] - values[ALONE]).groupby(rows["repeat"]).mean()
            difference = log_interval(np.exp(by_repeat)) if sizes else t_interval(by_repeat)
            found.append(PathAgreement(float(level), response, difference))  # type: ignore[arg-type]
    return tuple(found)


def _beside_path(frames: StudyFrames) -> pd.Series[int]:
    """By `trial_id` a number for what is searched beside the path, the same for trials of equal values."""
    values = frames.params.set_index("trial_id").drop(columns=_PATH, errors="ignore")
    if values.columns.empty:
        return pd.Series(0, index=values.index)
    return values.groupby(list(values.columns), dropna=False, sort=False).ngroup()


def _trials(frames: StudyFrames) -> pd.DataFrame:
    """Complete trials of the design, of one along a factor at a time those that differ in their paths and seeds alone.

    Without a design all of the search, each its own repeat.
    """
    design = frames.phase_trials("design", "complete")
    if len(design):
        return design[design["factor"].isna() | (design["factor"] == _PATH)]
    complete = frames.search_trials("complete")
    return complete.assign(repeat=range(len(complete)))


def _points(frames: StudyFrames, trials: pd.DataFrame) -> pd.DataFrame:
    """Columns `trial_id, level, value, response, repeat, series`: a row for each stage of each trial and response."""
    scores, metrics = frames.scores, frames.metrics
    scores = scores[(scores["condition"] == SPARSITY_PATH) & (scores["series"] == MEAN)]
    sizes = metrics[(metrics["condition"] == SPARSITY_PATH) & (metrics["metric"] == "exported_parameters")]
    both = [
        rows[["trial_id", "level", "value"]].assign(response=response)
        for rows, response in zip((scores, sizes), _RESPONSES, strict=True)
    ]
    points = pd.concat(both, ignore_index=True).merge(trials[["trial_id", "repeat"]], on="trial_id")
    stages = points.groupby("trial_id")["level"].transform("nunique")
    return points.assign(series=stages.map(lambda count: ALONG if count > 1 else ALONE))
