"""Files that a crash leaves whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from slasearch.files import write_durably


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    synced: list[tuple[bool, bool]] = []

    def fsync(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_durably(path, b"new")
    assert synced == [(False, False), (True, True)]
    assert path.read_bytes() == b"new"


def test_a_disk_that_refuses_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, b"new")
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {"file": b"old"}


def test_folders_that_are_made_are_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in the folder that holds it: else its name, and the file with it, may be gone after a power failure."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    write_durably(tmp_path / "a" / "b" / "file", b"new")
    assert set(synced[1:]) == {folder.stat().st_ino for folder in (tmp_path / "a" / "b", tmp_path / "a", tmp_path)}
    synced.clear()
    write_durably(tmp_path / "a" / "b" / "other", b"new")
    assert synced[1:] == [(tmp_path / "a" / "b").stat().st_ino]
