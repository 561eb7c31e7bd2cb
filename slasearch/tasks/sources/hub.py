"""Data sets of the Hugging Face hub: `hub:ORG/NAME[/CONFIG]@REVISION`, such as `hub:nyu-mll/glue/rte@bcdcba79…`.

Tables (Parquet, JSON lines, CSV, TSV) are read as they lie in the repository; its scripts are never run. Classes that
are stored as numbers get their names. Files come from the hub's cache on this machine, and are downloaded into it when
a study first runs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slasearch.config.splits import source_splits
from slasearch.errors import TaskError
from slasearch.records import TaskSpec
from slasearch.tasks.sources._base import Problem, Row, Source, register_source, wanted_splits
from slasearch.tasks.sources._hub_cache import HUB_FORM, HubId, cached, fetch
from slasearch.tasks.sources._hub_layout import CARD, Layout, class_names, layout_of, read_card
from slasearch.tasks.sources._rows import columns_of, named, row_of, value_of
from slasearch.tasks.sources._tables import read_columns, read_records, table_suffix

__all__ = ["HubSource"]

_HIDDEN = (-1, "-1")
"""What stands in place of a label that the authors of a data set keep to themselves, unless it is a class."""

_log = logging.getLogger(__name__)


@register_source("hub")
class HubSource(Source):
    """Reads data set repositories at a pinned revision."""

    def read(self, place: str, spec: TaskSpec) -> Mapping[str, Sequence[Row]]:
        """The parts that the repository has, under the names of the task's `splits`.

        Rows without text or label are left out, and counted in a warning.
        """
        try:
            hub = HubId.parse(place)
        except ValueError as error:
            raise TaskError(f"tasks.source: {error}.") from None
        wanted = wanted_splits(dict(spec.splits), str(hub))
        folder = _folder(hub, wanted.values())
        card = read_card(folder)
        layout = layout_of(card, hub)
        tables = layout.tables(folder, wanted.values())
        _check_splits(hub, layout, tables, wanted, spec)
        names = class_names(card, layout.config, spec.label)
        train = _rows(hub, wanted["train"], tables[wanted["train"]], spec, names, None)
        trained = {row.label for row in train}
        others = {ours: theirs for ours, theirs in wanted.items() if ours != "train" and theirs in tables}
        return {"train": train} | {
            ours: _rows(hub, theirs, tables[theirs], spec, names, trained) for ours, theirs in others.items()
        }

    def problem(self, place: str) -> Problem | None:
        """A name that is none. Whether there is such a data set shows when it is first read."""
        try:
            HubId.parse(place)
        except ValueError:
            return f"{HUB_FORM} with a commit hash or a tag (a branch such as main moves)", f"hub:{place}"
        return None

    def columns(self, place: str, splits: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
        """Those of each split's first table, where the cache has all that the README names."""
        if self.problem(place) is not None:
            return {}
        hub = HubId.parse(place)
        folder, wanted = cached(hub), wanted_splits(splits, str(hub)).values()
        if folder is None or not _holds(folder, hub, wanted):
            return {}
        tables = layout_of(read_card(folder), hub).tables(folder, wanted)
        return {f"{hub} ({split})": read_columns(parts[0]) for split, parts in tables.items()}

    def download(self, place: str, splits: Mapping[str, str]) -> str | None:
        """The data set's id, unless the cache has it."""
        hub = HubId.parse(place)
        folder = cached(hub)
        if folder is not None and _holds(folder, hub, source_splits(splits).values(), guess=True):
            return None
        return str(hub)

    def describe(self) -> list[dict[str, Any]]:
        """The one form of names."""
        return [
            {
                "name": HUB_FORM,
                "what": "a data set of the Hugging Face hub, its tables read without running scripts",
                "rows": None,
                "classes": None,
                "licence": "the data set's own",
                "available": True,
                "extra": None,
            }
        ]


def _folder(hub: HubId, splits: Collection[str]) -> Path:
    """The folder of a revision with those of these splits that there are; what the cache lacks is downloaded."""
    folder = cached(hub)
    if folder is not None and _holds(folder, hub, splits):
        return folder
    layout = layout_of(read_card(fetch(hub, [CARD])), hub)
    return fetch(hub, layout.patterns(splits))


def _holds(folder: Path, hub: HubId, splits: Collection[str], *, guess: bool = False) -> bool:
    """Whether a folder has all of these splits that its README names; `guess` if it names none and has some of them."""
    layout = layout_of(read_card(folder), hub)
    try:
        tables = layout.tables(folder, splits)
    except TaskError:
        return False
    if layout.named is None:
        return guess and bool(tables)
    return all(split in tables for split in splits if split in layout.named)


def _check_splits(
    hub: HubId, layout: Layout, tables: Mapping[str, object], wanted: Mapping[str, str], spec: TaskSpec
) -> None:
    """Refuses a data set without train, or without a split that the task gives a name of."""
    for ours in ("train", *dict(spec.splits)):
        if wanted[ours] not in tables:
            known = tables if layout.named is None else layout.named
            raise TaskError(
                f"{hub}: expected tables of a split {wanted[ours]!r} for {ours}{layout.places}, got "
                f"{', '.join(known) or 'none'}. Name the source's splits in tasks.splits."
            )


def _rows(
    hub: HubId,
    split: str,
    tables: Sequence[Path],
    spec: TaskSpec,
    names: tuple[str, ...] | None,
    trained: Collection[str] | None,
) -> list[Row]:
    """The labelled rows of a split; `trained` are the classes of train, None in train itself."""
    names = names or _stored_names(tables[0], spec.label)
    known = names or trained
    rows: list[Row] = []
    hidden = empty = 0
    for place, record in _records(tables, spec):
        label = value_of(record, spec.label, place)
        if label is None or (label in _HIDDEN and known is not None and "-1" not in known):
            hidden += 1
        elif any(_is_empty(value_of(record, column, place)) for column in columns_of(spec)):
            empty += 1
        else:
            rows.append(row_of(named(record, spec.label, names, place), spec, place))
    count = hidden + empty + len(rows)
    if hidden > len(rows):
        raise TaskError(
            f"{hub}: expected labels in the split {split!r}, got {hidden} rows of {count} with a hidden one (-1 or "
            "none). Use another split, such as tasks.splits: {test: validation}."
        )
    if not rows:
        raise TaskError(f"{hub}: expected at least one row in the split {split!r}, got none.")
    if known is None and any(row.label == "-1" for row in rows):
        _log.warning("%s: -1 is taken for a class, as train has it and nothing names the classes", hub)
    for left_out, what in ((hidden, "label"), (empty, "text")):
        if left_out:
            _log.warning(
                "%s: %d of %d rows of the split %s have no %s and are left out", hub, left_out, count, split, what
            )
    return rows


def _records(tables: Sequence[Path], spec: TaskSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    for table in tables:
        for line, record in read_records(table, columns_of(spec)):
            yield f"{table}:{line}", record


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _stored_names(table: Path, column: str) -> tuple[str, ...] | None:
    """The names of classes that a Parquet file written by Hugging Face's own library carries; None: none."""
    if table_suffix(table) != ".parquet":
        return None
    from pyarrow.parquet import read_schema

    try:
        metadata = json.loads((read_schema(table).metadata or {}).get(b"huggingface", b"{}"))
        names = metadata["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, OSError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None
