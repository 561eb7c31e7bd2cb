"""Shares of variance over the trials at hand, adaptive ones too: functional ANOVA of a forest (Hutter et al. 2014).

    F_i = V(f_i) / V(f),    f_i(x_i) = ∫ f(x) dx without x_i

f is the mean of a random forest (Hutter et al. average the shares of its single trees, which are blurred by what each
tree has made of noise). x lies in the unit cube of the space in which the fields were sampled: Optuna's own evaluator
takes a log-uniform field on its linear axis, of which the last decade is nearly all, and ranks such fields wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import qmc
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

from slasearch.analysis.coordinates import (
    DesignResponse,
    empty_words,
    response_words,
    unit_coordinates,
    with_response,
)
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.missing import missing_results, missing_words
from slasearch.analysis.sobol import Index
from slasearch.errors import ReportError
from slasearch.registry import ADAPTIVE_SAMPLERS
from slasearch.space.parameters import parameters

__all__ = ["MINIMUM_SETTINGS", "POOR", "Fanova", "fanova", "variance_shares"]

MINIMUM_SETTINGS = 30
_LARGEST = 1_000
_TREES, _GROUP_TREES = (48, 128), (6, 64)
"""Fewest and most trees of the forest, and of each that is grown again without a group of settings."""
_GROWN, _GROUP_GROWN = 48_000, 6_000
"""Settings that all trees of a forest are grown from together, as far as those numbers allow: this bounds the time."""
_GROUPS = 8
_LEAF = 2
"""Fewest settings in a leaf: with single ones it takes a quarter longer, to the same shares."""
_CELLS = 256
_POINTS = 4_096
POOR = 0.5
"""A forest with less R² than this knows little."""
_ON_LINES = ("one_at_a_time", "morris")
"""Designs whose trials lie on lines, so that little is seen of interactions."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fanova:
    """What each field does alone, as a share of a forest's variance, in the order of the study file.

    The 95 % intervals are over settings (jackknife). `n` is how many settings the forest has learned from, each with
    its mean over seed pairs; `r2` is its R² at settings that its trees have not seen. What the shares leave to 1 are
    interactions, and noise that the forest has taken for such.
    """

    response: DesignResponse
    fields: tuple[Index, ...]
    n: int
    r2: float
    method: str
    warnings: tuple[str, ...] = ()


def fanova(frames: StudyFrames, response: DesignResponse = "score", *, seed: int = 1) -> Fanova:
    """Shares of variance over all settings of the search with complete trials, whoever placed them.

    Args:
        frames: The study.
        response: `score`, `exported_parameters` (its logarithm) or `robustness`.
        seed: Seed of the forest (and of the subsample, above 1,000 settings).

    Raises:
        ReportError: Fewer than 30 settings, no searched field that varies, or a response that does not.
    """
    trials, empty = with_response(frames.search_trials("complete"), response)
    if response == "exported_parameters":
        trials = trials.assign(exported_parameters=np.log(trials[response]))
    settings = frames.settings(trials, response)
    total = len(settings)
    if total < MINIMUM_SETTINGS:
        raise ReportError(
            f"Shares of variance: expected at least {MINIMUM_SETTINGS} settings with complete trials of the search, "
            f"got {total}. Raise the number of trials, or of points of the design, and run again."
        )
    settings = settings.iloc[np.sort(np.random.default_rng(seed).permutation(total)[:_LARGEST])]
    values = settings[response].to_numpy(np.float64)
    fields = parameters(frames.config)
    params = frames.params.set_index("trial_id").loc[settings["trial_id"]]
    # At one fixed place, a field that is not used would tell the forest which choice has switched it off, and would get
    # that choice's share.
    by_chance = np.random.default_rng(seed).uniform(size=(len(settings), len(fields)))
    unit = unit_coordinates(params, fields, unused=by_chance)
    varied = np.flatnonzero(np.ptp(unit, axis=0) > 0)
    if not len(varied) or np.ptp(values) <= 1e-12 * np.abs(values).max():
        raise ReportError(
            f"Shares of variance of {response_words(response)}: expected a searched field that varies and a response "
            f"that does, got {len(varied)} such fields and {len(np.unique(values))} different values at {total} "
            "settings. Search a field, over a wider range."
        )
    shares, r2 = variance_shares(unit[:, varied], values, seed=seed)
    errors = _jackknife(unit[:, varied], values, seed)
    found = {int(column): one for column, one in zip(varied, zip(shares, errors, strict=True), strict=True)}
    return Fanova(
        response=response,
        fields=tuple(_index(field.name, *found.get(column, (0.0, 0.0))) for column, field in enumerate(fields)),
        n=len(settings),
        r2=r2,
        method=f"functional ANOVA of a forest of {_trees(len(settings))} trees over {_counted(len(settings), total)} "
        "of the search, over the whole ranges on the axes on which fields were sampled; 95 % jackknife intervals; "
        "where few trials lie the forest goes by the nearest: no Sobol index",
        warnings=(
            *missing_words(missing_results(frames, frames.search_trials(), response)),
            *_cautions(trials, frames, r2, empty),
        ),
    )


def _counted(used: int, found: int) -> str:
    return f"{found} settings" if used == found else f"{used} of {found:,} settings, drawn by chance,"


