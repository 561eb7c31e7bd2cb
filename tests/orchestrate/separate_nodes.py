"""A Ray cluster on one machine whose nodes share no folder by accident: each has a mount namespace of its own.

The head lends no CPU and stands where the test does, as the machine of the command. The other nodes have names of their
own, and empty folders of their own in the place of the test's homes, of Ray's files and of shared memory. Where
namespaces cannot be made the same nodes run without.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import psutil
from ports import free_port
from small_study import HERE

from slasearch.orchestrate.driver import QUIET

RAY = str(Path(sys.executable).parent / "ray")
APART = ("unshare", "--mount", "--uts", "--propagation", "private")
ALONE = 'hostname "$1"; for hidden in "$2" "$3" /dev/shm; do mount -t tmpfs tmpfs "$hidden"; done; shift 3; exec "$@"'
"""A shell's script: its arguments are a name, two folders to hide, and a command."""
QUICK_LOSS = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "12"}
"""A node that is gone is noticed within seconds, and one that a busy machine holds up is not taken for gone."""
START_SECONDS = 90.0


@cache
def why_together() -> str | None:
    """Why nodes cannot have file systems of their own here; None: they can."""
    try:
        tried = subprocess.run([*APART, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    except OSError as error:
        return f"needs unshare, got: {error.strerror}"
    return None if tried.returncode == 0 else f"needs mount namespaces (CAP_SYS_ADMIN), got: {tried.stderr.strip()}"


class SeparateNodes:
    """A cluster of a head and nodes of one CPU each.

    Args:
        homes: Folder that no node but the head sees; each other node sees an empty one of its own in its place.
        names: The nodes' names.
        dashboard: Port of the server that takes jobs; None: there is none.
        variables: Environment of all nodes besides.

    Attributes:
        address: The head's.
    """

    def __init__(
        self,
        homes: Path,
        names: Iterable[str],
        dashboard: int | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._homes = homes
        self._variables = {**QUIET, **QUICK_LOSS, **HERE, **(variables or {})}
        self._folder = Path(tempfile.mkdtemp(prefix="sla-n-", dir="/tmp"))  # short: sockets lie in it
        self._rays = self._folder / "r"
        self._rays.mkdir()
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._processes: list[psutil.Process] = []
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        jobs = "--include-dashboard=0" if dashboard is None else f"--dashboard-port={dashboard}"
        try:
            self._start("head", [], ["--head", f"--port={port}", "--num-cpus=0", f"--temp-dir={self._rays}", jobs])
            self._wait_for("head")
            names = list(names)
            for name in names:
                self._add(name, {})
            for name in names:
                self._wait_for(name)
        except BaseException:
            self.end()
            raise

    def add(self, name: str, variables: Mapping[str, str] | None = None) -> None:
        """Starts a node, or starts it again after a kill, with these environment variables besides."""
        self._add(name, variables or {})
        self._wait_for(name)

    def kill(self, name: str) -> None:
        """SIGKILL for the raylet of a node, without which its workers end too."""
        self._note(name)
        self.raylet(name).kill()

    def raylet(self, name: str) -> psutil.Process:
        """The process that is the node to others."""
        children = psutil.Process(self._started[name].pid).children()
        return next(child for child in children if child.name() == "raylet")

    def sees(self, name: str, folder: Path) -> list[str]:
        """The files in a folder as a node sees them."""
        there = Path(f"/proc/{self.raylet(name).pid}/root{folder}")
        return sorted(path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file())

    def end(self) -> None:
        """Ends all of it, and what it has left in the background."""
        for name, command in self._started.items():
            self._note(name)
            command.kill()
            command.wait()
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _note(self, name: str) -> None:
        """Keeps the processes of a node, which are not to be found by its command once that has ended."""
        with contextlib.suppress(psutil.Error):
            self._processes += psutil.Process(self._started[name].pid).children(recursive=True)

    def _add(self, name: str, variables: Mapping[str, str]) -> None:
        prefix = [*APART, "/bin/sh", "-e", "-c", ALONE, "sh", name, str(self._homes), str(self._rays)]
        options = [f"--address={self.address}", "--num-cpus=1"]
        self._start(name, prefix if why_together() is None else [], options, variables)
        if why_together() is not None:
            self._wait_for(name)  # two nodes that start at once would take each other's files

    def _start(
        self, name: str, prefix: list[str], options: list[str], variables: Mapping[str, str] | None = None
    ) -> None:
        command = [*prefix, RAY, "start", *options, "--block", "--include-log-monitor=0"]
        command += ["--object-store-memory=100000000", f"--dashboard-agent-listen-port={free_port()}"]
        environment = {**os.environ, **self._variables, **(variables or {})}
        with self._log(name).open("wb") as log:
            self._started[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def _wait_for(self, name: str) -> None:
        until = time.monotonic() + START_SECONDS
        while b"Ray runtime started" not in (said := self._log(name).read_bytes()):
            assert self._started[name].poll() is None, said.decode()
            assert time.monotonic() < until, said.decode()
            time.sleep(0.1)

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"
