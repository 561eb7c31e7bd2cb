"""Every figure of a report, in the order in which it is read."""

from __future__ import annotations

from slasearch.report.figures import (
    comparison,
    drops,
    gates,
    history,
    hypervolume,
    importance,
    learning,
    ledger,
    main_effects,
    parallel,
    pareto,
    pareto_robustness,
    paths,
    robustness,
    screening,
    sensitivity,
    shapes,
    sobol,
    sparsity_path,
    surfaces,
    timeline,
    variance_shares,
)
from slasearch.report.figures._base import ReportFigure
from slasearch.report.results import Results

__all__ = ["all_figures"]

_KINDS = (
    *(comparison, drops, robustness),
    *(sensitivity, sparsity_path, sobol, screening, shapes, surfaces),
    *(pareto, pareto_robustness, hypervolume, parallel),
    *(gates, paths),
    *(importance, main_effects, variance_shares),
    *(learning, ledger, timeline, history),
)


def all_figures(results: Results) -> list[ReportFigure]:
    """What the results allow; a kind without data gives no figure, and the report says why."""
    return [figure for kind in _KINDS for figure in kind.figures(results)]
