"""Opening a database so that it refuses every write."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from slasearch.config.locations import redacted
from slasearch.errors import StorageError
from slasearch.storage.engine import database_file

__all__ = ["read_only_engine_arguments"]


_READ_ONLY = {"mode": "ro", "uri": "true"}


def read_only_engine_arguments(url: str) -> tuple[str, dict[str, Any]]:
    """URL and engine arguments with which the database itself refuses to write.

    SQLite is opened with `mode=ro`, PostgreSQL with read-only transactions; another database is opened as it is.

    Args:
        url: SQLAlchemy URL.

    Returns:
        The URL to open, and keyword arguments for SQLAlchemy's `create_engine`.

    Raises:
        StorageError: The URL cannot be read, or its SQLite file does not exist.
    """
    file = database_file(url)
    if file is not None and file.is_file():
        # Quoted once for SQLite and once, by URL, for SQLAlchemy: else a path with # or ? would end there, mode=ro be
        # lost, and SQLite make a file of the shorter name.
        opened = sa.URL.create("sqlite", database=f"file:{quote(str(file.resolve()))}", query=_READ_ONLY)
        return opened.render_as_string(hide_password=False), {}
    backend = make_url(url).get_backend_name()
    if backend == "sqlite":
        raise StorageError(
            f"database {redacted(url)}: expected an existing SQLite file, got none. "
            "Run a study first, or name another database with --storage."
        )
    if backend == "postgresql":
        options = (*make_url(url).normalized_query.get("options", ()), "-c default_transaction_read_only=on")
        return url, {"connect_args": {"options": " ".join(options)}, "pool_pre_ping": True}
    return url, {}
