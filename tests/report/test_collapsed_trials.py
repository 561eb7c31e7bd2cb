"""Trials that collapsed leave the axes of scores to the others, and are shown as arrows at their end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from slasearch.analysis.pareto import pareto_front
from slasearch.report.figures import history, pareto
from slasearch.report.figures._base import ReportFigure
from slasearch.report.figures._collapsed import ARROW, collapsed_note, score_floor
from slasearch.report.results import Results

CLOSE = np.linspace(0.7, 0.76, 20)


def test_a_score_far_below_all_others_is_left_out() -> None:
    scores = np.append(CLOSE, [0.5, 0.3])
    assert score_floor(scores) == 0.7
    assert collapsed_note(scores, 0.7) == "arrows: 2 trials below the axis, the lowest score 0.300"
    assert collapsed_note(scores[:-1], 0.7) == "arrow: a trial below the axis, score 0.500"


@pytest.mark.parametrize("scores", [CLOSE, np.append(CLOSE, 0.69), np.full(20, 0.7), np.append(np.full(20, 0.7), 0.6)])
def test_scores_that_an_axis_can_hold_are_held(scores: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    assert score_floor(scores) == scores.min()
    assert collapsed_note(scores, score_floor(scores)) == ""


def test_of_few_trials_none_is_far_out() -> None:
    assert score_floor(np.array([0.7, 0.71, 0.72, 0.1])) == -np.inf
    assert score_floor(np.array([])) == -np.inf


@given(st.lists(st.one_of(st.floats(-1, 1), st.just(float("nan"))), max_size=60))
def test_at_most_a_quarter_is_left_out_and_what_is_held_takes_less_room(found: list[float]) -> None:
    scores = np.array(found)
    known = scores[np.isfinite(scores)]
    floor = score_floor(scores)
    below = known < floor
    assert below.mean() <= 0.25 if len(known) else not np.isfinite(floor)
    if below.any():
        assert known.max() - floor < (known.max() - known.min()) / 2


# ---------------------------------------------------------------- the two scatters of trials


@pytest.fixture(scope="module")
def collapsed(results: Results) -> tuple[Results, int]:
    """A study one of whose trials, the worst by score of those that are on no front, fell to nothing; its number."""
    front = results.front
    assert front is not None
    dominated = ~(front.on_front | front.on_size_front)
    victim = front.trial_ids[min(np.flatnonzero(dominated), key=lambda index: front.column("score")[index])]
    trials = results.frames.trials.copy()
    row = trials["trial_id"] == victim
    trials.loc[row, "score"] = -20.0
    frames = replace(results.frames, trials=trials)
    return replace(results, frames=frames, front=pareto_front(frames)), int(trials.loc[row, "number"].iloc[0])


def arrows(figure: Figure) -> list[tuple[float, float]]:
    """Where arrows stand, in shares of the axes."""
    (ax, *_) = figure.axes
    return [
        tuple(ax.transAxes.inverted().transform(points.get_offset_transform().transform(points.get_offsets()))[0])
        for points in ax.collections
        if len(points.get_offsets()) and len(points.get_paths()[0].vertices) == len(ARROW.vertices)
    ]


def shown_in_browser(figure: ReportFigure) -> tuple[list[float], list[str]]:
    """Heights, in shares of the axis, and texts of the arrows."""
    (panel,) = figure.panels()
    low, high = panel.figure.layout.yaxis.range
    found = [
        ((y - low) / (high - low), text)
        for trace in panel.figure.data
        if isinstance(trace.marker.symbol, (tuple, list)) and trace.text
        for y, text, symbol in zip(trace.y, trace.text, trace.marker.symbol, strict=True)
        if symbol == "arrow-down"
    ]
    return [height for height, _ in found], [text for _, text in found]


@pytest.mark.parametrize("kind", [pareto, history])
def test_a_collapsed_trial_is_an_arrow_at_the_end_of_the_axis(kind: Any, collapsed: tuple[Results, int]) -> None:
    results, number = collapsed
    (figure,) = kind.figures(results)
    assert "arrow: a trial below the axis, score -20.000" in " ".join(figure.note.replace("\u00a0", " ").split())
    ((_, height),) = arrows(figure.draw())
    assert 0 < height < 0.05
    heights, texts = shown_in_browser(figure)
    assert 0 < heights[0] < 0.05
    assert texts[0].startswith(f"trial {number} (")
    assert "score -20.000" in texts[0], "the score itself stays"
    assert (figure.table["score"] == -20.0).sum() == 1


@pytest.mark.parametrize("kind", [pareto, history])
def test_without_one_there_is_no_arrow(kind: Any, results: Results) -> None:
    (figure,) = kind.figures(results)
    assert "arrow" not in figure.note
    assert arrows(figure.draw()) == []
    assert shown_in_browser(figure) == ([], [])


def test_what_is_on_the_front_is_never_left_out(collapsed: tuple[Results, int]) -> None:
    results, _ = collapsed
    assert results.front is not None
    lowest = results.front.column("score") == -20.0
    front = replace(results.front, on_front=results.front.on_front | lowest)
    (figure,) = pareto.figures(replace(results, front=front))
    assert arrows(figure.draw()) == []
    (panel,) = figure.panels()
    assert panel.figure.layout.yaxis.range[0] < -20.0
