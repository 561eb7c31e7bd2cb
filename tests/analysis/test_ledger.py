from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from designed import RATE, study_of, write_trials
from hypothesis import given
from hypothesis import strategies as st
from synthetic import START

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.ledger import PAUSE, CostEntry, Ledger, _packed, cost_ledger
from slasearch.errors import ReportError

Row = tuple[str, str, str, float, float | None]


def study(
    frames: StudyFrames,
    rows: Sequence[Row],
    told: Sequence[tuple[int, str, float]] = (),
    workers: Sequence[str | None] | None = None,
) -> StudyFrames:
    """The frames with these trials alone: `phase, role, state, start, end`, and costs `trial_id, name, value`."""
    trials = pd.DataFrame(rows, columns=["phase", "role", "state", "started_at", "ended_at"])
    trials["started_at"] += START
    trials["ended_at"] = trials["ended_at"].astype("float64") + START
    count = np.arange(len(trials))
    worker = pd.Series([None] * len(trials) if workers is None else workers, dtype="str")
    trials = trials.assign(trial_id=count + 1, number=count.astype(float), attempt=1, retry_of=np.nan, worker=worker)
    costs = pd.DataFrame(told, columns=["trial_id", "name", "value"]).assign(unit="s")
    return replace(frames, trials=trials, costs=costs)


def entry(ledger: Ledger, phase: str, outcome: str, part: str = "search") -> CostEntry:
    return next(one for one in ledger.entries if (one.phase, one.part, one.outcome) == (phase, part, outcome))


def test_attempts_take_the_lowest_free_slot(frames: StudyFrames) -> None:
    spans = [(0.0, 10.0), (2.0, 8.0), (8.0, 12.0), (10.0, 11.0)]
    ledger = cost_ledger(study(frames, [("design", "search", "complete", *span) for span in spans]))
    assert ledger.timeline["slot"].tolist() == [1, 2, 2, 1]
    assert ledger.timeline["start"].tolist() == [0.0, 2.0, 8.0, 10.0]
    (session,) = ledger.sessions
    assert (session.start, session.end, session.slots, session.busy) == (START, START + 12, 2, 21.0)
    assert ledger.use == pytest.approx(21 / 24)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=40))
def test_a_slot_runs_one_attempt_at_a_time_and_there_are_no_more_than_needed(spans: list[tuple[int, int]]) -> None:
    start = np.array([float(first) for first, _ in spans])
    end = start + np.array([float(length) for _, length in spans])
    _, slots = _packed(start, end)
    for slot in set(slots):
        mine = np.lexsort((end[slots == slot], start[slots == slot]))
        assert (end[slots == slot][mine][:-1] <= start[slots == slot][mine][1:]).all()
    at_once = max(int(((start <= moment) & (end > moment)).sum()) for moment in start)
    assert slots.max() + 1 == at_once


def test_a_pause_of_the_study_is_not_idleness(frames: StudyFrames) -> None:
    later = 10.0 + PAUSE + 1
    rows: list[Row] = [
        ("design", "search", "complete", 0.0, 10.0),
        ("design", "search", "complete", later, later + 10.0),
        ("design", "search", "complete", later, later + 5.0),
    ]
    ledger = cost_ledger(study(frames, rows))
    assert [session.slots for session in ledger.sessions] == [1, 2]
    assert ledger.wall_seconds == pytest.approx(20.0)
    assert ledger.use == pytest.approx(25 / 30)
    assert ledger.timeline["session"].tolist() == [1, 2, 2]
    assert len(cost_ledger(study(frames, [*rows[:1], ("design", "search", "complete", 600.0, 610.0)])).sessions) == 1


