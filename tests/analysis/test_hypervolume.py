from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume
from synthetic import Plan

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.intervals import log_interval, t_interval
from slasearch.analysis.pareto import MARGIN, ParetoFront, dominated_volume, hypervolume, pareto_front
from slasearch.errors import ReportError


def front_of(values: list[tuple[float, ...]], numbers: list[int] | None = None) -> ParetoFront:
    """A front over score, size and, with three columns, robustness."""
    names = ("score", "exported_parameters", "robustness")[: len(values[0])]
    n = len(values)
    return ParetoFront(
        objectives=names, trial_ids=tuple(range(n)), numbers=tuple(numbers or range(n)), phases=("design",) * n,
        values=np.array(values), on_front=np.zeros(n, bool), on_size_front=np.zeros(n, bool), confirmed=(), left_out=0,
        method="", warnings=(),
    )  # fmt: skip


def test_volumes_that_can_be_counted_by_hand() -> None:
    one = np.array([[0.5, 0.25]])
    assert dominated_volume(one, np.ones(2)) == pytest.approx(0.5 * 0.75)
    two = np.array([[0.5, 0.0], [0.0, 0.5]])
    assert dominated_volume(two, np.ones(2)) == pytest.approx(0.75)
    corners = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    assert dominated_volume(corners, np.ones(3)) == pytest.approx(3 * 0.25 - 2 * 0.125)


@given(
    rows=st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=25),
    width=st.integers(2, 3),
)
def test_volumes_are_those_of_optuna_and_of_counted_cells(rows: list[tuple[int, int, int]], width: int) -> None:
    costs = np.array(rows, dtype=float)[:, :width]
    found = dominated_volume(costs, np.full(width, 7.0))
    assert found == pytest.approx(compute_hypervolume(costs, np.full(width, 7.0)))
    cells = np.stack(np.meshgrid(*[np.arange(7)] * width, indexing="ij"), axis=-1).reshape(-1, width)
    assert found == pytest.approx(sum((costs <= cell).all(axis=1).any() for cell in cells))


def test_shares_lie_between_reference_and_best_values_with_size_as_its_logarithm() -> None:
    found = hypervolume(front_of([(0.5, 1_000.0), (1.0, 100_000.0), (0.4, 200_000.0), (0.75, 10_000.0)]))
    edge = 1 + MARGIN
    low, high = np.log10(1_000.0), np.log10(200_000.0)
    assert found.reference == pytest.approx((1.0 - edge * 0.6, 10 ** (low + edge * (high - low))))
    assert found.ideal == pytest.approx((1.0, 1_000.0))
    first = (edge - 0.5 / 0.6) * edge / edge**2
    assert found.values[0] == pytest.approx(first)
    assert found.on_front.tolist() == [True, True, False, True]
    assert found.values[1] > found.values[0]
    assert found.values[2] == found.values[1]
    assert found.values[3] > found.values[2]


def test_trials_are_taken_by_their_numbers_and_a_size_of_zero_has_a_place() -> None:
    values = [(0.5, 100.0, 0.3), (0.6, 0.0, 0.2), (0.7, 1_000.0, 0.5)]
    found = hypervolume(front_of(values, numbers=[2, 0, 1]))
    assert found.numbers == (0, 1, 2)
    assert found.ideal == pytest.approx((0.7, 1.0, 0.5))
    assert np.isfinite(found.values).all()
    assert (np.diff(found.values) >= 0).all()


def test_one_trial_and_equal_trials_fill_their_box() -> None:
    assert hypervolume(front_of([(0.5, 100.0)])).values.tolist() == pytest.approx([1.0])
    found = hypervolume(front_of([(0.5, 100.0, 0.1)] * 3))
    assert found.values.tolist() == pytest.approx([1.0] * 3)
    assert found.on_front.tolist() == [True, False, False]


def test_a_study_ends_with_the_volume_of_its_front(frames: StudyFrames) -> None:
    front = pareto_front(frames)
    found = hypervolume(front)
    assert found.n == front.n
    assert (np.diff(found.values) >= 0).all()
    assert (np.diff(found.values) > 0).sum() <= found.on_front.sum() - 1
    values = front.values[front.on_front] * [-1, 1, -1]
    reference, ideal = (np.array(point) * [-1, 1, -1] for point in (found.reference, found.ideal))
    for part in (values, reference, ideal):
        part[..., 1] = np.log10(part[..., 1])
    expected = compute_hypervolume(values, reference) / np.prod(reference - ideal)
    assert found.values[-1] == pytest.approx(expected)


def test_a_hundred_thousand_trials_of_three_objectives() -> None:
    random = np.random.default_rng(0)
    values = np.column_stack([random.normal(size=100_000), 10 ** random.uniform(2, 6, 100_000), random.random(100_000)])
    found = hypervolume(replace(front_of([(0.0, 1.0, 0.0)]), values=values, numbers=tuple(range(100_000))))
    assert (found.n, bool((np.diff(found.values) >= 0).all())) == (100_000, True)


def test_nothing_to_weigh_is_refused() -> None:
    with pytest.raises(ReportError, match="expected complete trials with score, exported_parameters"):
        hypervolume(replace(front_of([(0.5, 100.0)]), numbers=(), trial_ids=(), values=np.empty((0, 2))))


def test_winners_stand_with_their_seeds_on_validation(
    frames: StudyFrames, frames_of: Callable[[Plan], StudyFrames]
) -> None:
    front = pareto_front(frames)
    runs = frames.phase_trials("confirm", "complete")
    runs = runs[runs["role"] == "winner"]
    assert [point.trial_id for point in front.confirmed] == runs["pair_of"].drop_duplicates().tolist()
    for point in front.confirmed:
        mine = runs[runs["pair_of"] == point.trial_id]
        assert point.number == frames.number_of(point.trial_id)
        assert point.estimates == (
            t_interval(mine["score"]), log_interval(mine["exported_parameters"]), t_interval(mine["robustness"]),
        )  # fmt: skip
    assert pareto_front(frames_of(Plan(confirm=False))).confirmed == ()
