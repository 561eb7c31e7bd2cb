"""Score against the level of each measured condition, the confirmed winner beside its controls, on the test split."""

from __future__ import annotations

from slasearch.analysis.curves import Curve, build_series, pairs_of_seeds
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.sensitivity import measured_levels, of_kind
from slasearch.errors import ReportError

__all__ = ["robustness_curves"]


def robustness_curves(frames: StudyFrames, pair_of: int) -> dict[str, tuple[Curve, ...]]:
    """For each condition a curve for the mean and for each of several tasks (`response`), with a series for each role.

    Level 0 is the undisturbed score. Repeats share the measured inputs, so the curves are paired over seeds.

    Args:
        frames: The study.
        pair_of: The search trial whose winner is drawn.

    Raises:
        ReportError: The study measures no condition, or the winner has no complete run.
    """
    runs = frames.confirmed(pair_of)
    complete = runs[runs["state"] == "complete"]
    kinds = [condition.kind for condition in frames.config.conditions.measured]
    if not kinds or not (complete["role"] == "winner").any():
        raise ReportError(
            "Robustness against controls: expected `conditions.measured` and complete trials of the confirm phase, "
            f"got {len(kinds)} conditions and {len(complete)} trials. Add them to the study, or run it to its end."
        )
    roles = frames.confirm_roles(complete)
    test = frames.scores[frames.scores["split"] == "test"]
    data = test.merge(complete[["trial_id", "repeat", "role"]], on="trial_id")
    repeats = complete.loc[complete["role"] == "winner", "repeat"].nunique()
    return {
        kind: tuple(
            Curve(
                factor=kind,
                response=response,
                scale="linear",
                series=build_series(
                    of_kind(data[data["series"] == response], kind)
                    .drop(columns="series")
                    .rename(columns={"role": "series"}),
                    roles,
                    measured_levels(frames, kind),
                ),
                complete=len(complete),
                failed=frames.failed(runs),
                method=f"test split; {pairs_of_seeds(repeats)}",
                warnings=("one seed pair: no intervals",) if repeats < 2 else (),
            )
            for response in sorted(frames.series, key=lambda series: series != MEAN)
        )
        for kind in kinds
    }
