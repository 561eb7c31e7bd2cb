"""Several drivers begin at once: on a new database, and on a study whose driver has just been killed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from chaos_kit import OBJECTIVES, POINTS, SEED, Study, at_moment, chaos_study, forms_on_databases
from chaos_table import Row
from truth import Results, tell

from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig

RIVALS = 3
REFUSED = (
    "LeaseError: study chaos: expected nobody to run it, got process",
    "LeaseError: study chaos: another driver has just started on it",
)


@forms_on_databases(1, 20)
def test_one_of_several_drivers_gets_the_study(
    times: int,
    database: str,
    place: Callable[[str, Path], Locations],
    tmp_path: Path,
    undisturbed: Callable[[StudyConfig], Results],
    row: Callable[..., Row],
) -> None:
    told = row(f"{RIVALS} drivers at once, {database}", "no Ray")
    draw = random.Random(f"{SEED}:{database}")
    for number in range(times):
        kind = list(OBJECTIVES)[number % len(OBJECTIVES)]
        study = Study(chaos_study(kind, POINTS), place(database, tmp_path / str(number)), tmp_path / f"notes{number}")
        for last in (False, True):
            moment = time.monotonic() + 1.0
            rivals = [study.start(seed=draw.randrange(10**6), before=at_moment(moment)) for _ in range(RIVALS)]
            told.disturbances += 1
            refused = len(study.errors())
            while sum(rival.is_alive() for rival in rivals) > 1:
                time.sleep(0.01)
            if not last:
                time.sleep(draw.uniform(0.0, 0.5))
                for rival in rivals:
                    rival.kill()
            for rival in rivals:
                rival.join()
            assert len(study.errors()) - refused == RIVALS - 1, study.errors()
        others = [error for error in study.errors() if not error.startswith(REFUSED)]
        assert others == []
        tell(told, study.config, study.where, undisturbed(study.config), study.acknowledged())
