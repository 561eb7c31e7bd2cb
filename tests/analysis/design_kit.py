"""Frames of a design phase, as `load_frames` gives them, whose responses follow a function: no database, no trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution

from slasearch.analysis.coordinates import Coordinates
from slasearch.analysis.frames import StudyFrames
from slasearch.config.fingerprint import fingerprint
from slasearch.config.load import parse_study
from slasearch.config.schema import StudyConfig
from slasearch.space import DesignPoint, Parameter, design_points, parameters
from slasearch.storage.rows import StudyRow

WEIGHT = "size_control.sparsity_weight"
RATE = "training.learning_rate"
DECAY = "training.weight_decay"
STUDY = """\
name: designed
tasks: [{name: spam, source: "bundled:sms_spam"}]
size_control: {mode: penalty, sparsity_weight: {log_float: [1e-3, 1e+1]}}
training: {epochs: 1, learning_rate: {log_float: [1e-4, 1e-2]}, weight_decay: {float: [0, 0.1]}}
"""
Response = Callable[[DesignPoint], float | None]


def designed(sampler: str, points: int, *overrides: str) -> StudyConfig:
    """A study of three searched fields, two of them on a logarithm."""
    return parse_study(
        STUDY, "s.yaml", [f"phases.design={{sampler: {{name: {sampler}}}, points: {points}}}", *overrides]
    )


def shares(config: StudyConfig, params: Mapping[str, Any]) -> list[float]:
    """The unit coordinates of a point."""
    return [parameter.share(params[parameter.name]) for parameter in parameters(config)]


def design_frames(config: StudyConfig, score: Response, size: Response = lambda point: 1000.0) -> StudyFrames:
    """A study whose design has run: `score` and `size` of each point and repeat; a score of None is a failed trial."""
    design = config.phases.design
    assert design is not None
    points = design_points(config)
    rows = [
        {
            "trial_id": number,
            "number": float(number),
            "phase": "design",
            "role": "search",
            "sampler": design.sampler.name,
            "factor": point.factor,
            "point": float(point.point),
            "repeat": point.repeat,
            "retry_of": None,
            "state": "fail" if (found := score(point)) is None else "complete",
            "score": found,
            "exported_parameters": size(point),
            "robustness": found,
        }
        for number, point in enumerate(points, 1)
    ]
    trials = pd.DataFrame(rows).astype({"score": "float64", "robustness": "float64"})
    params = pd.DataFrame([{"trial_id": number, **point.params} for number, point in enumerate(points, 1)])
    study = StudyRow(
        1, config.name, config.model_dump_json(), fingerprint(config), config.seed, "finished", "0", 0.0, 0.0
    )
    nothing = pd.DataFrame()
    return StudyFrames(study, config, trials, params, *[nothing] * 6)


def coordinates_of(unit: NDArray[np.float64], values: NDArray[np.float64], block: int) -> Coordinates:
    """Trials of a design of numbers from 0 to 1: `p x k` points, `p x r` values under r seed pairs; faster by far."""
    points, repeats = values.shape
    return Coordinates(
        fields=tuple(Parameter(f"x{i}", (f"x{i}",), FloatDistribution(0, 1)) for i in range(unit.shape[1])),
        unit=np.repeat(unit, repeats, axis=0),
        values=values.ravel(),
        points=np.repeat(np.arange(points), repeats),
        repeats=np.tile(np.arange(repeats), points),
        failed=0,
        sampler="saltelli",
        block=block,
    )
