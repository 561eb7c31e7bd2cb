"""Trials of an earlier study, from which the sampler of a new one learns.

They are taken once, when the study is made, and stored with it: what becomes of the earlier study changes nothing. They
are no trials of this one, and count in nothing but its sampler.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState, create_trial

from slasearch.config.document import Problem, problem_line
from slasearch.config.fingerprint import differing, fingerprint
from slasearch.config.load import stored_study
from slasearch.config.plain import stored_json
from slasearch.config.schema import StudyConfig
from slasearch.errors import ConfigError, StudyConflictError
from slasearch.search.constraints import excesses, measured
from slasearch.search.mirror import constraint_attributes
from slasearch.search.winners import searched
from slasearch.space import Parameter, parameters
from slasearch.storage.rows import EarlierTrial, StudyRow, TrialRow, WarmStart
from slasearch.storage.store import Store

__all__ = ["as_optuna", "refuse_other_data", "take"]

_AT = ("phases", "optimise", "warm_start", "study")
_APART = frozenset({"name", "seed", "training.seeds", "conditions.race", "phases", "constraints"})
"""Fields that may differ beside those that a study may change: a complete trial's values hold all the same."""
_RANGES = ("float", "log_float", "int", "categorical")
_GENERATIONS = {"nsgaii": "NSGAIISampler:generation", "nsgaiii": "NSGAIIISampler:generation"}
"""Attributes in which samplers that breed from earlier trials look for a trial's generation."""


def take(store: Store, config: StudyConfig) -> WarmStart | None:
    """The trials that a new study's sampler begins from, as `phases.optimise.warm_start` asks for; None: for none.

    Raises:
        ConfigError: There is no such study, it differs in what values depend on, or none of its trials fits the ranges
            and has every value that is bounded; the text says which.
    """
    warm = None if config.phases.optimise is None else config.phases.optimise.warm_start
    if warm is None:
        return None
    study = store.find_study(warm.study)
    if study is None:
        names = ", ".join(found.name for found in store.studies()) or "there is none"
        raise _refused(config, Problem(_AT, f"a study in the same database ({names})", repr(warm.study)))
    earlier = _read(study, config)
    if problems := list(_disagreements(earlier, config)):
        raise _refused(config, *problems)
    space = parameters(config)
    complete = searched(store.trials(study.id))
    bounded = [row for row in complete if measured(config.constraints, row)]
    if complete and not bounded:
        names = ", ".join(constraint.name for constraint in config.constraints)
        expected = f"a study with complete trials that have every value that this one bounds ({names})"
        raise _refused(config, Problem(_AT, expected, f"{study.name} with {len(complete)}, none of which has"))
    fitting = sorted(filter(None, (_fitting(space, row) for row in bounded)), key=lambda trial: trial.number)
    if not fitting:
        got = f"{study.name} with {len(bounded)}, all of them outside" if bounded else f"{study.name} with none"
        raise _refused(config, Problem(_AT, "a study with complete trials within this one's ranges", got))
    taken = tuple(fitting if warm.trials is None else fitting[-warm.trials :])
    return WarmStart(0, study.name, fingerprint(earlier), study.data, len(complete) - len(fitting), taken)


def refuse_other_data(warm: WarmStart, study: str, digests: Mapping[str, str]) -> None:
    """Makes sure that a study has the data that its earlier trials were trained on.

    Args:
        warm: What its sampler begins from.
        study: The study's name.
        digests: What identifies the data of each of its tasks, by the task's name.

    Raises:
        StudyConflictError: A task has other data; the text names each.
    """
    before: dict[str, str] = stored_json(warm.data or "{}")
    changed = [name for name, digest in digests.items() if before.get(name, digest) != digest]
    if changed:
        raise StudyConflictError(
            f"study {study}: expected the data of study {warm.source}, from whose trials its sampler begins, got other "
            f"data for {', '.join(changed)}. Put the data back, and `seed` where splits are drawn by it; or run "
            f"`slasearch delete {study} --yes` and take phases.optimise.warm_start out of its file."
        )


def as_optuna(warm: WarmStart, config: StudyConfig) -> list[FrozenTrial]:
    """The trials as the sampler of a study sees them: complete, and for one that breeds its first generation.

    Trials without a bounded value are left out, as earlier versions stored them too: Optuna's Gaussian process takes no
    trials that differ in their constraints.
    """
    optimise = config.phases.optimise
    assert optimise is not None
    distributions = {parameter.name: parameter.distribution for parameter in parameters(config)}
    sampler = optimise.sampler.name
    generation = {_GENERATIONS[sampler]: 0} if sampler in _GENERATIONS else {}
    return [
        create_trial(
            state=TrialState.COMPLETE,
            values=[value for goal in config.objectives if (value := trial.objective(goal.name)) is not None],
            params=trial.params,
            distributions={name: distributions[name] for name in trial.params},
            system_attrs={**constraint_attributes(excesses(config.constraints, trial)), **generation},
        )
        for trial in warm.trials
        if measured(config.constraints, trial)
    ]


def _read(study: StudyRow, config: StudyConfig) -> StudyConfig:
    try:
        return stored_study(study.config)
    except StudyConflictError:
        got = f"{study.name}, made by slasearch {study.version}"
        raise _refused(config, Problem(_AT, "a study whose file this version can read", got)) from None


def _disagreements(earlier: StudyConfig, config: StudyConfig) -> Iterator[Problem]:
    """What values depend on and both studies have not in common, in the words of the new study's file."""
    theirs, ours = ({field.name: ".".join(map(str, field.path)) for field in parameters(c)} for c in (earlier, config))
    for name in dict.fromkeys((*theirs, *ours)):
        if (name in theirs) != (name in ours):
            there, here = ("searched", "not searched") if name in theirs else ("not searched", "searched")
            yield Problem((*name.split("."),), f"{there}, as in study {earlier.name}", here)
    both = {theirs[name] for name in theirs if theirs[name] == ours.get(name)}
    ranges = {f"{place}.{form}" for place in both for form in _RANGES}
    lonely = {*theirs.values(), *ours.values()} - both
    for name, before, now in differing(earlier, config, apart=_APART | ranges | lonely):
        yield Problem((*name.split("."),), f"{before}, as in study {earlier.name}", now)


def _fitting(space: Sequence[Parameter], row: TrialRow) -> EarlierTrial | None:
    """A complete trial with its parameters as this study would store them; None if it could not have drawn them."""
    params = row.values
    try:
        values = {field.name: field.encode(params[field.name]) for field in space if field.active(params)}
    except (KeyError, ValueError):
        return None
    if values.keys() != params.keys():
        return None
    assert row.number is not None
    return EarlierTrial(row.number, values, row.score, row.exported_parameters, row.robustness, row.latency)


def _refused(config: StudyConfig, *problems: Problem) -> ConfigError:
    advice = "A warm start needs a study whose trials would give the same values here: mend it, or leave it out."
    return ConfigError([*(problem_line(f"study {config.name}", problem) for problem in problems), advice])
