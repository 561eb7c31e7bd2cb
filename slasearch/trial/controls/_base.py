"""What a control is: a structure given beforehand, another gated trial, or a method with modules of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, TypeVar

from torch import Tensor, nn

from slasearch.records import Event, Slot, TrialSpec
from slasearch.registry import CONTROLS
from slasearch.trial.backbone import Backbone, BackboneShapes

__all__ = [
    "FOR_ALL_TASKS",
    "Adaptation",
    "Control",
    "ControlFacts",
    "GatedControl",
    "ModelControl",
    "SlotsControl",
    "Wanted",
    "register_control",
]

FOR_ALL_TASKS = "One set of modules for all tasks, also where tasks train independently"
"""What the summary of a `ModelControl` says where its modules know no tasks."""


@dataclass(frozen=True)
class ControlFacts:
    """What there is to know about a control.

    Args:
        summary: One phrase for people.
        source: Paper or package.
        equation: What it computes, or how it chooses.
        size: How it is held to the size of the structure it is compared with, as it stands in tables.
    """

    summary: str
    source: str
    equation: str
    size: str


class Control(ABC):
    """One control, stateless; `name` and `facts` come by registration."""

    name: ClassVar[str]
    facts: ClassVar[ControlFacts]


@dataclass(frozen=True)
class Wanted:
    """What a structure is asked for.

    Args:
        shapes: Widths of the backbone's hosts.
        candidates: Slots of the study's pool.
        size: Exported parameters to come to.
        seed: Seed of whatever is random.
        variant: One of the layouts in `registry.CONTROL_VARIANTS`; None: the first.
    """

    shapes: BackboneShapes
    candidates: Sequence[Slot]
    size: int
    seed: int = 0
    variant: str | None = None


class SlotsControl(Control):
    """A structure that is given before training, the same for every task; it may go beyond the study's pool.

    `start` is what its modules start from, as `PoolSpec.start`; None: what the study's pool does.
    """

    start: ClassVar[Literal["random", "gradient"] | None] = None

    @abstractmethod
    def slots(self, wanted: Wanted) -> tuple[Slot, ...]:
        """The open slots."""


class GatedControl(Control):
    """Another gated trial on the same data, such as one structure shared by all tasks."""

    @abstractmethod
    def spec(self, spec: TrialSpec) -> TrialSpec:
        """The trial to run in place of `spec`; `spec.control_size` is the size to come to. `control` is None in it."""


class Adaptation(ABC):
    """A method at work in one trial: where its modules sit, what is trained, what happens after each step.

    `backbone` is what the trial runs: a private copy of the shared one, changed as the method asks.
    """

    backbone: Backbone

    rates: Mapping[str, float] = MappingProxyType({})
    """Factor on the learning rate of each group of `weights()`; 1 where a group is not named."""

    @abstractmethod
    def weights(self) -> dict[str, list[nn.Parameter]]:
        """What is trained besides the heads, in groups, at the rate `training.learning_rate` times the group's."""

    @abstractmethod
    def exported_parameters(self) -> int:
        """How many numbers an export holds without the heads, as of now."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What an export holds, by name."""

    def before_batch(self, task_index: Tensor) -> None:  # noqa: B027, most methods have nothing to do here
        """Told before every forward pass, in training and evaluation: `n`, the task of each example."""

    def loss(self) -> Tensor | None:
        """What is added to the task loss, or None."""
        return None

    def after_step(self, step: int, total: int) -> None:  # noqa: B027
        """Told after `step` of `total` optimiser steps; may change which of `weights()` still get gradients."""

    def events(self) -> tuple[Event, ...]:
        """What is worth telling at the end."""
        return ()


class ModelControl(Control):
    """A method with modules of its own, or of another library.

    It trains one set of modules for all tasks, at the whole size, whatever `training.multitask` says: only structures
    are given equal parts of the size, one for each task.
    """

    @abstractmethod
    def adapt(self, backbone: Backbone, spec: TrialSpec, *, steps: int, seed: int) -> Adaptation:
        """Puts the method into a copy of the backbone; `backbone` itself stays as it is.

        Args:
            backbone: The shared, frozen backbone.
            spec: The trial; `control_size` is the size to come to, `control_variant` a layout.
            steps: Optimiser steps of the trial.
            seed: Seed of the initial weights.

        Raises:
            MissingExtraError: The library that has the method is not installed.
            ConfigError: The method does not fit this backbone or these tasks.
        """


C = TypeVar("C", bound=Control)


def register_control(
    name: str, *, summary: str, source: str, equation: str, size: str = "never above the size compared at"
) -> Callable[[type[C]], type[C]]:
    """Class decorator that adds a control under `name`; the registry's entry is one instance of the class.

    Raises:
        RegistryError: The name is taken.
    """

    def add(cls: type[C]) -> type[C]:
        cls.name = name
        cls.facts = ControlFacts(summary, source, equation, size)
        CONTROLS.register(name, cls(), module=cls.__module__)
        return cls

    return add
