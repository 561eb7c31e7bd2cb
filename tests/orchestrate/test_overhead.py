"""The benchmark of a trial's fixed cost runs, and tells both numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "overhead.py"


def test_both_costs_are_measured_in_one_run() -> None:
    command = [sys.executable, str(BENCHMARK), "--trials", "8", "--repeats", "1", "--concurrency", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert 0 < found["bare_ray_ms"] < found["slasearch_ms"]
    assert found["difference_ms"] == found["slasearch_ms"] - found["bare_ray_ms"]
    assert (done.returncode == 0) == (found["slasearch_ms"] <= found["target_ms"] == 150.0)
    assert found["machine"]["cores"] >= 1
