"""Where modules can sit: for each model family, the layers and the host modules behind each site.

A site may be more than one module (a gated `ffn.in` is two): a slot there has one part for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from slasearch.errors import BackboneError
from slasearch.records import SITES

__all__ = [
    "FAMILIES",
    "Host",
    "HostShape",
    "SiteTable",
    "hidden_states",
    "host_shapes",
    "hosts_of",
    "layers_of",
    "table_of",
]


@dataclass(frozen=True)
class HostShape:
    """Widths of a host operation: `d_in` of its input, `d_out` of its output; `heads` of the layer's attention."""

    d_in: int
    d_out: int
    heads: int = 1


@dataclass(frozen=True)
class Host:
    """A host operation: a module, or the part of its output from `start` (included) to `stop` (excluded).

    A fused module (`c_attn`, `qkv_proj`, `gate_up_proj`) computes several operations at once; each is a host.
    """

    module: nn.Module
    start: int = 0
    stop: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the host is all of its module's output."""
        return self.start == 0 and self.stop is None


@dataclass(frozen=True)
class SiteTable:
    """One model family: the paths to its embeddings and its list of layers, and each site's module paths in a layer.

    An empty path is the layer itself. `decoder` decides the default pooling.
    """

    embeddings: str
    layers: str
    sites: Mapping[str, tuple[str, ...]]
    decoder: bool


_BERT = SiteTable(
    embeddings="embeddings",
    layers="encoder.layer",
    sites={
        "attn.q": ("attention.self.query",),
        "attn.k": ("attention.self.key",),
        "attn.v": ("attention.self.value",),
        "attn.out": ("attention.output.dense",),
        "ffn.in": ("intermediate.dense",),
        "ffn.out": ("output.dense",),
        "block": ("",),
    },
    decoder=False,
)
_LLAMA = SiteTable(
    embeddings="embed_tokens",
    layers="layers",
    sites={
        "attn.q": ("self_attn.q_proj",),
        "attn.k": ("self_attn.k_proj",),
        "attn.v": ("self_attn.v_proj",),
        "attn.out": ("self_attn.o_proj",),
        "ffn.in": ("mlp.gate_proj", "mlp.up_proj"),
        "ffn.out": ("mlp.down_proj",),
        "block": ("",),
    },
    decoder=True,
)

FAMILIES: Mapping[str, SiteTable] = {"bert": _BERT, "llama": _LLAMA}
"""Hugging Face `model_type` -> table. To add a family, add a row; the contract suites attach to it."""


def table_of(model: nn.Module) -> SiteTable:
    """The table of a model's family.

    Raises:
        BackboneError: The family is unknown; the text names the known ones and the linear modules found.
    """
    family = str(getattr(getattr(model, "config", None), "model_type", type(model).__name__))
    if family not in FAMILIES:
        linear = sorted({name for name, module in model.named_modules() if isinstance(module, nn.Linear)})
        shown = ", ".join(linear[:12]) + (" …" if len(linear) > 12 else "")
        raise BackboneError(
            f"backbone family: expected one of {', '.join(FAMILIES)}, got {family!r} with linear modules "
            f"{shown or 'none'}. Add the family to slasearch/adapters/sites.py."
        )
    return FAMILIES[family]


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The model's layers, lowest first."""
    layers = model.get_submodule(table_of(model).layers)
    if not isinstance(layers, nn.ModuleList):
        raise BackboneError(f"backbone: expected a list of layers at {table_of(model).layers!r}, got {type(layers)}.")
    return layers


def hosts_of(model: nn.Module, layer: int, site: str) -> tuple[Host, ...]:
    """The host operations behind a site of a layer.

    Raises:
        BackboneError: No such layer or site.
    """
    table, layers = table_of(model), layers_of(model)
    if not 0 <= layer < len(layers):
        raise BackboneError(
            f"layer: expected 0 to {len(layers) - 1}, got {layer}. The backbone has {len(layers)} layers."
        )
    if site not in table.sites:
        raise BackboneError(f"site: expected one of {', '.join(SITES)}, got {site!r}.")
    return tuple(Host(layers[layer].get_submodule(path)) for path in table.sites[site])


def host_shapes(model: nn.Module) -> dict[str, tuple[HostShape, ...]]:
    """For each site the widths of its host modules, read off the first layer."""
    table = table_of(model)
    hidden = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
    heads = int(model.config.num_attention_heads)  # type: ignore[union-attr, arg-type]
    return {site: tuple(_shape(host, hidden, heads) for host in hosts_of(model, 0, site)) for site in table.sites}


def _shape(host: Host, hidden: int, heads: int) -> HostShape:
    if isinstance(host.module, nn.Linear):
        return HostShape(host.module.in_features, host.module.out_features, heads)
    return HostShape(hidden, hidden, heads)


def hidden_states(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The hidden states in a layer's output, which some versions wrap in a tuple."""
    return output[0] if isinstance(output, tuple) else output
