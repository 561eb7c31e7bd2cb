"""The system's clock is set forwards and back, by seconds and by years, while drivers run and between them."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from chaos_kit import OBJECTIVES, POINTS, SEED, Study, chaos_study, forms, locations
from chaos_table import Row
from truth import Results, tell

from slasearch.config.schema import StudyConfig

MOST_STEPS = 2000


class JumpingClock:
    """`time.time` on a machine whose clock is set at one look of ten, by a second to ten years."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._real = time.time
        self._offset = self._jump()

    def __call__(self) -> float:
        if self._draw.random() < 0.1:
            self._offset = self._jump()
        return self._real() + self._offset

    def _jump(self) -> float:
        return self._draw.choice([-1, 1]) * 10 ** self._draw.uniform(0.0, 8.5)


def set_clock(seed: int) -> None:
    """Puts a jumping clock in the place of this process's."""
    time.time = JumpingClock(seed)


@forms(3, 40)
def test_the_clock_jumps(
    times: int, tmp_path: Path, undisturbed: Callable[[StudyConfig], Results], row: Callable[..., Row]
) -> None:
    told = row("clock set at random, and SIGKILL of the driver, SQLite", "no Ray")
    draw = random.Random(SEED)
    limits = {"max_hours": 1, "max_device_hours": 1, "failure_window": 10_000}
    while told.disturbances < times:
        kind = list(OBJECTIVES)[told.studies % len(OBJECTIVES)]
        where = locations(tmp_path / str(told.studies))
        study = Study(chaos_study(kind, POINTS, limits=limits), where, tmp_path / f"notes{told.studies}")
        code = -signal.SIGKILL
        while code != 0:
            told.disturbances += 1
            steps = draw.randint(1, MOST_STEPS) if told.disturbances < times else None
            code = study.run(
                seed=draw.randrange(10**6), dies_at=steps, before=partial(set_clock, draw.randrange(10**6))
            )
            assert code in (0, -signal.SIGKILL), code
        assert study.errors() == []
        tell(told, study.config, where, undisturbed(study.config), study.acknowledged())
