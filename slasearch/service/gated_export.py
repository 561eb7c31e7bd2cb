"""A gated pool's modules as files: an adapter without a head, because the head stays in the user's own model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

import slasearch
from slasearch.adapters.export import CARD_FILE, TENSOR_FILE, AdapterCard, BackboneCard, TaskCard, write_adapter
from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import layers_of, table_of
from slasearch.records import Structure
from slasearch.storage.places import disk_errors
from slasearch.trial.backbone import weights_fingerprint

__all__ = ["write_gated"]


def write_gated(folder: Path, base: nn.Module, pool: Pool, structure: Structure) -> tuple[Path, ...]:
    """Writes the adapter.

    Args:
        folder: Made if it is not there.
        base: The model, without its head.
        pool: The finalised pool.
        structure: The slots of each task.

    Returns:
        The files.

    Raises:
        StorageError: The folder is none, or the disk refuses.
    """
    config: Any = base.config
    tokens = int(getattr(config, "max_position_embeddings", 512))
    card = AdapterCard(
        format_version=1,
        slasearch_version=slasearch.__version__,
        backbone=_backbone_card(base, config),
        tasks=tuple(
            TaskCard(name=task, labels=(), metric="none", max_tokens=tokens, slots=tuple(slot.name for slot in slots))
            for task, slots in structure.paths
        ),
        parameters=pool.parameter_count(),
    )
    files = write_adapter(card, pool, {})
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    return tuple(sorted(folder / name for name in (CARD_FILE, TENSOR_FILE)))


def _backbone_card(base: nn.Module, config: Any) -> BackboneCard:
    identity, fingerprint = _origin(str(getattr(config, "name_or_path", "") or ""))
    return BackboneCard(
        id=identity,
        fingerprint=fingerprint,
        family=str(config.model_type),
        layers=len(layers_of(base)),
        hidden=int(config.hidden_size),
        pooling="last" if table_of(base).decoder else "mean",
        precision="bf16" if next(base.parameters()).dtype == torch.bfloat16 else "fp32",
    )


def _origin(name: str) -> tuple[str, str]:
    """Id and fingerprint of the weights; no fingerprint where the model was not loaded from a folder."""
    if name and (Path(name) / "config.json").is_file():
        return f"path:{name}", weights_fingerprint(Path(name))
    return name or "unknown", ""
