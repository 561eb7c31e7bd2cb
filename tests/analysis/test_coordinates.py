import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from design_kit import design_frames, designed, shares
from designed import RATE, WEIGHT, level, study_of

from slasearch.analysis.coordinates import empty_words, unit_coordinates
from slasearch.analysis.fanova import fanova
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.main_effects import main_effects
from slasearch.analysis.morris import morris_screening
from slasearch.analysis.surrogate import fit_surrogate
from slasearch.analysis.variance import sobol_indices
from slasearch.space import DesignPoint
from slasearch.space.parameters import parameters


def test_fields_lie_where_they_were_sampled_and_unused_ones_where_they_are_put() -> None:
    fields = parameters(study_of({"optimise": {"trials": 1}}))
    names = [field.name for field in fields]
    assert sorted(names) == sorted([WEIGHT, RATE, level(0)])
    params = pd.DataFrame({WEIGHT: [1e-4, 1e-2, 1.0], level(0): [0.125, None, float("nan")]})
    unused = np.arange(9).reshape(3, 3) / 10
    unit = unit_coordinates(params, fields, unused=unused)
    weight, rate, noise = (names.index(name) for name in (WEIGHT, RATE, level(0)))
    assert unit[:, weight] == pytest.approx([0, 0.5, 1], abs=1e-6)
    assert unit[:, noise] == pytest.approx([0.25, *unused[1:, noise]])
    assert (unit[:, rate] == unused[:, rate]).all()
    assert (unused == np.arange(9).reshape(3, 3) / 10).all()


def collapsing(sampler: str, points: int) -> StudyFrames:
    """Sizes that fall with λ, and are nothing at all where it is large and the learning rate too."""
    seeds = 2 if sampler == "saltelli" else 1
    config = designed(sampler, points, f"phases.design.seeds={seeds}")

    def size(point: DesignPoint) -> float:
        weight, rate, _ = shares(config, point.params)
        return 0.0 if weight > 0.6 and rate > 0.4 else math.exp(10 - 3 * weight)

    return design_frames(config, lambda point: 0.5, size)


@pytest.mark.parametrize(
    ("analysis", "sampler", "points"),
    [
        (main_effects, "qmc", 64), (fit_surrogate, "qmc", 64), (fanova, "qmc", 64), (sobol_indices, "qmc", 64),
        (sobol_indices, "saltelli", 128), (morris_screening, "morris", 24),
    ],
)  # fmt: skip
def test_trials_without_parameters_are_counted_where_the_logarithm_of_size_leaves_them_out(
    analysis: Callable[..., Any], sampler: str, points: int
) -> None:
    frames = collapsing(sampler, points)
    empty = int((frames.trials["exported_parameters"] == 0).sum())
    assert empty > 5
    found = analysis(frames, "exported_parameters")
    assert f"{empty} trials ended without parameters, which have no logarithm, and are not in it" in found.warnings
    assert empty_words(1) == "1 trial ended without parameters, which have no logarithm, and is not in it"
