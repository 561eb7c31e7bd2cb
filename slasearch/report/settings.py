"""The settings of the search in their order: one that was tried under several seed pairs counts by its mean."""

from __future__ import annotations

import pandas as pd

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.groups import SEEDS
from slasearch.records import DIRECTIONS

__all__ = ["best_settings", "by_settings"]


def best_settings(frames: StudyFrames) -> pd.DataFrame:
    """One row for each setting of the search, the best by its mean score first, without what finalists came to later.

    A row is the setting's best trial, with means over its complete trials. `pairs` says how many seed pairs these have
    had: a setting that was placed twice under one is one training done again.
    """
    complete = frames.search_trials("complete").dropna(subset=["score"])
    complete = complete.sort_values(["score", "trial_id"], ascending=[False, True], kind="stable")
    setting = frames.configurations.loc[complete["trial_id"]].to_numpy()
    seeds = pd.Series(complete.groupby(list(SEEDS), sort=False).ngroup(), index=complete.index)
    pairs = seeds.groupby(setting).transform("nunique")
    means = {name: frames.settings(complete, name)[name] for name in (*DIRECTIONS, "latency")}
    rows = frames.settings(complete, "score").assign(pairs=pairs, **means)
    return rows.sort_values(["score", "trial_id"], ascending=[False, True], kind="stable")


def by_settings(settings: pd.DataFrame) -> bool:
    """Whether some of these settings was tried under several seed pairs, so that it is more than one trial."""
    return bool((settings["pairs"] > 1).any())
