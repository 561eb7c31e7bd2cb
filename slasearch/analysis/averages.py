"""A process with fields averaged over, exactly: shares of variance, and what is expected along fields.

Its mean is a sum over the n points that it knows, of products of one factor for each field (of an ANOVA kernel:
Durrande et al. 2013, arXiv 1106.3571). With the average of each factor taken into the amplitude A,

    f(x) = Σ_p A_p Π_j (1 + c_j(x_j, p)),    E c_j = 0,    C_j(p, q) = E c_j(x_j, p) c_j(x_j, q)

and as fields are independent, the variance that comes from

    field i alone: A'C_i A,    i and j beyond that: A'(C_i ∘ C_j) A,    i and all with it: A'(C_i ∘ Π_{j≠i} (1 + C_j)) A

Averages over one field are sums over its levels, or integrals by quadrature. Where choices switch other fields on and
off, f has a term for each point in each setting of these choices; a field that is off has the same factor everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations

import numpy as np
from numpy.typing import NDArray

from slasearch.analysis.axes import Axes, Setting
from slasearch.analysis.gaussian import Process

__all__ = ["Averages", "Shares", "averages_of"]

Floats = NDArray[np.float64]

_ROWS = 128
"""Terms whose products with all others are held at a time."""


@dataclass(frozen=True)
class Shares:
    """Shares of the variance over v fields: `v` of each alone, `v` with all that it does, `v(v-1)/2` of pairs."""

    first: Floats
    total: Floats
    second: Floats


@dataclass(frozen=True)
class _Factor:
    """The factor of one field, whose nodes are q, at n points in s settings.

    `weights` are `q`. `values` are `(q+1) x n`: at the nodes and, last, where the field is off; `laws` `s x (q+1)`, how
    likely each of these is. So come `means`, `s x n`, and `spreads`, `s x s`, the average of two independent draws.
    """

    weights: Floats
    values: Floats
    laws: Floats
    means: Floats
    spreads: Floats

    def centred(self) -> Floats:
        """The deviations c at the nodes for each term, times the root of their weights: `q x sn`."""
        on = (self.laws[:, :-1] / self.weights).T[:, :, None] * self.values[:-1, None]
        off = self.laws[:, -1:] * self.values[-1]
        deviation = (on + off) / self.means - 1
        return np.asarray((np.sqrt(self.weights)[:, None, None] * deviation).reshape(len(self.weights), -1))


@dataclass(frozen=True)
class Averages:
    """A process over the axes of a design, with `settings` of its choices and a factor of each field that varies."""

    process: Process
    axes: Axes
    settings: tuple[Setting, ...]
    factors: tuple[_Factor, ...]

    def shares(self) -> Shares:
        """Sobol indices of the process's mean."""
        often = np.array([[setting.share] for setting in self.settings])
        means, _ = self._products(range(len(self.factors)))
        amplitude = np.ravel(self.process.kernel.size * often * means * self.process.weights)
        terms = [factor.centred() for factor in self.factors]
        first = np.array([np.sum((term @ amplitude) ** 2) for term in terms])
        second = np.array([np.sum(((one * amplitude) @ other.T) ** 2) for one, other in combinations(terms, 2)])
        parts, whole = _beyond_pairs(terms, amplitude)
        of_pairs = np.zeros_like(first)
        for both, share in zip(combinations(range(len(terms)), 2), second, strict=True):
            of_pairs[list(both)] += share
        variance = float(first.sum() + second.sum() + whole) or 1.0
        return Shares(first / variance, (first + of_pairs + parts) / variance, second / variance)

    def along(self, columns: Sequence[int], places: Floats) -> tuple[Floats, Floats]:
        """What is expected where some fields have given values, and its standard deviation: `m` each.

        Fields are expected to be active as far as these values allow it.

        Args:
            columns: c of those that vary.
            places: `m x c` coordinates.
        """
        often = self._often(columns, places)
        on = np.array([setting.active[list(columns)] for setting in self.settings])
        means, spreads = self._products(place for place, column in enumerate(self.axes.varied) if column not in columns)
        cross = often[..., None] * means
        variance = often[:, :, None] * often[:, None, :] * spreads
        for active, (here, again, apart) in zip(on.T, self._set(columns, places), strict=True):
            cross *= np.where(active[:, None], here[:-1, None], here[-1])
            variance *= np.where(active[:, None] == active, again, apart[:, None, None])
        size = self.process.kernel.size
        return self.process.conditioned(size * cross.sum(axis=1), size * variance.sum(axis=(1, 2)))

    def _often(self, columns: Sequence[int], places: Floats) -> Floats:
        """`m x s`: how often each setting is found where those fields have these values."""
        often = np.array(
            [
                setting.share
                * np.all([setting.allows(c, values) for c, values in zip(columns, places.T, strict=True)], axis=0)
                for setting in self.settings
            ]
        ).T
        active = often * [setting.active[list(columns)].all() for setting in self.settings]
        often = np.where(active.any(axis=1, keepdims=True), active, often)
        return np.asarray(often / often.sum(axis=1, keepdims=True))

    def _set(self, columns: Sequence[int], places: Floats) -> Iterator[tuple[Floats, float, Floats]]:
        """For each field its factor at the points, `(m+1) x n`, with itself, and between a place and off, `m`."""
        kernel = self.process.kernel
        for column, values in zip(columns, places.T, strict=True):
            span = self.axes.columns[self.axes.varied.index(column)]
            features = _with_off(self.axes, column, values)
            yield (
                kernel.factor(features, self.process.x[:, span], span),
                float(np.prod(1 + kernel.effect[span])),
                kernel.factor(features[:-1], features[-1:], span)[:, 0],
            )

    def _products(self, places: Iterable[int]) -> tuple[Floats, Floats]:
        """Of some factors the product of their means, `s x n`, and of their spreads, `s x s`."""
        count = len(self.settings)
        means, spreads = np.ones((count, len(self.process.x))), np.ones((count, count))
        for place in places:
            means *= self.factors[place].means
            spreads *= self.factors[place].spreads
        return means, spreads