def test_a_worker_holds_its_slot_between_its_attempts(frames: StudyFrames) -> None:
    spans = [("a", 0.0, 10.0), ("b", 10.0, 50.0), ("a", 60.0, 70.0), ("c", 70.0, 80.0), (None, 20.0, 30.0)]
    rows: list[Row] = [("design", "search", "complete", start, end) for _, start, end in spans]
    ledger = cost_ledger(study(frames, rows, workers=[worker for worker, _, _ in spans]))
    found = ledger.timeline.set_index("start")
    # a is held over 0 to 70, b over 10 to 50, and the attempt without a worker while it runs; c takes over from a.
    assert found["slot"].to_dict() == {0.0: 1, 10.0: 2, 20.0: 3, 60.0: 1, 70.0: 1}
    assert found["worker"].dropna().to_dict() == {0.0: "a", 10.0: "b", 60.0: "a", 70.0: "c"}
    assert [session.slots for session in ledger.sessions] == [3]
    assert ledger.use == pytest.approx((10 + 40 + 10 + 10 + 10) / (3 * 80))
    assert cost_ledger(study(frames, rows)).use == pytest.approx(80 / (2 * 80)), "packed from times alone"


def test_a_pause_ends_what_a_worker_holds(frames: StudyFrames) -> None:
    later = 10.0 + PAUSE + 1
    spans = [("a", 0.0, 10.0), ("b", 0.0, 10.0), ("b", later, later + 10.0)]
    rows: list[Row] = [("design", "search", "complete", start, end) for _, start, end in spans]
    ledger = cost_ledger(study(frames, rows, workers=[worker for worker, _, _ in spans]))
    assert [session.slots for session in ledger.sessions] == [2, 1]
    assert ledger.timeline["session"].tolist() == [1, 1, 2]
    assert ledger.use == 1.0


def test_workers_are_read_from_the_database(tmp_path: Path) -> None:
    spans = [("ab12", 0.0, 10.0), ("cd34", 0.0, 8.0), ("ab12", 10.0, 20.0), ("", 8.0, 9.0), (None, 9.0, 11.0)]
    made = [
        {"phase": "optimise", "sampler": "random", "params": {RATE: 1e-3}, "point": None, "repeat": 0, "score": 0.5}
        | {"worker": worker, "started_at": START + start, "ended_at": START + end}
        for worker, start, end in spans
    ]
    ledger = cost_ledger(write_trials(tmp_path, study_of({"optimise": {"trials": 5}}), made))
    assert ledger.timeline["worker"].fillna("-").tolist() == ["ab12", "cd34", "-", "-", "ab12"]
    assert ledger.timeline["slot"].tolist() == [2, 1, 1, 1, 2]
    assert ledger.use == pytest.approx(31 / 40)


def test_failed_and_pruned_trials_cost_their_time(frames: StudyFrames) -> None:
    rows: list[Row] = [
        ("optimise", "search", "complete", 0.0, 10.0),
        ("optimise", "search", "pruned", 10.0, 14.0),
        ("optimise", "search", "fail", 14.0, 16.0),
        ("optimise", "search", "fail", 16.0, 19.0),
    ]
    found = study(frames, rows, [(1, "train_seconds", 6.0), (1, "evaluate_seconds", 3.0), (1, "train_tokens", 500.0)])
    found = replace(found, trials=found.trials.assign(retry_of=[np.nan, 3.0, np.nan, np.nan]))
    ledger = cost_ledger(found)
    complete = entry(ledger, "optimise", "complete")
    told = (complete.train_seconds, complete.evaluate_seconds, complete.other_seconds, complete.tokens)
    assert told == (6.0, 3.0, 1.0, 500.0)
    outcomes = ("pruned", "failed", "lost")
    assert [entry(ledger, "optimise", outcome).device_seconds for outcome in outcomes] == [4.0, 3.0, 2.0]
    assert entry(ledger, "optimise", "failed").other_seconds == 0
    assert (ledger.device_seconds, ledger.lost_seconds) == (19.0, 9.0)


