"""What commands do to a study that another process may be running: ask its driver, or take its place for a moment."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from slasearch.config.load import stored_study
from slasearch.config.locations import Locations
from slasearch.config.plain import stored_json
from slasearch.errors import LeaseError
from slasearch.search.book import NOT_ASKED
from slasearch.search.lease import Lease, has_driver
from slasearch.search.logs import discard_logs
from slasearch.search.mirror import OURS
from slasearch.search.opening import DELETED, checkpoint_folder
from slasearch.search.study import StudySession
from slasearch.storage.artifacts import Artifacts
from slasearch.storage.engine import optuna_storage, storage_errors
from slasearch.storage.rows import RequestRow, StudyRow, Verb, optuna_names
from slasearch.storage.store import Store

__all__ = ["Deleted", "delete_study", "send"]

WAIT_SECONDS = 30.0
"""How long a driver is waited for, which looks for requests about once a second while trials run."""
_POLL_SECONDS = 0.25


def send(
    locations: Locations,
    study: StudyRow,
    verb: Verb,
    trials: Sequence[int] | None,
    *,
    at_once: bool = False,
    wait: float = WAIT_SECONDS,
    now: Callable[[], float] = time.time,
) -> RequestRow:
    """Asks something of a study and waits until it is carried out: by its driver, or here if it has none.

    Args:
        locations: Where the study's results lie.
        study: The study.
        verb: What is asked.
        trials: Ids of the trials that it is about; None: the study as a whole.
        at_once: For the study: without waiting for its running trials.
        wait: How long a driver is waited for (s).
        now: The clock (epoch seconds).

    Returns:
        The request; its `done_at` is None if the driver has not come to it yet.

    Raises:
        StudyConflictError: Another version made the study, which this one cannot read. Nothing is asked then.
        StudyNotFoundError: The study was deleted meanwhile.
        StorageError: The database or the disk refuses.
    """
    stored_study(study.config)
    asked = RequestRow(0, study.id, verb, None if trials is None else tuple(trials), at_once, now())
    with closing(Store(locations.storage_url)) as store:
        request = store.write(lambda writer: writer.add_request(asked))
        while request.done_at is None and now() < asked.asked_at + wait:
            if has_driver(store, study.id, now()):
                time.sleep(_POLL_SECONDS)
            else:
                _carry_out(study.name, locations)
            request = store.request(request.id)
        return request


def _carry_out(name: str, locations: Locations) -> None:
    """Takes the driver's place, unless one has just begun: that carries out what is asked too."""
    try:
        StudySession.attend(name, locations).close()
    except LeaseError:
        time.sleep(_POLL_SECONDS)


@dataclass(frozen=True)
class Deleted:
    """A study that was deleted.

    Args:
        trials: How many attempts at trials it had.
        astray: Paths of its trained adapters that were not where `resources.storage_path` and the home folder are now.
            Where these were others when the files were written, the files stay there.
    """

    trials: int
    astray: tuple[str, ...]


def delete_study(locations: Locations, name: str, *, now: Callable[[], float] = time.time) -> Deleted:
    """Removes a study from our tables and Optuna's, and its files; one that was interrupted goes on.

    Of its file only places are read, so that a study which another version made can be removed too. A study of Optuna's
    in which somebody else has ended trials stays.

    Raises:
        StudyNotFoundError: There is none of that name.
        LeaseError: A living process runs it.
        StorageError: The database, the disk or the store of trained adapters refuses.
    """
    with closing(Store(locations.storage_url)) as store, storage_errors(store.url), ExitStack() as undo:
        study = store.study(name)
        resources: dict[str, Any] = stored_json(study.config).get("resources", {})
        artifacts = Artifacts.of(study, locations.home, resources.get("storage_path"))
        checkpoints = checkpoint_folder(study, resources.get("checkpoint_folder"), locations)
        lease = Lease.take(store, study.id, name, now())
        undo.callback(lease.release, store)
        store.guard(lease)
        trials = len(store.trials(study.id))
        astray = artifacts.astray(store.all_artifacts(study.id))
        store.write(lambda writer: writer.update_study(study.id, state=DELETED))
        storage = optuna_storage(store.url)
        undo.callback(storage.engine.dispose)
        for optuna_name in optuna_names(name):
            _delete_from_optuna(storage, optuna_name)
        artifacts.discard()
        discard_logs(locations.home, study)
        shutil.rmtree(checkpoints, ignore_errors=True)
        store.write(lambda writer: writer.delete_study(study.id))
        undo.pop_all()
        storage.engine.dispose()
        return Deleted(trials, tuple(row.path for row in astray))


def _delete_from_optuna(storage: RDBStorage, name: str) -> None:
    for study in storage.get_all_studies():
        if study.study_name == name and all(map(_is_ours, storage.get_all_trials(study._study_id, deepcopy=False))):
            storage.delete_study(study._study_id)


def _is_ours(trial: FrozenTrial) -> bool:
    """Whether a trial of Optuna's stands for one of slasearch's, or was somebody else's and closed by slasearch."""
    return OURS in trial.user_attrs or trial.user_attrs.get("reason") == NOT_ASKED
