"""The whole run command with a real Ray: killed and run again until the study is done, and begun twice at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from chaos_kit import OBJECTIVES, POINTS, SEED, chaos_study, locations, long_only, texts
from chaos_table import Row
from session_kit import trials_of
from truth import Results, tell

from slasearch.config.schema import StudyConfig
from slasearch.errors import StorageError
from slasearch.storage.store import Store

SECONDS = 0.5
"""How long a trial takes."""

COMMAND = """
import sys
from functools import partial
from pathlib import Path
from chaos_kit import chaos_study, locations, texts
from chaos_workers import SignedWorker
from slasearch.errors import LeaseError
from slasearch.orchestrate.driver import run_study
folder = Path({folder!r})
config = chaos_study({kind!r}, {points}, tasks=texts(folder))
try:
    summary = run_study(config, locations(folder), worker_factory=partial(SignedWorker, seconds={seconds}))
except LeaseError as error:
    sys.exit(f"LeaseError: {{error}}")
sys.exit(0 if (summary.state, summary.failed) == ("finished", 0) else f"expected it to finish, got {{summary}}")
"""


def begin(folder: Path, kind: str) -> subprocess.Popen[str]:
    """The command in the foreground of a terminal of its own."""
    code = COMMAND.format(folder=str(folder), kind=kind, points=POINTS, seconds=SECONDS)
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "search"), os.environ.get("PYTHONPATH", "")]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=variables, start_new_session=True
    )


def complete(where_url: str, name: str) -> dict[int, dict[str, float]]:
    """The objectives of the attempts that stand as complete in the database."""
    try:
        with closing(Store(where_url)) as store:
            study = store.find_study(name)
            rows = [] if study is None else store.trials(study.id)
    except StorageError:
        rows = []  # the tables have not been made yet
    names = ("score", "exported_parameters")
    return {row.id: {name: row.objective(name) for name in names} for row in rows if row.state == "complete"}


@long_only(6)
def test_run_commands_are_killed(
    times: int, tmp_path: Path, undisturbed: Callable[[StudyConfig], Results], row: Callable[..., Row]
) -> None:
    told = row("SIGKILL of the driver, at a time, SQLite", "real Ray")
    draw = random.Random(SEED)
    kind = next(iter(OBJECTIVES))
    config, where, acknowledged = chaos_study(kind, POINTS, tasks=texts(tmp_path)), locations(tmp_path), {}
    expected = undisturbed(config)
    while told.disturbances < times:
        process = begin(tmp_path, kind)
        begun = len(trials_of(where, config.name)) if acknowledged else 0
        while process.poll() is None and not (acknowledged and len(trials_of(where, config.name)) > begun):
            time.sleep(0.2)  # most of a run's time is Ray's start, in which there is little to be lost
            acknowledged |= complete(where.storage_url, config.name)
        time.sleep(draw.uniform(0.0, 3 * SECONDS))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "expected the study to be large enough for all kills"
        told.disturbances += 1
        acknowledged |= complete(where.storage_url, config.name)
    last = begin(tmp_path, kind)
    _, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    tell(told, config, where, expected, acknowledged)


@long_only(3)
def test_two_run_commands_begin_at_once(
    times: int, tmp_path: Path, undisturbed: Callable[[StudyConfig], Results], row: Callable[..., Row]
) -> None:
    told = row("two drivers at once, SQLite", "real Ray")
    for number in range(times):
        kind = list(OBJECTIVES)[number % len(OBJECTIVES)]
        folder = tmp_path / str(number)
        folder.mkdir()
        config, where = chaos_study(kind, POINTS, tasks=texts(folder)), locations(folder)
        both = [begin(folder, kind) for _ in range(2)]
        errors = [process.communicate(timeout=300)[1] for process in both]
        told.disturbances += 1
        assert sorted(process.returncode for process in both) == [0, 1], errors
        refused = next(text for process, text in zip(both, errors, strict=True) if process.returncode == 1)
        assert refused.strip().startswith("LeaseError: study chaos: expected nobody to run it, got process"), refused
        tell(told, config, where, undisturbed(config), {})
