"""Failures that depend on a field are told apart from those that do not, and every analysis of fields warns of them."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from design_kit import RATE, WEIGHT, design_frames, designed, shares

from slasearch.analysis.fanova import fanova
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.importance import importance
from slasearch.analysis.main_effects import main_effects
from slasearch.analysis.missing import Missing, missing_results
from slasearch.analysis.morris import morris_screening
from slasearch.analysis.surrogate import fit_surrogate
from slasearch.analysis.variance import sobol_indices
from slasearch.config.schema import StudyConfig
from slasearch.space import DesignPoint

BATCH = "training.batch_size"


def failing(config: StudyConfig, fails: Callable[[DesignPoint], bool]) -> StudyFrames:
    """A response of all three fields, with noise, of the points that do not fail."""
    noise = random.Random(4)

    def score(point: DesignPoint) -> float | None:
        x, y, *_ = shares(config, point.params)
        return None if fails(point) else 0.7 + 0.1 * x + 0.05 * y * x + noise.gauss(0, 0.003)

    return design_frames(config, score)


def found_in(frames: StudyFrames) -> tuple[Missing, ...]:
    return missing_results(frames, frames.phase_trials("design"), "score")


def weak(config: StudyConfig) -> Callable[[DesignPoint], bool]:
    """The lowest tenth of the sparsity weight fails."""
    return lambda point: shares(config, point.params)[0] < 0.1


def test_failures_at_one_end_of_a_field_are_found_and_settings_count_once() -> None:
    config = designed("qmc", 64, "phases.design.seeds=2")
    frames = failing(config, weak(config))
    (one,) = found_in(frames)
    gone = frames.trials.loc[frames.trials["state"] == "fail", "point"].nunique()
    assert (one.field, one.missing, one.settings) == (WEIGHT, gone, 64)
    assert one.p < 1e-3


def test_scores_that_are_no_numbers_are_missing_too() -> None:
    config = designed("qmc", 64)
    frames = failing(config, lambda point: False)
    low = frames.params[RATE] < np.quantile(frames.params[RATE], 0.15)
    frames.trials.loc[low, "score"] = float("nan")
    assert [one.field for one in found_in(frames)] == [RATE]


def test_a_choice_that_fails_is_found() -> None:
    config = designed("qmc", 64, f"{BATCH}={{categorical: [8, 16, 32]}}")
    assert [one.field for one in found_in(failing(config, lambda point: point.params[BATCH] == 32))] == [BATCH]


def test_chance_alone_is_reported_in_one_study_of_twenty() -> None:
    config = designed("qmc", 64, f"{BATCH}={{categorical: [8, 16, 32]}}")
    frames = failing(config, lambda point: False)
    states, draw = frames.trials["state"], np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        frames.trials["state"] = np.where(draw.uniform(size=64) < 0.15, "fail", states)
        wrong += bool(found_in(frames))
    assert 0 < wrong <= 300 * 0.05 + 2 * (300 * 0.05 * 0.95) ** 0.5, wrong


@pytest.mark.parametrize(
    ("sampler", "points", "analysis"),
    [
        ("saltelli", 64, sobol_indices),
        ("morris", 40, morris_screening),
        ("qmc", 96, main_effects),
        ("qmc", 96, fit_surrogate),
        ("qmc", 96, fanova),
        ("qmc", 96, importance),
    ],
)
def test_every_analysis_of_fields_warns(sampler: str, points: int, analysis: Callable[[StudyFrames], object]) -> None:
    config = designed(sampler, points, "phases.design.seeds=2")
    said = analysis(failing(config, weak(config))).warnings
    assert any(f"depending on {WEIGHT} (p " in words for words in said), said
    draw = random.Random(2)
    lost = {point for point in range(2000) if draw.random() < 0.02}
    said = analysis(failing(config, lambda point: point.point in lost)).warnings
    assert not any("depending on" in words for words in said), said
