"""A Ray of our own on this machine, and the end of what a killed driver left of its own.

Ray's kernel fate sharing ends its server processes with a driver that dies of SIGKILL, and workers follow their raylet
within seconds, but two agents stay for a minute or more. So each driver notes its processes (pid and start time) in a
file, and the next one on the same home ends what still lives. Nobody attaches to a Ray by guess: each driver starts its
own in its own short folder (a socket's path may have 107 characters), so studies do not meet.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import psutil

from slasearch.config.locations import PASSWORD_FILE, STORAGE
from slasearch.errors import ClusterError
from slasearch.orchestrate.interrupts import SIGNALS, sigterm_kept
from slasearch.search.lease import Holder, is_dead, this_process
from slasearch.storage.places import disk_errors

__all__ = ["RUNS", "end_leftovers", "environment", "local_ray", "require_token"]

PREFIX = "sla-ray-"
RUNS = "runs"
"""Folder beside the notes where Ray Tune writes, a folder for each driver."""
LONGEST_FOLDER = 20
SERVERS = ("gcs_server", "raylet")
NOT_FOR_WORKERS = dict.fromkeys((STORAGE, PASSWORD_FILE, "PGPASSWORD", "PGPASSFILE"))
"""What says where the database is and how it is opened: workers never see it."""
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Has Ray's processes listen on 127.0.0.1 alone, on any system; by itself it listens on every address on Linux."""
OBJECT_STORE_BYTES = 256 * 2**20

_log = logging.getLogger(__name__)

Process = tuple[int, float]
"""Process id and start time (epoch seconds), so that no later process is taken for it."""


