"""Where modules can sit: for each model family, the layers and the host operations behind each site.

A site may be more than one host (a gated `ffn.in` is two): a slot there has one module for each. A host may be a part
of a fused module (`c_attn` computes q, k and v): it is then a slice of the module's output, computed from the config.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from slasearch.errors import BackboneError
from slasearch.records import SITES

__all__ = [
    "FAMILIES",
    "Host",
    "HostShape",
    "Place",
    "SiteTable",
    "hidden_states",
    "host_shapes",
    "hosts_of",
    "layers_of",
    "positions_were_separated",
    "rejoin_positions",
    "separate_positions",
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
class Place:
    """Where a host is found in a layer: the path of its module (empty: the layer itself).

    `part` is `q`, `k`, `v`, `gate` or `up` where a fused module computes it beside others; empty: all of the output.
    """

    path: str
    part: str = ""


@dataclass(frozen=True)
class SiteTable:
    """One model family: the path to its list of layers, and the places behind each site in a layer.

    `decoder` decides the default pooling; `pairs` tells that a layer returns its hidden states with something else.
    `joint` is the module of a layer that takes what attention gave and what entered the layer, and from which on tokens
    go their own ways; empty where a layer has no such module.
    """

    layers: str
    sites: Mapping[str, tuple[Place, ...]]
    decoder: bool
    pairs: bool = False
    joint: str = ""


def _row(layers: str, *sites: str, decoder: bool = True, pairs: bool = False, joint: str = "") -> SiteTable:
    """A row of the table.

    Args:
        layers: Path to the list of layers.
        sites: The modules of q, k, v, attn.out, ffn.in and ffn.out: `PATH`, `PATH:PART`, or several with spaces.
        decoder: Whether a token sees only those before it.
        pairs: Whether a layer returns its hidden states with something else.
        joint: The module that takes what attention gave and what entered the layer, if there is one.
    """
    places = [tuple(Place(*one.split(":")) for one in text.split()) for text in sites]
    return SiteTable(layers, dict(zip(SITES, [*places, (Place(""),)], strict=True)), decoder, pairs, joint)


_BERT = _row(
    "encoder.layer",
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
    decoder=False,
    joint="attention.output",
)
_DISTILBERT = _row(
    "transformer.layer",
    "attention.q_lin",
    "attention.k_lin",
    "attention.v_lin",
    "attention.out_lin",
    "ffn.lin1",
    "ffn.lin2",
    decoder=False,
)
_DEBERTA = _row(
    "encoder.layer",
    "attention.self.query_proj",
    "attention.self.key_proj",
    "attention.self.value_proj",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
    decoder=False,
    pairs=True,
    joint="attention.output",
)
_GPT2 = _row("h", "attn.c_attn:q", "attn.c_attn:k", "attn.c_attn:v", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
_LLAMA = _row(
    "layers",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj mlp.up_proj",
    "mlp.down_proj",
)
_PHI = _row(
    "layers",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.dense",
    "mlp.fc1",
    "mlp.fc2",
)
_PHI3 = _row(
    "layers",
    "self_attn.qkv_proj:q",
    "self_attn.qkv_proj:k",
    "self_attn.qkv_proj:v",
    "self_attn.o_proj",
    "mlp.gate_up_proj:gate mlp.gate_up_proj:up",
    "mlp.down_proj",
)

FAMILIES: Mapping[str, SiteTable] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
    "distilbert": _DISTILBERT,
    "deberta-v2": _DEBERTA,
    "gpt2": _GPT2,
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "mistral": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _LLAMA,
    "smollm3": _LLAMA,
    "phi": _PHI,
    "phi3": _PHI3,
}
"""Hugging Face `model_type` -> table. To add a family, add a row, and a tiny model in `slasearch/testing/tiny.py`."""


def table_of(model: nn.Module) -> SiteTable:
    """The table of a model's family.

    Raises:
        BackboneError: The family is unknown; the text names the known ones and the linear modules found.
    """
    family = str(getattr(getattr(model, "config", None), "model_type", type(model).__name__))
    if family not in FAMILIES:
        linear = sorted({name for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))})
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
        BackboneError: No such layer or site, or a host that does two things at once (see `separate_positions`).
    """
    table, layers = table_of(model), layers_of(model)
    if not 0 <= layer < len(layers):
        raise BackboneError(
            f"layer: expected 0 to {len(layers) - 1}, got {layer}. The backbone has {len(layers)} layers."
        )
    if site not in table.sites:
        raise BackboneError(f"site: expected one of {', '.join(SITES)}, got {site!r}.")
    if site in ("attn.q", "attn.k") and getattr(model.config, "share_att_key", False):
        raise BackboneError(
            f"{site}: expected a projection of tokens alone, got one that also projects relative positions. Call "
            "slasearch.adapters.sites.separate_positions(model) first."
        )
    return _hosts(model, layer, site)


