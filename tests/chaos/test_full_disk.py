"""A disk that is full again and again: a small file system that grows a little, or a limit on the size of files."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from chaos_kit import OBJECTIVES, SEED, Study, chaos_study, forms, locations, nothing
from chaos_table import Row
from truth import Results, tell

from slasearch.config.schema import StudyConfig

POINTS = 32
KIB = 1024
FIRST, LEAST, MOST = 300 * KIB, 8 * KIB, 400 * KIB
"""Room at first, and by how much it grows before the same command is run again (bytes)."""
PLENTY = 256 * KIB * KIB

Room = Callable[[int], Callable[[], object]]
"""Gives a study so much room; returns what its drivers are to do first."""


@contextmanager
def small_file_system(folder: Path) -> Iterator[Room]:
    """A file system in memory."""
    folder.mkdir()

    def mount(size: int, *options: str) -> Callable[[], object]:
        words = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system of a given size can be mounted here: {done.stderr.strip()}")
        return nothing

    if os.getuid() or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system of a given size")
    mount(FIRST)
    try:
        yield lambda size: mount(size, "remount")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextmanager
def limited_files(folder: Path) -> Iterator[Room]:
    """Files may not grow beyond a size, as under a quota."""
    folder.mkdir()
    yield lambda size: partial(_limit, size)


@pytest.mark.parametrize(
    "limits", [pytest.param(small_file_system, id="disk"), pytest.param(limited_files, id="file size")]
)
@forms(3, 40)
def test_the_disk_is_full(
    times: int,
    limits: Callable[..., Iterator[Room]],
    tmp_path: Path,
    undisturbed: Callable[[StudyConfig], Results],
    row: Callable[..., Row],
) -> None:
    told = row(f"no room: {limits.__name__.replace('_', ' ')}, SQLite", "no Ray")
    draw = random.Random(f"{SEED}:{limits.__name__}")
    while told.disturbances < times:
        kind = list(OBJECTIVES)[told.studies % len(OBJECTIVES)]
        folder = tmp_path / str(told.studies)
        with limits(folder) as room:
            study = Study(chaos_study(kind, POINTS), locations(folder), tmp_path / f"notes{told.studies}")
            size, full = FIRST, 0
            while told.disturbances < times:
                assert study.run(seed=draw.randrange(10**6), before=room(size)) == 0
                if len(study.errors()) == full:
                    break
                full += 1
                told.disturbances += 1
                size += draw.randint(LEAST, MOST)
            assert study.run(seed=0, before=room(PLENTY)) == 0
            errors = study.errors()
            assert len(errors) == full, "expected none once there is room"
            assert all("StorageError" in text and "Free some space" in text for text in errors), errors
            tell(told, study.config, study.where, undisturbed(study.config), study.acknowledged())
