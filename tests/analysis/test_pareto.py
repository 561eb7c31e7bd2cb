from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import Plan

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.pareto import non_dominated, pareto_front
from slasearch.config.constraints import ConstraintConfig
from slasearch.errors import ReportError


def brute_force(values: np.ndarray, directions: list[str]) -> np.ndarray:
    signed = values * [1 if direction == "maximize" else -1 for direction in directions]
    return np.array(
        [not any((other >= row).all() and (other > row).any() for other in signed) for row in signed], dtype=bool
    )


@given(
    rows=st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=40),
    directions=st.lists(st.sampled_from(["maximize", "minimize"]), min_size=3, max_size=3),
    width=st.integers(1, 3),
)
def test_front_is_that_of_brute_force(rows: list[tuple[int, int, int]], directions: list[str], width: int) -> None:
    values = np.array(rows, dtype=float)[:, :width]
    assert (non_dominated(values, directions[:width]) == brute_force(values, directions[:width])).all()


def test_equal_rows_all_stay() -> None:
    values = np.array([[1.0, 2.0], [1.0, 2.0], [0.5, 3.0]])
    assert non_dominated(values, ["maximize", "minimize"]).tolist() == [True, True, False]


def test_ten_thousand_trials_are_quick() -> None:
    values = np.random.default_rng(0).normal(size=(10_000, 3))
    front = non_dominated(values, ["maximize", "minimize", "maximize"])
    assert 20 < front.sum() < 400


def test_front_of_a_study_holds_complete_search_trials_only(frames: StudyFrames) -> None:
    front = pareto_front(frames)
    complete = frames.search_trials("complete")
    assert front.objectives == ("score", "exported_parameters", "robustness")
    assert set(front.trial_ids) == set(complete["trial_id"])
    assert set(front.phases) == {"design", "optimise"}
    assert (front.on_front == brute_force(front.values, ["maximize", "minimize", "maximize"])).all()
    assert front.on_front[front.column("score").argmax()]
    assert front.on_front[front.column("exported_parameters").argmin()]
    assert (front.on_size_front & ~front.on_front).sum() == 0


def test_front_leaves_out_robustness_that_no_trial_has(frames_of: Callable[[Plan], StudyFrames]) -> None:
    assert pareto_front(frames_of(Plan(measured=False))).objectives == ("score", "exported_parameters")


def test_trials_that_break_a_constraint_are_not_weighed(frames: StudyFrames) -> None:
    sizes = frames.search_trials("complete")["exported_parameters"]
    most = float(sizes.median())
    bound = ConstraintConfig(name="exported_parameters", max=most)
    front = pareto_front(replace(frames, config=frames.config.model_copy(update={"constraints": (bound,)})))
    assert front.column("exported_parameters").max() == most
    assert front.n == (sizes <= most).sum()
    assert f"{(sizes > most).sum()} trials break a constraint and are not weighed" in front.warnings


def test_trials_that_lack_an_objective_are_counted(frames: StudyFrames) -> None:
    trials = frames.trials.copy()
    trials.loc[trials.index[:2], "robustness"] = np.nan
    front = pareto_front(with_trials(frames, trials))
    assert (front.left_out, front.n) == (2, pareto_front(frames).n - 2)


def test_front_without_complete_trials_is_refused(frames_of: Callable[[Plan], StudyFrames]) -> None:
    with pytest.raises(ReportError, match="expected complete trials with score"):
        pareto_front(frames_of(Plan(fail=True)))


def with_trials(frames: StudyFrames, trials: object) -> StudyFrames:
    from dataclasses import replace

    return replace(frames, trials=trials)  # type: ignore[arg-type]
