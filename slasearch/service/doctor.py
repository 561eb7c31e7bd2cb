"""What is here, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from slasearch.config.locations import Locations, redacted
from slasearch.errors import StorageError
from slasearch.files import existing
from slasearch.service.read_only import read_only_engine_arguments
from slasearch.storage.engine import database_file, is_there, storage_errors
from slasearch.storage.upgrade import newest_revision, stored_revision

__all__ = ["Check", "examine"]

LOW_DISK_GB = 2.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `status` is `ok`, `note` (works, but worth knowing) or `problem`."""

    area: Literal["python", "package", "extra", "device", "storage", "disk"]
    name: str
    status: Literal["ok", "note", "problem"]
    found: str
    advice: str = ""


def examine(locations: Locations) -> list[Check]:
    """Looks at Python, packages, extras, devices, the database, the home folder and the disk; changes nothing.

    Args:
        locations: Where the studies' database and files lie.
    """
    home = locations.home
    return [_python(), *_packages(), _device(), _storage(locations.storage_url), _home(home), _disk(home)]


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    return Check("python", "python", "ok", found)


def _packages() -> list[Check]:
    """One check for each package that slasearch or one of its extras asks for."""
    asked = [(wanted, extra) for wanted, extra in _requirements("slasearch") if wanted.name != "slasearch"]
    return [_package(wanted, extra) for wanted, extra in asked]


def _requirements(package: str) -> Iterator[tuple[Requirement, str | None]]:
    """What a package asks for on this machine, and for which of its extras; None: always."""
    extras = metadata.metadata(package).get_all("Provides-Extra") or []
    for text in metadata.requires(package) or ():
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield wanted, None
        else:
            yield from ((wanted, extra) for extra in extras if wanted.marker.evaluate({"extra": extra}))


def _package(wanted: Requirement, extra: str | None) -> Check:
    label = f"{wanted.name} [{extra}]" if extra else wanted.name
    found = _found(wanted)
    lacking = [] if found is None else list(_lacking(wanted))
    if found is not None and wanted.specifier.contains(found, prereleases=True) and not lacking:
        return Check("extra" if extra else "package", label, "ok", found)
    said = "missing" if found is None else f"{found}, without {', '.join(lacking)}" if lacking else found
    said += f", expected {wanted.specifier}" if found is not None and not lacking else ""
    if extra:
        return Check("extra", label, "note", said, f"pip install -e '.[{extra}]'")
    return Check("package", label, "problem", said, "pip install -e .")


def _found(wanted: Requirement) -> str | None:
    try:
        return metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return None


def _lacking(wanted: Requirement) -> Iterator[str]:
    """What the extras of an installed package ask for and is not here: plain Ray has no server for jobs."""
    for part, extra in _requirements(wanted.name) if wanted.extras else ():
        if extra in wanted.extras and _found(part) is None:
            yield part.name


def _device() -> Check:
    import torch

    cores = f"{os.cpu_count()} CPU cores"
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Check("device", "device", "ok", f"{cores}; GPU: {names}", "Set resources.gpus_per_trial to use it.")
    return Check("device", "device", "ok", f"{cores}; no GPU")


def _storage(url: str) -> Check:
    from sqlalchemy import create_engine, text

    shown = redacted(url)
    try:
        file = database_file(url)
        if file is not None and not is_there(file):
            return Check("storage", "database", "note", f"{shown}: not there yet", "`slasearch run FILE` makes it.")
        opened, arguments = read_only_engine_arguments(url, brief=True)
        with storage_errors(url):
            engine = create_engine(opened, **arguments)
            revision = stored_revision(engine)
            if revision is None:
                return Check(
                    "storage", "database", "note", f"{shown}: no studies yet", "`slasearch run FILE` adds one."
                )
            with engine.connect() as connection:
                studies = connection.execute(text("SELECT count(*) FROM sla_study")).scalar()
    except StorageError as error:
        return Check("storage", "database", "problem", str(error))
    if revision != newest_revision():
        found = f"{shown}: schema {revision}, this slasearch knows {newest_revision()}"
        return Check("storage", "database", "note", found, "`slasearch run FILE` upgrades an older one.")
    return Check("storage", "database", "ok", f"{shown}: schema {revision}, studies: {studies}")


def _home(home: Path) -> Check:
    """Whether the home folder is one that can be written in, or can be made."""
    seen = _seen(home)
    if seen.is_dir() and os.access(seen, os.W_OK | os.X_OK):
        return Check("storage", "home folder", "ok", str(home) if seen == home else f"{home}: not there yet")
    found = f"{seen}: " + ("a folder that cannot be written in" if seen.is_dir() else "no folder")
    return Check("storage", "home folder", "problem", found, "Make it writable, or set SLASEARCH_HOME.")


def _seen(path: Path) -> Path:
    """The path, or the nearest one above it that can be seen."""
    return next(one for one in (path, *path.parents) if existing(str(one)))


def _disk(home: Path) -> Check:
    free = shutil.disk_usage(_seen(home)).free / 1e9
    if free < LOW_DISK_GB:
        return Check("disk", "free disk", "problem", f"{free:.1f} GB at {home}", "Free some, or set SLASEARCH_HOME.")
    return Check("disk", "free disk", "ok", f"{free:.1f} GB at {home}")
