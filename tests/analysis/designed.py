"""Studies in a real database whose responses are given functions of the unit cube: no training, milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from slasearch.analysis.coordinates import Coordinates
from slasearch.analysis.frames import StudyFrames, load_frames
from slasearch.config.schema import StudyConfig
from slasearch.space.design import design_points, sobol_values
from slasearch.space.parameters import Parameter, parameters
from slasearch.storage.engine import make_engine
from slasearch.storage.models import SlaStudy, SlaTrial
from slasearch.storage.store import Store

Floats = NDArray[np.float64]
WEIGHT, RATE = "size_control.sparsity_weight", "training.learning_rate"
KINDS = ("embedding_gaussian", "typos", "token_dropout", "word_drop", "word_swap", "casing")


def level(index: int) -> str:
    """The dotted path of a noise level, a linear field; searched with more than `index` of them."""
    return f"conditions.train.{KINDS[index]}.level"


def study_of(
    phases: dict[str, Any], *, levels: int = 1, training: dict[str, Any] | None = None, **changes: Any
) -> StudyConfig:
    """A study with two log-uniform fields, so many noise levels, and what `training` searches."""
    return StudyConfig.model_validate(
        {
            "name": "designed",
            "tasks": [{"name": "spam", "source": "bundled:spam", "metric": "mcc"}],
            "pool": {"sites": ["attn.q"], "kinds": ["lora"], "ranks": [4], "layers": [5]},
            "size_control": {"mode": "penalty", "sparsity_weight": {"log_float": [1e-4, 1.0]}},
            "training": {"epochs": 1, "learning_rate": {"log_float": [1e-4, 1e-2]}, **(training or {})},
            "conditions": {"train": [{"kind": kind, "level": {"float": [0.0, 0.5]}} for kind in KINDS[:levels]]},
            "phases": phases,
            **changes,
        }
    )


def unit_of(fields: tuple[Parameter, ...], params: Iterable[dict[str, Any]]) -> Floats:
    """Coordinates of stored values, 0.5 for fields that are not used."""
    rows = [[field.share(row[field.name]) if field.name in row else 0.5 for field in fields] for row in params]
    return np.array(rows)


def write_trials(folder: Path, config: StudyConfig, rows: Iterable[dict[str, Any]]) -> StudyFrames:
    """The study with complete search trials of those columns of `sla_trial`; a `score` of None stands for a failure."""
    url = f"sqlite:///{folder / 'designed.db'}"
    Store(url).upgrade()
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(SlaStudy).values(
                name=config.name, config=config.model_dump_json(), fingerprint="f" * 64, seed=0, state="finished",
                version="0.1.0", created_at=0.0, updated_at=0.0,
            )
        )  # fmt: skip
        common = {
            "study_id": 1, "optuna_study": "search", "role": "search", "attempt": 1, "spec": "{}",
            "config_hash": "0" * 64, "created_at": 0.0, "exported_parameters": None, "robustness": None,
        }  # fmt: skip
        connection.execute(
            sa.insert(SlaTrial),
            [
                common
                | {"number": number, "state": "fail" if row["score"] is None else "complete"}
                | row
                | {"params": json.dumps(row["params"]), "init_seed": row["repeat"], "data_seed": row["repeat"]}
                for number, row in enumerate(rows)
            ],
        )
    engine.dispose()
    return load_frames(url, config.name)


def write_design(
    folder: Path,
    config: StudyConfig,
    function: Callable[[Floats], Floats],
    *,
    noise: float = 0.0,
    blocks: tuple[float, ...] = (),
    failed: Iterable[tuple[int, int]] = (),
) -> StudyFrames:
    """A design whose score is a function of the unit cube.

    `noise` is the deviation of seeds, `blocks` what each seed pair adds, `failed` names (point, repeat). Sizes are
    exp(score), robustness is the score minus 1.
    """
    points = design_points(config)
    values = function(unit_of(parameters(config), (point.params for point in points)))
    values = values + np.random.default_rng(3).normal(0, noise, len(points))
    values += np.array([blocks[point.repeat] if blocks else 0.0 for point in points])
    assert config.phases.design is not None
    lost, rows = set(failed), []
    for point, value in zip(points, values.tolist(), strict=True):
        gone = (point.point, point.repeat) in lost
        outcome = {"score": value, "exported_parameters": np.exp(min(value, 500.0)), "robustness": value - 1}
        rows.append(
            {
                "phase": "design", "sampler": config.phases.design.sampler.name, "params": point.params,
                "point": point.point, "repeat": point.repeat, **dict.fromkeys(outcome), **({} if gone else outcome),
            }
        )  # fmt: skip
    return write_trials(folder, config, rows)


def sampled(function: Callable[[Floats], Floats], columns: int, points: int, *, seed: int) -> Coordinates:
    """Coordinates of a qmc design of linear fields, without a database."""
    fields = parameters(study_of({"optimise": {"trials": 1}}, levels=columns - 2))
    unit = unit_of(fields, sobol_values(fields, points, seed))
    numbers = np.arange(points)
    return Coordinates(fields, unit, function(unit), numbers, np.zeros_like(numbers), 0, "qmc")


def ishigami(unit: Floats) -> Floats:
    """Ishigami & Homma 1990, a = 7, b = 0.1, over [-π, π]³; further columns do nothing."""
    x = np.pi * (2 * unit - 1)
    return np.asarray(np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0]))


ISHIGAMI_FIRST, ISHIGAMI_TOTAL = (0.313905, 0.442411, 0.0), (0.557589, 0.442411, 0.243684)


def sobol_g(*a: float) -> Callable[[Floats], Floats]:
    """Sobol's G function with those coefficients."""
    return lambda unit: np.prod((np.abs(4 * unit - 2) + np.array(a)) / (1 + np.array(a)), axis=1)
