"""Files that trials hand back: written so that a crash leaves the whole file or none, read only if unchanged."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from slasearch.errors import ArtifactError, StorageError
from slasearch.files import write_durably
from slasearch.storage.rows import ArtifactRow

__all__ = ["discard_artifacts", "discard_study", "disk_errors", "read_artifact", "write_artifacts"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def write_artifacts(home: Path, study: str, trial_id: int, files: Mapping[str, bytes]) -> list[ArtifactRow]:
    """Writes a trial's files into `artifacts/STUDY/TRIAL/` under `home`; writing the same again changes nothing.

    Raises:
        ArtifactError: A name is not a plain file name.
        StorageError: The disk refuses.
    """
    if not files:
        return []
    for name in files:
        if not _NAME.fullmatch(name):
            raise ArtifactError(f"artifact of trial {trial_id}: expected a plain file name, got {name!r}.")
    folder = _folder(home, study, trial_id)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        rows = [_write(home, folder / name, data) for name, data in files.items()]
    return rows


def read_artifact(home: Path, row: ArtifactRow) -> bytes:
    """The bytes of a stored file.

    Raises:
        ArtifactError: The file is missing, changed, or outside `home`.
    """
    path = (home / row.path).resolve()
    if not path.is_relative_to(home.resolve()):
        raise ArtifactError(f"artifact {row.name}: expected a path under {home}, got {row.path!r}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"artifact {path}: expected {row.bytes} bytes, got {error.strerror}.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != row.sha256:
        raise ArtifactError(
            f"artifact {path}: expected SHA-256 {row.sha256}, got {found}. The file was changed after it was stored; "
            "restore it, or run the trial again."
        )
    return data


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns what the disk refuses under `path` into StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: expected to write here, got: {error.strerror}. Free some space or make the folder writable, "
            "then run the same command again."
        ) from error


def discard_artifacts(home: Path, study: str, trial_id: int) -> None:
    """Removes what a trial left that ended before its rows were written."""
    shutil.rmtree(_folder(home, study, trial_id), ignore_errors=True)


def discard_study(home: Path, study: str) -> None:
    """Removes the files of a study's trials, logs included.

    Raises:
        StorageError: The disk refuses.
    """
    for kind in ("artifacts", "logs"):
        folder = home / kind / study
        if folder.is_dir():
            with disk_errors(folder):
                shutil.rmtree(folder)


def _folder(home: Path, study: str, trial_id: int) -> Path:
    return home / "artifacts" / study / str(trial_id)


def _write(home: Path, path: Path, data: bytes) -> ArtifactRow:
    write_durably(path, data)
    relative = path.relative_to(home).as_posix()
    return ArtifactRow(path.name, relative, hashlib.sha256(data).hexdigest(), len(data))
