"""Learning curves: the validation score on the way of a training, over its optimiser steps.

On the way the gated pool is scored, during the warm-up with every gate open; at the end what was finalised is. The two
may lie apart, and a curve shows it. Mid-training rows are many, so they are read only for trials that are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection, and_, or_, select

from slasearch.analysis.arm_words import winner_label
from slasearch.analysis.curves import Curve, build_series, pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.errors import ReportError
from slasearch.records import WHOLE_TRIAL
from slasearch.search.job import SEARCH_PHASES
from slasearch.storage.engine import make_engine, storage_errors
from slasearch.storage.models import SlaMetric, SlaTrial
from slasearch.storage.store import Store

__all__ = ["BEST", "LearningCurves", "TrialCurve", "WinnerLearning", "learning_curves", "load_learning"]

BEST = 200
"""Of the search's complete trials so many are read, the best by score."""


@dataclass(frozen=True)
class TrialCurve:
    """One trial of the search: its validation scores, by optimiser step, and the number that it is called by."""

    trial_id: int
    number: int
    phase: str
    steps: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class WinnerLearning:
    """A winner beside its controls: means over seeds with t-intervals, a series for each role, levels are steps."""

    number: int
    label: str
    curve: Curve


@dataclass(frozen=True)
class LearningCurves:
    """How trials learned.

    Args:
        search: The best complete trials of the search, the best first.
        winners: What was confirmed, in the order in which it was.
        left_out: Complete trials of the search whose curves were not read.
        method: What was measured when.
        warnings: What limits it.
    """

    search: tuple[TrialCurve, ...]
    winners: tuple[WinnerLearning, ...]
    left_out: int
    method: str
    warnings: tuple[str, ...]

    @property
    def n(self) -> int:
        """Trials with a curve."""
        runs = sum(len(series.points[-1].values) for one in self.winners for series in one.curve.series)
        return len(self.search) + runs


def load_learning(url: str, study_name: str) -> pd.DataFrame:
    """Scores on the way, in one query: of the complete trials of `confirm`, and of the best ones of the search.

    Args:
        url: SQLAlchemy URL of the database.
        study_name: Name of the study.

    Returns:
        `trial_id, step, value`, by trial and step.

    Raises:
        StudyNotFoundError: No study of this name; the text names those that exist.
        StorageError: The database cannot be read, or is none of slasearch's.
    """
    study = Store(url).study(study_name)
    engine = make_engine(url, create=False)
    try:
        with storage_errors(url), engine.connect() as connection:
            return _load(connection, study.id)
    finally:
        engine.dispose()


def _load(connection: Connection, study_id: int) -> pd.DataFrame:
    mine = and_(SlaTrial.study_id == study_id, SlaTrial.state == "complete")
    best = (
        select(SlaTrial.id)
        .where(mine, SlaTrial.phase.in_(SEARCH_PHASES), SlaTrial.score.is_not(None))
        .order_by(SlaTrial.score.desc(), SlaTrial.id)
        .limit(BEST)
    )
    confirmed = select(SlaTrial.id).where(mine, SlaTrial.phase == "confirm")
    query = (
        select(SlaMetric.trial_id, SlaMetric.step, SlaMetric.value)
        .where(
            or_(SlaMetric.trial_id.in_(best.subquery().select()), SlaMetric.trial_id.in_(confirmed)),
            SlaMetric.task == WHOLE_TRIAL,
            SlaMetric.step.is_not(None),
            SlaMetric.value.is_not(None),
        )
        .order_by(SlaMetric.trial_id, SlaMetric.step)
    )
    rows = [tuple(row) for row in connection.execute(query)]
    frame = pd.DataFrame(rows, columns=["trial_id", "step", "value"])
    return frame.astype({"trial_id": "int64", "step": "int64", "value": "float64"})


def learning_curves(frames: StudyFrames, reports: pd.DataFrame) -> LearningCurves:
    """How the search's best trials, the winners and their controls learned.

    Args:
        frames: The study.
        reports: What `load_learning` gives: `trial_id, step, value`.

    Raises:
        ReportError: No complete trial has reported on its way.
    """
    if reports.empty:
        raise ReportError(
            "Learning curves: expected complete trials that reported scores on their way, got none. "
            "Set `training.reports` to 2 or more in a study of another name."
        )
    data = _with_ends(frames, reports)
    complete = frames.search_trials("complete").sort_values(
        ["score", "trial_id"], ascending=[False, True], kind="stable"
    )
    search = _trials(complete.head(BEST), data)
    winners = tuple(_winner(frames, pair_of, data) for pair_of in _confirmed_winners(frames))
    early = [one for one in winners if _thins_out(one.curve)]
    return LearningCurves(
        search=search,
        winners=winners,
        left_out=len(complete) - len(search),
        method="validation split; on the way the pool with its gates as they stand, at the last step what was exported",
        warnings=("some runs ended early: later means are over those that went on",) if early else (),
    )


def _with_ends(frames: StudyFrames, reports: pd.DataFrame) -> pd.DataFrame:
    """The reports, and each trial's final score at its last step, in place of a report there."""
    ends = frames.trials.loc[
        frames.trials["trial_id"].isin(reports["trial_id"]) & frames.trials["budget"].notna(),
        ["trial_id", "budget", "score"],
    ]
    ends = ends.dropna().rename(columns={"budget": "step", "score": "value"}).astype({"step": "int64"})
    every = pd.concat([reports, ends], ignore_index=True).drop_duplicates(["trial_id", "step"], keep="last")
    return every.sort_values(["trial_id", "step"], ignore_index=True)


def _trials(trials: pd.DataFrame, data: pd.DataFrame) -> tuple[TrialCurve, ...]:
    curves = {trial_id: rows for trial_id, rows in data.groupby("trial_id", sort=False)}
    return tuple(
        TrialCurve(
            trial_id=int(trial_id),
            number=int(number),
            phase=str(phase),
            steps=tuple(int(step) for step in curves[trial_id]["step"]),
            scores=tuple(float(value) for value in curves[trial_id]["value"]),
        )
        for trial_id, number, phase in zip(trials["trial_id"], trials["number"], trials["phase"], strict=True)
        if trial_id in curves
    )


def _confirmed_winners(frames: StudyFrames) -> list[int]:
    confirmed = frames.phase_trials("confirm", "complete")
    return [int(value) for value in confirmed.loc[confirmed["role"] == "winner", "pair_of"].dropna().unique()]


def _winner(frames: StudyFrames, pair_of: int, data: pd.DataFrame) -> WinnerLearning:
    runs = frames.confirmed(pair_of)
    complete = runs[runs["state"] == "complete"]
    rows = data.merge(complete[["trial_id", "repeat", "role"]], on="trial_id")
    rows = rows.rename(columns={"role": "series", "step": "level"})
    repeats = complete.loc[complete["role"] == "winner", "repeat"].nunique()
    curve = Curve(
        factor="step",
        response="score",
        scale="linear",
        series=build_series(rows, frames.confirm_roles(complete), sorted(rows["level"].unique().tolist())),
        complete=len(complete),
        failed=frames.failed(runs),
        method=f"validation split; {pairs_of_seeds(repeats)}",
        warnings=("one seed pair: no intervals",) if repeats < 2 else (),
    )
    return WinnerLearning(frames.number_of(pair_of), winner_label(frames, pair_of), curve)


def _thins_out(curve: Curve) -> bool:
    """Whether some runs of a series have no point at its last step."""
    return any(point.estimate.n < series.points[0].estimate.n for series in curve.series for point in series.points)
