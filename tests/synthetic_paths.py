"""The synthetic study with a sparsity path in its design, for tests of analysis and report."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
from synthetic import BASE, NOISE, TASKS

from slasearch.records import SPARSITY_PATH, WHOLE_TRIAL

if TYPE_CHECKING:
    from slasearch.analysis.frames import StudyFrames

LAMBDAS = (0.01, 0.1, 1.0)


def along(frames: StudyFrames, shift: float = 0.0, factor: float = 1.0) -> StudyFrames:
    """The design with a path at its base point and one λ each at three other points, which differ by so much."""
    design = frames.phase_trials("design")
    base = design[design["factor"].isna()]
    others = design[design["factor"] == NOISE].sort_values(["point", "repeat"])
    rows = []
    for trial in base.itertuples():
        for level in LAMBDAS:
            rows += _rows(trial.trial_id, level, 0.01 * trial.repeat + shift * (1 + 0.1 * trial.repeat), factor)
    for number, trial in enumerate(others.itertuples()):
        rows += _rows(trial.trial_id, LAMBDAS[number // 3], 0.01 * trial.repeat, 1.0)
    metrics = pd.concat([frames.metrics, pd.DataFrame(rows)], ignore_index=True)
    trials = frames.trials.replace({"factor": {NOISE: "size_control.path"}})
    params = frames.params.copy()
    params.loc[params["trial_id"].isin(others["trial_id"]), NOISE] = BASE[NOISE]
    return replace(frames, metrics=metrics, trials=trials, params=params)


def _rows(trial_id: int, level: float, shift: float, factor: float) -> list[dict[str, object]]:
    key = {"trial_id": trial_id, "split": "validation", "condition": SPARSITY_PATH, "level": level}
    score = 0.8 - 0.05 * math.log10(level) + shift
    scores = [{**key, "task": task, "metric": metric, "value": score} for task, (_, metric) in TASKS.items()]
    size = factor * (1 + shift) * 1000 / (1 + level)
    return [*scores, {**key, "task": WHOLE_TRIAL, "metric": "exported_parameters", "value": size}]
