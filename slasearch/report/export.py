"""Which adapter of a study to hand out, and its copy.

Trials are called as people see them in Optuna's dashboard: a search trial by its number (`12`), a trial of `tune` or
`confirm` by its number there with a `c` before it (`c3`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slasearch.config.locations import Locations
from slasearch.config.schema import ObjectiveConfig
from slasearch.errors import ArtifactError, ReportError, TrialNotFoundError
from slasearch.search.winners import winners
from slasearch.storage.artifacts import read_artifact
from slasearch.storage.rows import TrialRow
from slasearch.storage.store import Store

Objective = Literal["score", "exported_parameters", "robustness"]

__all__ = ["Export", "Objective", "best_trial", "export_adapter", "find_trial", "trial_label"]


@dataclass(frozen=True)
class Export:
    """What was written: the trial's label and objectives, and the files."""

    trial: str
    role: str
    score: float | None
    exported_parameters: float | None
    robustness: float | None
    files: tuple[Path, ...]


def trial_label(trial: TrialRow) -> str:
    """`12`, `c3` in `tune` and `confirm`, or `-` as long as the trial only waits."""
    if trial.number is None:
        return "-"
    return f"c{trial.number}" if trial.optuna_study == "confirm" else str(trial.number)


def find_trial(trials: Sequence[TrialRow], label: str) -> TrialRow:
    """The trial that is called `label`.

    Raises:
        TrialNotFoundError: There is none.
    """
    if re.fullmatch(r"c?\d+", label):
        for trial in trials:
            if trial_label(trial) == label:
                return trial
    last = trial_label(trials[-1]) if trials else "none"
    raise TrialNotFoundError(
        f"trial: expected a number such as 12, or c3 for a trial of tune or confirm (the study's last is {last}), "
        f"got {label!r}. `slasearch trials NAME` lists them."
    )


def best_trial(trials: Sequence[TrialRow], objective: Objective) -> TrialRow:
    """The best complete search trial by `objective`; if it was confirmed, the best of its runs over seeds.

    Scores are those on validation: the test split chooses nothing.

    Args:
        trials: All trials of a study.
        objective: `score`, `robustness` (most is best) or `exported_parameters` (least is best).

    Raises:
        ReportError: No trial is complete, or none has this objective.
    """
    target = ObjectiveConfig(name=objective)
    having = [trial for trial in trials if trial.state == "complete" and trial.objective(objective) is not None]
    best = winners([target], having, top=1)
    if not best:
        raise ReportError(
            f"best by {objective}: expected a complete search trial with this objective, got none among {len(trials)}. "
            "Let the study run on, or choose another objective."
        )
    runs = [trial for trial in having if trial.role == "winner" and trial.pair_of == best[0].id]
    sign = -1 if target.direction == "minimize" else 1
    return max(runs or best, key=lambda trial: sign * (trial.objective(objective) or 0.0))


def export_adapter(locations: Locations, trial: TrialRow, out: Path) -> Export:
    """Copies a trial's adapter to the folder `out`, after its SHA-256 was checked.

    Args:
        locations: The database and the home folder of its files.
        trial: A complete trial.
        out: Folder to write into; made if need be. An earlier export in it is replaced.

    Raises:
        ArtifactError: The trial left no adapter, a file was changed, or `out` holds something else.
    """
    rows = Store(locations.storage_url).artifacts(trial.id)
    if not rows:
        raise ArtifactError(
            f"trial {trial_label(trial)}: expected a complete trial with an adapter, got one that is {trial.state} "
            "and left none. Choose another; `slasearch trials NAME` lists them."
        )
    files = {row.name: read_artifact(locations.home, row) for row in rows}
    _refuse_foreign(out, set(files))
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (out / name).write_bytes(data)
    return Export(
        trial_label(trial),
        trial.role,
        trial.score,
        trial.exported_parameters,
        trial.robustness,
        tuple(out / name for name in files),
    )


def _refuse_foreign(out: Path, names: set[str]) -> None:
    if out.exists() and not out.is_dir():
        raise ArtifactError(f"{out}: expected a folder, got a file. Choose another with --out.")
    foreign = sorted(path.name for path in out.iterdir() if path.name not in names) if out.is_dir() else []
    if foreign:
        raise ArtifactError(
            f"{out}: expected an empty folder or an earlier export, got one that holds {', '.join(foreign[:3])}. "
            "Choose another with --out."
        )
