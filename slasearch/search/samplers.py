"""Who proposes the trials of `optimise`. A sampler is made anew for each trial, seeded by study and trial number.

So a restarted driver neither draws the same points again nor depends on what an earlier process drew.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from slasearch.config.schema import PrunerConfig, SamplerConfig, StudyConfig
from slasearch.errors import ConfigError
from slasearch.search.pruners import PRUNER_OPTIONS
from slasearch.space import Parameter

__all__ = ["SAMPLER_OPTIONS", "SobolSampler", "check_options", "make_sampler", "sampler_seed"]

SAMPLER_OPTIONS: Mapping[str, Mapping[str, type]] = {
    "tpe": {"n_startup_trials": int, "n_ei_candidates": int},
    "random": {},
    "qmc": {},
}
"""Options of each sampler and their types."""


def make_sampler(
    config: SamplerConfig, *, seed: int, number: int, index: int, space: Sequence[Parameter]
) -> BaseSampler:
    """The sampler for one trial.

    Args:
        config: Name and options.
        seed: The study's seed.
        number: Optuna's number of the trial; with `seed` it decides every draw of tpe and random.
        index: How many trials the phase has drawn so far: the position in a qmc sequence.
        space: All searched parameters, in a fixed order: the dimensions of a qmc sequence.
    """
    if config.name == "qmc":
        return SobolSampler(space, seed=sampler_seed(seed, 0), index=index)
    own = sampler_seed(seed, number)
    if config.name == "random":
        return RandomSampler(seed=own)
    options: dict[str, Any] = dict(config.options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(multivariate=True, group=True, seed=own, **options)


def sampler_seed(seed: int, number: int) -> int:
    """A 32-bit seed from the study's seed and a trial's number."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4])


def check_options(config: StudyConfig) -> None:
    """Checks the options of sampler and pruner.

    Raises:
        ConfigError: An option is unknown or of another type; all problems at once.
    """
    optimise = config.phases.optimise
    if optimise is None:
        return
    problems = [
        *_problems("phases.optimise.sampler.options", optimise.sampler, SAMPLER_OPTIONS),
        *_problems("phases.optimise.pruner.options", optimise.pruner, PRUNER_OPTIONS),
    ]
    if optimise.pruner.name == "median" and [objective.name for objective in config.objectives] != ["score"]:
        problems.append("phases.optimise.pruner: expected successive_halving unless score is the objective, got median")
    if problems:
        raise ConfigError(problems)


def _problems(field: str, config: SamplerConfig | PrunerConfig, known: Mapping[str, Mapping[str, type]]) -> list[str]:
    options = known[config.name]
    names = ", ".join(options) or "no option"
    return [
        f"{field}.{name}: expected {names} of {config.name}, got {name} = {value!r}"
        for name, value in config.options.items()
        if name not in options or isinstance(value, bool) or not isinstance(value, (int, options[name]))
    ]


class SobolSampler(BaseSampler):
    """One point of a scrambled Sobol sequence, a dimension for each parameter, whether a trial uses it or not.

    Args:
        space: All parameters, in a fixed order.
        seed: Seed of the scrambling, the same for the whole sequence.
        index: Position in the sequence, from 0.
    """

    def __init__(self, space: Sequence[Parameter], *, seed: int, index: int) -> None:
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
