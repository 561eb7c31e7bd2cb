"""Who proposes the trials of `optimise`. A sampler is made anew for each trial, seeded by the study and its position.

So a restarted driver neither draws the same points again nor depends on what an earlier process drew, and a trial that
is lost and tried again changes no later draw. NSGA-II and NSGA-III choose the parents of a generation anew after a
restart, from the trials of the one before that have ended by then: they draw the same unless, with several trials at a
time, one has ended since the driver before chose.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseGASampler, BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.samplers._nsgaiii._elite_population_selection_strategy import NSGAIIIElitePopulationSelectionStrategy
from optuna.search_space.group_decomposed import _GroupDecomposedSearchSpace, _SearchSpaceGroup
from optuna.trial import FrozenTrial, TrialState

from slasearch.config.schema import SamplerConfig
from slasearch.space import Parameter

__all__ = ["GroupedTpeSampler", "NSGAIIISampler", "NSGAIISampler", "SobolSampler", "make_sampler", "sampler_seed"]


def make_sampler(
    config: SamplerConfig, *, seed: int, number: int, index: int, space: Sequence[Parameter]
) -> BaseSampler:
    """The sampler for one trial.

    Args:
        config: Name and options.
        seed: The study's seed.
        number: How many trials the search has had so far, new attempts at lost ones not counted; with `seed` it decides
            every draw but those of qmc.
        index: How many trials the phase has drawn so far: the position in a qmc sequence.
        space: All searched parameters, in a fixed order: the dimensions of a qmc sequence.
    """
    if config.name == "qmc":
        return SobolSampler(space, seed=sampler_seed(seed, 0), index=index)
    own = sampler_seed(seed, number)
    options: dict[str, Any] = dict(config.options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match config.name:
            case "random":
                return RandomSampler(seed=own)
            case "gp":
                return GPSampler(seed=own, **options)
            case "nsgaii":
                return NSGAIISampler(seed=own, **options)
            case "nsgaiii":
                return NSGAIIISampler(study_seed=seed, seed=own, **options)
            case "cmaes":
                from slasearch.search.cma_es import CmaEsSampler  # which loads scipy, too

                return CmaEsSampler(space, seed=own, **options)
        return GroupedTpeSampler(seed=own, **options)


def sampler_seed(seed: int, number: int) -> int:
    """A 32-bit seed from the study's seed and a trial's number."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4])


class GroupedTpeSampler(TPESampler):
    """Optuna's multivariate TPE by groups, with the same draws in less time.

    Optuna refines its groups of fields by every trial there is, a quarter of an ask at 10,000 trials. Trials of the
    same fields refine nothing twice.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(multivariate=True, group=True, **options)
        self._group_decomposed_search_space = _DistinctFields()


class _DistinctFields(_GroupDecomposedSearchSpace):
    def calculate(self, study: Study, use_cache: bool = False) -> _SearchSpaceGroup:
        seen: set[frozenset[str]] = set()
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
            distributions = trial.distributions
            fields = frozenset(distributions)
            if fields not in seen:
                seen.add(fields)
                self._search_space.add_distributions(distributions)
        return self._search_space


class _ParentsByNumber(BaseGASampler):
    """Draws one trial. Optuna gives parents to whoever asks first in the order of their ranks, to others by number.

    After a restart no generation's parents are known, and each follows from those of the one before. They are found
    from the first one on: Optuna goes back from the last one, deeper than Python's stack after some 300 generations.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._parents: dict[int, list[FrozenTrial]] = {0: []}
        self._populations: dict[int, list[FrozenTrial]] | None = None

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        if generation not in self._parents:
            stored = study._storage.get_study_system_attrs(study._study_id)
            name = self._get_parent_cache_key_prefix()
            known = next(one for one in range(generation, -1, -1) if one in self._parents or f"{name}{one}" in stored)
            for one in range(max(known, 1), generation + 1):
                found = super().get_parent_population(study, one)
                self._parents[one] = sorted(found, key=lambda trial: trial.number)
        return list(self._parents[generation])

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        if self._populations is None:
            self._populations = defaultdict(list)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                self._populations[trial.system_attrs.get(self._get_generation_key(), -1)].append(trial)
        return list(self._populations[generation])


class NSGAIISampler(_ParentsByNumber, optuna.samplers.NSGAIISampler):
    """Optuna's, with the same draws after a restart. A trial's generation is stored by the name of this class."""


class NSGAIIISampler(_ParentsByNumber, optuna.samplers.NSGAIIISampler):
    """Optuna's, with the same draws after a restart. A trial's generation is stored by the name of this class.

    Args:
        study_seed: With the generation it decides which of equally good trials become parents; Optuna leaves that to
            the trial that is drawn first.
        seed: Seed of this one draw.
        options: Of Optuna's sampler.
    """

    def __init__(self, *, study_seed: int, seed: int, **options: Any) -> None:
        super().__init__(seed=seed, **options)
        self._study_seed = study_seed

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The best of the generation before and of its own parents."""
        before = generation - 1
        population = self.get_population(study, before) + self.get_parent_population(study, before)
        size, chance = self.population_size, LazyRandomState(sampler_seed(self._study_seed, generation))
        assert size is not None
        return NSGAIIIElitePopulationSelectionStrategy(population_size=size, rng=chance)(study, population)


class SobolSampler(BaseSampler):
    """One point of a scrambled Sobol sequence, a dimension for each parameter, whether a trial uses it or not.

    Args:
        space: All parameters, in a fixed order.
        seed: Seed of the scrambling, the same for the whole sequence.
        index: Position in the sequence, from 0.
    """

    def __init__(self, space: Sequence[Parameter], *, seed: int, index: int) -> None:
        from scipy.stats import qmc  # most of a second, for which no other sampler waits

        engine = qmc.Sobol(max(1, len(space)), scramble=True, rng=np.random.default_rng(seed))
        if index:
            engine.fast_forward(index)
        shares = engine.random(1)[0].tolist()
        self._point = {parameter.name: parameter.at(share) for parameter, share in zip(space, shares, strict=False)}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: each parameter is looked up on its own, so that conditional ones need no special case."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing, as the relative space is empty."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The parameter's coordinate of the point."""
        return self._point[param_name]
