"""Shares of the trade-off of score and size, on studies whose arms are made to be known."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from synthetic import TASKS, Plan, write_study

from slasearch.analysis import size_fronts
from slasearch.analysis.frames import StudyFrames, load_frames
from slasearch.analysis.intervals import Estimate
from slasearch.analysis.size_fronts import fronts_by_size


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    url = f"sqlite:///{tmp_path_factory.mktemp('fronts') / 'study.db'}"
    write_study(url, "any", Plan(seeds=4))
    return load_frames(url, "any")


def arms(frames: StudyFrames, size: float, scores: Mapping[str, float], spread: float = 0.0) -> StudyFrames:
    """The study with runs of one size that score as asked, repeats a step of `spread` apart, in each arm a bit more."""
    trials = frames.trials.assign(exported_parameters=size)
    by_id = trials.set_index("trial_id")

    def value(row: pd.Series) -> float:
        trial = by_id.loc[row["trial_id"]]
        step = 0.0 if pd.isna(trial["repeat"]) else float(trial["repeat"])
        return scores.get(str(trial["role"]), 0.1) + spread * step * (1 + 0.1 * scores.get(str(trial["role"]), 0.1))

    metrics = frames.metrics.assign(value=frames.metrics.apply(value, axis=1))
    return replace(frames, trials=trials, metrics=metrics)


ROLES = ("winner", "control:lora", "control:random")


def test_shares_are_areas_of_the_common_box(stored: StudyFrames) -> None:
    """Two sizes a factor of ten apart; the box goes a tenth of the range beyond the worst score and size."""
    small = arms(stored, 100.0, {"winner": 0.8, "control:lora": 0.7, "control:random": 0.6})
    large = arms(stored, 1000.0, {"winner": 0.9, "control:lora": 0.9, "control:random": 0.65})
    fronts = {front.role: front for front in fronts_by_size({"small": small, "large": large})}
    assert set(fronts) == set(ROLES), "a linear probe has no size to match"
    # Costs: size 0 or 1, score (0.9 - s) / 0.3; the reference is 1.1 in both.
    areas = {
        "winner": 1.0 * (1.1 - 1 / 3) + 0.1 * 1.1,
        "control:lora": 1.0 * (1.1 - 2 / 3) + 0.1 * 1.1,
        "control:random": 1.0 * 0.1 + 0.1 * (1.1 - 5 / 6),
    }
    for role, area in areas.items():
        assert fronts[role].share == pytest.approx(area / 1.21)
        assert (fronts[role].tasks, fronts[role].studies) == (tuple(TASKS), ("small", "large"))
    assert fronts["winner"].difference is None
    found = fronts["control:lora"].difference
    assert found is not None
    assert found.mean == pytest.approx((1 / 3) / 1.21)
    assert (found.low, found.high, found.n) == (None, None, 4), "values that are all equal tell nothing of their spread"


def test_pairs_stay_pairs(stored: StudyFrames) -> None:
    """Seeds move both arms alike, so that their difference keeps its sign though the arms' own spread is larger."""
    scores = {"winner": 0.71, "control:lora": 0.70, "control:random": 0.5}
    sizes = {"small": 100.0, "large": 1000.0}
    studies = {name: arms(stored, size, scores, spread=0.02) for name, size in sizes.items()}
    (difference,) = (f.difference for f in fronts_by_size(studies) if f.role == "control:lora")
    assert difference is not None
    assert difference.low is not None
    assert difference.high is not None
    assert 0 < difference.low <= difference.mean <= difference.high
    assert difference.mean - difference.low == pytest.approx(difference.high - difference.mean)
    assert fronts_by_size(studies) == fronts_by_size(studies), "the same seed draws the same"


@pytest.mark.parametrize("alike", [False, True], ids=["seeds of each study", "the same seeds, which do the same"])
def test_intervals_cover_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch, alike: bool) -> None:
    """Three sizes of five seed pairs: studies of their own seeds tell of the spread together, others once."""
    monkeypatch.setattr(size_fronts, "DRAWS", 200)
    random = np.random.default_rng(2)
    scores = {0: (0.5, 0.4), 1: (0.7, 0.6), 2: (0.9, 0.75)}
    tables: dict[object, tuple[object, NDArray[np.float64]]] = {}
    monkeypatch.setattr(size_fronts, "_runs", lambda group, roles: tables[group])
    groups: Any = [_Group(str(size)) for size in scores]

    def difference(spread: float) -> Estimate:
        common = random.normal(0, spread, (5, 2))
        for group, (size, means) in zip(groups, scores.items(), strict=True):
            noise = common if alike else random.normal(0, spread, (5, 2))
            losses = np.stack([np.full((5, 2), float(size)), noise - np.array(means)], axis=2)
            tables[group] = (tuple(range(5)) if alike else (size, *range(4)), losses)
        (_, other) = size_fronts._fronts(("any",), groups, 0)
        assert other.difference is not None
        return other.difference

    truth, covered, widths = difference(0.0).mean, 0, []
    for _ in range(150):
        found = difference(0.01)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    assert 0.88 <= covered / 150 <= 0.99
    assert np.median(widths) < (0.2 if alike else 0.12)


def test_runs_that_are_missing_make_no_interval_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four sizes under the same six seed pairs, which do the same at each: also where each lacks another pair."""
    monkeypatch.setattr(size_fronts, "DRAWS", 200)
    tables: dict[object, tuple[object, NDArray[np.float64]]] = {}
    monkeypatch.setattr(size_fronts, "_runs", lambda group, roles: tables[group])
    groups: Any = [_Group(str(size)) for size in range(4)]

    def width(noise: NDArray[np.float64], lacking: Mapping[int, int]) -> float:
        for size, group in enumerate(groups):
            kept = [pair for pair in range(6) if lacking.get(size) != pair]
            losses = np.stack([np.full((6, 2), float(size)), noise - np.array([0.5, 0.4]) - 0.1 * size], axis=2)
            tables[group] = (tuple(kept), losses[kept])
        difference = size_fronts._fronts(("any",), groups, 0)[1].difference
        assert difference is not None
        assert difference.low is not None
        assert difference.high is not None
        return difference.high - difference.low

    noises = np.random.default_rng(4).normal(0, 0.01, (12, 6, 2))
    whole = np.mean([width(noise, {}) for noise in noises])
    for lacking in ({0: 1, 2: 4}, dict(enumerate(range(4)))):
        assert np.mean([width(noise, lacking) for noise in noises]) > 0.95 * whole


def test_studies_go_together_by_the_seed_pairs_that_they_share() -> None:
    assert size_fronts._sharing([(0, 1), (2, 3), (7,), (1, 2)]) == [[2], [0, 1, 3]]


@dataclass(frozen=True)
class _Group:
    label: str
    roles: tuple[str, ...] = ("winner", "control:lora")


def test_other_data_are_another_front(stored: StudyFrames) -> None:
    def on(digest: str, size: float) -> StudyFrames:
        frames = arms(stored, size, {"winner": 0.8, "control:lora": 0.7})
        return replace(frames, study=replace(frames.study, data=json.dumps(dict.fromkeys(TASKS, digest))))

    studies = {"a1": on("a", 100.0), "b1": on("b", 100.0), "a2": on("a", 900.0), "c1": on("c", 100.0)}
    assert {front.studies for front in fronts_by_size(studies)} == {("a1", "a2")}


def test_one_size_is_no_trade_off(stored: StudyFrames) -> None:
    config = stored.config
    other = replace(stored, config=config.model_copy(update={"tasks": config.tasks[:1]}))
    assert fronts_by_size({"one": stored, "other": other}) == ()
