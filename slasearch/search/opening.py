"""The steps by which a study is opened: its row, what has changed in its file, and its two Optuna studies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.study import StudyDirection

import slasearch
from slasearch.config.fingerprint import difference, fingerprint
from slasearch.config.load import stored_study
from slasearch.config.locations import Locations
from slasearch.config.plain import stored_json
from slasearch.config.schema import StudyConfig
from slasearch.errors import StudyConflictError
from slasearch.search.lease import Lease
from slasearch.search.mirror import MirroredStudy
from slasearch.search.warm_start import as_optuna, take
from slasearch.storage.engine import optuna_storage
from slasearch.storage.rows import StudyRow, WarmStart, optuna_names
from slasearch.storage.store import Store
from slasearch.storage.writer import Writer

__all__ = [
    "DELETED",
    "checkpoint_folder",
    "find_or_make",
    "grown",
    "optuna_studies",
    "refuse_deleted",
    "with_data",
]

DELETED = "deleted"
"""State of a study whose deletion has begun."""


def find_or_make(store: Store, config: StudyConfig, now: float) -> StudyRow:
    """The study's row, made if there is none of that name, with what its sampler begins from.

    Raises:
        ConfigError: The study from which the sampler of a new one is to begin does not serve.
        StudyConflictError: The study of that name has other content, which the text shows, or is half deleted; or
            Optuna has one of that name that is somebody else's.
    """
    study = store.find_study(config.name)
    if study is not None:
        refuse_deleted(study)
        _refuse_other(store, study, config)
        return study
    new = StudyRow(
        id=0,
        name=config.name,
        config=_text(config),
        fingerprint=fingerprint(config),
        seed=config.seed,
        state="running",
        version=slasearch.__version__,
        created_at=now,
        updated_at=now,
    )
    warm = take(store, config)
    taken = _taken_in_optuna(store, config)

    def make(writer: Writer) -> StudyRow | None:
        if store.find_study(config.name) is not None:
            return None
        try:
            made = writer.add_study(new)
        except sa.exc.IntegrityError:
            return None
        if taken is not None:  # and by no other driver, which makes its row first
            raise taken
        if warm is not None:
            writer.add_warm_start(replace(warm, study_id=made.id))
        return made

    return store.write(make) or find_or_make(store, config, now)  # made meanwhile: it is checked


def refuse_deleted(study: StudyRow) -> None:
    """Refuses a study whose deletion has begun.

    Raises:
        StudyConflictError: It is half deleted.
    """
    if study.state == DELETED:
        raise StudyConflictError(
            f"study {study.name}: expected a whole study, got one that is half deleted. Run "
            f"`slasearch delete {study.name} --yes` once more, then this command again."
        )


def _taken_in_optuna(store: Store, config: StudyConfig) -> StudyConflictError | None:
    """Why a new study cannot have its Optuna studies: one of these names has trials, or other directions."""
    storage = store.patiently(lambda: optuna_storage(store.url))
    directions = [StudyDirection[objective.direction.upper()] for objective in config.objectives]
    try:
        studies = store.patiently(storage.get_all_studies)
        for found in (study for study in studies if study.study_name in optuna_names(config.name)):
            trials = store.patiently(partial(storage.get_n_trials, found._study_id))
            if trials or found.directions != directions:
                return StudyConflictError(
                    f"study {config.name}: expected a name that is free in Optuna's tables too, got one under which "
                    f"they have a study that slasearch has not made ({found.study_name}, trials: {trials}). Give the "
                    "study file another name, or name another database with --storage."
                )
    finally:
        storage.engine.dispose()
    return None


def grown(store: Store, study: StudyRow, config: StudyConfig, now: float) -> StudyRow:
    """The study's row with the file's present counts, limits and resources."""
    if study.config == _text(config):
        return study
    changes = {"config": _text(config), "fingerprint": fingerprint(config), "updated_at": now}
    store.write(lambda writer: writer.update_study(study.id, **changes))
    return replace(study, **changes)  # type: ignore[arg-type]


def with_data(store: Store, study: StudyRow, digests: Mapping[str, str], now: float) -> StudyRow:
    """The study's row with the digests of its tasks' data, written if it has none yet.

    Raises:
        StudyConflictError: A task has other data than the study began with; the text names each.
    """
    text = json.dumps(dict(digests), sort_keys=True)
    if study.data == text:
        return study
    before: dict[str, str] = stored_json(study.data or "{}")
    changed = [name for name, digest in digests.items() if before.get(name, digest) != digest]
    if changed:
        way_out = "give the study file another name."
        if _unbegun(store, study):
            way_out = f"make room for the new ones by `slasearch delete {study.name}`: no trial of it has begun."
        raise StudyConflictError(
            f"study {study.name}: expected the data that it began with, got other data for {', '.join(changed)}. "
            f"Put the old data back, or {way_out}"
        )
    store.write(lambda writer: writer.update_study(study.id, data=text, updated_at=now))
    return replace(study, data=text, updated_at=now)


def checkpoint_folder(study: StudyRow, shared: str | None, locations: Locations) -> Path:
    """Where checkpoints of the study's trials lie, on each node or for all; nothing else does, since it is removed.

    `shared` is `resources.checkpoint_folder` of the study's file.
    """
    folder = locations.checkpoints if shared is None else Path(shared) / "slasearch-checkpoints"
    return folder / study.folder


def optuna_studies(
    store: Store, config: StudyConfig, lease: Lease, undo: ExitStack, warm: WarmStart | None
) -> tuple[MirroredStudy, MirroredStudy]:
    """The Optuna studies NAME and NAME.confirm; `lease` guards what is written there, `undo` closes them.

    The sampler of the first one begins from `warm`.
    """
    storage = store.patiently(lambda: optuna_storage(store.url))
    undo.callback(storage.engine.dispose)
    _guard(storage, store, lease)
    directions = [objective.direction for objective in config.objectives]
    metrics = [objective.name for objective in config.objectives]
    of_search, of_confirm = optuna_names(config.name)
    begun = {of_search: [] if warm is None else as_optuna(warm, config), of_confirm: []}
    search, confirm = (
        store.patiently(partial(MirroredStudy, storage, store, name, directions, metrics, earlier))
        for name, earlier in begun.items()
    )
    return search, confirm


def _guard(storage: RDBStorage, store: Store, lease: Lease) -> None:
    """Lets the lease stand at the beginning of what Optuna's storage writes, as it does for the store's own tables."""

    def check(_session: Any, _transaction: Any, connection: sa.Connection) -> None:
        if store.writing:
            lease.check(connection)

    def written(_session: Any) -> None:
        if store.writing:
            lease.written()

    sa.event.listen(storage.scoped_session, "after_begin", check)
    sa.event.listen(storage.scoped_session, "after_commit", written)


def _refuse_other(store: Store, study: StudyRow, config: StudyConfig) -> None:
    choose = "Give the study file another name, or undo the change."
    if _unbegun(store, study):
        choose = f"No trial of it has begun: `slasearch delete {study.name}` makes room for the file as it is."
    try:
        lines = difference(stored_study(study.config), config)
    except StudyConflictError:
        raise StudyConflictError(
            f"study {study.name}: made by slasearch {study.version}, whose study file this one cannot read. {choose}"
        ) from None
    if lines:
        raise StudyConflictError("\n".join([f"study {study.name}: exists with other content. {choose}", *lines]))


def _unbegun(store: Store, study: StudyRow) -> bool:
    """Whether no trial of the study has ever run."""
    return all(trial.started_at is None for trial in store.trials(study.id))


def _text(config: StudyConfig) -> str:
    return config.model_dump_json(by_alias=True)
