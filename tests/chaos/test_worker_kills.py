"""Worker processes killed by SIGKILL on a real Ray, while they train, and where they are between two trials."""

from __future__ import annotations

import io
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from chaos_kit import OBJECTIVES, POINTS, SEED, chaos_study, forms, locations, texts
from chaos_table import Row
from chaos_workers import VisibleWorker
from session_kit import trials_of
from truth import Results, tell

from slasearch.config.schema import StudyConfig
from slasearch.orchestrate.driver import QUIET, run_study
from slasearch.orchestrate.local_ray import environment, local_ray
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.search.book import WORKER_LOST

SECONDS = 0.3
"""How long a trial takes."""


@pytest.fixture(scope="module", autouse=True)
def one_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    here = {"PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))}
    with environment(QUIET), local_ray(tmp_path_factory.mktemp("ray"), cpus=2, variables=here):
        yield


class Killer(threading.Thread):
    """Kills a worker that runs a trial now and then, until there were enough or the study has ended."""

    def __init__(self, folder: Path, draw: random.Random, most: int) -> None:
        super().__init__(daemon=True)
        self.killed: list[int] = []
        self.ended = threading.Event()
        self._folder, self._draw, self._most = folder, draw, most

    def run(self) -> None:
        while len(self.killed) < self._most and not self.ended.wait(self._draw.uniform(0.0, 2 * SECONDS)):
            at_work = sorted(int(path.name) for path in self._folder.iterdir())
            if at_work:
                victim = self._draw.choice(at_work)
                (self._folder / str(victim)).unlink(missing_ok=True)
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    self.killed.append(victim)


@forms(2, 30)
def test_workers_are_killed(
    times: int, tmp_path: Path, undisturbed: Callable[[StudyConfig], Results], row: Callable[..., Row]
) -> None:
    told = row("SIGKILL of a worker, SQLite", "real Ray")
    draw = random.Random(SEED)
    while told.disturbances < times:
        kind = list(OBJECTIVES)[told.studies % len(OBJECTIVES)]
        folder = tmp_path / str(told.studies)
        at_work = folder / "at work"
        at_work.mkdir(parents=True)
        config, where = chaos_study(kind, POINTS, tasks=texts(folder)), locations(folder)
        killer = Killer(at_work, draw, times - told.disturbances)
        killer.start()
        quiet = ProgressPrinter(io.StringIO(), terminal=False)
        factory = partial(VisibleWorker, seconds=SECONDS, folder=at_work)
        summary = run_study(config, where, progress=quiet, worker_factory=factory)
        killer.ended.set()
        killer.join()
        told.disturbances += len(killer.killed)
        assert (summary.state, summary.failed) == ("finished", 0)
        again = run_study(config, where, progress=quiet, worker_factory=factory)
        assert (again.state, again.ran) == ("finished", 0)
        reasons = [row.reason or "" for row in trials_of(where, config.name) if row.state == "fail"]
        assert all(reason.startswith(WORKER_LOST) for reason in reasons)
        assert len(reasons) <= len(killer.killed)
        tell(told, config, where, undisturbed(config), {})
