"""Connections to the database: SQLite safe for one writer and many readers, any other database as SQLAlchemy has it."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from slasearch.config.locations import redacted
from slasearch.errors import ConnectionLostError, SlaSearchError, StorageError

__all__ = [
    "database_file",
    "is_frozen",
    "is_there",
    "make_engine",
    "optuna_storage",
    "optuna_template",
    "read_only_url",
    "storage_errors",
    "wait_for_disk",
]

BUSY_SECONDS = 30.0
"""How long a SQLite connection waits for another one's write."""
EMPTY_SECONDS = 1.0
"""How long a file of SQLite may be empty, from when it is made until its first page is written."""
MAKE_ATTEMPTS = 5
"""How often Optuna's tables are tried to be made."""
SILENCE_SECONDS = 30
"""How long a connection to a server may be silent before it counts as lost."""
IDLE_SECONDS = 60
"""After how long the server ends a transaction that nobody goes on with: a lost client holds its locks no longer."""

_LOST = ("08", "25P03", "53300", "57P01", "57P02", "57P03", "57P05")
"""How an SQLSTATE begins that says: the connection is gone, or the server takes none at present."""

_NOT_YET = ("starting up", "shutting down", "recovery mode", "not yet accepting", "too many", "are reserved")
"""What a server says that refuses a connection now and may take it later; psycopg gives no SQLSTATE with it."""
_NO_ENDLESS_WAIT = {
    "connect_timeout": SILENCE_SECONDS,
    "keepalives_idle": SILENCE_SECONDS // 2,
    "keepalives_interval": SILENCE_SECONDS // 6,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENCE_SECONDS * 1000,
}
"""Arguments of libpq, by which a network that drops everything counts as a lost connection too."""
_NEXT_STEPS = (
    ("readonly", "Make the file and its folder writable, or choose another with --storage."),
    ("unable to open", "Check that the folder exists and is writable, or choose another with --storage."),
    ("locked", "Another process is writing for too long; end it, or try again."),
    ("disk is full", "Free some space and run the same command again."),
    ("disk I/O error", "The disk refuses. Free some space, or mend the disk, and run the same command again."),
    ("No space left", "Free some space on the server and run the same command again."),
    ("authentication failed", "Check the user and the password in the URL."),
    ("permission denied", "Use a role that has this right, or let the tables' owner do it."),
    ("read-only transaction", "Use a server and a role that may write."),
    ('relation "', "The database was made by something else or is half made; run `slasearch run` on it first."),
    ("does not exist", "Make it on the server, or check the URL."),
    ("not a database", "The file is something else or damaged; choose another with --storage."),
    ("Could not decode", "The file is damaged; restore a copy, or choose another with --storage."),
    ("malformed", "The file is damaged; restore a copy, or choose another with --storage."),
    ("no such table", "The database was made by something else or is half made; run `slasearch run` on it first."),
)


def database_file(url: str) -> Path | None:
    """The file of a SQLite URL; None for a database in memory or on a server.

    Raises:
        StorageError: The URL cannot be read.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database))


def make_engine(url: str, *, create: bool = True) -> sa.Engine:
    """An engine for `url`.

    SQLite gets `synchronous=NORMAL`, a busy timeout and foreign keys on every connection.

    Args:
        url: SQLAlchemy URL, such as `sqlite:///study.db` or `postgresql+psycopg://user@host/name`.
        create: For SQLite whether the file may be made, with its folder, and gets write-ahead logging. Without it a
            missing file is an error, and one in a folder that is read-only is read as it stands.

    Raises:
        StorageError: The URL cannot be read, its driver is missing, or the file is.
    """
    file = database_file(url)
    if file is not None and create:
        _make_folder(file.parent)
    elif file is not None and not is_there(file):
        raise StorageError(
            f"database: expected the file {file}, got none. Run a study first (`slasearch run FILE`), "
            "or name another database with --storage."
        )
    if file is not None:
        _refuse_emptied(file)
    frozen = file is not None and not create and is_frozen(file)
    with storage_errors(url):
        engine = sa.create_engine(read_only_url(file, immutable=True) if file and frozen else url, **_options(url))
    _set_up_connections(engine, write_ahead=create)
    return engine


def is_there(file: Path) -> bool:
    """Whether a SQLite file exists.

    Raises:
        StorageError: It cannot be told, as in a folder that this user may not enter.
    """
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(
            f"database: expected the file {file}, got: {error.strerror}. Make it readable, or name another database "
            "with --storage."
        ) from None


def _refuse_emptied(file: Path) -> None:
    """A database that lost its content is no new one; an empty file may be another process's, of this moment."""
    until = time.monotonic() + EMPTY_SECONDS
    while is_there(file) and not file.stat().st_size:
        if time.monotonic() >= until:
            raise StorageError(
                f"database: expected a database in {file}, got an empty file. If studies were in it, restore a copy; "
                "to start anew, remove it, or choose another with --storage."
            )
        time.sleep(0.05)


def is_frozen(file: Path) -> bool:
    """Whether a SQLite file can be read only as it stands: nothing can be made beside it, and its log is empty."""
    file = file.resolve()
    log = file.with_name(f"{file.name}-wal")
    return not os.access(file.parent, os.W_OK) and not (log.is_file() and log.stat().st_size)


