"""Which searched fields lead to the best trials (PED-ANOVA, Watanabe et al. 2023, arXiv 2304.10255).

For each field, the distribution of its values among the best trials is compared with that among all trials (Pearson
divergence, on the axis on which the field was sampled). That is the importance of *reaching the top quantile*, not a
share of variance. Beside each number stands what chance alone would give: what no field's divergence passes in 95 of
100 shuffles of the scores, each beside its own (single-step maxT, Westfall and Young 1993), so that of studies in which
nothing leads anywhere one in 20 names a field, however many fields they have. A setting that was tried under several
seed pairs counts once, by its mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.missing import missing_results, missing_words
from slasearch.analysis.parameters import distributions
from slasearch.analysis.ped_anova import best_trials, divergence, grid_field
from slasearch.errors import ReportError
from slasearch.records import DIRECTIONS

__all__ = ["MINIMUM_SETTINGS", "FieldImportance", "Importance", "importance"]

MINIMUM_SETTINGS = 15
_IN_TOP = 5
_LARGEST = 2_000
_SHUFFLES = 200
_CERTAIN = 0.95


@dataclass(frozen=True)
class FieldImportance:
    """One field: its divergence as a share of all fields' sum (0 to 1), and what chance alone reaches in the same unit.

    Where no field leads anywhere, chance may reach more than 1.
    """

    name: str
    share: float
    chance: float
    n: int

    @property
    def above_chance(self) -> bool:
        """Whether the field stands out from shuffled scores."""
        return self.share > self.chance


@dataclass(frozen=True)
class Importance:
    """Fields by importance for reaching the best `quantile` of `objective`, the most important first.

    `quantile` is more than was asked for where many settings are equally good.
    """

    objective: str
    quantile: float
    fields: tuple[FieldImportance, ...]
    n: int
    method: str
    warnings: tuple[str, ...]


def importance(frames: StudyFrames, objective: str = "score", *, seed: int = 0) -> Importance:
    """Importance of every searched field for one objective, over the settings of the search with complete trials.

    Args:
        frames: The study.
        objective: `score`, `exported_parameters` or `robustness`.
        seed: Seed of the shuffles (and of the subsample, above 2,000 settings).

    Raises:
        ReportError: Too few settings, or no searched field varies.
    """
    trials = frames.search_trials("complete")
    trials = trials[np.isfinite(trials[objective])]
    params = frames.params.set_index("trial_id")
    varied = params.loc[trials["trial_id"]].nunique() > 1
    searched = {name: found for name, found in distributions(frames.config).items() if varied.get(name, False)}
    if len(trials) and not searched:
        raise ReportError("Importance: expected a searched field that varies between trials, got none. Search a field.")
    settings = frames.settings(trials, objective)
    if len(settings) < MINIMUM_SETTINGS:
        raise ReportError(
            f"Importance: expected at least {MINIMUM_SETTINGS} settings with complete trials of the search, "
            f"got {len(settings)}. Raise phases.optimise.trials and run again."
        )
    generator = np.random.default_rng(seed)
    if len(settings) > _LARGEST:
        settings = settings.iloc[np.sort(generator.choice(len(settings), _LARGEST, replace=False))]
    sign = 1.0 if DIRECTIONS[objective] == "minimize" else -1.0
    losses = sign * settings[objective].to_numpy(dtype=np.float64)
    asked = max(0.1, _IN_TOP / len(settings))
    quantile = float(best_trials(losses, asked).mean())
    fields = _fields(params.loc[settings["trial_id"]], searched, losses, asked, generator)
    return Importance(
        objective=objective,
        quantile=quantile,
        fields=tuple(sorted(fields, key=lambda field: (-field.share, field.name))),
        n=len(settings),
        method=(
            f"PED-ANOVA: reaching the best {quantile * 100:.0f} % of {len(settings)} settings, not a share of variance"
        ),
        warnings=(
            *missing_words(missing_results(frames, frames.search_trials(), objective)),
            *_cautions(fields, len(settings)),
        ),
    )


def _cautions(fields: list[FieldImportance], n: int) -> tuple[str, ...]:
    if any(field.above_chance for field in fields):
        return ()
    return (f"no field stands out from chance with {n} settings",)


def _fields(
    params: pd.DataFrame,
    searched: Mapping[str, BaseDistribution],
    losses: NDArray[np.float64],
    quantile: float,
    generator: np.random.Generator,
) -> list[FieldImportance]:
    grids = {name: grid_field(params[name], distribution) for name, distribution in searched.items()}
    everywhere = {name: grid.density(np.ones(len(losses), dtype=np.bool_)) for name, grid in grids.items()}

    def divergences(order: NDArray[np.float64]) -> dict[str, float]:
        best = best_trials(order, quantile)
        return {name: divergence(grid, everywhere[name], best) for name, grid in grids.items()}

    names = list(searched)
    found = divergences(losses)
    shuffled = pd.DataFrame([divergences(generator.permutation(losses)) for _ in range(_SHUFFLES)])[names]
    # A field of many values diverges more by chance than one of two choices: each is seen beside its own chance.
    own = shuffled.quantile(_CERTAIN).clip(lower=1e-12)
    beyond = float((shuffled / own).max(axis=1).quantile(_CERTAIN))
    total = math.fsum(found.values()) or 1.0
    return [
        FieldImportance(
            name=name,
            share=found[name] / total,
            chance=float(beyond * own[name]) / total,
            n=int(params[name].notna().sum()),
        )
        for name in names
    ]
