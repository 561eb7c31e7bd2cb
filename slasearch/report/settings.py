"""The settings of the search in their order: one that was tried under several seed pairs counts by its mean."""

from __future__ import annotations

import pandas as pd

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.groups import SEEDS
from slasearch.records import DIRECTIONS
from slasearch.search.winners import FINALIST

__all__ = ["best_settings", "by_settings"]


def best_settings(frames: StudyFrames) -> pd.DataFrame:
    """One row for each setting of the search, in the order in which the search chooses by score.

    A row is the setting's best trial, with means over its complete trials, those included in which it was tried again
    as a finalist. Former finalists stand first, by their means: a setting that ranks by one lucky trial is behind them.
    `pairs` says how many seed pairs a setting's trials have had: one that was placed twice under one is one training
    done again.
    """
    tune = frames.phase_trials("tune", "complete")
    search = frames.search_trials("complete").dropna(subset=["score"])
    search = search.sort_values(["score", "trial_id"], ascending=[False, True], kind="stable")
    complete = pd.concat([search, tune[tune["role"] == FINALIST].dropna(subset=["score"])])
    setting = frames.configurations.loc[complete["trial_id"]].to_numpy()
    seeds = pd.Series(complete.groupby(list(SEEDS), sort=False).ngroup(), index=complete.index)
    again = (complete["role"] == FINALIST).groupby(setting).transform("any")
    pairs = seeds.groupby(setting).transform("nunique")
    means = {name: frames.settings(complete, name)[name] for name in (*DIRECTIONS, "latency")}
    rows = frames.settings(complete, "score").assign(pairs=pairs, again=again, **means)
    rows = rows.sort_values(["again", "score", "trial_id"], ascending=[False, False, True], kind="stable")
    return rows.drop(columns="again")


def by_settings(settings: pd.DataFrame) -> bool:
    """Whether some of these settings was tried under several seed pairs, so that it is more than one trial."""
    return bool((settings["pairs"] > 1).any())
