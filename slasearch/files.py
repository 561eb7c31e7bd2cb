"""Files that users name, and files that are there whole or not at all, whatever ends process or machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["existing", "is_text", "write_durably"]


def is_text(word: str) -> bool:
    """Whether a word that the system has handed over (an argument, a variable, a path) is UTF-8, as all we write is."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def existing(name: str) -> Path | None:
    """The file or folder of a name that a user wrote, `~` resolved; None where none is seen or can be."""
    try:
        path = Path(name).expanduser()
        path.stat()
    except (OSError, RuntimeError, ValueError):  # RuntimeError: `~` of nobody; ValueError: a null character
        return None
    return path


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name in its folder, fsyncs it, renames it, and fsyncs the folder.

    A folder that is not there is made, with those above it; what they are in is fsynced too.

    Raises:
        OSError: The disk refuses; what stood at `path` before is still there.
    """
    made = [folder for folder in path.parents if not folder.is_dir()]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    for folder in (path.parent, *(folder.parent for folder in made)):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
