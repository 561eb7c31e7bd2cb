"""The shape of a response over a design: along one field, and over two."""

from __future__ import annotations

from dataclasses import dataclass

from slasearch.analysis.coordinates import DesignResponse
from slasearch.analysis.curves import Level, Scale

__all__ = ["ResponseLine", "ResponseSurface"]


@dataclass(frozen=True)
class ResponseLine:
    """Partial dependence of a response on one field (Friedman 2001) with individual expectations (Goldstein 2015).

    `mean`, `low` and `high` stand at each of `levels`: the average over the design's points with that level put in, and
    the ends of the 95 % interval that the surrogate itself is unsure of. `ice` holds one line for each of some points.
    Values are in the response's own unit; `exported_parameters` are taken back from the logarithm.
    """

    response: DesignResponse
    field: str
    scale: Scale
    levels: tuple[Level, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    ice: tuple[tuple[float, ...], ...]
    method: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResponseSurface:
    """A response over two fields, the others averaged over: `mean[i][j]` at `y_levels[i]` and `x_levels[j]`.

    `unsure[i][j]` is the half width of the surrogate's 95 % interval there; of `exported_parameters` both are factors
    taken back from the logarithm.
    """

    response: DesignResponse
    x_field: str
    y_field: str
    x_scale: Scale
    y_scale: Scale
    x_levels: tuple[Level, ...]
    y_levels: tuple[Level, ...]
    mean: tuple[tuple[float, ...], ...]
    unsure: tuple[tuple[float, ...], ...]
    method: str
    warnings: tuple[str, ...] = ()
