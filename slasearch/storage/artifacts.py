"""Files that trials hand back: written so that a crash leaves the whole file or none, read only if unchanged.

They lie in the home folder, or where `resources.storage_path` says. The database holds their paths there; those that
begin with `artifacts/` are in the home folder, where they were written before the study had a place of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from slasearch.errors import ArtifactError, StorageError
from slasearch.storage.places import Folder, Place, place_of
from slasearch.storage.rows import ArtifactRow, StudyRow

__all__ = ["Artifacts"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_AT_HOME = "artifacts"


@dataclass(frozen=True)
class Artifacts:
    """The files of one study's trials.

    Args:
        home: The home folder; the study's files are in `artifacts/FOLDER/TRIAL/` under it.
        study: The study's name.
        folder: The study's folder, which no other study of that name has.
        store: Where they are written instead, in `FOLDER/TRIAL/`; None: nowhere else.
    """

    home: Place
    study: str
    folder: str
    store: Place | None = None

    @classmethod
    def of(cls, study: StudyRow, home: Path, storage_path: str | None) -> Artifacts:
        """Those of a stored study whose file has this `resources.storage_path`."""
        store = None if storage_path is None else place_of(storage_path)
        return cls(Folder(home), study.name, study.folder, store)

    def prepare(self) -> None:
        """Finds out whether a store of the study's own takes files, by leaving one that says whose they are.

        Raises:
            StorageError: It cannot be reached, or refuses.
        """
        if self.store is not None:
            text = f"Trained adapters of the slasearch study {self.study}, one folder for each trial.\n"
            self.store.write(self.folder, {"README": text.encode()})

    def write(self, trial_id: int, files: Mapping[str, bytes]) -> list[ArtifactRow]:
        """Writes a trial's files; writing the same again changes nothing.

        Raises:
            ArtifactError: A name is not a plain file name.
            StorageError: The disk or the store refuses.
        """
        if not files:
            return []
        for name in files:
            if not _NAME.fullmatch(name):
                raise ArtifactError(f"artifact of trial {trial_id}: expected a plain file name, got {name!r}.")
        place, folder = self._of_trial(trial_id)
        place.write(folder, files)
        return [
            ArtifactRow(name, f"{folder}/{name}", hashlib.sha256(data).hexdigest(), len(data))
            for name, data in files.items()
        ]

    def read(self, row: ArtifactRow) -> bytes:
        """The bytes of a stored file.

        Raises:
            ArtifactError: The file is missing, changed, or outside the place where it should be.
        """
        place = self._place(row)
        path = PurePosixPath(row.path)
        if path.is_absolute() or ".." in path.parts:
            raise ArtifactError(f"artifact {row.name}: expected a path under {place.where('')}, got {row.path!r}.")
        try:
            data = place.read(row.path)
        except OSError as error:
            raise ArtifactError(
                f"artifact {self.where(row)}: expected {row.bytes} bytes, got: {error}. Adapters lie in the home "
                "folder or in resources.storage_path of the study; set SLASEARCH_HOME if the former was moved."
            ) from error
        found = hashlib.sha256(data).hexdigest()
        if found != row.sha256:
            raise ArtifactError(
                f"artifact {self.where(row)}: expected SHA-256 {row.sha256}, got {found}. The file was changed after "
                "it was stored; restore it, or run the trial again."
            )
        return data

    def where(self, row: ArtifactRow) -> str:
        """The place of a file in full, for people."""
        return self._place(row).where(row.path)

    def discard_trial(self, trial_id: int) -> None:
        """Removes what a trial left that ended before its rows were written, as far as it can be removed."""
        place, folder = self._of_trial(trial_id)
        with suppress(StorageError):
            place.remove(folder)

    def astray(self, rows: Iterable[ArtifactRow]) -> list[ArtifactRow]:
        """Those of the study's files that `discard` would not remove: they lie elsewhere, or nowhere any more.

        Raises:
            StorageError: The store cannot be reached, or refuses.
        """
        rows = list(rows)
        places = [(self.home, f"{_AT_HOME}/{self.folder}/")]
        places += [] if self.store is None else [(self.store, f"{self.folder}/")]
        found = {
            path
            for place, folder in places
            for path in place.present([row.path for row in rows if row.path.startswith(folder)])
        }
        return [row for row in rows if row.path not in found]

    def discard(self) -> None:
        """Removes the files of all trials.

        Raises:
            StorageError: The disk or the store refuses.
        """
        self.home.remove(f"{_AT_HOME}/{self.folder}")
        if self.store is not None:
            self.store.remove(self.folder)

    def _of_trial(self, trial_id: int) -> tuple[Place, str]:
        if self.store is None:
            return self.home, f"{_AT_HOME}/{self.folder}/{trial_id}"
        return self.store, f"{self.folder}/{trial_id}"

    def _place(self, row: ArtifactRow) -> Place:
        if PurePosixPath(row.path).parts[:1] == (_AT_HOME,):
            return self.home
        if self.store is None:
            raise ArtifactError(
                f"artifact {row.name}: expected the resources.storage_path under which {row.path} was stored, got a "
                "study without one. Put it back into the study file and run the study's command again."
            )
        return self.store
