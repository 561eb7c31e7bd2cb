"""What things are called in figures and tables: short names for people, with units."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence

from slasearch.analysis.compare import Arm, Comparison, Comparisons
from slasearch.analysis.curves import Level
from slasearch.analysis.frames import MEAN
from slasearch.analysis.roles import control_name, layout_label, role_label
from slasearch.config.constraints import ConstraintConfig
from slasearch.config.schema import StudyConfig
from slasearch.registry import CONDITIONS, DRAWN_CONTROLS

__all__ = [
    "NOT_TOLD_APART",
    "arm_label",
    "bound_label",
    "condition_label",
    "factor_label",
    "fraction",
    "level_label",
    "margin_rule",
    "measure_label",
    "number",
    "objective_label",
    "p_label",
    "p_text",
    "percent",
    "runs_label",
    "sentences",
    "series_label",
    "short_factor",
    "short_number",
    "slots_label",
    "spoken_level",
    "thousands",
    "with_ends",
]

NOT_TOLD_APART = "not told apart: none of these, which does not show that both are equally good"
"""What stands beside the definitions of better, worse and non-inferior."""

_FACTORS = {
    "size_control.sparsity_weight": ("sparsity weight λ", "no unit"),
    "size_control.path": ("sparsity path", "λ of its stages"),
    "size_control.parameters": ("budget", "exported parameters"),
    "size_control.ramp": ("ramp of λ", "share of steps"),
    "training.learning_rate": ("learning rate", "per step"),
    "training.head_learning_rate": ("learning rate of the heads", "per step"),
    "training.weight_decay": ("weight decay", "no unit"),
    "training.batch_size": ("batch size", "examples"),
    "training.epochs": ("training length", "epochs"),
    "training.steps": ("training length", "steps"),
    "finalisation.share": ("length of the finish", "share of steps"),
    "gates.temperature": ("gate temperature", "no unit"),
    "gates.learning_rate": ("gate learning rate", "per step"),
    "gates.warm_up": ("gate warm-up", "share of steps"),
    "gates.initial_openness": ("initial openness", "0 to 1"),
    "gates.threshold": ("gate threshold", "openness"),
    "gates.family": ("gate family", ""),
    "pool.ranks": ("ranks in the pool", ""),
    "pool.sites": ("sites in the pool", ""),
    "pool.kinds": ("kinds in the pool", ""),
    "pool.layers": ("layers in the pool", ""),
}
_OF_KINDS = {"pool.kind_ranks.": "ranks of", "training.kind_factors.": "rate factor of"}
_MEASURES = {
    "noisy_score": "mean disturbed score",
    "relative": "disturbed ÷ clean score",
    "worst": "worst condition",
    "curve_area": "area under score against level",
}
_KINDS = {
    "embedding_gaussian": "embedding noise",
    "neftune": "NEFTune noise",
    "neighbour": "neighbour substitution",
    "char_swap": "swapped characters",
    "char_drop": "dropped characters",
    "char_repeat": "repeated characters",
    "casing": "changed case",
    "punctuation": "changed punctuation",
}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def condition_label(kind: str) -> str:
    """A condition's name in running text: `typos`, `embedding noise`."""
    return _KINDS.get(kind, kind.replace("_", " "))


def measure_label(kind: str) -> str:
    """An axis over the levels of a measured condition, with what a level is: `Typos (share of words)`."""
    return f"{_sentence(condition_label(kind))} ({CONDITIONS.get(kind).facts.level})"


def short_factor(path: str) -> str:
    """A searched field's name in running text, without its unit."""
    if path.startswith("conditions.train."):
        return f"{condition_label(path.split('.')[2])} in training"
    for field, words in _OF_KINDS.items():
        if path.startswith(field):
            return f"{words} {path.removeprefix(field)}"
    return _FACTORS.get(path, (path.rpartition(".")[2].replace("_", " "), ""))[0]


def factor_label(path: str) -> str:
    """An axis over a searched field, with its unit: `Sparsity weight λ (no unit)`."""
    if path.startswith("conditions.train."):
        unit = CONDITIONS.get(path.split(".")[2]).facts.level
    else:
        unit = _FACTORS.get(path, ("", ""))[1]
    name = _sentence(short_factor(path))
    return f"{name} ({unit})" if unit else name


def level_label(level: Level) -> str:
    """A level on an axis or in a table; lists, which samplers hold as JSON text, become `1 + 4`."""
    if not isinstance(level, str):
        return short_number(level, 6)
    try:
        decoded = json.loads(level)
    except json.JSONDecodeError:
        return level
    return " + ".join(str(item) for item in decoded) if isinstance(decoded, list) else str(decoded)


def spoken_level(level: Level) -> str:
    """A level in a sentence: three digits of a number."""
    return level_label(level) if isinstance(level, str) else short_number(level, 3)


def arm_label(arm: Arm) -> str:
    """`LoRA`, with the layout that tuning has picked: `LoRA (last layers)`."""
    variant = arm.tuning.variant if arm.tuning else None
    layout = f" ({layout_label(variant)})" if variant and control_name(arm.role) not in DRAWN_CONTROLS else ""
    return f"{role_label(arm.role)}{layout}"


def series_label(series: str, tasks: Sequence[str]) -> str:
    """A task's own name, or `mean of tasks`; the mean of one task is that task."""
    return series if series != MEAN else "mean of tasks" if len(tasks) > 1 else tasks[0]


def objective_label(config: StudyConfig, objective: str) -> str:
    """An axis over an objective, with its measure; also the name of what is only bounded."""
    if objective == "score":
        metrics = sorted({task.metric.replace("macro_f1", "macro-F1").replace("mcc", "MCC") for task in config.tasks})
        return f"Score ({metrics[0]})" if len(metrics) == 1 else f"Score (mean of {', '.join(metrics)})"
    if objective in ("exported_parameters", "latency"):
        return _sentence(objective.replace("_", " "))
    measure = next((item.measure for item in config.objectives if item.name == "robustness"), None)
    return f"Robustness ({_MEASURES[measure or 'noisy_score']})"


def bound_label(config: StudyConfig, bound: ConstraintConfig) -> str:
    """A constraint in running text: `exported parameters of at most 20 000`, `latency of at most 5 ms`."""
    write = thousands if bound.name == "exported_parameters" else "{:g}".format
    ends = [("at least", bound.min), ("at most", bound.max)]
    unit = f" {bound.unit}" if bound.unit else ""
    said = " and ".join(f"{word} {write(value)}{unit}" for word, value in ends if value is not None)
    label = objective_label(config, bound.name)
    return f"{label[:1].lower()}{label[1:]} of {said}"


def margin_rule(comparisons: Iterable[Comparisons]) -> tuple[str, ...]:
    """What the margin is, as a clause, where one of the comparisons is told by it."""
    found = (one.evidence for item in comparisons for one in item.differences)
    within = (one for one in found if one.standing in ("non-inferior", "worse, within margin"))
    return tuple(dict.fromkeys(f"non-inferior, within margin: {one.non_inferiority.method}" for one in within))


def p_label(one: Comparison) -> str:
    """`p .032 (Holm)`: the adjusted p where there is one; empty without any."""
    p = one.p if one.p_holm is None else one.p_holm
    if p is None:
        return ""
    return p_text(p) if one.p_holm is None else f"{p_text(p)} (Holm)"


def p_text(p: float) -> str:
    """`p .032`, `p < .001`."""
    return "p < .001" if p < 0.001 else f"p {p:.3f}".replace("0.", ".", 1)


def sentences(*clauses: str) -> str:
    """Clauses as sentences, one after the other."""
    return " ".join(f"{clause[:1].upper()}{clause[1:]}." for clause in clauses)


def percent(share: float, digits: int = 0) -> str:
    """`12 %`."""
    return f"{share * 100:.{digits}f} %"


def slots_label(count: int) -> str:
    """`1 slot`, `12 slots`."""
    return f"{count} slot{'' if count == 1 else 's'}"


def thousands(value: float) -> str:
    """A count with thin spaces every three digits: `67 427`; an en dash for one that does not exist."""
    return "–" if math.isnan(value) else f"{value:,.0f}".replace(",", "\u202f")


def short_number(value: float, digits: int = 4) -> str:
    """A value whose range is not known: `0.8412`, `1.5e-05`, and from five digits on in full: `19 650`."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits - 0.5 else thousands(value)


def runs_label(runs: float) -> str:
    """How many runs a time is worth: `0.31`, `9.2`, `41`."""
    return f"{runs:.2g}" if runs < 10 else thousands(runs)


def number(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """A score or a difference of scores: `0.842`, `+0.010`, `−0.010`; an en dash for one that does not exist."""
    return "–" if math.isnan(value) else format(value, f"{'+' if signed else ''}.{digits}f").replace("-", "−")


def fraction(value: float) -> str:
    """A share of variance or an R²: `.62`, `−.03`, `1.02`; what rounds to nothing has no sign."""
    text = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
    return text.replace("0.", ".", 1) if text.startswith(("0", "−0")) else text


def with_ends(text: Callable[[float], str], value: float, low: float, high: float) -> str:
    """A value with the ends of its interval: `.62 [.55, .69]`."""
    return f"{text(value)} [{text(low)}, {text(high)}]"
