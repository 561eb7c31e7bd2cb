"""First and total order Sobol indices: which fields matter to a response, alone and with their interactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from slasearch.analysis.coordinates import DesignResponse

__all__ = ["Index", "PairIndex", "SobolIndices"]


@dataclass(frozen=True)
class Index:
    """A field's share of the response's variance, and the ends of its 95 % bootstrap interval."""

    field: str
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class PairIndex:
    """The share of variance that two fields have together beyond what each has alone."""

    fields: tuple[str, str]
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class SobolIndices:
    """Indices of all fields for one response, in the order of the study file.

    `first` (S1) is what a field does alone, `total` (ST) what it does in all its interactions too, `second` (S2) of
    pairs, empty where the design cannot tell. `n` trials; `r2` is the cross-validated R² of the surrogate on which they
    were computed, None where they come from the trials themselves.
    """

    response: DesignResponse
    first: tuple[Index, ...]
    total: tuple[Index, ...]
    second: tuple[PairIndex, ...]
    n: int
    source: Literal["direct", "surrogate"]
    r2: float | None
    method: str
    warnings: tuple[str, ...] = ()
