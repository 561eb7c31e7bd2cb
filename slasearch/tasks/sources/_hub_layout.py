"""Where a data set repository of the Hugging Face hub keeps its tables, and what its classes are called.

Its README may say both, in YAML at its top: `configs` (with `data_files` or `data_dir`) and `dataset_info`. Without
`configs` the names of the files tell, such as `CONFIG/train-00000-of-00001.parquet`, `data/train-*.parquet` or
`test.jsonl`. Nothing in a repository is executed.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slasearch.errors import TaskError
from slasearch.tasks.sources._hub_cache import HubId
from slasearch.tasks.sources._tables import SUFFIXES, table_suffix

__all__ = ["CARD", "Layout", "class_names", "layout_of", "read_card"]

CARD = "README.md"
_MOST_BYTES = 2_000_000
_PREFERENCE = (".parquet", *(suffix for suffix in SUFFIXES if suffix != ".parquet"))
"""Where a split stands in several formats, the first of these is read."""
_SHARD = re.compile(r"-\d{5}-of-(\d{5})\.")


@dataclass(frozen=True)
class Layout:
    """Where tables are looked for.

    Args:
        config: The configuration that was chosen, None where the repository names none.
        named: Patterns of paths for each split, as the README says; None: it does not.
        bases: Folders that may hold the tables otherwise, each empty or with `/` at its end; the first one wins.
    """

    config: str | None
    named: Mapping[str, tuple[str, ...]] | None
    bases: tuple[str, ...]

    @property
    def places(self) -> str:
        """Where tables are looked for, as an addition to a message; empty where the README says it."""
        return "" if self.named is not None else f" in {' or '.join(base or 'the root' for base in self.bases)}"

    def patterns(self, splits: Iterable[str]) -> list[str]:
        """Shell patterns of the paths of these splits; `*` matches `/` too."""
        if self.named is not None:
            return [pattern for split in splits for pattern in self.named.get(split, ())]
        return [pattern for split in splits for base in self.bases for pattern in _guesses(base, split)]

    def tables(self, folder: Path, splits: Iterable[str]) -> dict[str, list[Path]]:
        """The tables of each of these splits that is there, in the order of their names.

        Raises:
            TaskError: What stands there are no tables, or some of a table's parts are missing.
        """
        there = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
        if self.named is not None:
            found = {split: _matching(there, self.named.get(split, ())) for split in splits}
        else:
            found = _first_base(there, self.bases, tuple(splits))
        return {split: _one_format(folder, split, paths) for split, paths in found.items() if paths}


def read_card(folder: Path) -> dict[str, Any]:
    """What stands in YAML at the top of a repository's README; empty if nothing does.

    Raises:
        TaskError: It is no YAML.
    """
    try:
        text = (folder / CARD).read_text(encoding="utf-8", errors="replace")[:_MOST_BYTES]
    except FileNotFoundError:
        return {}
    match = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        card = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise TaskError(f"{folder / CARD}: expected YAML between the lines ---, got a flaw: {reason}.") from error
    return card if isinstance(card, dict) else {}


def layout_of(card: Mapping[str, Any], hub: HubId) -> Layout:
    """Where a data set's tables are looked for.

    Raises:
        TaskError: The repository has several configurations, and the id names none of them.
    """
    config = _chosen(card, hub)
    name = hub.config if config is None else str(config["config_name"])
    folders = (f"{name}/", f"data/{name}/") if name else ()
    bases = folders if hub.config else (*folders, "data/", "default/", "")
    if config is None:
        return Layout(name, None, bases)
    directory = str(config.get("data_dir") or "").strip("/")
    if config.get("data_files") is None:
        return Layout(name, None, (f"{directory}/",) if directory else bases)
    return Layout(name, _data_files(config["data_files"], f"{directory}/" if directory else "", hub), bases)


def class_names(card: Mapping[str, Any], config: str | None, column: str) -> tuple[str, ...] | None:
    """The names of the classes in a column, by number, as the README has them; None: it does not."""
    stated = card.get("dataset_info")
    infos = _mappings(stated if isinstance(stated, list) else [stated])
    of_config = [info for info in infos if info.get("config_name", "default") == (config or "default")]
    for info in of_config or (infos if len(infos) == 1 else []):
        for feature in _mappings(info.get("features")):
            dtype = feature.get("dtype")
            label = dtype.get("class_label") if isinstance(dtype, dict) else None
            if feature.get("name") == column and isinstance(label, dict):
                return _numbered(label.get("names"))
    return None


# ---------------------------------------------------------------- what the README says


def _mappings(entries: Any) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _numbered(names: Any) -> tuple[str, ...] | None:
    """A list of names, or a mapping from numbers (as text) to names, as a tuple."""
    if isinstance(names, dict) and all(str(number).isdigit() for number in names):
        names = [names[number] for number in sorted(names, key=int)]
    return tuple(str(name).strip() for name in names) if isinstance(names, list) and names else None


def _chosen(card: Mapping[str, Any], hub: HubId) -> dict[str, Any] | None:
    """The configuration that the id means; None if the README lists none."""
    configs = [config for config in _mappings(card.get("configs")) if config.get("config_name")]
    if not configs:
        return None
    if hub.config is not None:
        fitting = [config for config in configs if str(config["config_name"]) == hub.config]
    else:
        default = [config for config in configs if config.get("default") or config["config_name"] == "default"]
        fitting = configs if len(configs) == 1 else default
    if not fitting:
        names = [str(config["config_name"]) for config in configs]
        known = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        got = "none" if hub.config is None else repr(hub.config)
        raise TaskError(f"{hub}: expected one of the configurations {known}, got {got}. Write hub:ORG/NAME/CONFIG@….")
    return fitting[0]


def _data_files(stated: Any, directory: str, hub: HubId) -> dict[str, tuple[str, ...]]:
    """Patterns for each split, from any of the forms that `data_files` may have."""
    entries = list(stated.items()) if isinstance(stated, dict) else _entries(stated)
    patterns: dict[str, list[str]] = defaultdict(list)
    for split, paths in entries:
        for path in paths if isinstance(paths, list) else [paths]:
            if not isinstance(path, str):
                raise TaskError(f"{hub}: expected paths in the README's data_files, got {path!r:.60}.")
            patterns[str(split)].append(f"{directory}{path}")
    return {split: tuple(paths) for split, paths in patterns.items()}


def _entries(stated: Any) -> list[tuple[Any, Any]]:
    listed = stated if isinstance(stated, list) else [stated]
    return [
        (entry.get("split", "train"), entry.get("path")) if isinstance(entry, dict) else ("train", entry)
        for entry in listed
    ]


# ---------------------------------------------------------------- files


def _guesses(base: str, split: str) -> list[str]:
    """Where the tables of a split may be in a folder: of its name, in parts, or in a folder of its name."""
    forms = (f"{base}{split}", f"{base}{split}-*", f"{base}{split}/*")
    return [f"{form}{suffix}{packed}" for form, suffix, packed in itertools.product(forms, SUFFIXES, ("", ".gz"))]


def _matching(paths: Iterable[str], patterns: Iterable[str]) -> list[str]:
    wanted = [form for pattern in patterns for form in (pattern, pattern.replace("**/", ""))]
    return [path for path in paths if any(fnmatch.fnmatchcase(path, form) for form in wanted)]


def _first_base(there: list[str], bases: tuple[str, ...], splits: tuple[str, ...]) -> dict[str, list[str]]:
    """The files of the splits in the first folder that has any."""
    for base in bases:
        found = {split: _matching(there, _guesses(base, split)) for split in splits}
        if any(found.values()):
            return found
    return {}


def _one_format(folder: Path, split: str, paths: list[str]) -> list[Path]:
    files = [folder / path for path in paths]
    for suffix in _PREFERENCE:
        tables = [file for file in files if table_suffix(file) == suffix]
        if tables:
            _check_shards(folder, split, tables)
            return tables
    raise TaskError(
        f"{folder}: expected tables ({', '.join(_PREFERENCE)}) for the split {split!r}, got {', '.join(paths[:3])}. "
        "The hub keeps converted copies of many data sets: try the revision refs/convert/parquet."
    )


def _check_shards(folder: Path, split: str, tables: list[Path]) -> None:
    """Refuses a split of which the cache holds some parts only."""
    counts = [int(match[1]) for table in tables if (match := _SHARD.search(table.name))]
    if counts and len(counts) < max(counts):
        raise TaskError(
            f"{folder}: expected {max(counts)} parts of the split {split!r}, got {len(counts)}. "
            "Download the data set again where there is a network."
        )
