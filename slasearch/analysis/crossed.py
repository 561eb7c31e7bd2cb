"""The mean difference of paired runs that were scored on the same examples, over seeds and examples drawn anew.

    x_si = pseudo-value of example i in pair s: n·θ − (n − 1)·θ_(i), first arm minus second (of accuracy: 1, 0 or −1)
    d*   = d̄ + √(S/(S − 1)) · mean of (d_s − d̄) over S pairs drawn anew + a · mean of (x̄_i − x̄) over examples drawn anew
    a²   = max(0, 1 − MS(pairs × examples) / MS(examples))                  mean squares of the two-way layout of x

Pairs of seeds and examples are crossed, and both are samples: of the seeds that could have been drawn and of the texts
that could have been asked. Drawing both (Owen 2007, arXiv 0712.1111) would count the chance of a single run on a single
example two or three times over; a leaves it in the draws of pairs alone (effects reflated to their variance component,
Carpenter, Goldstein and Rasbash 2003). Of several tasks and sources each has its own draws, and d* is the mean of their
means: it speaks for these sources. Pairs are few, and percentiles of two or three cover far less than they say: so the
interval is d̄ ± t(.975, ν)·sd(d*), with the degrees of freedom of a sum of variances (Satterthwaite 1946)

    ν = (Σ v)² / Σ v²/ν_v         v the variance that pairs (ν_v = S − 1) or examples (n − 1) of a source add to d*

since what examples and several sources add is known better than what a few pairs of one source add.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from slasearch.analysis.paired import TIE, MeanDifference

__all__ = ["DRAWS", "Source", "crossed_difference"]

DRAWS = 10_000
"""Bootstrap draws."""

_AT_A_TIME = 250
"""Draws of examples that are in memory together."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """One study's pairs.

    Args:
        pairs: `S`, each pair's difference of scores, the mean over tasks.
        examples: For each task `S x n`, the pseudo-values of its n examples in each pair.
    """

    pairs: Floats
    examples: tuple[Floats, ...]


def crossed_difference(sources: Sequence[Source], *, seed: int = 0) -> MeanDifference:
    """The mean over sources, with an interval over seeds and examples.

    Args:
        sources: At least one, each with at least one pair.
        seed: Of the bootstrap: the same seed draws the same examples.
    """
    fewest, n = min(len(source.pairs) for source in sources), sum(len(source.pairs) for source in sources)
    estimate = float(np.mean([source.pairs.mean() for source in sources]))
    draws = np.mean([_draws(source, [seed, number]) for number, source in enumerate(sources)], axis=0)
    error = float(draws.std())
    where = "" if len(sources) == 1 else f", each of {len(sources)} studies by itself"
    method = f"95 % t-interval, its error by a bootstrap over seed pairs and test examples{where}, {DRAWS:,} draws"
    if fewest < 2 or error < 10.0**-TIE:
        why = f"{fewest} pair{'' if fewest == 1 else 's'}{'' if fewest < 2 else ' without any spread'}: no interval"
        return MeanDifference(
            estimate=estimate,
            low=None,
            high=None,
            n=n,
            method=method,
            warnings=(why,),
            error=None,
            df=None,
            paired=True,
        )
    df = _freedom(sources)
    half = float(stats.t.ppf(0.975, df)) * error
    return MeanDifference(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        n=n,
        method=method,
        p=float(2 * stats.t.sf(abs(estimate) / error, df)),
        error=error,
        df=df,
        paired=True,
    )


def _draws(source: Source, seed: Sequence[int]) -> Floats:
    """`DRAWS` differences from the source's mean."""
    count = len(source.pairs)
    generator = np.random.default_rng([*seed, 0])
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=DRAWS)
    found: Floats = drawn @ (source.pairs - source.pairs.mean()) / math.sqrt(count * max(1, count - 1))
    for number, examples in enumerate(source.examples):
        effects = _effects(examples)
        if effects.any():
            found = found + _means(effects, np.random.default_rng([*seed, 1 + number])) / len(source.examples)
    return found


def _freedom(sources: Sequence[Source]) -> float:
    """Degrees of freedom of the variance of the mean over sources."""
    parts = [part for source in sources for part in _variances(source)]
    return sum(variance for variance, _ in parts) ** 2 / sum(variance**2 / df for variance, df in parts)


def _variances(source: Source) -> Iterator[tuple[float, float]]:
    """What pairs and the examples of each task add to the variance of the source's mean, with degrees of freedom."""
    count = len(source.pairs)
    yield float(source.pairs.var(ddof=1)) / count, count - 1.0
    for examples in source.examples:
        n = examples.shape[1]
        yield float(_effects(examples).var()) / n / len(source.examples) ** 2, max(1.0, n - 1.0)


def _effects(examples: Floats) -> Floats:
    """What each example adds to every pair alike (`n`), of mean 0, with the variance that is its own."""
    pairs, count = examples.shape
    means = examples.mean(0) - examples.mean()
    if pairs < 2 or count < 2:
        return np.zeros(count)
    rest = examples - examples.mean(1, keepdims=True) - means
    of_examples = pairs * float((means**2).sum()) / (count - 1)
    of_rest = float((rest**2).sum()) / ((pairs - 1) * (count - 1))
    share = 0.0 if of_examples == 0 else max(0.0, 1 - of_rest / of_examples)
    scaled: Floats = math.sqrt(share) * means
    return scaled


def _means(values: Floats, generator: np.random.Generator) -> Floats:
    """`DRAWS` means of as many values as there are, drawn with replacement."""
    count = len(values)
    parts = [
        values[generator.integers(0, count, size=(min(_AT_A_TIME, DRAWS - start), count))].mean(1)
        for start in range(0, DRAWS, _AT_A_TIME)
    ]
    return np.concatenate(parts)
