"""Checkpoints that are damaged while nobody looks: a killed trial goes on from the last whole one, to the same end.

The only scenario in which something is trained: a small random BERT, by the real worker, in the driver's own process.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from chaos_kit import SEED, Study, chaos_study, drive, forms, locations, texts
from chaos_table import Row
from session_kit import column, trials_of
from truth import results_of, tell

from slasearch.config.schema import StudyConfig
from slasearch.records import CheckpointPlan, Progress, TrialReport, TrialSpec
from slasearch.storage.models import SlaEvent
from slasearch.testing.tiny import save_tiny

STEPS = 16


def trained(
    spec: TrialSpec, plan: CheckpointPlan | None, *, dies_after: int | None = None
) -> Iterator[Progress | TrialReport]:
    """A trial of the worker that trains; it takes its process along after so many checkpoints."""
    from slasearch.tasks.load import load_task
    from slasearch.trial.checkpoints import Checkpoints
    from slasearch.trial.run import TrialWorker

    save, saved = Checkpoints.save, []

    def saving(checkpoints: Checkpoints, step: int, state: Any) -> Any:
        saved.append(save(checkpoints, step, state))
        if len(saved) == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return saved[-1]

    if dies_after is not None:
        Checkpoints.save = saving  # type: ignore[method-assign]
    tasks = [load_task(task) for task in spec.tasks]
    yield from TrialWorker(tasks, cache=None, threads=1, device="cpu").run(spec, plan)


def flipped(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def overwritten(path: Path, draw: random.Random) -> None:
    path.write_bytes(draw.randbytes(path.stat().st_size))


def removed(path: Path, draw: random.Random) -> None:
    path.unlink()


DAMAGES = (flipped, cut, overwritten, removed)


def small(folder: Path) -> StudyConfig:
    """Two trials of sixteen steps, each of which leaves a checkpoint."""
    return chaos_study(
        "one objective",
        2,
        optimise=0,
        confirm=None,
        tasks=texts(folder),
        backbone={"id": f"path:{save_tiny('bert', folder / 'bert')}"},
        training={"steps": STEPS, "batch_size": 8, "learning_rate": {"log_float": [1e-4, 1e-2]}, "reports": 4},
        pool={"sites": ["attn.q"], "kinds": ["lora"], "ranks": [1]},
        resources={"checkpoint_minutes": 1e-9, "max_concurrent_trials": 2},
    )


@forms(1, 12)
def test_checkpoints_are_corrupted(times: int, tmp_path: Path, row: Callable[..., Row]) -> None:
    told = row("corrupted checkpoint, and SIGKILL of the driver, SQLite", "no Ray")
    draw = random.Random(SEED)
    config = small(tmp_path)
    whole = locations(tmp_path / "whole")
    drive(Study(config, whole, tmp_path / "whole-notes"), seed=0, worker=trained)
    expected = results_of(config, whole)
    for number in range(times):
        where = locations(tmp_path / str(number))
        study = Study(config, where, tmp_path / f"notes{number}")
        worker = partial(trained, dies_after=draw.randint(4, STEPS + STEPS // 2))
        assert study.run(seed=draw.randrange(10**6), worker=worker) == -signal.SIGKILL
        folders = [folder for folder in where.checkpoints.glob(f"{config.name}-*/*") if any(folder.glob("*.json"))]
        for folder in folders:
            newest = max(folder.glob("[0-9]*.json")).with_suffix(draw.choice([".json", ".safetensors"]))
            DAMAGES[(number + told.disturbances) % len(DAMAGES)](newest, draw)
            told.disturbances += 1
        drive(study, seed=0, worker=trained)
        kinds = column(where, sa.select(SlaEvent.kind))
        assert kinds.count("checkpoint.resumed") + kinds.count("checkpoint.none") >= 1, kinds
        assert {row.state for row in trials_of(where, config.name)} <= {"complete", "fail"}
        tell(told, config, where, expected, study.acknowledged())
