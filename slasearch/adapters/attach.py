"""Puts a pool into a frozen backbone with forward hooks, and takes it out again without a trace."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import Host, hidden_states, hosts_of

__all__ = ["Attachment", "attach", "input_of"]


class Attachment:
    """The hooks of an attached pool. A context manager; after `detach` the backbone computes what it did before."""

    def __init__(self, handles: list[RemovableHandle]) -> None:
        self._handles = handles

    def detach(self) -> None:
        """Removes every hook. May be called again."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


def attach(model: nn.Module, pool: Pool) -> Attachment:
    """Adds the pool's modules to the model's hosts. The model's own weights and code stay as they are.

    Raises:
        BackboneError: A slot's layer or site does not exist in this model, or a kind cannot read a weight; nothing is
            left attached.
    """
    attachment = Attachment([])
    places = [*pool.places, *((layer, "attn.q") for layer in pool.query_layers if (layer, "attn.q") not in pool.places)]
    with_hosts = [(place, hosts_of(model, *place)) for place in places]
    for place, hosts in with_hosts:  # before any hook: it may refuse a weight
        for part, host in enumerate(hosts):
            pool.bind(*place, part, host)
    for (layer, site), hosts in with_hosts:
        for part, host in enumerate(hosts):
            module, hook = host.module, _after(pool, layer, site, part, host)
            attachment._handles.append(module.register_forward_hook(hook, with_kwargs=True))
            if pool.acts_on_input(layer, site):
                before = _before(pool, layer, site, part)
                attachment._handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
    return attachment


def input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A host's input, of what its forward hook was given."""
    found: Tensor = args[0] if args else kwargs["hidden_states"]
    return found


def _before(pool: Pool, layer: int, site: str, part: int) -> Any:
    def run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = pool.compose_input(layer, site, part, input_of(args, kwargs))
        return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": x})

    return run


def _after(pool: Pool, layer: int, site: str, part: int, host: Host) -> Any:
    def run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if not pool.works_at(layer, site):  # its last slot is gone: a part of a fused output need not be put back
            return output
        x, y = input_of(args, kwargs), hidden_states(output)
        if host.whole:
            y = pool.compose(layer, site, part, x, y)
        else:
            inside = pool.compose(layer, site, part, x, y[..., host.start : host.stop])
            stop = y.shape[-1] if host.stop is None else host.stop
            y = torch.cat((y[..., : host.start], inside, y[..., stop:]), dim=-1)
        return (y, *output[1:]) if isinstance(output, tuple) else y

    return run
