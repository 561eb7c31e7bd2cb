"""Several processes' work on one database, as threads."""

from __future__ import annotations

import threading

from slasearch.errors import StorageError
from slasearch.storage.engine import optuna_storage
from slasearch.storage.store import Store


def make_tables_at_once(url: str) -> list[StorageError]:
    """Three threads make or upgrade the tables, ours and Optuna's, at the same time; returns what they raised."""
    errors: list[StorageError] = []

    def run() -> None:
        try:
            Store(url).upgrade()
            optuna_storage(url).engine.dispose()
        except StorageError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors
