"""Responses whose Sobol indices are known, as scores of simulated trials, to verify designs and analyses as a whole.

The searched fields of a study are the function's inputs, in the order of the study file, each at the share of its
range at which it lies in the space in which it is sampled: a function of u = share(log λ) is what a study of a
log-uniform λ should find.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slasearch.records import TrialSpec
from slasearch.space import Parameter

__all__ = ["KnownResponse", "ishigami", "sobol_g"]


def ishigami(u: Sequence[float], *, a: float = 7.0, b: float = 0.1) -> float:
    """Ishigami and Homma 1990: sin x₁ + a·sin² x₂ + b·x₃⁴·sin x₁ with x = π·(2u - 1), u: 3 shares."""
    x, y, z = (math.pi * (2 * share - 1) for share in u)
    return math.sin(x) + a * math.sin(y) ** 2 + b * z**4 * math.sin(x)


def sobol_g(u: Sequence[float], *, a: Sequence[float]) -> float:
    """Sobol's G: Π (|4·u_i - 2| + a_i) / (1 + a_i), u: as many shares as a; fields of a large a_i do not matter."""
    return math.prod((abs(4 * share - 2) + weight) / (1 + weight) for share, weight in zip(u, a, strict=True))


@dataclass(frozen=True)
class KnownResponse:
    """The score of a trial as a function of its searched fields; to be given to `SimulatedWorker`.

    Args:
        function: From one share in [0, 1] for each field to the score.
        fields: The searched fields of the study, `slasearch.space.parameters` of it; none under a condition.
    """

    function: Callable[[Sequence[float]], float]
    fields: tuple[Parameter, ...]

    def __call__(self, spec: TrialSpec) -> float:
        """The score of that trial."""
        return self.function([field.share(_value(spec, field.name)) for field in self.fields])


def _value(spec: TrialSpec, name: str) -> Any:
    """What a searched field (dotted path) is in a trial; a training condition that is not there is at level 0."""
    section, *_, last = name.split(".")
    if section == "conditions":
        kind = name.split(".")[-2]
        return next((condition.level for condition in spec.train_conditions if condition.kind == kind), 0.0)
    if section == "size_control":
        return spec.size.budget if last == "parameters" else getattr(spec.size, last)
    return getattr(getattr(spec, section), last)
