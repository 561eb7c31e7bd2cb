"""What `import slasearch` offers to Python programs: the same functions as behind the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slasearch.config.locations import locate

if TYPE_CHECKING:
    from slasearch.analysis.frames import StudyFrames
    from slasearch.search.study import StudySummary

__all__ = ["load_study", "run_study"]


def run_study(
    file: str | Path, *, storage: str | None = None, address: str | None = None, overrides: Sequence[str] = ()
) -> StudySummary:
    """Runs a study to its end, or goes on with it; once it is finished, does nothing.

    Args:
        file: The study file.
        storage: Database URL; None as on the command line.
        address: Ray cluster (`auto`, `HOST:PORT`); None starts Ray on this machine.
        overrides: Changes of fields, as `a.b=c`.

    Raises:
        ConfigError: The file is invalid.
        StudyConflictError: A study of this name exists with other content.
        LeaseError: Another process runs this study.
        StorageError: The database cannot be used.
    """
    from slasearch.orchestrate.driver import run_study as drive
    from slasearch.space import load_checked

    return drive(load_checked(Path(file), overrides), locate(storage), address=address)


def load_study(name: str, *, storage: str | None = None) -> StudyFrames:
    """Everything that was measured in a study, as tidy pandas frames.

    Args:
        name: The study.
        storage: Database URL; None as on the command line.

    Raises:
        StudyNotFoundError: There is no study of this name.
        StorageError: The database cannot be read.
    """
    from slasearch.analysis.frames import load_frames

    return load_frames(locate(storage).storage_url, name)
