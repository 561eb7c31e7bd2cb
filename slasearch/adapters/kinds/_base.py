"""What every adapter kind is: a module that adds Δ(x, y) at its host, starts as identity, and knows its cost."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from slasearch.adapters.sites import Host, HostShape
from slasearch.errors import RegistryError
from slasearch.records import SlotCost
from slasearch.registry import KINDS

__all__ = ["AdapterModule", "KindEntry", "SlotContext", "Stage", "register_kind"]

Stage = Literal["input", "delta", "scale", "bias"]
"""When a module acts: on the host's input, then beside the host, then on the sum so far (scales before shifts)."""


_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class SlotContext:
    """What a module may see besides its host: `query`, the output of the layer's `attn.q` (`n x t x heads·head_dim`).

    It is there only for kinds that say `needs_query`, else None.
    """

    query: Tensor | None = None


class AdapterModule(nn.Module, ABC):
    """One module at one host operation.

    Guarantees of every kind, checked by `slasearch.testing.kinds`: Δ is exactly zero at the start; the number of
    parameters and multiply-adds equal `cost`, where only matrix products count; `fold(z)` turns Δ into z·Δ;
    `combine` is Σ z_i·Δ_i; all weights come from `generator`. A kind that is `mergeable` gives the same output through
    `merge`d weights.

    Args:
        host: Widths of the host operation.
        rank: Width of the module, ≥ 1; kinds without one ignore it.
        generator: Source of the initial weights.

    Attributes:
        linear_in: Names of the weights that Δ is linear in together: a gate's value is folded into these.
    """

    linear_in: ClassVar[tuple[str, ...]]

    @abstractmethod
    def __init__(self, host: HostShape, rank: int, *, generator: torch.Generator) -> None:
        super().__init__()

    def bind(self, host: Host) -> None:
        """Takes what Δ needs of the host's frozen weight; called of kinds that say `reads_weight`, before any use of Δ.

        It goes into buffers that are not persistent: exports do not hold it.
        """
        raise NotImplementedError(f"{type(self).__name__} reads no weight")

    @abstractmethod
    def delta(self, x: Tensor, y: Tensor, context: SlotContext) -> Tensor:
        """Δ from the host's input `x` (`n x t x d_in`) and output `y` (`n x t x d_out`) -> `n x t x d_out`.

        In the stage `input` both are the host's input, and Δ is added to it.
        """

    @classmethod
    def combine(
        cls,
        modules: Sequence[AdapterModule],
        coefficients: Sequence[Tensor | None],
        x: Tensor,
        y: Tensor,
        context: SlotContext,
    ) -> Tensor:
        """Σ_i z_i·Δ_i over modules of this kind at one host; a kind that can do it in one go overrides this.

        Args:
            modules: At least one.
            coefficients: z of each module for each example, `n x 1 x 1`; None is 1.
            x: As in `delta`.
            y: As in `delta`.
            context: As in `delta`.
        """
        total: Tensor | None = None
        for module, z in zip(modules, coefficients, strict=True):
            delta = module.delta(x, y, context)
            delta = delta if z is None else z * delta
            total = delta if total is None else total + delta
        assert total is not None
        return total

    def merge(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Weights of the host with this module in them; only of kinds that are `mergeable`.

        Args:
            weight: `d_out x d_in`, with the modules of earlier stages merged in already.
            bias: `d_out`, or None where the host has none.

        Returns:
            The new weight and bias, in fp32; the arguments stay as they are.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be merged")

    def merge_input(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Weights of the host whose input this module changes: `merge` of the stage `input`.

        Only of kinds that are `mergeable` and have input sites. Arguments and result are those of `merge`.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be merged into the host after it")

    def as_lora(self) -> tuple[Tensor, Tensor]:
        """A (`r x d_in`) and B (`d_out x r`) with Δ(x) = B·A·x; only of kinds that say `low_rank`."""
        raise NotImplementedError(f"{type(self).__name__} is no product of two matrices")

    def fold(self, value: float) -> None:
        """Multiplies Δ by `value` for good."""
        with torch.no_grad():
            for name in self.linear_in:
                self.get_parameter(name).mul_(value)

    @classmethod
    @abstractmethod
    def cost(cls, host: HostShape, rank: int) -> SlotCost:
        """Parameters and multiply-adds for each token of one module."""


@dataclass(frozen=True)
class KindEntry:
    """A registered kind.

    `stage` orders the modules of one site: the deltas of a stage are computed from the same output and added, then
    the next stage sees the sum (`delta`, then `scale`, then `bias`). At `input_sites` the kind acts on the host's input
    instead, before the host runs. `separable`: a module of rank r is the sum of r modules of rank 1, and costs as much.
    `mergeable`: it can be merged into the weights of a linear host. `needs_query`: Δ reads `context.query`.
    `aimable`: the module looks at its input through a weight `down`, `r x d_in`, which may start in any directions.
    `low_rank`: Δ(x) is B·A·x (`as_lora`), so that structures of such kinds export to the stock PEFT format.
    `reads_weight`: Δ depends on the host's frozen weight (`bind`): hosts must be linear, and ranks are at most the
    narrower side of the weight.
    """

    name: str
    module: type[AdapterModule]
    sites: tuple[str, ...]
    ranked: bool
    stage: Stage
    equation: str
    source: str
    cost: str
    input_sites: tuple[str, ...] = ()
    separable: bool = False
    mergeable: bool = False
    needs_query: bool = False
    aimable: bool = False
    low_rank: bool = False
    reads_weight: bool = False

    def stage_at(self, site: str) -> Stage:
        """When the kind acts at a site."""
        return "input" if site in self.input_sites else self.stage

    def shape_at(self, site: str, host: HostShape) -> HostShape:
        """The widths that a module at this site works on: at an input both are the input's."""
        return HostShape(host.d_in, host.d_in, host.heads) if site in self.input_sites else host


M = TypeVar("M", bound=type[AdapterModule])


def register_kind(
    name: str,
    *,
    sites: tuple[str, ...],
    equation: str,
    source: str,
    cost: str,
    ranked: bool = True,
    stage: Stage = "delta",
    input_sites: tuple[str, ...] = (),
    separable: bool = False,
    mergeable: bool = False,
    needs_query: bool = False,
    aimable: bool = False,
    low_rank: bool = False,
    reads_weight: bool = False,
) -> Callable[[M], M]:
    """Class decorator that adds a kind under `name`.

    Args:
        name: As `pool.kinds` calls it.
        sites: Places in a layer where it fits.
        equation: What it adds and what it starts as (the identity), as `slasearch kinds` shows it.
        source: Where it is from.
        cost: Parameters of one module, in d_in, d_out, d, r and heads; in words, as the module counts them itself.
        ranked: Whether it has a rank (a width).
        stage: When it acts; see `KindEntry`, as for what follows.
        input_sites: Those of `sites` where it acts on the host's input.
        separable: Whether it is a sum of rank-one parts, which can have a gate each.
        mergeable: Whether it can be merged into the host's weights.
        needs_query: Whether it reads the layer's queries.
        aimable: Whether it can start along the loss's gradient.
        low_rank: Whether it is a product of two narrow matrices, as PEFT's format holds.
        reads_weight: Whether it is made of the host's weight.

    Raises:
        RegistryError: The name is taken or none, or the class does not say what it is `linear_in`.
    """
    if _NAME.fullmatch(name) is None:
        raise RegistryError(
            f"kind {name!r}: expected a name of lower-case letters, digits and _ that begins with a letter (at most "
            f"40), got {name!r}. It is part of the names of slots."
        )

    def add(module: M) -> M:
        if not getattr(module, "linear_in", ()):
            raise RegistryError(
                f"kind {name!r}: expected in linear_in the names of the weights that Δ is linear in, got none. "
                "A gate's value is folded into these when training ends."
            )
        entry = KindEntry(
            name,
            module,
            sites,
            ranked,
            stage,
            equation,
            source,
            cost,
            input_sites,
            separable,
            mergeable,
            needs_query,
            aimable,
            low_rank,
            reads_weight,
        )
        KINDS.register(name, entry, module=module.__module__)
        return module

    return add
