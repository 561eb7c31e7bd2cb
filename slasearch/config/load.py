"""Reads study files: from bytes to a validated `StudyConfig`, or to every problem at once, each with its line."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import slasearch
from slasearch.config.document import MAX_BYTES, Document, Node, Problem, parse_document, problem_line, unprintable
from slasearch.config.fields import STORED
from slasearch.config.overrides import apply_overrides
from slasearch.config.plain import stored_json
from slasearch.config.problems import problems_of
from slasearch.config.schema import StudyConfig
from slasearch.errors import ConfigError, StudyConflictError

__all__ = ["LoadedStudy", "open_study", "parse_study", "plain_study", "read_study", "stored_study"]


@dataclass(frozen=True)
class LoadedStudy:
    """A valid study with the document that it came from, for later checks that want to name lines."""

    config: StudyConfig
    document: Document

    def error(self, problems: Iterable[Problem]) -> ConfigError:
        """One error for all problems, each as `file:line: field: expected …, got …`."""
        return ConfigError([self.document.line(problem) for problem in problems])


def open_study(path: Path, overrides: Sequence[str] = ()) -> LoadedStudy:
    """The study in a file, as far as its schema can tell (`slasearch.space.load_checked` checks its space too).

    Args:
        path: YAML, at most 1 MB.
        overrides: Changes `a.b=c`, applied before validation.

    Raises:
        ConfigError: With all problems, each as `file:line: field: expected …, got …`.
    """
    return read_study(_text(path), str(path), overrides)


def parse_study(text: str, name: str, overrides: Sequence[str] = ()) -> StudyConfig:
    """The study in the text of a file that messages call `name`."""
    return read_study(text, name, overrides).config


def read_study(text: str, name: str, overrides: Sequence[str] = ()) -> LoadedStudy:
    """As `open_study`, for the text of a study file that messages call `name`."""
    if len(text) > MAX_BYTES:
        raise _refused(name, f"at most {MAX_BYTES:,} bytes", f"{len(text):,}")
    return _validated(parse_document(text, name), overrides)


def plain_study(data: Mapping[str, Any], name: str, overrides: Sequence[str] = ()) -> LoadedStudy:
    """As `read_study`, for what a study file holds as dicts, lists and scalars; messages call it `name`."""
    return _validated(Document(_node(data, name)), overrides)


def stored_study(text: str) -> StudyConfig:
    """A study as a database has it, as JSON. What a program had registered for it need not be known here.

    Raises:
        StudyConflictError: Another version wrote it, whose study file this one cannot read.
    """
    try:
        return StudyConfig.model_validate_json(text, context={STORED: True})
    except ValidationError as error:
        data = stored_json(text)
        name, problems = data.get("name"), problems_of(error, data)
        raise StudyConflictError(
            f"{problem_line(f'study {name}', problems[0])}. Another version of slasearch made the study, and slasearch "
            f"{slasearch.__version__} cannot read it: use that version, or remove it with `slasearch delete {name}`."
        ) from None


def _node(value: Any, origin: str, path: tuple[str | int, ...] = ()) -> Node:
    if isinstance(value, Mapping):
        return Node({str(key): _node(entry, origin, (*path, str(key))) for key, entry in value.items()}, origin)
    if isinstance(value, (list, tuple)):
        return Node([_node(entry, origin, (*path, number)) for number, entry in enumerate(value)], origin)
    if isinstance(value, str) and (problem := unprintable(value, path)):
        raise ConfigError([problem_line(origin, problem)])
    return Node(value, origin)


def _validated(document: Document, overrides: Sequence[str]) -> LoadedStudy:
    if not isinstance(document.root.value, dict):
        got = {list: "a list", type(None): "an empty file"}.get(type(document.root.value), "a single value")
        raise ConfigError([document.line(Problem((), "a mapping of fields, such as `name: my-study`", got))])
    apply_overrides(document, overrides)
    data = document.root.plain()
    problems = list(document.problems)
    try:
        config = StudyConfig.model_validate(data, strict=True)
    except ValidationError as error:
        problems += [document.line(problem) for problem in problems_of(error, data)]
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    return LoadedStudy(config, document)


def _refused(name: str, expected: str, got: str) -> ConfigError:
    return ConfigError([problem_line(f"{name}:1", Problem((), expected, got))])


def _text(path: Path) -> str:
    name = str(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _refused(name, "a file of YAML", "a folder" if path.is_dir() else "something that is no plain file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(name, "a file of YAML", "no such file") from None
    except OSError as error:
        raise _refused(name, "a readable file", error.strerror or type(error).__name__) from None
    if len(content) > MAX_BYTES:
        raise _refused(name, f"at most {MAX_BYTES:,} bytes", f"{path.stat().st_size:,}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem((), "text in UTF-8", f"the byte {content[error.start]:#04x}")
        raise ConfigError([problem_line(f"{name}:{line}", problem)]) from None
