import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from synthetic import MEASURED, TASKS, Plan, write_study

from slasearch.analysis.counts import count_trials, failures
from slasearch.analysis.frames import MEAN, StudyFrames, load_frames
from slasearch.errors import StorageError, StudyNotFoundError
from slasearch.search.lease import Lease
from slasearch.storage.store import Store


def test_one_query_for_each_frame(database_of: Callable[[Plan], str]) -> None:
    seen: list[str] = []

    def watch(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", watch)
    try:
        load_frames(database_of(Plan()), "synthetic")
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", watch)
    frames = {"sla_study": 1, "sla_metric": 2, "sla_gate": 1, "sla_cost": 1, "sla_artifact": 1, "sla_event": 1}
    for table, count in frames.items():
        assert sum(f"FROM {table}" in " ".join(statement.split()) for statement in seen) == count, table
    assert not any("FROM trials" in statement for statement in seen)


def test_mean_is_over_all_tasks_and_final_values_only(frames: StudyFrames) -> None:
    scores = frames.clean_scores("validation").pivot(index="trial_id", columns="series", values="value")
    assert list(scores.columns.sort_values()) == sorted([*TASKS, MEAN])
    assert scores[MEAN].to_numpy() == pytest.approx(scores[list(TASKS)].mean(axis=1).to_numpy())
    assert set(frames.metrics["metric"]) == {"macro_f1", "mcc", "accuracy", "loss"}


def test_mean_needs_every_task(frames: StudyFrames) -> None:
    metrics = frames.metrics
    first = metrics["trial_id"].iloc[0]
    partial = replace(frames, metrics=metrics[~((metrics["trial_id"] == first) & (metrics["task"] == "spam"))])
    found = partial.clean_scores("validation")
    assert set(found.loc[found["trial_id"] == first, "series"]) == {"tweets", "bbc"}


def test_every_trial_carries_every_condition(frames: StudyFrames) -> None:
    one = frames.scores[frames.scores["trial_id"] == frames.trials["trial_id"].iloc[0]]
    keys = set(zip(one["condition"], one["level"], strict=True))
    assert keys == {("clean", 0.0)} | {(kind, level) for kind, levels in MEASURED.items() for level in levels}


def test_params_are_wide_and_in_the_samplers_encoding(frames: StudyFrames) -> None:
    assert set(frames.params["pool.ranks"]) == {"[1]", "[4]", "[1, 4]"}
    assert len(frames.params) == len(frames.trials)


def test_gates_are_those_of_confirmed_trials_or_of_the_best(
    frames: StudyFrames, frames_of: Callable[[Plan], StudyFrames]
) -> None:
    confirmed = frames.phase_trials("confirm", "complete")["trial_id"]
    assert set(frames.gates["trial_id"]) <= set(confirmed)
    search = frames_of(Plan(confirm=False))
    complete = search.search_trials("complete")
    means = complete["score"].groupby(search.configurations.loc[complete["trial_id"]].to_numpy()).transform("mean")
    best = complete[means == means.max()]
    assert set(search.gates["trial_id"]) == {best.loc[best["score"].idxmax(), "trial_id"]}


def test_counts_take_each_trial_once(frames: StudyFrames) -> None:
    counts = count_trials(frames)
    assert (counts.failed, counts.repeated, counts.open) == (2, 1, 0)
    assert counts.total + counts.repeated == len(frames.trials)
    assert count_trials(frames, "design").pruned == 0
    assert counts.text().endswith("2 failed, 1 lost and repeated")


def test_unfinished_trials_are_counted_as_open(frames: StudyFrames) -> None:
    trials = frames.trials.copy()
    trials.loc[trials.index[0], "state"] = "running"
    counts = count_trials(replace(frames, trials=trials))
    assert counts.open == 1
    assert "1 not finished" in counts.text()


def test_failures_by_reason_with_their_numbers(frames: StudyFrames) -> None:
    found = {failure.reason: failure for failure in failures(frames)}
    assert set(found) == {"CUDA out of memory", "the loss became NaN at step 40", "worker lost"}
    assert found["worker lost"].repeated == 1
    number = frames.trials.loc[frames.trials["reason"] == "CUDA out of memory", "number"].iloc[0]
    assert found["CUDA out of memory"].numbers == (f"{number:g}",)


def test_unknown_study_lists_the_known_ones(database_of: Callable[[Plan], str]) -> None:
    with pytest.raises(StudyNotFoundError, match="synthetic"):
        load_frames(database_of(Plan()), "other")


def test_no_file_and_foreign_file_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="expected the file"):
        load_frames(f"sqlite:///{tmp_path / 'none.db'}", "synthetic")
    sqlite3.connect(tmp_path / "foreign.db").execute("create table t (x)").connection.close()
    with pytest.raises(StorageError, match="slasearch"):
        load_frames(f"sqlite:///{tmp_path / 'foreign.db'}", "synthetic")


def test_two_studies_in_one_database_stay_apart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'two.db'}"
    write_study(url, "one", Plan(design=False, optimise=3, confirm=False))
    write_study(url, "two", Plan(design=False, optimise=5, confirm=False))
    assert (len(load_frames(url, "one").trials), len(load_frames(url, "two").trials)) == (3, 5)
    assert set(load_frames(url, "two").metrics["trial_id"]) <= set(load_frames(url, "two").trials["trial_id"])


def test_a_study_that_runs_without_a_living_driver_is_interrupted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, plan=Plan(optimise=1, confirm=False, seeds=1))
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("UPDATE sla_study SET state = 'running'")
    assert load_frames(url, "synthetic").study.state == "interrupted"
    store = Store(url)
    lease = Lease.take(store, 1, "synthetic", 0.0)
    assert load_frames(url, "synthetic").study.state == "running"
    lease.release(store)
    assert load_frames(url, "synthetic").study.state == "interrupted"
    store.close()
