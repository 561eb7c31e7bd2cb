"""What arms are compared by: a split, a condition that inputs were measured under, and a metric."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from slasearch.analysis.frames import StudyFrames
from slasearch.errors import ReportError

__all__ = ["CLEAN", "Measure", "measured_scores", "measuring"]

CLEAN = "clean"
"""In place of a condition: undisturbed inputs."""


@dataclass(frozen=True)
class Measure:
    """What is compared.

    Args:
        split: `test`, which `confirm` alone has scored, or `validation`, on which winners and settings were picked.
        condition: `clean`, or the kind of a measured condition.
        level: Its level; 0 with `clean`.
        metric: Takes only the tasks that are scored by this metric; None takes all, each with its own.
    """

    split: Literal["test", "validation"] = "test"
    condition: str = CLEAN
    level: float = 0.0
    metric: str | None = None

    @property
    def words(self) -> str:
        """`test split`, `test split under typos at 0.2, tasks scored by mcc`."""
        under = "" if self.condition == CLEAN else f" under {self.condition.replace('_', ' ')} at {self.level:g}"
        return f"{self.split} split{under}" + (f", tasks scored by {self.metric}" if self.metric else "")

    @property
    def cautions(self) -> tuple[str, ...]:
        """What is to be said of any comparison by this measure."""
        if self.split == "test":
            return ()
        return ("winners and settings were picked on validation, so scores there are too good: test decides",)


def measuring(frames: StudyFrames, measure: Measure) -> StudyFrames:
    """The study with the tasks of the measure alone.

    Raises:
        ReportError: The study has no task of this metric, or did not measure this condition at this level.
    """
    where = f"Comparison of study {frames.study.name}"
    measured = {condition.kind: condition.levels for condition in frames.config.conditions.measured}
    if measure.condition != CLEAN and not np.isclose(measured.get(measure.condition, ()), measure.level).any():
        known = ", ".join(f"{kind}:{level:g}" for kind, levels in measured.items() for level in levels)
        raise ReportError(
            f"{where}: expected a condition that it measures ({known or 'none'}), "
            f"got {measure.condition}:{measure.level:g}. Take one of these, or leave the condition out."
        )
    if measure.metric is None:
        return frames
    tasks = tuple(task for task in frames.config.tasks if task.metric == measure.metric)
    if not tasks:
        known = ", ".join(sorted(set(frames.task_metrics.values())))
        raise ReportError(
            f"{where}: expected a metric that one of its tasks is scored by ({known}), got {measure.metric}. "
            "Take one of these, or leave the metric out: each task then has its own."
        )
    return replace(frames, config=frames.config.model_copy(update={"tasks": tasks}))


def measured_scores(frames: StudyFrames, measure: Measure) -> pd.DataFrame:
    """Scores by trial: `trial_id, series, value`, `series` a task or `mean` over those of the measure."""
    scores = frames.scores
    mine = scores[(scores["split"] == measure.split) & (scores["condition"] == measure.condition)]
    return mine.loc[np.isclose(mine["level"], measure.level), ["trial_id", "series", "value"]]
