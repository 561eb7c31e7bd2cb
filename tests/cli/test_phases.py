"""What the commands show of the phases in which controls are tuned and confirmed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from synthetic import Plan

Command = Callable[..., Any]
PLAN = Plan(tuning=5, optimise=3, design=False, seeds=1)


def test_trials_show_phase_and_layout(database_of: Callable[[Plan], str], command: Command) -> None:
    url = database_of(PLAN)
    found = json.loads(command("trials", "synthetic", "--storage", url, "--json").out)
    tuned = [row for row in found if row["phase"] == "tune" and row["role"] == "control:lora"]
    assert [row["control_variant"] for row in tuned[:2]] == ["qv", "linear_last"]
    assert all(row["trial"].startswith("c") and row["pair_of"] for row in tuned)
    text = command("trials", "synthetic", "--storage", url).out
    assert re.search(r"c0\s+tune\s+control:lora \(qv\)\s+complete", text)
    assert re.search(r"\s+confirm\s+control:lora \(\w+\)\s+complete", text)
    assert re.search(r"c\d+\s+tune\s+control:random\s+complete", text)


def test_status_counts_tuning_trials(database_of: Callable[[Plan], str], command: Command) -> None:
    url = database_of(PLAN)
    found = json.loads(command("status", "synthetic", "--storage", url, "--json").out)
    assert list(found["phases"]) == ["design", "optimise", "tune", "confirm"]
    assert found["phases"]["tune"]["complete"] == found["phases"]["tune"]["planned"] > 0
    assert re.search(r"tune\s+\d+\s+\d+\s+0\s+0", command("status", "synthetic", "--storage", url).out)