@contextmanager
def environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Sets environment variables, or takes away those that are None, and puts the earlier ones back."""
    earlier = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(earlier)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def require_token() -> None:
    """Lets only processes that know a fresh token use the Ray that is to be started: loopback is open to all users.

    To be called before Ray is first imported, which fixes this for the life of the process; the token therefore stays
    in the environment. Does nothing if Ray is imported already or `RAY_AUTH_MODE` is set: then that decides.
    """
    if "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


@contextmanager
def local_ray(
    records: Path, *, cpus: int, variables: Mapping[str, str], runs: str | None = None
) -> Iterator[Callable[[], None]]:
    """Starts Ray and ends it, whatever happens. Yields what notes its processes again, to be called now and then.

    Args:
        records: Folder of the notes.
        cpus: CPUs that Ray may give out; it counts the GPUs itself.
        variables: Environment of Ray's processes, which have the present one too, but for what opens the database.
        runs: Name of the folder in `RUNS` that Ray Tune writes to, which the caller removes; the next driver does if
            this one is killed.

    Raises:
        ClusterError: Ray does not start.
        StorageError: The disk refuses a note or Ray's folder.
    """
    temporary = _short_temporary_folder()
    with disk_errors(records):
        end_leftovers(records)
    with disk_errors(Path(temporary)):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=temporary))
    record = _Record(records / f"{folder.name}.json", folder, runs)
    try:
        with disk_errors(records):
            record.begin()
        with environment({**NOT_FOR_WORKERS, **LOOPBACK, **variables}), _signals_held_back(), sigterm_kept():
            _init(folder, cpus)
        record.started()
        yield record.note
    finally:
        record.end_helpers()
        _shut_down()
        record.end()


def end_leftovers(records: Path) -> None:
    """Ends the Ray processes of drivers that are dead, and removes their folders and Ray Tune's."""
    for path in sorted(records.glob(f"{PREFIX}*.json")):
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            holder, folder, processes = Holder(**held["driver"]), Path(held["folder"]), held["processes"]
            runs = held.get("runs")  # a name, which leads nowhere else
        except (ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
            continue
        if is_dead(holder, renewed_at=float("inf"), now=0.0):
            _end([(pid, started) for pid, started in processes])
            _remove(folder)
            for one in (records / RUNS).glob("*"):
                if one.name == runs:
                    shutil.rmtree(one, ignore_errors=True)
            path.unlink(missing_ok=True)


class _Record:
    """The note of one driver: who it is, the folders of its Ray and of Ray Tune, and its processes."""

    def __init__(self, path: Path, folder: Path, runs: str | None = None) -> None:
        self._path = path
        self._fresh = path.with_suffix(".new")
        self._folder = folder
        self._runs = runs
        self._driver = asdict(this_process(time.time()))
        self._roots: set[psutil.Process] = set()
        self._noted: set[Process] = set()
        self._warned = False

    def begin(self) -> None:
        """Writes down whose note it is. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def started(self) -> None:
        """Notes the processes that Ray has started: those of a program that runs a study are not ours to end."""
        for ray in _ray_processes():
            with contextlib.suppress(psutil.Error):
                self._roots.add(psutil.Process(ray.pid))
        self.note()

    def note(self) -> None:
        """Writes down Ray's processes, with those begun meanwhile; a disk that refuses costs only the note."""
        for root in self._roots:
            self._noted |= _identify(root)
        try:
            self._write()
        except OSError as error:
            if not self._warned:
                _log.warning("%s: Ray's processes are not noted, should this one be killed: %s.", self._path, error)
            self._warned = True

    def end_helpers(self) -> None:
        """Ends monitors and the like: Ray would ask each of them, in vain, and wait a second."""
        for root in self._roots:
            with contextlib.suppress(psutil.Error):
                if root.name() not in SERVERS:
                    root.kill()

    def end(self) -> None:
        """Ends what the shutdown has left, and forgets it."""
        _end(self._noted)
        _remove(self._folder)
        for path in (self._path, self._fresh):
            with contextlib.suppress(OSError):
                path.unlink()

    def _write(self) -> None:
        processes = sorted(self._noted)
        noted = {"driver": self._driver, "folder": str(self._folder), "runs": self._runs, "processes": processes}
        self._fresh.write_text(json.dumps(noted), encoding="utf-8")
        self._fresh.replace(self._path)


def _init(folder: Path, cpus: int) -> None:
    """Ray opens its folder to every user: it is one level down in a folder that only this user can enter."""
    import ray
    from ray._private import ray_constants

    clustered, ray_constants.ENABLE_RAY_CLUSTER = (
        ray_constants.ENABLE_RAY_CLUSTER,
        False,
    )  # read from LOOPBACK at import
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(folder / "r"),
        )
    except Exception as error:  # Ray raises a bare one where its servers do not start in time
        raise ClusterError(
            f"this machine: expected a Ray that starts, got: {error}. Look at the machine's load, its memory, and the "
            f"space and rights in {folder.parent}, then run the same command again."
        ) from error
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clustered


def _shut_down() -> None:
    """Ray asks its servers by SIGTERM, which they never see, and waits a second for each: they are killed at once."""
    import ray

    for process in _ray_processes():
        process.terminate = process.kill  # type: ignore[method-assign]
    ray.shutdown()


def _ray_processes() -> Iterator[subprocess.Popen[bytes]]:
    """What this process has started Ray with."""
    import ray

    node = getattr(ray._private.worker, "_global_node", None)
    for information in itertools.chain.from_iterable(node.all_processes.values() if node else ()):
        yield information.process


def _identify(child: psutil.Process) -> set[Process]:
    """The child and its descendants, those that have not ended meanwhile."""
    found = set()
    with contextlib.suppress(psutil.Error):
        for process in (child, *child.children(recursive=True)):
            found.add((process.pid, process.create_time()))
    return found


def _end(processes: Iterable[Process]) -> None:
    """Kills those of the processes that still are what they were, with their descendants."""
    alive = []
    for pid, started in processes:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if abs(process.create_time() - started) < 1.0:
                alive += [process, *process.children(recursive=True)]
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def _remove(folder: Path) -> None:
    if folder.name.startswith(PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def _short_temporary_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) <= LONGEST_FOLDER else "/tmp"


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Processes begun here never see SIGINT or SIGTERM.

    A signal to the whole process group (a terminal's Ctrl-C, timeout(1), a batch system) is for the driver to obey: its
    Ray must live until the running trials have ended.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
