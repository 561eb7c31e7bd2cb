"""Fields that contradict each other, and searched fields that would change nothing, over every choice of the study."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from slasearch.config.document import Path, Problem
from slasearch.config.fields import Distribution
from slasearch.config.problems import shown
from slasearch.config.schema import BudgetSize, GatesConfig, PenaltySize, StudyConfig
from slasearch.registry import GATES, KINDS, METRICS, SEVERAL_TASKS_CONTROLS
from slasearch.space.parameters import Parameter
from slasearch.space.substitute import combinations

__all__ = ["contradictions", "inert"]

_MOST_CHOICES = 512
_RULED = ("gates.family", "gates.learn_on", "finalisation.ranking", "finalisation.finish")


def contradictions(config: StudyConfig, found: tuple[Parameter, ...]) -> list[Problem]:
    """What cannot go together, over the choices of gates and finalisation (the first 512 combinations of them)."""
    problems: dict[Problem, None] = {}
    for fixed in itertools.islice(combinations(config, found, _RULED), _MOST_CHOICES):
        problems.update(dict.fromkeys(_contradictions(fixed)))
    problems.update(
        dict.fromkeys(
            (
                *_shares(config, found),
                *_plateaus(config, found),
                *_controls(config),
                *_kind_ranks(config),
                *_relative(config),
                *_stages(config, found),
                *_out_of_reach(config, found),
            )
        )
    )
    return list(problems)


def _contradictions(config: StudyConfig) -> Iterator[Problem]:
    ranking, finish = config.finalisation.ranking, config.finalisation.finish
    penalty = isinstance(config.size_control, PenaltySize)
    family = str(config.gates.family)
    if penalty and family in GATES.names() and GATES.get(family).needs_budget:
        yield Problem(("gates", "family"), "a family that works without a budget (or size_control.mode budget)", family)
    if penalty and finish == "progressive":
        expected = "continue or retrain under size_control.mode penalty (progressive prunes to a budget)"
        yield Problem(("finalisation", "finish"), expected, "progressive")
    if penalty and ranking != "gate":
        expected = "gate under size_control.mode penalty, where the gates alone say what stays"
        yield Problem(("finalisation", "ranking"), expected, str(ranking))
    if finish == "progressive" and ranking == "ablation":
        expected = "gate or saliency with finish progressive, which ranks slots many times"
        yield Problem(("finalisation", "ranking"), expected, "ablation")
    without = config.tasks[0].limits.gate == 0
    if without and not penalty and finish != "progressive" and ranking != "gate":
        expected = f"a number above 0, on which {ranking} ranks slots"
        yield Problem(("tasks", 0, "limits", "gate"), expected, "0")
    if without and config.gates.learn_on == "gate":
        yield Problem(("tasks", 0, "limits", "gate"), "a number above 0, on which gates learn (gates.learn_on)", "0")


def _shares(config: StudyConfig, found: tuple[Parameter, ...]) -> Iterator[Problem]:
    """Whether some steps are left in which gates learn."""
    warm = _largest(config.gates.warm_up, "gates.warm_up", found)
    share = _largest(config.finalisation.share, "finalisation.share", found)
    if warm + share >= 1:
        expected = f"a share below {1 - warm:g}, so that gates learn after a warm-up of {warm:g}"
        yield Problem(("finalisation", "share"), expected, f"{share:g}")


def _plateaus(config: StudyConfig, found: tuple[Parameter, ...]) -> Iterator[Problem]:
    """Whether some trial reports often enough after its finalisation to end on a plateau."""
    if config.training.early_stop is None:
        return
    share = _largest(config.finalisation.share, "finalisation.share", found)
    reports, patience = config.training.reports, config.training.early_stop.patience
    watched = sum(number > (1 - share) * reports + 1e-9 for number in range(1, reports))
    if patience >= watched:
        expected = f"fewer than the {watched} of {reports} reports that come after finalisation and before the end"
        yield Problem(("training", "early_stop", "patience"), f"{expected} (raise training.reports)", str(patience))


def _controls(config: StudyConfig) -> Iterator[Problem]:
    """Controls that are about several tasks."""
    confirm = config.phases.confirm
    if confirm is None or len(config.tasks) > 1:
        return
    for name in (name for name in confirm.controls if name in SEVERAL_TASKS_CONTROLS):
        expected = "controls for one task, as the study has one only"
        yield Problem(("phases", "confirm", "controls"), expected, f"{name}, which is about several")


def _stages(config: StudyConfig, found: tuple[Parameter, ...]) -> Iterator[Problem]:
    """A path of more values than steps are left for, as far as the number of steps is fixed."""
    size, steps = config.size_control, config.training.steps
    if not isinstance(size, PenaltySize) or size.path is None or not isinstance(steps, int):
        return
    ends = next((parameter.ends for parameter in found if parameter.name == "size_control.path"), (size.path,))
    values = max((len(path) for path in ends if path is not None), default=0)
    warm = _largest(config.gates.warm_up, "gates.warm_up", found)
    share = _largest(config.finalisation.share, "finalisation.share", found)
    gated = steps - max(1, round(share * steps)) - round(warm * steps)
    most = max(1, gated // 2 + 1)  # the first stage takes half of them, any other one at least (trial/lambda_path.py)
    if values > most:
        expected = f"at most {most} values, as gates learn in {gated} of {steps} steps (raise training.steps)"
        yield Problem(("size_control", "path"), expected, str(values))


def _relative(config: StudyConfig) -> Iterator[Problem]:
    """A score divided by a clean one that is 0 for every constant predictor."""
    for number, objective in enumerate(config.objectives):
        if objective.measure == "relative" and all(task.metric == "mcc" for task in config.tasks):
            expected = "noisy_score, worst or curve_area where mcc is the score, which may be 0 or less"
            yield Problem(("objectives", number, "measure"), expected, "relative")


def _out_of_reach(config: StudyConfig, found: tuple[Parameter, ...]) -> Iterator[Problem]:
    """Constraints whose least value no structure has, or whose largest."""
    least = {"exported_parameters": 0.0, "latency": 0.0}
    most: dict[str, tuple[float, str]] = {}
    if not any(task.metric in METRICS.added() for task in config.tasks):
        best = 1.0, "the best that built-in metrics give"
        least["score"] = -1.0 if any(task.metric == "mcc" for task in config.tasks) else 0.0
        relative = any(objective.measure == "relative" for objective in config.objectives)
        most = {"score": best} if relative else {"score": best, "robustness": best}
    size = config.size_control
    if isinstance(size, BudgetSize):
        accounts = 1 if size.scope == "union" else len(config.tasks)
        budget = accounts * _largest(size.parameters, "size_control.parameters", found)
        most["exported_parameters"] = budget, "the largest budget"
    for number, constraint in enumerate(config.constraints):
        reached, what = most.get(constraint.name, (math.inf, ""))
        if constraint.min is not None and constraint.min > reached:
            expected = f"a number of at most {reached:.10g}, {what}"
            yield Problem(("constraints", number, "min"), expected, f"{constraint.min:.10g}")
        lowest = least.get(constraint.name, -math.inf)
        if constraint.max is not None and constraint.max < lowest:
            expected = f"a number of at least {lowest:g}, the least that there is"
            yield Problem(("constraints", number, "max"), expected, f"{constraint.max:.10g}")


def _largest(value: Any, name: str, found: tuple[Parameter, ...]) -> float:
    ends = next((parameter.ends for parameter in found if parameter.name == name), (value,))
    return max(float(end) for end in ends)


def inert(config: StudyConfig) -> Iterator[Problem]:
    """Searched fields that change nothing."""
    size, pool = config.size_control, config.pool
    yield from _inert_in_gates(config)
    if isinstance(size, PenaltySize):
        yield from _inert_size(size)
    kinds = _kinds(config)
    if isinstance(pool.ranks, Distribution) and not any(
        KINDS.get(name).ranked for name in kinds if name not in pool.kind_ranks
    ):
        got = f"a distribution, though no kind of the pool ({', '.join(kinds)}) takes its rank from it"
        yield Problem(("pool", "ranks"), "a value", got)
    if isinstance(pool.gating, Distribution) and not any(KINDS.get(name).separable for name in kinds):
        got = f"a distribution, though no kind of the pool ({', '.join(kinds)}) is a sum of rank-one parts"
        yield Problem(("pool", "gating"), "a value", got)
    if isinstance(pool.start, Distribution) and not any(KINDS.get(name).aimable for name in kinds):
        got = f"a distribution, though no kind of the pool ({', '.join(kinds)}) projects its input"
        yield Problem(("pool", "start"), "a value", got)
    for name, factor in config.training.kind_factors.items():
        if isinstance(factor, Distribution) and name not in kinds:
            got = f"a distribution, though no pool has the kind (kinds: {', '.join(kinds)})"
            yield Problem(("training", "kind_factors", name), "a value", got)
    if len(config.tasks) == 1:
        for name in ("multitask", "task_temperature"):
            if isinstance(getattr(config.training, name), Distribution):
                yield Problem(("training", name), "a value", "a distribution, though the study has one task only")
    if isinstance(config.gates.temperature_start, Distribution) and config.gates.temperature_schedule == "constant":
        got = "a distribution, though a constant temperature_schedule ignores it"
        yield Problem(("gates", "temperature_start"), "a value", got)


def _inert_size(size: PenaltySize) -> Iterator[Problem]:
    """A ramp to nothing or of no length, and a λ beside a path that is always gone through."""
    for name in ("ramp", "schedule"):
        nothing = size.sparsity_weight == 0 and size.path is None
        if isinstance(getattr(size, name), Distribution) and (nothing or (name == "schedule" and size.ramp == 0)):
            got = f"a distribution, though a {'sparsity_weight' if nothing else 'ramp'} of 0 ignores it"
            yield Problem(("size_control", name), "a value", got)
    always = size.path is not None and not (isinstance(size.path, Distribution) and size.path.when)
    if isinstance(size.sparsity_weight, Distribution) and always:
        got = "a distribution, though a path ignores it"
        yield Problem(("size_control", "sparsity_weight"), "a value", got)


def _kinds(config: StudyConfig) -> list[str]:
    """Every kind that some pool of the study has, as far as known."""
    kinds = config.pool.kinds
    choices = kinds.categorical or () if isinstance(kinds, Distribution) else (kinds,)
    names = {str(name) for choice in choices if isinstance(choice, tuple) for name in choice}
    return sorted(names & set(KINDS.names()))


def _kind_ranks(config: StudyConfig) -> Iterator[Problem]:
    """Ranks of kinds that the pool never has, or that have none."""
    ranked = [name for name in _kinds(config) if KINDS.get(name).ranked]
    for name in config.pool.kind_ranks:
        if name not in ranked:
            expected = f"kinds of the pool that have a rank ({', '.join(ranked) or 'none'})"
            yield Problem(("pool", "kind_ranks"), expected, name)


def _inert_in_gates(config: StudyConfig) -> Iterator[Problem]:
    """Searched fields of gates that some gate family of the study ignores, or that need a gate split."""
    gates = config.gates
    if isinstance(gates.learn_on, Distribution) and config.tasks[0].limits.gate == 0:
        got = "a distribution, though gates learn on train where tasks have no gate split"
        yield Problem(("gates", "learn_on"), "a value", got)
    if isinstance(gates.threshold, Distribution) and _paid_once(config):
        yield from _ignored(config, "threshold", "a threshold", lambda entry: entry.thresholded)
    elif isinstance(gates.threshold, Distribution):  # z of straight_through is 0 or 1 by it
        what = "a threshold that such a budget heeds"
        yield from _ignored(config, "threshold", what, lambda entry: entry.name == "straight_through")
    for name in ("temperature", "temperature_start", "temperature_schedule"):
        if isinstance(getattr(gates, name), Distribution):
            yield from _ignored(config, name, "a temperature", lambda entry: entry.tempered)
    if isinstance(gates.initial_openness, Distribution):
        yield from _ignored(
            config, "initial_openness", "a start that a budget does not decide", lambda entry: not entry.needs_budget
        )


def _paid_once(config: StudyConfig) -> bool:
    """Whether thresholds decide what is open: under λ, and of slots that a budget over several tasks counts once."""
    size = config.size_control
    return not isinstance(size, BudgetSize) or (len(config.tasks) > 1 and size.scope == "union")


def _ignored(config: StudyConfig, field: str, what: str, heeds: Callable[[Any], bool]) -> Iterator[Problem]:
    """Whether a searched field is only searched where the gate family heeds it."""
    path: Path = ("gates", field)
    searched = getattr(config.gates, field)
    family = config.gates.family
    families = [str(name) for name in family.categorical or ()] if isinstance(family, Distribution) else [family]
    if isinstance(family, Distribution) and family.when:
        families.append(str(GatesConfig().family))
    known = [name for name in families if name in GATES.names()]
    heeding = [name for name in known if heeds(GATES.get(name))]
    accepted = searched.when.get("gates.family", tuple(known))
    accepted = accepted if isinstance(accepted, tuple) else (accepted,)
    if not heeding:
        yield Problem(path, "a value", f"a distribution, though no gate family ({', '.join(known)}) has {what}")
    elif not set(accepted) <= set(heeding):
        expected = f"when: {{gates.family: [{', '.join(heeding)}]}}, as no other gate family has {what}"
        yield Problem((*path, "when"), expected, shown(accepted) if searched.when else "none")
