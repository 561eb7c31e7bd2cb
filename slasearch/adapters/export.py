"""The adapter as files: `adapter.safetensors` (modules and heads) and `adapter.json` (what they are and where they go).

What is written is what was evaluated: an adapter that is read back gives logits equal to 1e-5. Nothing is ever pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import host_shapes, layers_of
from slasearch.errors import ArtifactError
from slasearch.records import Slot, Structure
from slasearch.registry import KINDS

__all__ = ["FORMAT_VERSION", "AdapterCard", "BackboneCard", "TaskCard", "read_adapter", "restore_pool", "write_adapter"]

FORMAT_VERSION = 1
CARD_FILE, TENSOR_FILE = "adapter.json", "adapter.safetensors"
_LARGEST_CARD = 4 * 1024 * 1024


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BackboneCard(_Card):
    """The backbone that an adapter was trained on, and how its token vectors were pooled.

    `fingerprint` tells its weights from others of the same shape.
    """

    id: str
    fingerprint: str
    family: str
    layers: int
    hidden: int
    pooling: Literal["mean", "last"]
    precision: Literal["fp32", "bf16"]


class TaskCard(_Card):
    """One task: its labels in the order of the head's rows, and the slots that its examples pass."""

    name: str
    labels: tuple[str, ...]
    metric: str
    max_tokens: Annotated[int, Field(ge=1)]
    slots: tuple[str, ...]


class AdapterCard(_Card):
    """Everything in `adapter.json`. `parameters` counts the modules without the heads."""

    format_version: Literal[1]
    slasearch_version: str
    backbone: BackboneCard
    tasks: Annotated[tuple[TaskCard, ...], Field(min_length=1)]
    parameters: int

    @property
    def structure(self) -> Structure:
        """The open slots of each task."""
        return Structure(tuple((task.name, tuple(Slot.parse(name) for name in task.slots)) for task in self.tasks))


def write_adapter(card: AdapterCard, pool: Pool, heads: Mapping[str, nn.Linear]) -> dict[str, bytes]:
    """The two files as bytes, by file name.

    Args:
        card: What the adapter is.
        pool: The finalised pool.
        heads: For each task its head, `labels x hidden`.
    """
    tensors: dict[str, Tensor] = {}
    for slot in pool.slots:
        for part, module in enumerate(pool.modules_of(slot)):
            tensors |= {f"slots/{slot.name}/{part}/{name}": value for name, value in module.state_dict().items()}
    for task, head in heads.items():
        tensors |= {f"heads/{task}/{name}": value for name, value in head.state_dict().items()}
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False)
    return {CARD_FILE: text.encode(), TENSOR_FILE: safetensors.torch.save(plain)}


def read_adapter(folder: Path) -> tuple[AdapterCard, dict[str, Tensor]]:
    """The card and tensors of an exported adapter.

    Raises:
        ArtifactError: A file is missing, too large, damaged, or of another format version.
    """
    card_file, tensor_file = folder / CARD_FILE, folder / TENSOR_FILE
    for file in (card_file, tensor_file):
        if not file.is_file():
            raise ArtifactError(
                f"{file}: expected an exported adapter, got no such file. Make one with `slasearch export`."
            )
    if card_file.stat().st_size > _LARGEST_CARD:
        raise ArtifactError(f"{card_file}: expected at most {_LARGEST_CARD} bytes, got {card_file.stat().st_size}.")
    try:
        card = AdapterCard.model_validate_json(card_file.read_bytes())
        _ = card.structure
    except (ValidationError, ValueError) as error:
        first = str(error).splitlines()[0] if not isinstance(error, ValidationError) else _first(error)
        raise ArtifactError(
            f"{card_file}: expected format version {FORMAT_VERSION}, got {first}. Export it again."
        ) from None
    try:
        tensors = safetensors.torch.load_file(tensor_file)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{tensor_file}: expected a safetensors file, got a damaged one ({error}).") from None
    return card, tensors


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"


def restore_pool(
    model: nn.Module, card: AdapterCard, tensors: Mapping[str, Tensor]
) -> tuple[Pool, dict[str, nn.Linear]]:
    """The pool and the heads of a read adapter, fitted to a backbone.

    Raises:
        ArtifactError: The backbone is another one, a kind is unknown here, or a tensor does not fit.
    """
    hidden, layers = int(model.config.hidden_size), len(layers_of(model))  # type: ignore[union-attr, arg-type]
    found = (str(model.config.model_type), layers, hidden)  # type: ignore[union-attr]
    wanted = (card.backbone.family, card.backbone.layers, card.backbone.hidden)
    if found != wanted:
        raise ArtifactError(
            f"backbone: expected {wanted} (family, layers, hidden size), got {found}. Load {card.backbone.id}."
        )
    slots = card.structure.union
    for slot in slots:
        _check_slot(slot, layers, hidden)
    pool = Pool(slots, host_shapes(model), [task.name for task in card.tasks], generator=torch.Generator())
    heads = {task.name: nn.Linear(hidden, len(task.labels)) for task in card.tasks}
    left = dict(tensors)
    for slot in pool.slots:
        for part, module in enumerate(pool.modules_of(slot)):
            _fill(module, f"slots/{slot.name}/{part}/", left)
    for task, head in heads.items():
        _fill(head, f"heads/{task}/", left)
    if left:
        raise ArtifactError(
            f"adapter: expected only tensors that its card names, got {min(left)} too. Export it again."
        )
    return pool, heads


def _check_slot(slot: Slot, layers: int, hidden: int) -> None:
    """Refuses a slot that no pool could have had, before any memory is taken for it."""
    if slot.kind not in KINDS.names():
        raise ArtifactError(f"slot {slot.name}: expected a kind of {', '.join(KINDS.names())}, got {slot.kind!r}.")
    sites = KINDS.get(slot.kind).sites
    if slot.site not in sites or slot.layer >= layers or not 1 <= slot.rank <= hidden:
        raise ArtifactError(
            f"slot {slot.name}: expected a layer below {layers}, a site of {', '.join(sites)} and a rank from 1 to "
            f"{hidden}. Export the adapter again."
        )


def _fill(module: nn.Module, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Moves the tensors under `prefix` into the module's parameters."""
    for name, parameter in module.named_parameters():
        tensor = tensors.pop(prefix + name, None)
        if tensor is None or tensor.shape != parameter.shape:
            got = "none" if tensor is None else list(tensor.shape)
            raise ArtifactError(f"{prefix}{name}: expected shape {list(parameter.shape)}, got {got}. Export it again.")
        with torch.no_grad():
            parameter.copy_(tensor)
