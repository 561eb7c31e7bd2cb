"""A PostgreSQL server restarted at any time while a study runs.

`tests/orchestrate/test_database_restart.py` does the same on a real Ray, `tests/search/test_outage.py` between any two
steps of a trial.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chaos_kit import OBJECTIVES, SEED, Study, chaos_study, long_only
from chaos_table import Row
from session_kit import trials_of
from truth import Results, tell

from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig

POINTS = 32


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["fast", "immediate"])
@long_only(20)
def test_the_server_is_restarted(
    times: int,
    mode: str,
    place: Callable[[str, Path], Locations],
    postgres_server: Any,
    tmp_path: Path,
    undisturbed: Callable[[StudyConfig], Results],
    row: Callable[..., Row],
) -> None:
    told = row(f"PostgreSQL restarted ({mode})", "no Ray")
    draw = random.Random(f"{SEED}:{mode}")
    while told.disturbances < times:
        kind = list(OBJECTIVES)[told.studies % len(OBJECTIVES)]
        where = place("PostgreSQL", tmp_path / str(told.studies))
        study = Study(chaos_study(kind, POINTS), where, tmp_path / f"notes{told.studies}")
        driver = study.start(seed=draw.randrange(10**6), slow=0.01)
        while not study.acknowledged() and driver.is_alive():
            driver.join(0.05)  # a server that has never answered is not waited for
        while told.disturbances < times:
            driver.join(draw.uniform(0.0, 1.5))
            if not driver.is_alive():
                break
            postgres_server.restart(mode)
            told.disturbances += 1
        driver.join()
        assert (driver.exitcode, study.errors()) == (0, [])
        assert all(trial.attempt == 1 for trial in trials_of(where, study.config.name))
        tell(told, study.config, where, undisturbed(study.config), study.acknowledged())
