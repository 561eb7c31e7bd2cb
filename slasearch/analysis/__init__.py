"""From stored trials to estimates with intervals: pure functions from frames to frozen results.

    from slasearch import analysis

    frames = analysis.load_frames("sqlite:///.slasearch/slasearch.db", "quickstart")
    front = analysis.pareto_front(frames)

`docs/analysis.md` says what each function answers and when it refuses, which is a `ReportError` with the reason. The
names below are loaded when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slasearch.analysis.between import compare_studies
    from slasearch.analysis.by_size import arms_by_size
    from slasearch.analysis.compare import compare as compare_controls
    from slasearch.analysis.counts import count_trials, failures
    from slasearch.analysis.curves import curve_table
    from slasearch.analysis.drops import performance_drops
    from slasearch.analysis.fanova import fanova as variance_importance
    from slasearch.analysis.frames import StudyFrames, load_frames
    from slasearch.analysis.importance import importance as top_importance
    from slasearch.analysis.learning import learning_curves, load_learning
    from slasearch.analysis.ledger import cost_ledger
    from slasearch.analysis.main_effects import main_effects as design_effects
    from slasearch.analysis.missing import missing_results
    from slasearch.analysis.morris import morris_screening
    from slasearch.analysis.pareto import hypervolume, pareto_front
    from slasearch.analysis.pooled import compare_pooled
    from slasearch.analysis.robustness import robustness_curves
    from slasearch.analysis.sensitivity import design_curves, level_p_values, measured_curves
    from slasearch.analysis.shape import response_lines, response_surfaces
    from slasearch.analysis.size_fronts import fronts_by_size
    from slasearch.analysis.sparsity_path import path_agreement, path_curves
    from slasearch.analysis.structure import gate_map, winner_paths
    from slasearch.analysis.surrogate import fit_surrogate
    from slasearch.analysis.variance import sobol_indices
    from slasearch.analysis.within_bounds import kept_out

__all__ = [
    "StudyFrames",
    "arms_by_size",
    "compare_controls",
    "compare_pooled",
    "compare_studies",
    "cost_ledger",
    "count_trials",
    "curve_table",
    "design_curves",
    "design_effects",
    "failures",
    "fit_surrogate",
    "fronts_by_size",
    "gate_map",
    "hypervolume",
    "kept_out",
    "learning_curves",
    "level_p_values",
    "load_frames",
    "load_learning",
    "measured_curves",
    "missing_results",
    "morris_screening",
    "pareto_front",
    "path_agreement",
    "path_curves",
    "performance_drops",
    "response_lines",
    "response_surfaces",
    "robustness_curves",
    "sobol_indices",
    "top_importance",
    "variance_importance",
    "winner_paths",
]

_HOMES = {
    "StudyFrames": "frames:StudyFrames",
    "arms_by_size": "by_size:arms_by_size",
    "compare_controls": "compare:compare",
    "compare_pooled": "pooled:compare_pooled",
    "compare_studies": "between:compare_studies",
    "cost_ledger": "ledger:cost_ledger",
    "count_trials": "counts:count_trials",
    "curve_table": "curves:curve_table",
    "design_curves": "sensitivity:design_curves",
    "design_effects": "main_effects:main_effects",
    "failures": "counts:failures",
    "fit_surrogate": "surrogate:fit_surrogate",
    "fronts_by_size": "size_fronts:fronts_by_size",
    "gate_map": "structure:gate_map",
    "hypervolume": "pareto:hypervolume",
    "learning_curves": "learning:learning_curves",
    "kept_out": "within_bounds:kept_out",
    "level_p_values": "sensitivity:level_p_values",
    "load_frames": "frames:load_frames",
    "load_learning": "learning:load_learning",
    "measured_curves": "sensitivity:measured_curves",
    "missing_results": "missing:missing_results",
    "morris_screening": "morris:morris_screening",
    "pareto_front": "pareto:pareto_front",
    "path_agreement": "sparsity_path:path_agreement",
    "path_curves": "sparsity_path:path_curves",
    "performance_drops": "drops:performance_drops",
    "response_lines": "shape:response_lines",
    "response_surfaces": "shape:response_surfaces",
    "robustness_curves": "robustness:robustness_curves",
    "sobol_indices": "variance:sobol_indices",
    "top_importance": "importance:importance",
    "variance_importance": "fanova:fanova",
    "winner_paths": "structure:winner_paths",
}
"""Where each name lives. Three are called otherwise at home, where they share the name of their module."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, own = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), own)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
