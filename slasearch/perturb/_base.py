"""What a condition is: its facts, the five families, the seed of one sample, and registration.

A condition disturbs units: tokens, words, examples or tensors. All that is random about a unit is drawn from a seed
that names the sample and never the level. If a level is a share, a unit is disturbed where its own uniform u < level,
and how it is disturbed is drawn beside u: what a lower level disturbs, a higher one disturbs identically. If a level is
a strength, it scales one fixed direction. So levels are nested, and two trials that are measured under one condition
see the very same inputs.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from slasearch.perturb.vocabulary import Int32s, Vocabulary
from slasearch.registry import CONDITIONS

__all__ = [
    "Condition",
    "ConditionFacts",
    "EmbeddingChange",
    "EmbeddingCondition",
    "Family",
    "Floats",
    "LabelCondition",
    "TextCondition",
    "TokenCondition",
    "WeightCondition",
    "register_condition",
    "sample_rng",
]

Family = Literal["embedding", "token", "text", "label", "weights"]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ConditionFacts:
    """What there is to know about a kind of condition before it is used.

    Args:
        family: What is disturbed: the `embedding` of tokens, the `token` itself, the `text`, the `label`, or the
            `weights` of the adapter.
        level: What a level means, as it stands after "expected a" in messages, such as `share of words`.
        units: What a level is measured in: `share`, a part of the tokens, words or examples; `absolute`, the numbers'
            own units; `rms`, the root mean square of what is disturbed. The last two are strengths on every unit.
        maximum: Highest level that is taken; the lowest is 0 and disturbs nothing.
        severities: Five rising levels, which are measured where a study names none.
        where: Whether it may be trained under (`train`), measured under (`eval`), or both.
        default_scale: Strength of one disturbance if the study names none; None where the kind has no strength.
        summary: One sentence for people.
        equation: How a disturbed unit comes about.
        source: Where the kind comes from: a paper, a package, or `slasearch`.
        ours: What is decided here because the source leaves it open, or otherwise than there; empty if nothing is.
    """

    family: Family
    level: str
    units: Literal["share", "absolute", "rms"]
    maximum: float
    severities: tuple[float, float, float, float, float]
    where: tuple[Literal["train", "eval"], ...]
    default_scale: float | None
    summary: str
    equation: str
    source: str
    ours: str = ""


class Condition(ABC):
    """One kind of disturbance: stateless, so that threads may share it. `name` and `facts` come by registration."""

    name: ClassVar[str]
    facts: ClassVar[ConditionFacts]


@dataclass(frozen=True, eq=False)
class EmbeddingChange:
    """What happens to the embeddings e of L tokens: e' = factor·e + added, in the embeddings' own units.

    Args:
        factor: `L`, or `n x L` of a batch; None: 1 everywhere.
        added: `L x d`, or `n x L x d` of a batch; None: 0 everywhere.
    """

    factor: Floats | None = None
    added: Floats | None = None


class EmbeddingCondition(Condition):
    """Disturbs the token embeddings of any backbone, before positions are added and before its first layer."""

    @abstractmethod
    def change(
        self, length: int, dim: int, level: float, scale: float, rms: float, rng: np.random.Generator
    ) -> EmbeddingChange:
        """The change of one example's embeddings. What falls on special tokens is discarded by the caller.

        Args:
            length: Tokens of the example, special ones included.
            dim: Width of an embedding.
            level: How much, above 0.
            scale: Strength of one disturbance, for kinds that have one.
            rms: Root mean square of the backbone's table of token embeddings.
            rng: The example's own source; how much is drawn from it must not depend on `level`.
        """


class TokenCondition(Condition):
    """Disturbs the numbers of tokens, after a text was cut into tokens."""

    @abstractmethod
    def substitute(self, ids: Int32s, vocabulary: Vocabulary, level: float, rng: np.random.Generator) -> Int32s:
        """The disturbed tokens of one example, as many as `ids` (`L`); tokens that are not ordinary stay.

        How much is drawn from `rng` must not depend on `level`.
        """


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


class WeightCondition(Condition):
    """Disturbs the weights of a trained adapter, in evaluation only."""

    @abstractmethod
    def noise(self, shape: tuple[int, ...], level: float, rng: np.random.Generator) -> Floats:
        """What is added to one tensor, in units of its root mean square; how much is drawn depends on `shape` alone."""


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
    """The source of everything random about one example, or one tensor, under one kind of condition.

    Args:
        kind: Kind of condition.
        task: Name of the task; of a tensor, the slot that it belongs to.
        example_id: The example, unique in its task; or the tensor, unique in its slot.
        seed: Seed of the condition.
        epoch: In training the number of the epoch, so that each epoch disturbs anew; None in evaluation.
    """
    identity = "\x1f".join((kind, task, example_id, str(seed), "" if epoch is None else str(epoch)))
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
