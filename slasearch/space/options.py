"""Whether the options of a study's samplers and pruner are ones that these have, with values that they take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slasearch.config.document import Path, Problem
from slasearch.config.problems import shown
from slasearch.config.schema import PrunerConfig, SamplerConfig, StudyConfig
from slasearch.registry import DESIGN_OPTIONS, PRUNER_OPTIONS, SAMPLER_OPTIONS, Option
from slasearch.space.parameters import parameters

__all__ = ["option_problems"]


def option_problems(config: StudyConfig) -> Iterator[Problem]:
    """Unknown options, and values of another type or out of range."""
    design, optimise = config.phases.design, config.phases.optimise
    if design is not None:
        yield from _problems(("phases", "design", "sampler"), design.sampler, DESIGN_OPTIONS)
    if optimise is not None:
        at = ("phases", "optimise", "sampler")
        yield from _problems(at, optimise.sampler, SAMPLER_OPTIONS)
        if optimise.sampler.name == "cmaes":
            yield from _cmaes_problems((*at, "name"), config)
        yield from _problems(("phases", "optimise", "pruner"), optimise.pruner, PRUNER_OPTIONS)
        yield from _rungs(("phases", "optimise", "pruner"), optimise.pruner, config)


def _rungs(at: Path, pruner: PrunerConfig, config: StudyConfig) -> Iterator[Problem]:
    """Whether a trial has a report at which it may be stopped."""
    if pruner.name == "none":
        return
    reports = config.training.reports
    last = (reports - 1) / reports
    found = {field.name: field.ends for field in parameters(config)}
    warm = min(found.get("gates.warm_up", (config.gates.warm_up,)))
    if reports == 1:
        expected = f"at least 2 with the pruner {pruner.name}, which stops no trial at its last report"
        yield Problem(("training", "reports"), expected, "1")
        return
    if warm >= last:
        expected = (
            f"less than {last:g}, where the last of {reports} reports stands at which {pruner.name} may stop a trial"
        )
        yield Problem(("gates", "warm_up"), f"{expected} (training.reports)", f"{warm:g}")
    share = pruner.options.get("first_share")
    option = PRUNER_OPTIONS.get(pruner.name, {}).get("first_share")
    if option is not None and option.takes(share) and isinstance(share, int | float) and share > last:
        expected = f"at most {last:g}, where the last of {reports} reports stands that stops a trial (training.reports)"
        yield Problem((*at, "options", "first_share"), expected, f"{share:g}")


def _cmaes_problems(at: Path, config: StudyConfig) -> Iterator[Problem]:
    if len(config.objectives) > 1:
        expected = "one objective with cmaes, or tpe, gp, nsgaii or nsgaiii for several"
        yield Problem(at, expected, f"{len(config.objectives)} objectives")
    numbers = sum(not field.choices and not field.when for field in parameters(config))
    if numbers < 2:
        expected = "at least 2 searched numbers that every trial has with cmaes, or another sampler"
        yield Problem(at, expected, str(numbers))


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
