"""Opening a database so that it refuses every write."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import make_url

from slasearch.config.locations import redacted
from slasearch.errors import StorageError
from slasearch.storage.engine import database_file, is_frozen, is_there, read_only_url

__all__ = ["read_only_engine_arguments"]


def read_only_engine_arguments(url: str, *, brief: bool = False) -> tuple[str, dict[str, Any]]:
    """URL and engine arguments with which the database itself refuses to write.

    SQLite is opened with `mode=ro`, PostgreSQL with read-only transactions; another database is opened as it is.

    Args:
        url: SQLAlchemy URL.
        brief: Whether it is open for a moment only. A SQLite file in a folder that is read-only is then read as it
            stands; whoever stays would not see what another machine writes to it.

    Returns:
        The URL to open, and keyword arguments for SQLAlchemy's `create_engine`.

    Raises:
        StorageError: The URL cannot be read, or its SQLite file does not exist or cannot be looked at.
    """
    file = database_file(url)
    if file is not None and is_there(file):
        return read_only_url(file, immutable=brief and is_frozen(file)), {}
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
