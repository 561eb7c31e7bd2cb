"""What stands beside the numbers of each figure: how they came about, from which trials, and what they are files of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from slasearch import __version__
from slasearch.analysis.intervals import CONFIDENCE
from slasearch.report.figures._base import ReportFigure
from slasearch.report.results import Results
from slasearch.search.job import PHASES, SEARCH_PHASES

__all__ = ["sidecar"]

_PHASES = {"comparison": ("confirm",), "robustness": ("confirm",)}
"""Phases of a section's trials, where its tables do not name trials; the search for all others."""
_OF_THE_DESIGN = ("sobol", "screening", "shape_", "surface_", "main_effects")
"""How names of figures begin that are made from the design alone."""
_SEED_PAIRS = 100


def sidecar(results: Results, figure: ReportFigure) -> str:
    """The description of one figure's numbers as JSON.

    `n` counts the trials that they come from (`trials` by their state) and the rows of the table; `seeds` has the
    study's seed and the seed pairs (weights, data order) of those trials, at most 100 of them; `config_hash` is the
    study's fingerprint. Only the line `report_version` tells reports of one database by different versions apart.
    """
    study, trials = results.frames.study, _trials_of(results, figure)
    clauses = [clause.replace("\u00a0", " ") for clause in figure.note.replace("\n", " ").split("\u00a0· ")]
    intervals = [clause for clause in clauses if "interval" in clause]
    pairs = trials[["init_seed", "data_seed"]].drop_duplicates().sort_values(["init_seed", "data_seed"])
    content: dict[str, Any] = {
        "figure": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "description": figure.alt,
        "study": study.name,
        "config_hash": study.fingerprint,
        "study_version": study.version,
        "method": [clause for clause in clauses if clause not in intervals],
        "interval": {"text": intervals, "confidence": CONFIDENCE} if intervals else None,
        "n": {
            "trials": len(trials),
            "states": {str(state): int(count) for state, count in trials["state"].value_counts(sort=False).items()},
            "rows": len(figure.table),
        },
        "phases": _each(trials["phase"]),
        "sampler": _each(trials["sampler"]),
        "seeds": {
            "study": study.seed,
            "pairs": pairs.head(_SEED_PAIRS).to_numpy().tolist(),
            "pairs_in_all": len(pairs),
        },
        "columns": {str(name): str(kind) for name, kind in figure.table.dtypes.items()},
        "report_version": __version__,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _trials_of(results: Results, figure: ReportFigure) -> pd.DataFrame:
    """The trials that the table names, or else all of the phases that such figures are made from."""
    trials = results.frames.trials
    named = figure.table["trial_id"].dropna() if "trial_id" in figure.table else ()
    if len(named):
        return trials[trials["trial_id"].isin(named)]
    if figure.section == "structure":
        return trials[trials["trial_id"].isin(results.frames.gates["trial_id"])]
    wanted: Sequence[str] = _PHASES.get(figure.section, SEARCH_PHASES)
    if figure.name.startswith(_OF_THE_DESIGN):
        wanted = ("design",)
    elif figure.name == "ledger":
        wanted = PHASES
    return trials[trials["phase"].isin(wanted)]


def _each(values: pd.Series[str]) -> list[str]:
    return [str(value) for value in values.drop_duplicates()]
