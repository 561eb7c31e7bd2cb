"""Drivers killed by SIGKILL: at any statement of any transaction, and at any time at all."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos_kit import OBJECTIVES, POINTS, SEED, Study, chaos_study, forms_on_databases
from chaos_table import Row
from truth import Results, tell

from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig

MOST_STEPS = 1200
"""Steps of the longest life: some 250 until a study is open, some 160 for each trial."""
MOST_SECONDS = 1.0


def killed_at_a_statement(study: Study, draw: random.Random) -> bool:
    code = study.run(seed=draw.randrange(10**6), dies_at=draw.randint(1, MOST_STEPS))
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def killed_at_a_time(study: Study, draw: random.Random) -> bool:
    process = study.start(seed=draw.randrange(10**6))
    process.join(draw.uniform(0.0, MOST_SECONDS))
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode != 0


@pytest.mark.parametrize(
    "kill", [pytest.param(killed_at_a_statement, id="statement"), pytest.param(killed_at_a_time, id="time")]
)
@forms_on_databases(4, 50)
def test_drivers_are_killed(
    times: int,
    kill: Callable[[Study, random.Random], bool],
    database: str,
    place: Callable[[str, Path], Locations],
    tmp_path: Path,
    undisturbed: Callable[[StudyConfig], Results],
    row: Callable[..., Row],
    request: pytest.FixtureRequest,
) -> None:
    told = row(
        f"SIGKILL of the driver, {kill.__name__.replace('_', ' ').removeprefix('killed ')}, {database}", "no Ray"
    )
    draw = random.Random(f"{SEED}:{request.node.name}")
    while told.disturbances < times:
        kind = list(OBJECTIVES)[told.studies % len(OBJECTIVES)]
        folder = tmp_path / str(told.studies)
        study = Study(chaos_study(kind, POINTS), place(database, folder), tmp_path / f"notes{told.studies}")
        while told.disturbances < times and kill(study, draw):
            told.disturbances += 1
        assert study.run(seed=0) == 0
        assert study.errors() == []
        tell(told, study.config, study.where, undisturbed(study.config), study.acknowledged())
