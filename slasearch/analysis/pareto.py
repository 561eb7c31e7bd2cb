"""The trade-off between score, size and robustness: trials that no other trial beats in every objective.

Also how far the search has come: the hypervolume that its trials dominate, trial by trial (Zitzler and Thiele 1998).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slasearch.analysis.bounds import within
from slasearch.analysis.intervals import Estimate, log_interval, t_interval
from slasearch.errors import ReportError
from slasearch.records import DIRECTIONS

if TYPE_CHECKING:
    import pandas as pd

    from slasearch.analysis.frames import StudyFrames

__all__ = [
    "ConfirmedPoint",
    "Hypervolume",
    "ParetoFront",
    "dominated_volume",
    "hypervolume",
    "non_dominated",
    "pareto_front",
]

MARGIN = 0.1
"""How far beyond the worst value of each objective the reference point lies, as a share of the objective's range."""


@dataclass(frozen=True)
class ConfirmedPoint:
    """A winner's settings run again over other seeds: validation values, in the order of the front's objectives.

    Scores and robustness have a mean with a t-interval, sizes a geometric mean with an interval of their logarithm.
    """

    trial_id: int
    number: int
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class ParetoFront:
    """All trials that were weighed, one row each, and which of them are on the front.

    `values` is `n x m` in the order of `objectives`, in their own units; `on_front` and `on_size_front` have length n,
    the second for score against exported parameters alone. `confirmed` are the winners with their seeds.
    """

    objectives: tuple[str, ...]
    trial_ids: tuple[int, ...]
    numbers: tuple[int, ...]
    phases: tuple[str, ...]
    values: NDArray[np.float64]
    on_front: NDArray[np.bool_]
    on_size_front: NDArray[np.bool_]
    confirmed: tuple[ConfirmedPoint, ...]
    left_out: int
    method: str
    warnings: tuple[str, ...]

    @property
    def n(self) -> int:
        """Trials weighed: complete, with every objective finite."""
        return len(self.trial_ids)

    def column(self, objective: str) -> NDArray[np.float64]:
        """Values of one objective, length n. Raises ValueError for one that was not weighed."""
        column: NDArray[np.float64] = self.values[:, self.objectives.index(objective)]
        return column