def _cautions(trials: pd.DataFrame, frames: StudyFrames, r2: float, empty: int) -> Iterator[str]:
    if empty:
        yield empty_words(empty)
    placed = trials.loc[trials["sampler"].isin(ADAPTIVE_SAMPLERS), "sampler"]
    if len(placed):
        yield (
            f"{len(placed)} of {len(trials)} trials were placed by {' and '.join(sorted(placed.unique()))} where it "
            "expected good ones: of the rest of the ranges the forest knows little"
        )
    lined = trials.loc[trials["sampler"].isin(_ON_LINES), "sampler"]
    if len(lined):
        yield f"{len(lined)} of {len(trials)} trials lie on lines ({' and '.join(sorted(lined.unique()))})"
    pruned = len(frames.search_trials("pruned"))
    if pruned:
        yield f"{pruned} trials were pruned and are not in it: poor regions are seen less"
    if r2 < POOR:
        yield f"the forest predicts settings that it has not seen with R² {r2:.2f}: the shares are of much noise"


def variance_shares(unit: Floats, values: Floats, *, seed: int) -> tuple[Floats, float]:
    """Main effect of each column in a random forest.

    Choices and whole numbers are cells of their axis: a tree can cut out any of them, so that their order costs it cuts
    and nothing else.

    Args:
        unit: `n x k`, each coordinate in [0, 1].
        values: `n`, not all equal.
        seed: Seed of the forest.

    Returns:
        `k` shares of the forest's variance, and R² at rows that were left out of a tree's bootstrap sample.
    """
    forest = RandomForestRegressor(_trees(len(values)), min_samples_leaf=_LEAF, oob_score=True, random_state=seed)
    forest.fit(unit, values)
    shares = _shares([grown.tree_ for grown in forest.estimators_], _points(unit.shape[1], seed))
    return shares, float(forest.oob_score_)


def _trees(count: int, grown: int = _GROWN, bounds: tuple[int, int] = _TREES) -> int:
    """How many trees a forest of so many settings has."""
    fewest, most = bounds
    return max(fewest, min(most, grown // count))


def _jackknife(unit: Floats, values: Floats, seed: int) -> Floats:
    """`k` standard errors of the shares: a small forest is grown again without each of some groups of settings.

    Its trees have the same bootstrap samples every time, but for the group: the errors are those of the settings, and
    hardly those of so few trees.
    """
    generator, count = np.random.default_rng(seed), len(values)
    groups = np.array_split(generator.permutation(count), _GROUPS)
    trees = _trees(count, _GROUP_GROWN, _GROUP_TREES)
    drawn = [np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(trees)]
    tree = DecisionTreeRegressor(min_samples_leaf=_LEAF, random_state=seed)
    points = _points(unit.shape[1], seed)
    found = []
    for group in groups:
        kept = np.ones(count)
        kept[group] = 0
        found.append(_shares([tree.fit(unit, values, kept * times).tree_ for times in drawn], points))
    return np.asarray(np.std(found, axis=0) * np.sqrt(_GROUPS - 1))


def _index(name: str, share: float, error: float) -> Index:
    half = float(stats.t.ppf(0.975, _GROUPS - 1)) * float(error)
    return Index(name, float(share), max(0.0, float(share) - half), min(1.0, float(share) + half))


def _points(columns: int, seed: int) -> NDArray[np.float32]:
    """`m x k` points that fill the unit cube, as trees take them."""
    return np.asarray(qmc.Sobol(columns, rng=np.random.default_rng(seed)).random(_POINTS), dtype=np.float32)


def _shares(trees: Sequence[Any], points: NDArray[np.float32]) -> Floats:
    """`k` shares of the variance of the trees' mean over the points."""
    variance = float(np.var(np.mean([tree.predict(points)[:, 0] for tree in trees], axis=0)))
    alone = _marginals(trees)
    return np.asarray(np.var(alone, axis=1) / variance) if variance > 0 else np.zeros(len(alone))


def _marginals(trees: Sequence[Any]) -> Floats:
    """`k x cells`: the trees' mean over all other columns, at the middle of each of many cells of a column."""
    low, high, value = _boxes(trees)
    width = high - low
    weight = (value * width.prod(axis=1))[:, None] / width
    # A leaf adds its weight to the cells whose middles it holds.
    places = np.arange(width.shape[1]) * (_CELLS + 1)
    begins, ends = (places + np.ceil(edge * _CELLS - 0.5).astype(np.int64) for edge in (low, high))
    size = width.shape[1] * (_CELLS + 1)
    change = np.bincount(begins.ravel(), weight.ravel(), size) - np.bincount(ends.ravel(), weight.ravel(), size)
    return np.asarray(np.cumsum(change.reshape(-1, _CELLS + 1), axis=1)[:, :-1] / len(trees))


def _boxes(trees: Sequence[Any]) -> tuple[Floats, Floats, Floats]:
    """Lower and upper corners of all trees' leaves in the unit cube, `leaves x k` each, and their values."""
    roots = np.cumsum([0, *(tree.node_count for tree in trees)])
    left, right = (
        np.concatenate([getattr(tree, side) + root for tree, root in zip(trees, roots[:-1], strict=True)])
        for side in ("children_left", "children_right")
    )
    feature, threshold, value = (
        np.concatenate([getattr(tree, name).reshape(tree.node_count) for tree in trees])
        for name in ("feature", "threshold", "value")
    )
    low, high = np.zeros((roots[-1], trees[0].n_features)), np.ones((roots[-1], trees[0].n_features))
    nodes = roots[:-1]
    while len(nodes):
        nodes = nodes[feature[nodes] >= 0]
        for children, bound in ((left, high), (right, low)):
            low[children[nodes]], high[children[nodes]] = low[nodes], high[nodes]
            bound[children[nodes], feature[nodes]] = threshold[nodes]
        nodes = np.concatenate([left[nodes], right[nodes]])
    leaves = feature < 0
    return low[leaves], high[leaves], value[leaves]