def read_only_url(file: Path, *, immutable: bool = False) -> str:
    """The URL under which SQLite refuses to write to a file; `immutable`: it relies on nobody else writing either."""
    query = {"mode": "ro", "uri": "true", **({"immutable": "1"} if immutable else {})}
    # Quoted once for SQLite and once, by URL, for SQLAlchemy: else a path with # or ? would end there, mode=ro be
    # lost, and SQLite make a file of the shorter name.
    opened = sa.URL.create("sqlite", database=f"file:{quote(str(file.resolve()))}", query=query)
    return opened.render_as_string(hide_password=False)


def wait_for_disk(connection: sa.Connection, wait: bool) -> None:
    """Whether commits on a connection of SQLite wait for the disk from now on; those of other databases always do.

    Where they do not, the file stays sound, but a power failure may take back the last of them. One that waits keeps
    all before it as well, of whichever connection.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if wait else 'NORMAL'}")
        connection.commit()


def optuna_template(url: str) -> str:
    """The URL as Optuna takes it, which fills in what stands in braces: those of a password are none of these."""
    return url.replace("{", "{{").replace("}", "}}")


def optuna_storage(url: str) -> RDBStorage:
    """Optuna's storage in the same database, on connections set up like ours. Makes Optuna's tables if need be.

    Raises:
        StorageError: The database cannot be used.
    """
    file = database_file(url)
    if file is not None:
        _make_folder(file.parent)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with storage_errors(url):
        storage = _made_by_one_of_several(optuna_template(url), _options(url))
    _set_up_connections(storage.engine, write_ahead=True)
    storage.engine.dispose()
    return storage


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turns errors of the database into StorageError with a next step, and never with a password.

    Raises:
        ConnectionLostError: The server is not there, or is no longer; a refusal is no such error.
        StorageError: Anything that the database or its driver refused.
    """
    try:
        yield
    except SlaSearchError:
        raise
    except StorageInternalError as error:
        raise _explained(url, error.__cause__ or error) from error
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise _explained(url, error) from error
    except UnicodeDecodeError as error:  # from SQLite's own message, which quotes what it could not make out
        raise _explained(url, sqlite3.DatabaseError("malformed database schema")) from error


def _parse(url: str) -> sa.URL:
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise StorageError(
            "database: expected a URL such as sqlite:///study.db or postgresql+psycopg://user@host/name, "
            "got something else. Check --storage and $SLASEARCH_STORAGE."
        ) from None


def _made_by_one_of_several(template: str, options: dict[str, Any]) -> RDBStorage:
    """Optuna looks for its tables and then makes them: two drivers that start at once get in each other's way."""
    for _ in range(MAKE_ATTEMPTS - 1):
        try:
            return RDBStorage(template, engine_kwargs=options)
        except (sa.exc.OperationalError, sa.exc.ProgrammingError, sa.exc.IntegrityError):
            time.sleep(0.1)
    return RDBStorage(template, engine_kwargs=options)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"database: expected to make the folder {folder}, got: {error.strerror}. Choose another with --storage."
        ) from error


def _options(url: str) -> dict[str, Any]:
    if _parse(url).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    if _parse(url).get_driver_name() == "psycopg":
        return {"pool_pre_ping": True, "connect_args": _NO_ENDLESS_WAIT}
    return {"pool_pre_ping": True}


def _set_up_connections(engine: sa.Engine, *, write_ahead: bool) -> None:
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", partial(_pragmas, write_ahead=write_ahead))
    elif engine.dialect.name == "postgresql":
        sa.event.listen(engine, "connect", _end_idle_transactions)


def _pragmas(connection: Any, _record: Any, *, write_ahead: bool) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    pragmas = [f"busy_timeout={int(BUSY_SECONDS * 1000)}", "synchronous=NORMAL", "foreign_keys=ON"]
    if write_ahead:  # stands in the file from then on
        pragmas.append("journal_mode=WAL")
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _end_idle_transactions(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {IDLE_SECONDS * 1000}")
    connection.commit()


def _is_lost(error: BaseException) -> bool:
    """Whether the connection is what failed: it broke, or none was to be had."""
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", "not a server's")
    if error.connection_invalidated or str(state).startswith(_LOST):
        return True
    connecting = isinstance(error, sa.exc.OperationalError) and error.statement is None and state is None
    text = str(error.orig)
    return connecting and ("FATAL:" not in text or any(words in text for words in _NOT_YET))


def _explained(url: str, error: BaseException) -> StorageError:
    parsed = _parse(url)
    cause = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
    options = [str(value) for name, value in parsed.query.items() if "password" in name]
    for secret in filter(None, [parsed.password, *options]):
        cause = re.sub(rf"(?<!\w){re.escape(str(secret))}(?!\w)", "***", cause)
    step = next((step for word, step in _NEXT_STEPS if word in cause), None)
    if step is None and isinstance(error, ImportError | sa.exc.NoSuchModuleError):
        postgres = parsed.get_backend_name() == "postgresql"
        step = (
            "Install the driver: `pip install -e '.[postgres]'` in the checkout, and postgresql+psycopg:// in the URL."
            if postgres
            else "Use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME: no other database is tested."
        )
    kind = ConnectionLostError if _is_lost(error) else StorageError
    return kind(f"database {redacted(url)}: {cause}. {step or 'Check that the server is up and lets you in.'}")
