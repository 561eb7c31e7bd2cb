"""A merged backbone: one task's modules in the weights themselves, as a folder that `AutoModel` loads."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from slasearch.adapters.export import AdapterCard
from slasearch.adapters.merge import merge_into
from slasearch.adapters.peft_format import head_files
from slasearch.adapters.pool import Pool
from slasearch.trial.backbone import Backbone

__all__ = ["write_merged"]


def write_merged(folder: Path, card: AdapterCard, pool: Pool, head: nn.Linear, backbone: Backbone) -> None:
    """Merges the modules into the backbone and saves it with its tokenizer, the head and the card beside them.

    Args:
        folder: An empty folder.
        card: What the adapter is; of one task.
        pool: Its modules.
        head: Its head, `labels x hidden`.
        backbone: Of its own: its weights are changed for good.

    Raises:
        ArtifactError: A module cannot be merged.
    """
    merge_into(backbone.model, pool.to(backbone.device))
    backbone.model.save_pretrained(folder)  # type: ignore[operator]
    backbone.tokenizer.save_pretrained(folder)
    for name, content in head_files(card, head).items():
        (folder / name).write_bytes(content)