def averages_of(process: Process, axes: Axes) -> Averages:
    """What averages of a process over the axes of its design are taken from."""
    settings = axes.settings()
    return Averages(process, axes, settings, tuple(_factors(process, axes, settings)))


def _factors(process: Process, axes: Axes, settings: Sequence[Setting]) -> Iterator[_Factor]:
    for column, span in zip(axes.varied, axes.columns, strict=True):
        nodes, weights = axes.nodes(column)
        features = _with_off(axes, column, nodes)
        laws = np.array([_law(setting, column, nodes, weights) for setting in settings])
        values = process.kernel.factor(features, process.x[:, span], span)
        spreads = laws @ process.kernel.factor(features, features, span) @ laws.T
        yield _Factor(weights, values, laws, laws @ values, spreads)


def _law(setting: Setting, column: int, nodes: Floats, weights: Floats) -> Floats:
    """How likely each node is, and last that the field is off."""
    if not setting.active[column]:
        return np.append(np.zeros(len(nodes)), 1.0)
    likely = weights * setting.allows(column, nodes)
    return np.append(likely / likely.sum(), 0.0)


def _with_off(axes: Axes, column: int, coordinates: Floats) -> Floats:
    """Features of a field at some coordinates and, in a last row, where it is off."""
    return axes.feature(column, np.append(coordinates, 0.5), np.arange(len(coordinates) + 1) < len(coordinates))


def _beyond_pairs(terms: Sequence[Floats], amplitude: Floats) -> tuple[Floats, float]:
    """The variance of what three or more fields do together: that in which each of `v` has a part, and the whole.

    With the sum of some C_j and the rest r of their product, Π (1 + C_j) = 1 + Σ C_j + r, the first is A'(C_i ∘ r) A
    over all others, and the sum of A'(C_i ∘ r) A over those before i is the whole. What is of first and of second order
    is left out because amplitudes are large and of both signs: as numbers of the size of 1, it would hide the rest.
    """
    parts, whole = np.zeros(len(terms)), 0.0
    for start in range(0, len(amplitude), _ROWS):
        rows = slice(start, start + _ROWS)
        moments = [term[:, rows].T @ term for term in terms]
        nothing = (np.zeros_like(moments[0]), np.zeros_like(moments[0]))
        before = list(accumulate(moments, _with_one_more, initial=nothing))
        total, rest = nothing
        for place in reversed(range(len(terms))):
            earlier, earlier_rest = before[place]
            others = earlier_rest + rest + (earlier + earlier_rest) * (total + rest)
            whole += float(amplitude[rows] @ (moments[place] * earlier_rest) @ amplitude)
            parts[place] += float(amplitude[rows] @ (moments[place] * others) @ amplitude)
            total, rest = _with_one_more((total, rest), moments[place])
    return parts, whole


def _with_one_more(known: tuple[Floats, Floats], moment: Floats) -> tuple[Floats, Floats]:
    """The sum and the rest with one more factor 1 + C."""
    total, rest = known
    return total + moment, rest * (1 + moment) + total * moment
