"""What a task source is, and its registration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

from slasearch.records import TaskSpec
from slasearch.registry import SOURCES

__all__ = ["UNSPLIT", "Row", "Source", "register_source"]

UNSPLIT = "all"
"""Name of the only part of a source that has no splits of its own."""


class Row(NamedTuple):
    """One labelled text (or pair) as the source has it; no field is empty or has white space around it."""

    text: str
    label: str
    text_pair: str | None = None


class Source(ABC):
    """A place that tasks come from. Stateless; reading the same place twice gives the same rows in the same order."""

    name: ClassVar[str]

    @abstractmethod
    def read(self, place: str, spec: TaskSpec) -> Mapping[str, Sequence[Row]]:
        """All rows of a task.

        Args:
            place: What stands after `NAME:` in the study file.
            spec: The task, for its columns.

        Returns:
            The part `all`, or the parts `train` and, as far as the source has them, `validation` and `test`.
            Limits, duplicates and missing splits are not the source's affair.

        Raises:
            TaskError: The data cannot be read or does not fit the description.
            MissingExtraError: A package that carries the data is not installed.
        """

    @abstractmethod
    def describe(self) -> list[dict[str, Any]]:
        """What can be had here, without reading it: one dict for each task or form of data.

        Keys: `name` (as in the study file), `what`, `rows` and `classes` (counts, or None if they depend on the
        data), `licence`, `available` (bool), `extra` (the extra to install, or None).
        """


S = TypeVar("S", bound=Source)


def register_source(name: str) -> Callable[[type[S]], type[S]]:
    """Class decorator: makes a source known as `name`; the registry's entry is one instance of the class.

    Raises:
        RegistryError: The name is taken.
    """

    def register(cls: type[S]) -> type[S]:
        cls.name = name
        SOURCES.register(name, cls(), module=cls.__module__)
        return cls

    return register