def test_costs_are_told_in_runs_of_a_confirmed_lora(frames: StudyFrames) -> None:
    rows: list[Row] = [
        ("design", "search", "complete", 0.0, 40.0),
        ("tune", "control:lora", "complete", 40.0, 90.0),
        ("confirm", "winner", "complete", 90.0, 100.0),
        ("confirm", "control:lora", "complete", 100.0, 104.0),
        ("confirm", "control:lora", "complete", 104.0, 109.0),
        ("confirm", "control:lora", "complete", 109.0, 117.0),
        ("confirm", "control:lora", "fail", 117.0, 118.0),
    ]
    ledger = cost_ledger(study(frames, rows))
    assert (ledger.lora_seconds, ledger.lora_range, ledger.lora_runs) == (5.0, (4.0, 8.0), 3)
    assert ledger.in_lora_runs(ledger.device_seconds) == pytest.approx(118 / 5)
    assert entry(ledger, "confirm", "complete", "winners").attempts == 1
    assert entry(ledger, "confirm", "complete", "controls").device_seconds == 17.0
    assert ledger.warnings == ()


def test_without_a_lora_run_there_is_no_such_unit(frames: StudyFrames) -> None:
    ledger = cost_ledger(study(frames, [("design", "search", "complete", 0.0, 40.0)]))
    assert ledger.lora_seconds is None
    assert ledger.in_lora_runs(40.0) is None
    assert ledger.warnings == ("no confirmed LoRA run, so costs are not told in LoRA runs",)


def test_running_attempts_count_until_the_last_time_that_is_stored(frames: StudyFrames) -> None:
    rows: list[Row] = [("design", "search", "running", 0.0, None), ("design", "search", "complete", 2.0, 9.0)]
    ledger = cost_ledger(study(frames, rows))
    assert entry(ledger, "design", "running").device_seconds == 9.0
    assert any(warning.startswith("1 still running") for warning in ledger.warnings)


def test_every_attempt_of_a_study_is_in_it(frames: StudyFrames) -> None:
    ledger = cost_ledger(frames)
    assert ledger.n == len(frames.trials) == sum(one.attempts for one in ledger.entries)
    assert ledger.device_seconds == pytest.approx(11.0 * len(frames.trials))
    assert ledger.lost_seconds == pytest.approx(11.0 * 7)
    assert ledger.lora_seconds == pytest.approx(11.0)
    told = frames.costs[frames.costs["name"] == "train_seconds"]["value"].sum()
    assert sum(one.train_seconds for one in ledger.entries) == pytest.approx(told)
    assert [session.slots for session in ledger.sessions] == [2]
    assert [one.phase for one in ledger.entries] == ["design", *["optimise"] * 4, "confirm", "confirm"]


def test_nothing_that_has_started_is_refused(frames: StudyFrames) -> None:
    with pytest.raises(ReportError, match="expected at least one trial that has started"):
        cost_ledger(replace(frames, trials=frames.trials.assign(started_at=np.nan)))


def test_a_hundred_thousand_trials(frames: StudyFrames) -> None:
    count = 100_000
    start = START + np.arange(count) * 0.25
    trials = pd.DataFrame(
        {
            "trial_id": np.arange(count) + 1, "number": np.arange(count, dtype=float), "phase": "optimise",
            "role": "search", "attempt": 1, "state": "complete", "retry_of": np.nan, "started_at": start,
            "ended_at": start + 0.9, "worker": pd.Series([None] * count, dtype="str"),
        }
    )  # fmt: skip
    ledger = cost_ledger(replace(frames, trials=trials))
    assert (ledger.n, ledger.sessions[0].slots) == (count, 4)
    assert ledger.use == pytest.approx(0.9, abs=1e-3)
    named = trials.assign(worker=[f"{index % 4}-{index // 1_000}" for index in range(count)])
    ledger = cost_ledger(replace(frames, trials=named))
    assert (ledger.sessions[0].slots, ledger.timeline["worker"].nunique()) == (4, 400)
