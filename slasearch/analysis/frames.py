"""Everything that is stored about a study, as tidy pandas frames: one query for each frame, never one for each trial.

Only slasearch's own `sla_` tables are read; Optuna's trial objects would cost seconds and hundreds of megabytes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, and_, select

from slasearch.analysis.bounds import within_all
from slasearch.analysis.rows import frame_of, without_collections
from slasearch.config.load import stored_study
from slasearch.config.plain import stored_json
from slasearch.config.schema import StudyConfig
from slasearch.search.job import SEARCH_PHASES
from slasearch.search.lease import has_driver
from slasearch.storage.engine import make_engine, storage_errors
from slasearch.storage.models import SlaArtifact, SlaCost, SlaEvent, SlaGate, SlaMetric, SlaTrial
from slasearch.storage.rows import StudyRow, WarmStart
from slasearch.storage.store import Store

__all__ = ["MEAN", "StudyFrames", "load_frames"]

MEAN = "mean"
"""Name of the series that is the mean over tasks, beside the tasks' own names."""


@dataclass(frozen=True)
class StudyFrames:
    """Tidy frames of one study; each has the column `trial_id`.

    `study.state` is `interrupted` where the study should run and no living process runs it.

    `trials` has one row for each attempt, oldest first; `params` one column for each searched field (dotted path), in
    the sampler's own encoding; `metrics` the final values; `gates` those of the confirmed winners, or of the best trial
    of the search where no winner is confirmed; `predictions` what confirmed trials said of each test example, packed
    (`slasearch.tasks.predictions`). `warm_start` is what the sampler began from.
    """

    study: StudyRow
    config: StudyConfig
    trials: pd.DataFrame
    params: pd.DataFrame
    metrics: pd.DataFrame
    gates: pd.DataFrame
    costs: pd.DataFrame
    artifacts: pd.DataFrame
    events: pd.DataFrame
    predictions: pd.DataFrame
    warm_start: WarmStart | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the study file."""
        return tuple(task.name for task in self.config.tasks)

    @property
    def series(self) -> tuple[str, ...]:
        """What curves have a line for: each task and their mean; of one task the mean alone, which is the task."""
        return (*self.tasks, MEAN) if len(self.tasks) > 1 else (MEAN,)

    @property
    def task_metrics(self) -> dict[str, str]:
        """For each task the metric that is its score."""
        return {task.name: task.metric for task in self.config.tasks}

    def search_trials(self, state: str | None = None) -> pd.DataFrame:
        """Rows of the design and optimise phases, those that saw only the validation split."""
        return _rows(self.trials, self.trials["phase"].isin(SEARCH_PHASES), state)

    def phase_trials(self, phase: str, state: str | None = None) -> pd.DataFrame:
        """Rows of one phase."""
        return _rows(self.trials, self.trials["phase"] == phase, state)

    def confirmed(self, pair_of: int) -> pd.DataFrame:
        """Rows of `confirm` of one winner and its controls.

        Runs of a control are left out once it was confirmed again with better settings of its tuning.
        """
        trials = self.phase_trials("confirm")
        mine = trials[(trials["pair_of"] == pair_of) | trials["pair_of"].isna()]
        return mine[~mine["trial_id"].isin(self._superseded)]

    @cached_property
    def _superseded(self) -> set[int]:
        """Runs of controls whose values or layout are not those of the control's latest run."""
        trials = self.phase_trials("confirm").sort_values("trial_id")
        trials = trials[trials["role"].str.startswith("control:")]
        params = self.params.set_index("trial_id").loc[trials["trial_id"]].astype(str).to_numpy().tolist()
        latest: dict[tuple[str, str], object] = {}
        keys = list(zip(trials["role"], trials["pair_of"].astype(str), strict=True))
        settings = list(zip(map(tuple, params), trials["control_variant"].astype(str), strict=True))
        latest.update(zip(keys, settings, strict=True))
        return {
            int(trial_id)
            for trial_id, key, found in zip(trials["trial_id"], keys, settings, strict=True)
            if latest[key] != found
        }

    def confirm_roles(self, trials: pd.DataFrame) -> list[str]:
        """Roles among those rows: the winner, then the controls in the order of the study file."""
        confirm = self.config.phases.confirm
        order = ["winner", *(f"control:{name}" for name in (confirm.controls if confirm else ()))]
        return [role for role in order if (trials["role"] == role).any()]

    def number_of(self, trial_id: int) -> int:
        """Optuna's number of a trial that has started. Raises IndexError for an id that the study does not have."""
        return int(self.trials.loc[self.trials["trial_id"] == trial_id, "number"].to_numpy()[0])

    @cached_property
    def configurations(self) -> pd.Series[int]:
        """By `trial_id` a number for the trial's searched values, the same for trials of equal ones."""
        values = self.params.set_index("trial_id")
        if values.columns.empty:
            return pd.Series(0, index=values.index)
        return values.groupby(list(values.columns), dropna=False, sort=False).ngroup()

    def settings(self, trials: pd.DataFrame, column: str) -> pd.DataFrame:
        """One row for each configuration among those trials: its first trial, with its mean of `column`.

        Trials of one configuration under several seed pairs tell of one place in the space, however many they are.
        """
        configurations = self.configurations.loc[trials["trial_id"]].to_numpy()
        means = trials[column].groupby(configurations).transform("mean")
        return trials.assign(**{column: means})[~pd.Series(configurations, index=trials.index).duplicated()]

    def failed(self, trials: pd.DataFrame) -> int:
        """How many of those rows failed for good: attempts that a later one took over are not counted."""
        taken_over = trials["trial_id"].isin(self.trials["retry_of"].dropna())
        return int(((trials["state"] == "fail") & ~taken_over).sum())

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Final scores: `trial_id, split, condition, level, series, value`, `series` a task or `mean` over all tasks.

        The mean stands only where every task has a value. `examples` is how many a score was measured on, for a mean
        those of all tasks. `error` is its standard error over them, where they are a sample of the split.
        """
        metrics, tasks = self.metrics, len(self.tasks)
        own = metrics.loc[self._task_scores, [*_SCORE_KEYS, "task", "value", "examples", "error"]]
        own = own.rename(columns={"task": "series"})
        groups = own.assign(square=own["error"] ** 2).groupby(_SCORE_KEYS, sort=False)
        sums = groups[["value", "examples", "square"]].sum(min_count=tasks)
        means = sums[groups.size() == tasks].assign(value=sums["value"] / tasks, error=sums["square"] ** 0.5 / tasks)
        means = means.drop(columns="square").reset_index().assign(series=MEAN)
        return pd.concat([own, means], ignore_index=True)

    @property
    def _task_scores(self) -> NDArray[np.bool_]:
        """Which rows of `metrics` hold the score of their task, compared by column: no row becomes a Python object."""
        found = np.zeros(len(self.metrics), dtype=np.bool_)
        for task, metric in self.task_metrics.items():
            found |= ((self.metrics["task"] == task) & (self.metrics["metric"] == metric)).to_numpy(dtype=np.bool_)
        return found

    def clean_scores(self, split: str) -> pd.DataFrame:
        """Undisturbed final scores of one split: `trial_id, series, value` and the other columns of `scores`."""
        return self.scores[(self.scores["split"] == split) & (self.scores["condition"] == "clean")]


_SCORE_KEYS = ["trial_id", "split", "condition", "level"]


def _rows(trials: pd.DataFrame, mask: pd.Series[bool], state: str | None) -> pd.DataFrame:
    return trials[mask if state is None else mask & (trials["state"] == state)]


def load_frames(url: str, study_name: str) -> StudyFrames:
    """Reads one study.

    Args:
        url: SQLAlchemy URL of the database.
        study_name: Name of the study.

    Raises:
        StudyNotFoundError: No study of this name; the text names those that exist.
        StorageError: The database cannot be read, or is none of slasearch's.
    """
    store = Store(url)
    study = store.study(study_name)
    if study.state == "running" and not has_driver(store, study.id, time.time()):
        study = replace(study, state="interrupted")
    engine = make_engine(url, create=False)
    try:
        with storage_errors(url), engine.connect() as connection, without_collections():
            return _load(connection, study, store.warm_start(study.id))
    finally:
        engine.dispose()


def _load(connection: Connection, study: StudyRow, warm_start: WarmStart | None) -> StudyFrames:
    trials = frame_of(
        connection, select(SlaTrial).where(SlaTrial.study_id == study.id).order_by(SlaTrial.id), _TRIAL_COLUMNS
    )
    trials = trials.rename(columns={"id": "trial_id"})
    config = stored_study(study.config)
    mine = SlaTrial.study_id == study.id
    final = select(SlaMetric).join(SlaTrial, SlaMetric.trial_id == SlaTrial.id).where(mine, SlaMetric.step.is_(None))
    gates = (
        select(SlaGate).join(SlaTrial, SlaGate.trial_id == SlaTrial.id).where(mine, _worth_their_gates(trials, config))
    )
    return StudyFrames(
        study=study,
        config=config,
        trials=trials.drop(columns=["params"]),
        params=_params(trials),
        metrics=frame_of(connection, final.order_by(SlaTrial.id, SlaMetric.id), _METRIC_COLUMNS),
        gates=frame_of(connection, gates.order_by(SlaGate.id), _GATE_COLUMNS),
        costs=_of_trials(connection, SlaCost, mine, ["trial_id", "name", "value", "unit"]),
        artifacts=_of_trials(connection, SlaArtifact, mine, ["trial_id", "name", "path", "sha256", "bytes"]),
        events=frame_of(
            connection,
            select(SlaEvent).where(SlaEvent.study_id == study.id).order_by(SlaEvent.id),
            ["trial_id", "at", "level", "kind", "message"],
        ),
        predictions=frame_of(connection, final.where(SlaMetric.predicted.is_not(None)), _PREDICTION_COLUMNS),
        warm_start=warm_start,
    )


_TRIAL_COLUMNS = [
    "id", "number", "phase", "role", "sampler", "factor", "point", "repeat", "attempt", "retry_of", "state", "reason",
    "params", "init_seed", "data_seed", "pair_of", "control_size", "control_variant", "score", "exported_parameters",
    "robustness", "latency", "budget", "budget_max", "worker", "started_at", "ended_at", "log",
]  # fmt: skip
_METRIC_COLUMNS = ["trial_id", "task", "split", "condition", "level", "metric", "value", "examples", "error"]
_PREDICTION_COLUMNS = ["trial_id", "task", "condition", "level", "labels", "predicted"]
_GATE_COLUMNS = [
    "trial_id", "task", "slot", "layer", "site", "kind", "rank", "idx", "openness", "value", "open", "parameters",
]  # fmt: skip
_DECODED = 5_000
"""Trials whose parameters are Python objects at a time."""


def _of_trials(connection: Connection, model: Any, mine: ColumnElement[bool], columns: list[str]) -> pd.DataFrame:
    query = select(model).join(SlaTrial, model.trial_id == SlaTrial.id).where(mine).order_by(model.id)
    return frame_of(connection, query, columns)


def _params(trials: pd.DataFrame) -> pd.DataFrame:
    texts = trials["params"]
    parts = [
        pd.DataFrame(stored_json(f"[{','.join(texts.iloc[start : start + _DECODED])}]"))
        for start in range(0, len(texts), _DECODED)
    ]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(index=trials.index)
    frame.insert(0, "trial_id", trials["trial_id"].to_numpy())
    return frame


def _worth_their_gates(trials: pd.DataFrame, config: StudyConfig) -> ColumnElement[bool]:
    """Gates are many: only those of confirmed winners, or else of the best trial of the search.

    That is the best of those of the setting with the best mean score within the bounds.
    """
    if ((trials["role"] == "winner") & (trials["state"] == "complete")).any():
        return and_(SlaTrial.role == "winner", SlaTrial.state == "complete")
    complete = trials[(trials["state"] == "complete") & (trials["role"] == "search")]
    bounded = ["score", *(bound.name for bound in config.constraints if bound.name != "score")]
    means = complete[["params", *bounded]].groupby("params").transform("mean")
    kept = complete.assign(mean=means["score"])[within_all(config.constraints, means)]
    best = kept.sort_values(["mean", "score"], ascending=False, kind="stable")
    return SlaTrial.id.in_([int(value) for value in best["trial_id"].head(1)])
