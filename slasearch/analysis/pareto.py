"""The trade-off between score, size and robustness: trials that no other trial beats in every objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slasearch.errors import ReportError
from slasearch.records import DIRECTIONS

if TYPE_CHECKING:
    from slasearch.analysis.frames import StudyFrames

__all__ = ["ParetoFront", "non_dominated", "pareto_front"]


@dataclass(frozen=True)
class ParetoFront:
    """All trials that were weighed, one row each, and which of them are on the front.

    `values` is `n x m` in the order of `objectives`, in their own units; `on_front` and `on_size_front` have length n,
    the second for score against exported parameters alone.
    """

    objectives: tuple[str, ...]
    trial_ids: tuple[int, ...]
    numbers: tuple[int, ...]
    phases: tuple[str, ...]
    values: NDArray[np.float64]
    on_front: NDArray[np.bool_]
    on_size_front: NDArray[np.bool_]
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
    """The front over the search's complete trials, as measured on the validation split.

    Objectives that no trial carries (robustness, without measured conditions) are left out; a trial that lacks one of
    the others, or has one that is not finite, is counted in `left_out`.

    Raises:
        ReportError: No complete trial of the search has a score and a size.
    """
    complete = frames.search_trials(state="complete")
    objectives = tuple(name for name in DIRECTIONS if complete[name].notna().any())
    if not {"score", "exported_parameters"} <= set(objectives):
        raise ReportError(
            "Pareto front: expected complete trials with score and exported parameters, got none. "
            "Run the study further, or look at its failures with `slasearch trials`."
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
        left_out=int((~finite).sum()),
        method=f"non-dominated over {', '.join(objectives)} on validation, one seed pair a trial",
        warnings=("Each point is one training: points closer than the seed intervals are not told apart.",),
    )
