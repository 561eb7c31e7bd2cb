"""The findings as a reader takes them in: five sentences first, then the others, then how sure all of it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.groups import SEEDS
from slasearch.analysis.intervals import t_interval
from slasearch.report.evidence_findings import evidence_findings
from slasearch.report.finding import Finding, listed
from slasearch.report.labels import sentences
from slasearch.report.results import Results
from slasearch.report.settings import best_settings
from slasearch.search.winners import FINALIST

__all__ = ["SENTENCES", "SeedSpread", "certainty", "five", "others", "seed_spread"]

SENTENCES = 5
"""How many sentences say what was found; all others stand behind them."""

_FIRST = (
    "Controls", "Sensitivity", "Interactions", "Trade-off", "Constraints", "Robustness", "Shape", "Structure",
    "Disturbance", "Importance", "Cost", "Trials",
)  # fmt: skip
"""Topics in the order in which they get one of the five sentences."""

_OF_A_DESIGN = ("Sensitivity", "Interactions", "Shape", "Disturbance")
"""Topics that come before all others, also with their second sentences, where the study is a design and no search."""


def five(results: Results, told: Sequence[Finding]) -> tuple[Finding, ...]:
    """The five sentences: the first of each topic (of fields the one that moves the score most), then second ones.

    Where a study is a design alone, what it says of its fields comes first.

    Args:
        results: The analyses.
        told: All findings.
    """
    told = [item for item in told if item.kind == "result"]
    factor = _strongest(results)
    by_topic = {topic: [item for item in told if item.topic == topic] for topic in dict.fromkeys(i.topic for i in told)}
    if factor is not None and factor < len(by_topic.get("Sensitivity", ())):
        mine = by_topic["Sensitivity"]
        mine.insert(0, mine.pop(factor))
    order = sorted(by_topic, key=lambda topic: _FIRST.index(topic) if topic in _FIRST else len(_FIRST))
    phases = results.frames.config.phases
    alone = phases.optimise is None and phases.confirm is None
    groups = [[topic for topic in order if (topic in _OF_A_DESIGN) == mine] for mine in (True, False)]
    found: list[Finding] = []
    for topics in groups if alone else [order]:
        found += [by_topic[topic][0] for topic in topics]
        found += [item for topic in topics for item in by_topic[topic][1:]]
    return tuple(found[:SENTENCES])


def _strongest(results: Results) -> int | None:
    """Which curve of the design has the mean score that moves most; None without any."""
    moves = []
    for curve in results.design.get("score", ()):
        means = [point.estimate.mean for point in curve.named(MEAN).points]
        moves.append(max(means) - min(means))
    return int(np.argmax(moves)) if moves else None


def others(results: Results, told: Sequence[Finding]) -> tuple[Finding, ...]:
    """The results that are not among the five."""
    first = five(results, told)
    return tuple(item for item in told if item.kind == "result" and item not in first)


def certainty(results: Results, told: Sequence[Finding]) -> tuple[Finding, ...]:
    """How sure the findings are: what seeds alone do, what intervals mean, what was adjusted; then every caution."""
    cautions = (item for item in told if item.kind == "caution" and item.topic not in ("Trials", "Not shown"))
    return (
        *_seeds(results.frames),
        *_search(results),
        *evidence_findings(results),
        *_intervals(results),
        *cautions,
    )


@dataclass(frozen=True)
class SeedSpread:
    """The standard deviation of a setting's score between seed pairs, pooled over settings.

    It has `free` degrees of freedom. `runs` counts each seed pair of each of the `settings` once.
    """

    deviation: float
    free: int
    settings: int
    runs: int

    @property
    def apart(self) -> float:
        """How far two single runs of one setting lie apart in 1 of 20 cases."""
        return float(stats.t.ppf(0.975, self.free)) * math.sqrt(2) * self.deviation


def seed_spread(frames: StudyFrames) -> SeedSpread | None:
    """What seeds alone do to the score of a setting; None where none has had two seed pairs.

    From complete trials of the design, of finalists that were tried again and of the confirmed winners. Trials of two
    phases may have seen other data, and a finalist was lucky in the first, so their means are not taken together; a
    winner from the design is one setting yet. A setting that a design placed
    at several of its points has been trained under the same seeds there, and says nothing of others.
    """
    trials = frames.trials[(frames.trials["state"] == "complete") & frames.trials["score"].notna()]
    design = trials[trials["phase"] == "design"]
    winners = trials[(trials["phase"] == "confirm") & (trials["role"] == "winner")]
    rows = pd.concat([design, trials[trials["role"] == FINALIST], winners])
    rows = rows.assign(setting=frames.configurations.loc[rows["trial_id"]].to_numpy())
    runs = rows.groupby(["setting", "phase", *SEEDS])["score"].mean()
    groups = runs.groupby(["setting", "phase"]).agg(["var", "size"])
    groups = groups[groups["size"] > 1]
    if groups.empty:
        return None
    freedom = groups["size"] - 1
    deviation = math.sqrt(float((groups["var"] * freedom).sum() / freedom.sum()))
    settings = groups.index.get_level_values("setting").nunique()
    return SeedSpread(deviation, int(freedom.sum()), settings, int(groups["size"].sum()))


def _seeds(frames: StudyFrames) -> Iterator[Finding]:
    found = seed_spread(frames)
    if found is None:
        text = "No setting was trained with two seed pairs, so nothing is known of what seeds alone do to a score."
        yield Finding("Seeds", text, "caution")
        return
    yield Finding(
        "Seeds",
        f"With other seeds the validation score of one setting varies by a standard deviation of {found.deviation:.4f} "
        f"({found.runs} runs of {found.settings} settings): two single trials closer than {found.apart:.3f} are not "
        "told apart.",
    )


def _search(results: Results) -> Iterator[Finding]:
    """What winners lose when they are trained again: the best of many trials is too good by chance."""
    settings, configurations = best_settings(results.frames), results.frames.configurations
    numbers = configurations.loc[settings["trial_id"]].to_numpy()
    told = []
    for item in results.comparisons:
        (searched,) = settings[numbers == configurations[item.winner_id]].itertuples()
        again = results.frames.confirmed(item.winner_id)
        again = again[(again["role"] == "winner") & (again["state"] == "complete")]
        if len(again):
            over = f" over {pairs_of_seeds(searched.pairs)}" if searched.pairs > 1 else ""
            told.append(
                f"trial {item.number} scored {searched.score:.3f}{over} in the search and "
                f"{t_interval(again['score']).text()} when trained again with {pairs_of_seeds(len(again))}"
            )
    if told:
        luck = "The best of many trials is partly luck, so scores of the search are not compared with controls"
        yield Finding("Search", f"{luck}: on validation, {listed(told)}.")


def _intervals(results: Results) -> Iterator[Finding]:
    yield Finding(
        "Intervals",
        sentences(
            "what stands after ± is a 95 % t-interval over seed pairs, in brackets are 95 % intervals of other kinds, "
            "and each figure says which it shows",
            "where a level has one value, or values that are all equal, there is no interval",
            "p-values that belong together are adjusted by Holm",
            "a mean over tasks speaks for these tasks and no others",
        ),
    )
