"""The benchmark of a trial's fixed cost runs, pairs its sides and judges what is documented."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_both_costs_are_measured_in_one_run() -> None:
    command = [sys.executable, str(BENCHMARKS / "overhead.py"), "--smoke", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    medians = found["medians"]
    assert 0 < medians["bare_ray_ms"] < medians["slasearch_ms"]
    assert medians["difference_ms"] == medians["slasearch_ms"] - medians["bare_ray_ms"]
    assert found["verdicts"] == {"difference_ms": "not judged"}
    assert found["machine"]["packages"].keys() >= {"ray", "optuna"}
    assert found["foreign_cores"].keys() == {"repetition 0"}


@pytest.fixture
def overhead(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / "overhead.py"))


def test_the_side_that_goes_first_changes(
    overhead: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    for name, cost in (("bare", 20.0), ("ours", 30.0)):
        monkeypatch.setitem(
            overhead["repetition"].__globals__, name, lambda *_, name=name, cost=cost: ran.append(name) or cost
        )
    found = [overhead["repetition"](tmp_path, number, 6, 1, 4) for number in range(2)]
    assert ran == ["bare", "ours", "ours", "bare"]
    assert [one["difference_ms"] for one in found] == [10.0, 10.0]
    assert [one["ratio"] for one in found] == [1.5, 1.5]


@pytest.mark.parametrize(("differences", "code"), [((10.0, 59.0, 90.0), 0), ((10.0, 61.0, 90.0), 1)])
def test_a_missed_difference_ends_with_1(
    differences: tuple[float, ...], code: int, overhead: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        {"bare_ray_ms": 20.0, "slasearch_ms": 20.0 + more, "difference_ms": more, "ratio": 2.0} for more in differences
    ]
    monkeypatch.setitem(overhead["main"].__globals__, "repetitions", lambda *_: found)
    monkeypatch.setattr(sys, "argv", ["overhead.py"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # a benchmark sets its own
    assert overhead["main"]() == code
