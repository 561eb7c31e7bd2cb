"""The synthetic study as a design alone, which varies all fields at once, for tests of report and analysis.

To the smooth response of `synthetic` comes what λ and the learning rate do together only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sqlalchemy as sa
from synthetic import RATE, START, WEIGHT, Plan, _Writer, study_config

from slasearch.config.schema import StudyConfig
from slasearch.space.design import design_points
from slasearch.storage.engine import make_engine
from slasearch.storage.models import SlaStudy
from slasearch.storage.store import Store

TOGETHER = 0.04


def together(params: dict[str, Any]) -> float:
    """Highest where one of both fields is at its upper and the other at its lower end; its mean along either is 0."""
    weight = math.log10(params[WEIGHT]) + 1
    rate = 2 * math.log10(params[RATE] / 3e-4) / math.log10(1e-2 / 3e-4) - 1
    return -TOGETHER * weight * rate


class _Designed(_Writer):
    def outcome(self, params: dict[str, Any], phase: str, role: str, repeat: int) -> dict[str, Any]:
        found = super().outcome(params, phase, role, repeat)
        return found | {name: found[name] + together(params) for name in ("score", "robustness", "_shift")}


def write_design(url: str, sampler: str, points: int, seeds: int = 1) -> StudyConfig:
    """Writes a study of the name `synthetic` whose one phase is that design; returns its study file."""
    plan = Plan(design_sampler=sampler, optimise=0, confirm=False)
    whole = study_config("synthetic", Plan(optimise=0, confirm=False)).model_dump(
        mode="json", by_alias=True, exclude_defaults=True
    )
    design = {"sampler": {"name": sampler}, "points": points, "seeds": seeds}
    config = StudyConfig.model_validate({**whole, "phases": {"design": design}})
    Store(url).upgrade()
    engine = make_engine(url)
    with engine.begin() as connection:
        key = connection.execute(
            sa.insert(SlaStudy).values(
                name=config.name, config=config.model_dump_json(), fingerprint="f" * 64, seed=0, state="finished",
                version="0.1.0", created_at=START, updated_at=START + 3600,
            )
        ).inserted_primary_key  # fmt: skip
        assert key is not None
        writer = _Designed(connection, int(key[0]), plan, np.random.default_rng(0))
        for point in design_points(config):
            writer.trial(phase="design", params=point.params, repeat=point.repeat, point=point.point)
    engine.dispose()
    return config