def non_dominated(values: NDArray[np.float64], directions: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows no other row dominates: at least as good everywhere and better somewhere. Equal rows all stay.

    Args:
        values: `n x m`, finite.
        directions: `maximize` or `minimize` for each of the m columns.
    """
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions])
    costs = np.asarray(values, dtype=np.float64) * signs
    front = np.zeros(len(costs), dtype=np.bool_)
    # In lexicographic order nothing later dominates anything earlier, so each pass settles the first one left.
    remaining = np.lexsort(costs.T[::-1])
    while remaining.size:
        first = costs[remaining[0]]
        front[remaining[0]] = True
        rest = remaining[1:]
        beaten = (costs[rest] >= first).all(axis=1) & (costs[rest] > first).any(axis=1)
        remaining = rest[~beaten]
    return front


def pareto_front(frames: StudyFrames) -> ParetoFront:
    """The front over the search's complete trials that keep the constraints, as measured on the validation split.

    Objectives that no trial carries (robustness, without measured conditions) are left out; a trial that lacks one of
    the others, or has one that is not finite, is counted in `left_out`.

    Raises:
        ReportError: No complete trial of the search has a score and a size.
    """
    complete, bounds = _within_bounds(frames)
    objectives = tuple(name for name in DIRECTIONS if complete[name].notna().any())
    if not {"score", "exported_parameters"} <= set(objectives):
        keeping = " that keep the constraints" if bounds else ""
        raise ReportError(
            f"Pareto front: expected complete trials with score and exported parameters{keeping}, got none. "
            "Run the study further, or look at its trials with `slasearch trials`."
        )
    table = complete[list(objectives)].to_numpy(dtype=np.float64)
    finite = np.isfinite(table).all(axis=1)
    kept, values = complete[finite], table[finite]
    size_columns = [objectives.index("score"), objectives.index("exported_parameters")]
    return ParetoFront(
        objectives=objectives,
        trial_ids=tuple(int(value) for value in kept["trial_id"]),
        numbers=tuple(int(value) for value in kept["number"]),
        phases=tuple(str(value) for value in kept["phase"]),
        values=values,
        on_front=non_dominated(values, [DIRECTIONS[name] for name in objectives]),
        on_size_front=non_dominated(values[:, size_columns], ["maximize", "minimize"]),
        confirmed=tuple(_confirmed(frames, objectives)),
        left_out=int((~finite).sum()),
        method=f"non-dominated over {', '.join(objectives)} on validation, one seed pair a trial",
        warnings=("each point is one training: points closer than the seed intervals are not told apart", *bounds),
    )


def _within_bounds(frames: StudyFrames) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The complete trials of the search that keep the constraints, and how many do not, in words."""
    complete = frames.search_trials(state="complete")
    keeps = np.ones(len(complete), dtype=np.bool_)
    for bound in frames.config.constraints:
        keeps &= within(bound, complete)
    if keeps.all():
        return complete, ()
    return complete[keeps], (f"{int((~keeps).sum())} trials break a constraint and are not weighed",)


def _confirmed(frames: StudyFrames, objectives: tuple[str, ...]) -> Iterator[ConfirmedPoint]:
    runs = frames.phase_trials("confirm", "complete")
    winners = runs[runs["role"] == "winner"].dropna(subset=["pair_of"])
    for pair_of in winners["pair_of"].unique().tolist():
        rows = winners[winners["pair_of"] == pair_of]
        estimates = tuple(
            (log_interval if name == "exported_parameters" else t_interval)(rows[name]) for name in objectives
        )
        yield ConfirmedPoint(int(pair_of), frames.number_of(int(pair_of)), estimates)


# ---------------------------------------------------------------- hypervolume


@dataclass(frozen=True)
class Hypervolume:
    """The share (0 to 1) of the box between reference and best values that trials up to each one dominate.

    Args:
        objectives: What is weighed; size enters as its logarithm to base 10, and a size of 0 counts as 1.
        reference: The reference point in the objectives' own units: the worst values, moved out by `MARGIN` of the
            range of each objective.
        ideal: The best value of each objective.
        numbers: The search's complete trials, in their order.
        values: `n`, the share after each of them; it never falls.
        on_front: `n`, whether the trial was on the front when it came.
        method: How it was measured.
        warnings: What limits it.
    """

    objectives: tuple[str, ...]
    reference: tuple[float, ...]
    ideal: tuple[float, ...]
    numbers: tuple[int, ...]
    values: NDArray[np.float64]
    on_front: NDArray[np.bool_]
    method: str
    warnings: tuple[str, ...]

    @property
    def n(self) -> int:
        """Trials weighed."""
        return len(self.numbers)


def hypervolume(front: ParetoFront) -> Hypervolume:
    """How the trade-off grew over the trials that were weighed for a front.

    Raises:
        ReportError: No trial has every objective.
    """
    if not front.n:
        raise ReportError(
            f"Hypervolume: expected complete trials with {', '.join(front.objectives)}, got none. "
            "Run the study further, or look at its failures with `slasearch trials`."
        )
    order = np.argsort(np.array(front.numbers), kind="stable")
    logged = np.array([name == "exported_parameters" for name in front.objectives])
    values = np.where(logged, np.log10(np.maximum(front.values, 1.0)), front.values)[order]
    signs = np.array([-1.0 if DIRECTIONS[name] == "maximize" else 1.0 for name in front.objectives])
    ideal, worst = (values * signs).min(axis=0), (values * signs).max(axis=0)
    span = np.where(worst > ideal, worst - ideal, 1.0)
    costs = (values * signs - ideal) / span
    edge = 1.0 + MARGIN
    shares, on_front = _grown(costs, np.full(costs.shape[1], edge))
    reference, best = (np.where(logged, 10.0**found, found) for found in ((ideal + edge * span) * signs, ideal * signs))
    return Hypervolume(
        objectives=front.objectives,
        reference=tuple(float(value) for value in reference),
        ideal=tuple(float(value) for value in best),
        numbers=tuple(front.numbers[index] for index in order),
        values=shares / edge ** costs.shape[1],
        on_front=on_front,
        method="share of the box between the reference point and the best values, size as its logarithm",
        warnings=("the box is this study's own: shares of different studies cannot be compared",),
    )


def _grown(costs: NDArray[np.float64], reference: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The dominated volume after each row, and whether no earlier row was at least as good in everything."""
    volumes, joined = np.zeros(len(costs)), np.zeros(len(costs), dtype=np.bool_)
    front, volume = np.empty((0, costs.shape[1])), 0.0
    for index, row in enumerate(costs):
        joined[index] = not (front <= row).all(axis=1).any()
        if joined[index]:
            front = np.vstack([front[~(row <= front).all(axis=1)], row])
            volume = dominated_volume(front, reference)
        volumes[index] = volume
    return volumes, joined


def dominated_volume(costs: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Volume of what rows of costs dominate up to the reference point, exactly.

    In two dimensions a sum of strips. In three, x and y are cut into a grid at the rows' own values: above each cell
    stands a column down to the lowest z of the rows that reach it, found by running maxima; O(n²) time and memory.

    Args:
        costs: `n x 2` or `n x 3`, lower is better, none above the reference point.
        reference: Length 2 or 3.
    """
    order = np.argsort(costs[:, 0], kind="stable")
    rows = costs[order]
    widths = np.diff(np.append(rows[:, 0], reference[0]))
    if rows.shape[1] == 2:
        heights = reference[1] - np.minimum.accumulate(rows[:, 1])
        return float(widths @ heights)
    by_y = np.argsort(rows[:, 1], kind="stable")
    depths = np.diff(np.append(rows[by_y, 1], reference[1]))
    columns = np.zeros((len(rows), len(rows)))
    columns[by_y, np.arange(len(rows))] = reference[2] - rows[by_y, 2]
    columns = np.maximum.accumulate(np.maximum.accumulate(columns, axis=0), axis=1)
    return float(widths @ columns @ depths)
