"""What a condition is: its facts, the three families, the seed of one sample, and registration.

A condition disturbs units: tokens, words or examples. Each unit has its own uniform u, drawn from a seed that names
the sample and never the level; the unit is disturbed if u < level, and how it is disturbed is drawn in the same way.
So levels are nested (what a lower level disturbs, a higher one disturbs identically), and two trials that are
measured under one condition see the very same inputs.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from slasearch.registry import CONDITIONS

__all__ = [
    "Condition",
    "ConditionFacts",
    "EmbeddingCondition",
    "Family",
    "Floats",
    "LabelCondition",
    "TextCondition",
    "register_condition",
    "sample_rng",
]

Family = Literal["embedding", "text", "label"]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ConditionFacts:
    """What there is to know about a kind of condition before it is used.

    Args:
        family: What is disturbed: the `embedding` of tokens, the `text`, or the `label`.
        level: What a level means, as it stands after "expected a" in messages, such as `share of words`.
        maximum: Highest level that makes sense; the lowest is 0 and disturbs nothing.
        where: Whether it may be trained under (`train`), measured under (`eval`), or both.
        default_scale: Strength of one disturbance if the study names none; None where the kind has no strength.
        summary: One sentence for people.
        equation: How a disturbed unit comes about.
        source: Where the kind comes from: a paper, a package, or `slasearch`.
    """

    family: Family
    level: str
    maximum: float
    where: tuple[Literal["train", "eval"], ...]
    default_scale: float | None
    summary: str
    equation: str
    source: str


class Condition(ABC):
    """One kind of disturbance: stateless, so that threads may share it. `name` and `facts` come by registration."""

    name: ClassVar[str]
    facts: ClassVar[ConditionFacts]


class EmbeddingCondition(Condition):
    """Disturbs the token embeddings of any backbone, before its first layer."""

    @abstractmethod
    def noise(self, length: int, dim: int, level: float, scale: float, rng: np.random.Generator) -> Floats:
        """`length x dim` of what is added to one example's embeddings, in units of their RMS; 0 where undisturbed."""


class TextCondition(Condition):
    """Disturbs the words of a text."""

    @abstractmethod
    def disturb(self, text: str, level: float, rng: np.random.Generator) -> str:
        """The disturbed text. How much is drawn from `rng` must not depend on `level`; a text with words keeps some."""


class LabelCondition(Condition):
    """Disturbs labels, in training only. An example keeps its wrong label in every epoch, as wrong data would."""

    @abstractmethod
    def relabel(self, label: int, n_labels: int, level: float, rng: np.random.Generator) -> int:
        """The label that is trained on: from 0 to `n_labels` - 1."""


C = TypeVar("C", bound=Condition)


def register_condition(name: str, facts: ConditionFacts) -> Callable[[type[C]], type[C]]:
    """Class decorator: makes a condition known as `name`; the registry's entry is one instance of the class.

    Raises:
        RegistryError: The name is taken.
    """

    def register(cls: type[C]) -> type[C]:
        cls.name = name
        cls.facts = facts
        CONDITIONS.register(name, cls(), module=cls.__module__)
        return cls

    return register


def sample_rng(kind: str, task: str, example_id: str, seed: int, epoch: int | None = None) -> np.random.Generator:
    """The source of everything random about one example under one kind of condition.

    Args:
        kind: Kind of condition.
        task: Name of the task.
        example_id: The example, unique in its task.
        seed: Seed of the condition.
        epoch: In training the number of the epoch, so that each epoch disturbs anew; None in evaluation.
    """
    identity = "\x1f".join((kind, task, example_id, str(seed), "" if epoch is None else str(epoch)))
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
