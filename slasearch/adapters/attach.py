"""Puts a pool into a frozen backbone with forward hooks, and takes it out again without a trace."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import hidden_states, host_modules

__all__ = ["Attachment", "attach"]


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
        BackboneError: A slot's layer or site does not exist in this model; nothing is left attached.
    """
    attachment = Attachment([])
    with_hosts = [(place, host_modules(model, *place)) for place in pool.places]
    for (layer, site), hosts in with_hosts:
        for part, host in enumerate(hosts):
            handle = host.register_forward_hook(_hook(pool, layer, site, part), with_kwargs=True)
            attachment._handles.append(handle)
    return attachment


def _hook(pool: Pool, layer: int, site: str, part: int) -> Any:
    def run(host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        x: Tensor = args[0] if args else kwargs["hidden_states"]
        y = pool.compose(layer, site, part, x, hidden_states(output))
        return (y, *output[1:]) if isinstance(output, tuple) else y

    return run
