"""Whether a trial that says it is complete is so."""

from __future__ import annotations

import math
from collections.abc import Iterable

from slasearch.records import TrialReport

__all__ = ["untrue"]


def untrue(report: TrialReport, objectives: Iterable[str], phase: str) -> str | None:
    """Why the trial counts as failed; None if it is complete.

    Args:
        report: Its own last word.
        objectives: Names of the study's objectives: each needs a finite number.
        phase: Its phase: only `confirm` may score the test split.
    """
    if report.state == "fail":
        return report.reason or "the trial failed and gave no reason"
    for name in objectives:
        if name not in report.objectives:
            return f"objective {name}: expected a finite number, got none"
        if not math.isfinite(report.objectives[name]):
            return f"objective {name}: expected a finite number, got {report.objectives[name]}"
    if phase != "confirm" and any(metric.split == "test" for metric in report.metrics):
        return f"metrics: expected none on the test split in {phase}, got some"
    return None
