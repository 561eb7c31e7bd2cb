"""YAML text as a tree of values that know their lines, built from parser events under hard limits.

Only plain data is read: a tag, an anchor, an alias, a second document, deep nesting or too many values end the
reading with one error, before anything is built from them. Plain scalars follow YAML 1.2: `1e-3` is a number, and
`yes`, `on` and `12:30` are text (YAML 1.1 has them as text, booleans and a number in base 60).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import yaml

from slasearch.config.secrets import masked
from slasearch.errors import ConfigError

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_VALUES",
    "Document",
    "Node",
    "Path",
    "Problem",
    "parse_document",
    "problem_line",
    "unprintable",
]

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_VALUES = 10_000

Path = tuple[str | int, ...]
"""A field's place: keys of mappings and numbers of list entries, from the root."""

_INT = re.compile(r"[-+]?[0-9]{1,64}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNSAFE = re.compile("[\0\ud800-\udfff]")
"""What escapes in quotes can smuggle in, and neither a database nor a terminal takes."""
_SPECIAL = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}


class Problem(NamedTuple):
    """Something wrong with the field at `path`: what was expected there, and what was got."""

    path: Path
    expected: str
    got: str


def unprintable(text: str, path: Path) -> Problem | None:
    """What is wrong with the text of a field that neither a database nor a terminal takes."""
    found = _UNSAFE.search(text)
    return found and Problem(path, "printable text", f"the character {ord(found.group()):#06x}")


@dataclass
class Node:
    """A scalar, a list of nodes, or a mapping of nodes, with the place in the source that it came from."""

    value: Any
    origin: str

    def plain(self) -> Any:
        """The value without origins: dicts, tuples and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return tuple(node.plain() for node in self.value)
        return self.value

    def child(self, step: str | int) -> Node | None:
        """The node at a key or a list position, if there is one."""
        if isinstance(self.value, dict):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and 0 <= step < len(self.value):
            entry: Node = self.value[step]
            return entry
        return None


@dataclass
class Document:
    """A study file as read: its tree, and what was wrong with it already as a file."""

    root: Node
    problems: list[str] = field(default_factory=list)

    def line(self, problem: Problem) -> str:
        """`origin: field: expected …, got …`, with the origin of the deepest node on the problem's path."""
        node = self.root
        for step in problem.path:
            below = node.child(step)
            if below is None:
                break
            node = below
        return problem_line(node.origin, problem)


def problem_line(origin: str, problem: Problem) -> str:
    """`origin: field: expected …, got …`, safe to print whatever stands in the file."""
    name = ".".join(_short(masked(str(step))) for step in problem.path) or "study file"
    line = f"{masked(origin)}: {masked(name)}: expected {problem.expected}, got {masked(problem.got)}"
    return "".join(mark if mark.isprintable() else f"\\u{ord(mark):04x}" for mark in line)


def parse_document(text: str, name: str, *, origin: str | None = None) -> Document:
    """Reads one YAML document.

    Args:
        text: The YAML text.
        name: What the text is called in messages, such as its path.
        origin: Where its nodes come from, if not from `name:line` (an override is its own origin).

    Raises:
        ConfigError: The text is no YAML, is more than plain data, or breaks a limit: one problem, with its line.
    """
    return _Builder(text, name, origin).document()


class _Builder:
    def __init__(self, text: str, name: str, origin: str | None) -> None:
        self.text, self.name, self.origin = text, name, origin
        self.values = 0
        self.problems: list[str] = []
        self.events: Iterator[yaml.Event] = iter(())

    def document(self) -> Document:
        try:
            loader = yaml.SafeLoader(self.text)
            self.events = iter(loader.get_event, None)
            next(self.events)  # start of the stream
            if isinstance(next(self.events), yaml.StreamEndEvent):
                return Document(Node(None, self.place(0)))
            root = self.node(next(self.events), (), None)
            next(self.events)  # end of the document
            if isinstance(event := next(self.events), yaml.DocumentStartEvent):
                self.refuse(_line(event), "one document", "a second one (---)")
        except yaml.reader.ReaderError as error:
            line = self.text.count("\n", 0, error.position)
            self.refuse(line, "printable text", f"the character {error.character:#06x}")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.refuse(mark.line if mark else 0, "valid YAML", f"text with a flaw: {error.problem or error.context}")
        except ConfigError:
            raise
        except (ValueError, OverflowError) as error:  # a number of an escape or a directive that Python does not take
            self.refuse(loader.line, "valid YAML", f"text with a flaw: {error}")
        return Document(root, self.problems)

    def place(self, line: int) -> str:
        return self.origin or f"{self.name}:{line + 1}"

    def refuse(self, line: int, expected: str, got: str) -> NoReturn:
        raise ConfigError([problem_line(self.place(line), Problem((), expected, got))]) from None

    def admit(self, event: yaml.Event, path: Path) -> None:
        line = _line(event)
        self.values += 1
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            self.refuse(line, "values written out in full", f"the anchor or alias {_short(anchor)}")
        if tag is not None:
            self.refuse(line, "plain values", f"the YAML tag {_short(tag)}")
        if isinstance(event, yaml.ScalarEvent) and (problem := unprintable(event.value, ())):
            self.refuse(line, problem.expected, problem.got)
        if len(path) > MAX_DEPTH:
            self.refuse(line, f"at most {MAX_DEPTH} levels of nesting", "more")
        if self.values > MAX_VALUES:
            self.refuse(line, f"at most {MAX_VALUES} keys and values", "more")

    def node(self, event: yaml.Event, path: Path, origin: str | None) -> Node:
        """The node that starts with `event`; an entry of a mapping has its key's line."""
        self.admit(event, path)
        origin = origin or self.place(_line(event))
        if isinstance(event, yaml.ScalarEvent):
            return Node(_scalar(event.value) if event.implicit[0] else event.value, origin)
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(self.sequence(path), origin)
        return Node(self.mapping(path), origin)

    def sequence(self, path: Path) -> list[Node]:
        entries: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            entries.append(self.node(event, (*path, len(entries)), None))
        return entries

    def mapping(self, path: Path) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            self.admit(event, path)
            origin = self.place(_line(event))
            if not isinstance(event, yaml.ScalarEvent):
                self.refuse(_line(event), "text as a key", "a list or a mapping")
            key = event.value
            node = self.node(next(self.events), (*path, key), origin)
            if key in entries:
                problem = Problem((*path, key), "each field once", f"it again (first: {entries[key].origin})")
                self.problems.append(problem_line(origin, problem))
            else:
                entries[key] = node
        return entries


def _line(event: yaml.Event) -> int:
    return event.start_mark.line if event.start_mark else 0


def _scalar(text: str) -> Any:
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INT.fullmatch(text):
        return int(text)
    value = float(text) if _FLOAT.fullmatch(text) else text
    if value in (math.inf, -math.inf) and text.lstrip("+-").isdigit():
        return text  # whole, but too large for any field: messages show it as it was written
    return value


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"
