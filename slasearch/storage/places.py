"""Where artifacts can lie: in a folder, or in a store that pyarrow opens by a URI; `/` parts a path in both."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from slasearch.errors import StorageError
from slasearch.files import existing, write_durably

__all__ = ["Folder", "Place", "RemoteStore", "disk_errors", "place_of"]

_WHOLE = ("s3", "gcs", "abfs")
"""Stores in which a file appears whole or not at all: it needs no temporary name, and renaming is a copy."""


class Place(Protocol):
    """Files in folders."""

    def where(self, path: str) -> str:
        """How messages call a file or folder; "" is the place itself."""

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Writes files, so that a crash leaves each one whole or missing. Raises StorageError."""

    def read(self, path: str) -> bytes:
        """The content of a file. Raises OSError, whose text says why there is none."""

    def present(self, paths: Sequence[str]) -> list[str]:
        """Those of the paths at which something is. Raises StorageError."""

    def remove(self, folder: str) -> None:
        """Removes a folder with all that is in it, if it is there. Raises StorageError."""


def place_of(storage_path: str) -> Place:
    """The place that `resources.storage_path` names; it is not looked at yet."""
    if "://" not in storage_path:
        return Folder(Path(storage_path))
    if storage_path.startswith("file://"):
        return Folder(Path(unquote(urlsplit(storage_path).path)))
    return RemoteStore(storage_path)


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


# ---------------------------------------------------------------- a folder


@dataclass(frozen=True)
class Folder:
    """A folder of this machine, or of a shared file system: names and contents are on the disk before a write ends."""

    root: Path

    def where(self, path: str) -> str:
        """As `Place` has it."""
        return str(self.root / path)

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """As `Place` has it."""
        path = self.root / folder
        with disk_errors(path):
            for name, data in files.items():
                write_durably(path / name, data)

    def read(self, path: str) -> bytes:
        """As `Place` has it; what lies elsewhere behind a link is not read."""
        found = (self.root / path).resolve()
        if not found.is_relative_to(self.root.resolve()):
            raise OSError(f"a link to {found}")
        try:
            return found.read_bytes()
        except OSError as error:
            raise OSError(error.strerror) from error

    def present(self, paths: Sequence[str]) -> list[str]:
        """As `Place` has it."""
        return [path for path in paths if existing(str(self.root / path))]

    def remove(self, folder: str) -> None:
        """As `Place` has it."""
        path = self.root / folder
        if path.is_dir():
            with disk_errors(path):
                shutil.rmtree(path)


# ---------------------------------------------------------------- a store


def _connect(uri: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    filesystem, path = FileSystem.from_uri(uri)
    return filesystem, str(path)


@dataclass(frozen=True)
class RemoteStore:
    """A store that pyarrow opens, with credentials from where it takes them; it is reached at the first use.

    Args:
        uri: Such as `s3://bucket/prefix`; holds no secret.
        connect: From the URI to a pyarrow file system and the path in it.
    """

    uri: str
    connect: Callable[[str], tuple[Any, str]] = _connect

    def where(self, path: str) -> str:
        """As `Place` has it; the URI's parameters are left out."""
        return f"{self.uri.partition('?')[0].rstrip('/')}/{path}".rstrip("/")

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """As `Place` has it."""
        with self._errors("write in"):
            filesystem, base = self._at(folder)
            whole = filesystem.type_name in _WHOLE
            if not whole:
                filesystem.create_dir(base)
            for name, data in files.items():
                path = f"{base}/{name if whole else f'.{name}.{os.getpid()}'}"
                with filesystem.open_output_stream(path) as stream:
                    stream.write(data)
                if not whole:
                    filesystem.move(path, f"{base}/{name}")

    def read(self, path: str) -> bytes:
        """As `Place` has it."""
        from pyarrow import ArrowException

        try:
            filesystem, full = self._at(path)
            with filesystem.open_input_stream(full, compression=None) as stream:
                return bytes(stream.read())
        except (OSError, ArrowException) as error:
            raise OSError(_first_line(error)) from error

    def present(self, paths: Sequence[str]) -> list[str]:
        """As `Place` has it."""
        with self._errors("look for files in"):
            filesystem, root = self._at("")
            found = filesystem.get_file_info([root + path for path in paths])
        return [path for path, one in zip(paths, found, strict=True) if one.type.name != "NotFound"]

    def remove(self, folder: str) -> None:
        """As `Place` has it."""
        with self._errors("remove files from"):
            filesystem, base = self._at(folder)
            if filesystem.get_file_info(base).type.name != "NotFound":
                filesystem.delete_dir(base)

    def _at(self, path: str) -> tuple[Any, str]:
        filesystem, root = self._opened
        return filesystem, f"{root.rstrip('/')}/{path}"

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return self.connect(self.uri)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turns what pyarrow raises into StorageError."""
        from pyarrow import ArrowException

        try:
            yield
        except (OSError, ArrowException) as error:
            raise StorageError(
                f"{self.uri}: expected a store to {what}, got: {_first_line(error)}. Look at resources.storage_path "
                "and at the credentials in the environment, then run the same command again."
            ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
