"""CMA-ES (Hansen 2016, arXiv 1604.00772) in the unit cube of the searched numbers, by the library `cmaes`.

Optuna's own sampler keeps its state as a pickle among the trials' attributes. Here there is no state: the strategy is
told again of every finished generation each time that it is asked, a quarter of a second at 10,000 trials. So a
restarted driver goes on where the last one stopped, and nothing is ever unpickled.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from cmaes import CMA
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from slasearch.space import Parameter

__all__ = ["GENERATION", "CmaEsSampler"]

GENERATION = "cmaes:generation"
"""Attribute of a trial: the generation that it was drawn for."""
PARENTS = "cmaes:parents:generation"
"""Another: the numbers of the trials of the generation before that the strategy was told of when it was drawn."""
_SIGMA = 1 / 6
"""First step size, as a share of each field's range."""
_BROKEN = 1e12
"""Cost of a trial that breaks a constraint: above every other one. Only the order of costs counts."""


class CmaEsSampler(BaseSampler):
    """Draws one trial for one objective. Choices, and fields that depend on others, are drawn by chance.

    The first generation lies around the best complete trial from before it (a design's), else around the middle.

    Args:
        space: All parameters, in a fixed order.
        seed: Seed of this one draw.
        population_size: Trials of a generation; 4 + 3 ln k for k numbers by default.
    """

    def __init__(self, space: Sequence[Parameter], *, seed: int, population_size: int | None = None) -> None:
        self._numbers = tuple(parameter for parameter in space if not parameter.choices and not parameter.when)
        self._seed = seed
        self._population_size = population_size
        self._by_chance = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The numbers that every trial has."""
        return {parameter.name: parameter.distribution for parameter in self._numbers}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point of the newest generation."""
        strategy, parents = self._told(study)
        study._storage.set_trial_system_attr(trial._trial_id, GENERATION, strategy.generation)
        if parents:
            study._storage.set_trial_system_attr(trial._trial_id, PARENTS, parents)
        point = strategy.ask().tolist()
        # A share of exactly 1 lies beyond the last whole number.
        shares = [min(share, math.nextafter(1.0, 0.0)) for share in point]
        return {parameter.name: parameter.at(share) for parameter, share in zip(self._numbers, shares, strict=True)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A uniform draw."""
        return self._by_chance.sample_independent(study, trial, param_name, param_distribution)

    def _told(self, study: Study) -> tuple[CMA, list[int]]:
        """The strategy after every generation of which enough trials are complete, and the trials of the last of these.

        It learns of those that ended first. What a generation was drawn from stands with its trials, and is not changed
        by one that ends late.
        """
        costs = partial(_cost, 1.0 if study.direction is StudyDirection.MINIMIZE else -1.0)
        trials = study.get_trials(deepcopy=False)
        drawn = [other for other in trials if GENERATION in other.system_attrs]
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        before = [other for other in complete if not drawn or other.number < drawn[0].number]
        best = min(before, key=costs, default=None)
        strategy = CMA(
            mean=np.full(len(self._numbers), 0.5) if best is None else self._point(best),
            sigma=_SIGMA,
            bounds=np.tile([0.0, 1.0], (len(self._numbers), 1)),
            seed=self._seed,
            population_size=self._population_size,
        )
        parents = {other.system_attrs[GENERATION]: other.system_attrs.get(PARENTS, []) for other in drawn}
        generations: dict[int, list[int]] = defaultdict(list)
        for other in sorted(complete, key=_ended):
            if GENERATION in other.system_attrs:
                generations[other.system_attrs[GENERATION]].append(other.number)
        told: list[int] = []
        while True:
            size, generation = strategy.population_size, strategy.generation
            first = parents.get(generation + 1) or generations[generation][:size]
            if len(first) < size:
                return strategy, told
            told = first
            strategy.tell([(self._point(trials[number]), costs(trials[number])) for number in told])

    def _point(self, trial: FrozenTrial) -> NDArray[np.float64]:
        return np.array([parameter.share(trial.params[parameter.name]) for parameter in self._numbers])


def _ended(trial: FrozenTrial) -> tuple[datetime, int]:
    assert trial.datetime_complete is not None
    return trial.datetime_complete, trial.number


def _cost(sign: float, trial: FrozenTrial) -> float:
    """Lower is better; trials that break constraints come last, by how far they do."""
    beyond = sum(max(0.0, excess) for excess in trial.constraints.values())
    return _BROKEN + beyond if beyond else sign * (trial.value or 0.0)
