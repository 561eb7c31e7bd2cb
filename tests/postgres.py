"""A PostgreSQL server of the tests' own: reached by a socket in a folder of its own, run by a user without rights."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

MISSING = "no PostgreSQL server: initdb is neither under /usr/lib/postgresql nor on the path"
USERS = ("postgres", "nobody")
"""Who runs the server where the tests run as root: PostgreSQL refuses to."""
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "autovacuum": "off",
}


def find() -> Path | None:
    """The folder of the server's programs, the newest there is; None without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    program = str(found[-1]) if found else shutil.which("initdb")
    return Path(program).parent if program else None


class Cluster:
    """One server; made, started and, in the end, removed."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="sla-pg-", dir="/tmp"))
        self._as_user = {}
        if os.getuid() == 0:
            user = next(entry for entry in pwd.getpwall() if entry.pw_name in USERS)
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
        self._made = 0
        self._call("initdb", "--no-sync", "--auth=trust", "--username=tester", "--encoding=UTF8", "--locale=C.UTF-8")
        lines = [f"{name} = '{value}'\n" for name, value in SETTINGS.items()]
        with (self._folder / "data" / "postgresql.auto.conf").open("a") as file:
            file.writelines([*lines, f"unix_socket_directories = '{self._folder}'\n"])
        self.start()

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        self._call("pg_ctl", "start", "-w", "-l", str(self._folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """`fast` ends all sessions, `immediate` leaves as a crash does."""
        self._call("pg_ctl", "stop", "-w", "-m", mode)

    def restart(self, mode: str) -> None:
        """Stops and starts."""
        self._call("pg_ctl", "restart", "-w", "-m", mode, "-l", str(self._folder / "log"))

    def remove(self) -> None:
        """Ends the server and leaves nothing of it."""
        self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str = "postgres", *, password: str = "") -> str:
        """SQLAlchemy URL of a database; nobody asks for the password."""
        user = f"tester:{password}" if password else "tester"
        return f"postgresql+psycopg://{user}@/{database}?host={self._folder}"

    def new_database(self, *, password: str = "") -> str:
        """URL of a database with nothing in it."""
        self._made += 1
        name = f"study{self._made}"
        with psycopg.connect(f"host={self._folder} user=tester dbname=postgres", autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name, password=password)

    def _call(self, program: str, *arguments: str) -> None:
        data = {"PGDATA": str(self._folder / "data"), "PATH": os.environ["PATH"], "LC_ALL": "C"}
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, env=data, cwd="/", capture_output=True, text=True, check=False, **self._as_user)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
