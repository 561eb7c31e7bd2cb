"""Where a study's results lie: the database, and the folder for artifacts, logs, caches and Ray's own files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slasearch.errors import ConfigError
from slasearch.files import is_text

__all__ = ["PASSWORD_FILE", "STORAGE", "Locations", "locate", "redacted"]

STORAGE = "SLASEARCH_STORAGE"
"""Holds the database's URL, where no `--storage` does."""
PASSWORD_FILE = "SLASEARCH_STORAGE_PASSWORD_FILE"
"""Names a file whose text is the database's password, as containers get their secrets."""


@dataclass(frozen=True)
class Locations:
    """Where results lie.

    Args:
        storage_url: The database, as SQLAlchemy names it.
        home: Folder of everything that is no table.
    """

    storage_url: str
    home: Path

    @property
    def checkpoints(self) -> Path:
        """States of running trials to go on from; safe to delete when nothing runs."""
        return self.home / "checkpoints"

    @property
    def cache(self) -> Path:
        """Tokenised texts; safe to delete."""
        return self.home / "cache"

    @property
    def ray(self) -> Path:
        """Ray Tune's own files; safe to delete when nothing runs."""
        return self.home / "ray"


def locate(storage: str | None = None) -> Locations:
    """Finds the database and the folder beside it; makes neither.

    Args:
        storage: Database URL. Without one `$SLASEARCH_STORAGE`, else SQLite in `.slasearch` of the working folder.
            The folder is `$SLASEARCH_HOME`, else that of an SQLite file, else `.slasearch` of the working folder.
            `~` at the beginning of a path is the user's own folder.
            A URL with a user and without a password gets it from `$SLASEARCH_STORAGE_PASSWORD_FILE`, if that is set.

    Raises:
        ConfigError: The URL is none, or no text; a path is in the folder of a user that there is not; the password's
            file cannot be read; or the working folder is gone.
    """
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    here = _working_folder() / ".slasearch"
    default = URL.create("sqlite", database=str(here / "slasearch.db")).render_as_string(hide_password=False)
    text = storage or os.environ.get(STORAGE) or default
    if not is_text(text):
        raise _no_url("one that is no text in UTF-8")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise _no_url("something else, which is not shown, as a password may be in it") from None
    if url.password is not None and text.partition("://")[2].partition(":")[2].count("@") > 1:
        raise _no_url("several @ in one, which is not shown. Write one that a password has as %40")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise _no_url("a database that ends with this command")
    if url.username and url.password is None and os.environ.get(PASSWORD_FILE):
        text = url.set(password=_password(Path(os.environ[PASSWORD_FILE]))).render_as_string(hide_password=False)
    home = here
    if url.get_backend_name() == "sqlite":
        file = _path(str(url.database))
        home = file.parent
        text = url.set(database=str(file)).render_as_string(hide_password=False)
    if os.environ.get("SLASEARCH_HOME"):
        home = _path(os.environ["SLASEARCH_HOME"])
    return Locations(text, home)


def _no_url(got: str) -> ConfigError:
    example = "sqlite:///results.db or postgresql+psycopg://user@host/database"
    where = "Check --storage and $SLASEARCH_STORAGE."
    return ConfigError([f"--storage: storage: expected a database URL such as {example}, got {got}. {where}"])


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError(
            [f"working folder: expected one that is there, got: {error.strerror}. Go to another"]
        ) from None


def _path(text: str) -> Path:
    try:
        return _working_folder() / Path(text).expanduser()
    except RuntimeError:
        where = "Check --storage, $SLASEARCH_STORAGE and $SLASEARCH_HOME."
        raise ConfigError([f"storage: expected ~ or the name of a user after it, got {text!r}. {where}"]) from None


def _password(file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        got = error.strerror if isinstance(error, OSError) else "something else"
        raise ConfigError([f"${PASSWORD_FILE}: expected a readable file, got {file}: {got}"]) from None
    if not password:
        raise ConfigError([f"${PASSWORD_FILE}: expected a file with the password in it, got {file}, which is empty"])
    return password


def redacted(url: str) -> str:
    """The URL for messages and logs, its passwords masked, those among its options too."""
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    masked = {name: "***" for name in parsed.query if "password" in name}
    return parsed.update_query_dict(masked).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")
