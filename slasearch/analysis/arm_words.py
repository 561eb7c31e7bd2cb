"""What is said of the arms of a comparison: why a winner was confirmed, and what makes arms unequal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from slasearch.analysis.bounds import within_all
from slasearch.analysis.frames import StudyFrames
from slasearch.records import DIRECTIONS
from slasearch.search.winners import FINALIST

__all__ = ["SIZE_TOLERANCE", "failed_caution", "other_winners", "unequal_sizes", "winner_label"]

SIZE_TOLERANCE = 0.05
"""Sizes that differ by more than this share are pointed out."""


def winner_label(frames: StudyFrames, trial_id: int) -> str:
    """Why a search trial was confirmed: the objectives by which its setting has the best mean within the bounds."""
    complete = frames.search_trials("complete").set_index("trial_id")
    configurations = frames.configurations.loc[complete.index]
    measured = ["score", "exported_parameters", "robustness", "latency"]
    tune = frames.phase_trials("tune", "complete")
    again = tune[tune["role"] == FINALIST].set_index("trial_id")
    finalists = frames.configurations.loc[again.index]
    runs, settings_of = pd.concat([complete[measured], again[measured]]), pd.concat([configurations, finalists])
    settings = runs.groupby(settings_of).mean()
    if len(again):
        settings = settings.loc[settings.index.isin(finalists)]
    settings = settings[within_all(frames.config.constraints, settings)]
    names = {"score": "score", "exported_parameters": "size", "robustness": "robustness"}
    found = []
    for objective in frames.config.objectives:
        means = settings[objective.name].dropna()
        best = means.max() if DIRECTIONS[objective.name] == "maximize" else means.min()
        if trial_id in complete.index and means.get(configurations.loc[trial_id]) == best:
            found.append(names[objective.name])
    return f"best by {', '.join(found)}" if found else "among the best"


def other_winners(name: str, frames: StudyFrames, pair_of: int) -> Iterator[str]:
    """That a study has confirmed other trials than the one compared, if it has."""
    confirmed = frames.phase_trials("confirm")["pair_of"].nunique()
    if confirmed > 1:
        number, label = frames.number_of(pair_of), winner_label(frames, pair_of)
        yield f"{name} confirmed {confirmed} trials; compared is trial {number} ({label})"


def failed_caution(name: str, failed: int, complete: int) -> Iterator[str]:
    """That runs of an arm failed, if any did."""
    if failed:
        yield f"{name}: {failed} of {failed + complete} runs failed and are in no pair"


def unequal_sizes(of: str, size: float, others: Sequence[tuple[str, float]]) -> Iterator[str]:
    """Which arms are of another size, if any are.

    Args:
        of: The arm that they are compared with.
        size: Its exported parameters.
        others: Names and exported parameters; one without any has no size to compare.
    """
    shares = [(name, other / size) for name, other in others if size > 0]
    unequal = [f"{name} {_share(share)}" for name, share in shares if share > 0 and abs(share - 1) > SIZE_TOLERANCE]
    if unequal:
        yield f"of another size than {of}: {', '.join(unequal)}"


def _share(share: float) -> str:
    """`12 % larger`, `28 % smaller`, `324 times as large`."""
    if share >= 2:
        return f"{share:.2g} times as large" if share < 10 else f"{share:,.0f} times as large".replace(",", "\u202f")
    return f"{abs(share - 1) * 100:.0f} % {'larger' if share > 1 else 'smaller'}"
