"""Every figure of a report, in the order in which it is read."""

from __future__ import annotations

from slasearch.report.figures import (
    comparison,
    gates,
    history,
    importance,
    pareto,
    paths,
    robustness,
    sensitivity,
    sparsity_path,
)
from slasearch.report.figures._base import ReportFigure
from slasearch.report.results import Results

__all__ = ["all_figures"]

_KINDS = (comparison, robustness, sensitivity, sparsity_path, pareto, gates, paths, importance, history)


def all_figures(results: Results) -> list[ReportFigure]:
    """What the results allow; a kind without data gives no figure, and the report says why."""
    return [figure for kind in _KINDS for figure in kind.figures(results)]
