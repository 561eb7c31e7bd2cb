"""Levels of a grid are compared over what all of them have: failures beside a level move no mean."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from design_kit import RATE, WEIGHT, design_frames

from slasearch.analysis.curves import Curve
from slasearch.analysis.frames import MEAN
from slasearch.analysis.ranges import best_range
from slasearch.analysis.sensitivity import design_curves
from slasearch.config.load import parse_study
from slasearch.space import DesignPoint

STUDY = """\
name: grid
tasks: [{name: spam, source: "bundled:sms_spam"}]
size_control: {mode: penalty, sparsity_weight: {log_float: [1e-3, 1e+1]}}
training: {epochs: 1, learning_rate: {log_float: [1e-4, 1e-2]}}
phases: {design: {sampler: {name: grid}, seeds: 3, levels: {
  size_control.sparsity_weight: [0.01, 0.1, 1.0], training.learning_rate: [1e-4, 1e-3, 1e-2]}}}
"""


def score(params: dict[str, Any], repeat: int) -> float:
    """λ does nothing, the largest learning rate costs .3, and every trial has some noise of its own."""
    noise = random.Random(f"{params} {repeat}").gauss(0, 0.002)
    return 0.8 - (0.3 if params[RATE] == 1e-2 else 0) + noise


def curves(failed: Callable[[DesignPoint], bool], *overrides: str) -> tuple[tuple[Curve, ...], dict[int, int]]:
    config = parse_study(STUDY, "s.yaml", overrides)
    frames = design_frames(config, lambda point: None if failed(point) else score(point.params, point.repeat))
    rows = [
        {"trial_id": trial, "task": "spam", "split": "validation", "condition": "clean", "level": 0.0,
         "metric": config.tasks[0].metric, "value": value, "examples": None, "error": None}
        for trial, value in zip(frames.trials["trial_id"], frames.trials["score"], strict=True)
        if value == value
    ]  # fmt: skip
    repeats = dict(zip(frames.trials["trial_id"], frames.trials["repeat"], strict=True))
    return design_curves(replace(frames, metrics=pd.DataFrame(rows))), repeats


def means(curve: Curve) -> dict[Any, float]:
    return {point.level: point.estimate.mean for point in curve.named(MEAN).points}


def test_a_whole_grid_uses_every_trial_and_warns_of_nothing() -> None:
    (weight, _), _ = curves(lambda point: False)
    assert (weight.complete, weight.warnings) == (27, ())


def test_what_fails_at_a_bad_value_of_another_factor_does_not_make_its_level_the_best() -> None:
    (weight, rate), repeats = curves(lambda point: point.params[WEIGHT] == 1.0 and point.params[RATE] == 1e-2)
    assert means(weight) == pytest.approx(dict.fromkeys([0.01, 0.1, 1.0], 0.8), abs=0.003)
    assert (weight.complete, weight.failed) == (18, 3)
    assert weight.warnings == ("3 of 9 combinations of the other factors left out: some level has no result there",)
    found = best_range(weight, repeats)
    assert found is not None
    assert found.alike == (0.01, 0.1, 1.0)
    assert means(rate)[1e-2] == pytest.approx(0.5, abs=0.005)


def test_one_lost_seed_pair_costs_its_own_combination_alone() -> None:
    (weight, _), _ = curves(lambda point: point.params == {WEIGHT: 0.01, RATE: 1e-4} and point.repeat == 1)
    assert weight.complete == 24
    assert [point.estimate.n for point in weight.named(MEAN).points] == [3, 3, 3]


def test_a_level_that_nearly_always_fails_is_left_out_and_named() -> None:
    (_, rate), _ = curves(lambda point: point.params[RATE] == 1e-2 and point.params[WEIGHT] != 0.1)
    assert list(means(rate)) == [1e-4, 1e-3]
    assert rate.warnings == ("level 0.01 left out: it has too few results beside the others",)


def test_levels_without_a_combination_in_common_are_not_compared() -> None:
    """Each λ has its own two learning rates, never one that all have: what is left is two levels, or one."""
    diagonal = {0.01: 1e-4, 0.1: 1e-3, 1.0: 1e-2}
    (weight, _), _ = curves(lambda point: diagonal[point.params[WEIGHT]] == point.params[RATE])
    assert len(means(weight)) == 2
    assert "left out: it has too few" in weight.warnings[0]


def test_fields_that_the_factor_switches_are_not_in_common() -> None:
    """Of three families one has a temperature, at two levels; both count for it."""
    (family, *_), _ = curves(
        lambda point: False,
        "gates.family={categorical: [sigmoid, hard_concrete]}",
        "gates.temperature={float: [0.1, 1.0], when: {gates.family: sigmoid}}",
        "phases.design.levels={gates.family: [sigmoid, hard_concrete], gates.temperature: [0.2, 0.8]}",
    )
    assert (family.complete, family.warnings) == (9, ())
