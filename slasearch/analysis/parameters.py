"""What a searched field is: how it was sampled, and with it how it is drawn and weighed."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from slasearch.analysis.curves import Scale
from slasearch.config.schema import StudyConfig
from slasearch.space.parameters import parameters

__all__ = ["distributions", "scale_of"]


def distributions(config: StudyConfig) -> dict[str, BaseDistribution]:
    """The Optuna distribution of each searched field, by its dotted path."""
    return {parameter.name: parameter.distribution for parameter in parameters(config)}


def scale_of(distribution: BaseDistribution | None) -> Scale:
    """The axis on which a field is drawn: the one on which it was sampled."""
    if isinstance(distribution, (FloatDistribution, IntDistribution)):
        return "log" if distribution.log else "linear"
    return "category"
