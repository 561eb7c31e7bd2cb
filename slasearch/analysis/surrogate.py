"""A Gaussian process over the trials of a design, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slasearch.analysis.coordinates import Coordinates, DesignResponse

__all__ = ["MINIMUM_R2", "Surrogate"]

MINIMUM_R2 = 0.5
"""Cross-validated R² below which a surrogate says that it does not know."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Surrogate:
    """A fitted surrogate of one response.

    `predict` takes `m x k` unit coordinates and gives mean and standard deviation, `m` each, of the response without
    the noise of seeds, in the units of `coordinates.values`. `r2` is cross-validated over points: repeats of one point
    are never on both sides.
    """

    response: DesignResponse
    coordinates: Coordinates
    predict: Callable[[Floats], tuple[Floats, Floats]]
    r2: float
    method: str
    warnings: tuple[str, ...] = ()
