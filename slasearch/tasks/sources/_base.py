"""What a task source is, and its registration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

from slasearch.config.splits import source_splits
from slasearch.errors import TaskError
from slasearch.records import TaskSpec
from slasearch.registry import SOURCES

__all__ = ["UNSPLIT", "Problem", "Row", "Source", "register_source", "wanted_splits"]

UNSPLIT = "all"
"""Name of the only part of a source that has no splits of its own."""


Problem = tuple[str, str]
"""What was expected of a name, and what was got."""


class Row(NamedTuple):
    """One labelled text (or pair) as the source has it; no field is empty or has white space around it."""

    text: str
    label: str
    text_pair: str | None = None


class Source(ABC):
    """A place that tasks come from. Stateless; reading the same place twice gives the same rows in the same order."""

    name: ClassVar[str]
    splits: ClassVar[bool] = True
    """Whether its tasks may have splits of their own, which a task's `splits` can name."""

    @abstractmethod
    def read(self, place: str, spec: TaskSpec) -> Mapping[str, Sequence[Row]]:
        """All rows of a task.

        Args:
            place: What stands after `NAME:` in the study file.
            spec: The task, for its columns.

        Returns:
            The part `all`, or the parts `train` and, as far as the source has them, `validation` and `test`.
            Limits, duplicates and missing splits are not the source's affair, but the names of the task's `splits` are:
            each split that they give must be there.

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

    def problem(self, place: str) -> Problem | None:
        """What is wrong with a name, as far as that can be told without reading or downloading data; None: nothing."""
        name = f"{self.name}:{place}"
        offers = {offer["name"]: offer for offer in self.describe()}
        if name not in offers:
            return f"one of {', '.join(offers)}", name
        if not offers[name]["available"]:
            step = f"Run in the checkout: pip install -e '.[{offers[name]['extra']}]'"
            return "an installed source", f"{name}, which is not. {step}"
        return None

    def columns(self, place: str, splits: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
        """The columns of each table, by its name, as far as a glance at it tells them; empty where it does not.

        Args:
            place: What stands after `NAME:` in the study file.
            splits: The task's names for the source's splits.

        Raises:
            TaskError: A table is there, and cannot be read.
        """
        return {}

    def download(self, place: str, splits: Mapping[str, str]) -> str | None:
        """What reading would download first, in words; None: nothing.

        Args:
            place: What stands after `NAME:` in the study file.
            splits: The task's names for the source's splits.
        """
        return None


def wanted_splits(splits: Mapping[str, str], place: str) -> dict[str, str]:
    """The source's split for each of ours that may stand for one: see `source_splits`.

    Raises:
        TaskError: The task's names for the splits contradict one another.
    """
    try:
        return source_splits(splits)
    except ValueError as error:
        raise TaskError(f"{place}: {error}. Check tasks.splits.") from None


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
