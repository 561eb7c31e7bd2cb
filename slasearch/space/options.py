"""Whether the options of a study's samplers and pruner are ones that these have, with values that they take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slasearch.config.document import Path, Problem
from slasearch.config.problems import shown
from slasearch.config.schema import PrunerConfig, SamplerConfig, StudyConfig
from slasearch.registry import DESIGN_OPTIONS, PRUNER_OPTIONS, SAMPLER_OPTIONS, Option

__all__ = ["option_problems"]


def option_problems(config: StudyConfig) -> Iterator[Problem]:
    """Unknown options, and values of another type or out of range."""
    design, optimise = config.phases.design, config.phases.optimise
    if design is not None:
        yield from _problems(("phases", "design", "sampler"), design.sampler, DESIGN_OPTIONS)
    if optimise is not None:
        yield from _problems(("phases", "optimise", "sampler"), optimise.sampler, SAMPLER_OPTIONS)
        yield from _problems(("phases", "optimise", "pruner"), optimise.pruner, PRUNER_OPTIONS)
        if optimise.pruner.name != "none" and config.training.reports == 1:
            expected = f"at least 2 with the pruner {optimise.pruner.name}, which stops no trial at its last report"
            yield Problem(("training", "reports"), expected, "1")


def _problems(
    at: Path, config: SamplerConfig | PrunerConfig, tables: Mapping[str, Mapping[str, Option]]
) -> Iterator[Problem]:
    options = tables.get(config.name, {})
    for name, value in config.options.items():
        path = (*at, "options", name)
        if name not in options:
            yield Problem(path, f"an option of {config.name} ({', '.join(options) or 'it has none'})", name)
        elif not options[name].takes(value):
            yield Problem(path, options[name].words, shown(value))
