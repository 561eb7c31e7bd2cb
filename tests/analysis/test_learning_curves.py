from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from synthetic import Plan

from slasearch.analysis import learning
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.intervals import t_interval
from slasearch.analysis.learning import learning_curves, load_learning
from slasearch.errors import ReportError, StudyNotFoundError


@pytest.fixture(scope="module")
def reports(database_of: Callable[[Plan], str]) -> pd.DataFrame:
    return load_learning(database_of(Plan()), "synthetic")


def test_one_query_reads_complete_trials(database_of: Callable[[Plan], str], frames: StudyFrames) -> None:
    seen: list[str] = []

    def watch(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(" ".join(statement.split()))

    sa.event.listen(sa.Engine, "before_cursor_execute", watch)
    try:
        found = load_learning(database_of(Plan()), "synthetic")
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", watch)
    assert sum("FROM sla_metric" in statement for statement in seen) == 1
    complete = frames.trials[frames.trials["state"] == "complete"]
    assert set(found["trial_id"]) == set(complete["trial_id"])
    assert set(found["step"]) == {30, 60}
    assert len(found) == 2 * len(complete)


def test_of_the_search_only_the_best_are_read(
    database_of: Callable[[Plan], str], frames: StudyFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "BEST", 5)
    found = load_learning(database_of(Plan()), "synthetic")
    search = frames.search_trials("complete").sort_values("score", ascending=False)
    confirmed = frames.phase_trials("confirm", "complete")
    assert set(found["trial_id"]) == {*search["trial_id"].head(5), *confirmed["trial_id"]}
    curves = learning_curves(frames, found)
    assert [one.trial_id for one in curves.search] == search["trial_id"].head(5).tolist()
    assert curves.left_out == len(search) - 5


def test_a_curve_ends_with_the_final_score(frames: StudyFrames, reports: pd.DataFrame) -> None:
    best = learning_curves(frames, reports).search[0]
    assert best.steps == (30, 60, 120)
    assert best.scores == pytest.approx((0.6, 0.7, frames.search_trials("complete")["score"].max()))


def test_a_report_at_the_last_step_gives_way_to_the_final_score(frames: StudyFrames, reports: pd.DataFrame) -> None:
    best = learning_curves(frames, reports).search[0].trial_id
    late = pd.concat([reports, pd.DataFrame({"trial_id": [best], "step": [120], "value": [0.1]})])
    curve = next(one for one in learning_curves(frames, late).search if one.trial_id == best)
    assert curve.steps == (30, 60, 120)
    assert curve.scores[-1] > 0.5


def test_winners_and_controls_have_means_over_seeds(frames: StudyFrames, reports: pd.DataFrame) -> None:
    curves = learning_curves(frames, reports)
    winners = frames.phase_trials("confirm")["pair_of"].dropna().unique()
    assert [one.number for one in curves.winners] == [frames.number_of(int(pair_of)) for pair_of in winners]
    first = curves.winners[0]
    roles = ["winner", "control:lora", "control:random", "control:linear_probe"]
    assert [series.name for series in first.curve.series] == roles
    assert first.curve.levels == (30, 60, 120)
    runs = frames.confirmed(int(winners[0]))
    for series in first.curve.series:
        early, _, last = series.points
        assert (early.estimate.mean, early.estimate.n, early.estimate.low) == (pytest.approx(0.6), 3, None)
        assert last.estimate == t_interval(runs.loc[runs["role"] == series.name, "score"])
    assert first.curve.warnings == ()
    # Three seeds of four roles beside each winner: the runs of the linear probe stand beside all of them.
    assert curves.n == len(frames.search_trials("complete")) + 3 * 4 * len(winners)


def test_runs_that_ended_early_are_told(frames: StudyFrames, reports: pd.DataFrame) -> None:
    trials = frames.trials.copy()
    first = trials.index[trials["role"] == "winner"][0]
    trials.loc[first, "budget"] = 60.0
    curves = learning_curves(replace(frames, trials=trials), reports)
    assert curves.warnings == ("some runs ended early: later means are over those that went on",)
    assert curves.winners[0].curve.named("winner").points[-1].estimate.n == 2


def test_a_search_alone_has_no_winners(
    frames_of: Callable[[Plan], StudyFrames], database_of: Callable[[Plan], str]
) -> None:
    plan = Plan(confirm=False)
    curves = learning_curves(frames_of(plan), load_learning(database_of(plan), "synthetic"))
    assert curves.winners == ()
    assert len(curves.search) == len(frames_of(plan).search_trials("complete"))


def test_one_seed_is_said_to_have_no_interval(
    frames_of: Callable[[Plan], StudyFrames], database_of: Callable[[Plan], str]
) -> None:
    plan = Plan(seeds=1)
    curves = learning_curves(frames_of(plan), load_learning(database_of(plan), "synthetic"))
    assert curves.winners[0].curve.warnings == ("one seed pair: no intervals",)


def test_no_reports_and_no_study_are_clear_errors(frames: StudyFrames, database_of: Callable[[Plan], str]) -> None:
    none = pd.DataFrame({"trial_id": np.array([], int), "step": np.array([], int), "value": np.array([], float)})
    with pytest.raises(ReportError, match=r"training\.reports"):
        learning_curves(frames, none)
    with pytest.raises(StudyNotFoundError, match="synthetic"):
        load_learning(database_of(Plan()), "other")
    plan = Plan(fail=True)
    assert load_learning(database_of(plan), "synthetic").empty