def _hosts(model: nn.Module, layer: int, site: str) -> tuple[Host, ...]:
    inside = layers_of(model)[layer]
    places = table_of(model).sites[site]
    return tuple(_host(inside.get_submodule(place.path), place.part, model.config) for place in places)


def _host(module: nn.Module, part: str, config: Any) -> Host:
    """All of a module's output, or one part of it: fused modules lay out q, k, v, or gate, up."""
    if not part:
        return Host(module)
    heads = int(config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    query, key = heads * width, int(getattr(config, "num_key_value_heads", heads)) * width
    half = int(getattr(config, "intermediate_size", 0))
    spans = {
        "q": (0, query),
        "k": (query, query + key),
        "v": (query + key, query + 2 * key),
        "gate": (0, half),
        "up": (half, 2 * half),
    }
    return Host(module, *spans[part])


def host_shapes(model: nn.Module) -> dict[str, tuple[HostShape, ...]]:
    """For each site the widths of its hosts, read off the first layer."""
    sites = table_of(model).sites
    config: Any = model.config
    hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    return {site: tuple(_shape(host, hidden, heads) for host in _hosts(model, 0, site)) for site in sites}


def _shape(host: Host, hidden: int, heads: int) -> HostShape:
    weight = host.module.weight if isinstance(host.module, (nn.Linear, Conv1D)) else None
    if weight is None:
        return HostShape(hidden, hidden, heads)
    d_in, d_out = weight.shape if isinstance(host.module, Conv1D) else weight.shape[::-1]
    return HostShape(d_in, (d_out if host.stop is None else host.stop) - host.start, heads)


def separate_positions(model: nn.Module) -> None:
    """Gives relative positions their own projections where they share those of the tokens (DeBERTa's `share_att_key`).

    The model computes what it did before. Its query and key projections then do one thing each: a module there acts on
    the tokens of one example and never on the positions, which all examples of a batch have in common.
    """
    config: Any = getattr(model, "config", None)
    if not getattr(config, "share_att_key", False):
        return
    for layer in layers_of(model):
        attention: Any = layer.get_submodule("attention.self")
        if attention.relative_attention and "c2p" in attention.pos_att_type:
            attention.pos_key_proj = copy.deepcopy(attention.key_proj)
        if attention.relative_attention and "p2c" in attention.pos_att_type:
            attention.pos_query_proj = copy.deepcopy(attention.query_proj)
        attention.share_att_key = False
    config.share_att_key = False
    model.separated_positions = True  # type: ignore[assignment]


def rejoin_positions(model: nn.Module) -> None:
    """Undoes `separate_positions`: for a method that trains the model's own weights, of which there is one again."""
    if not positions_were_separated(model):
        return
    for layer in layers_of(model):
        attention: Any = layer.get_submodule("attention.self")
        for own, shared in (("pos_key_proj", "key_proj"), ("pos_query_proj", "query_proj")):
            if hasattr(attention, own):
                setattr(attention, own, getattr(attention, shared))


def positions_were_separated(model: nn.Module) -> bool:
    """Whether `separate_positions` had something to do: the model as saved is laid out otherwise."""
    return bool(getattr(model, "separated_positions", False))


def hidden_states(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The hidden states in a layer's output, which some versions wrap in a tuple."""
    return output[0] if isinstance(output, tuple) else output
