"""Brings the `sla_` tables to this release: Alembic with its own version table, nothing to set up beforehand."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from slasearch.errors import StorageError

__all__ = ["VERSION_TABLE", "newest_revision", "refuse_later", "stored_revision", "upgrade"]

VERSION_TABLE = "sla_alembic_version"
_LOCK = 0x51A5EA4C
"""Key of the PostgreSQL advisory lock under which migrations run."""


def upgrade(engine: sa.Engine) -> str | None:
    """Creates or upgrades our tables, one process at a time; does nothing if they are new enough.

    Returns:
        The revision that they were at; None when they were not there.

    Raises:
        StorageError: The database was made by a later release.
    """
    if stored_revision(engine) == newest_revision():
        return newest_revision()
    with engine.begin() as connection:
        _lock(connection)
        before = _revision(connection)
        refuse_later(before)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return before


def stored_revision(engine: sa.Engine) -> str | None:
    """The revision that the database is at; None when our tables are not there."""
    with engine.connect() as connection:
        return _revision(connection)


def refuse_later(stored: str | None) -> None:
    """Refuses a database of a revision that this release does not know.

    Raises:
        StorageError: It was made by a later release.
    """
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if stored is not None and stored not in known:
        raise StorageError(
            f"database: expected a revision up to {newest_revision()}, got {stored}, made by a later release. "
            "Install that release, or choose another database with --storage."
        )


def newest_revision() -> str:
    """The revision of this release."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def _config() -> Config:
    config = Config()
    location = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", location.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _lock(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    elif connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
