"""The adapter as files: `adapter.safetensors` (modules and heads) and `adapter.json` (what they are and where they go).

What is written is what was evaluated: an adapter that is read back gives logits equal to 1e-5. Nothing is ever pickled.
The tensors are called `slots/SLOT/PART/NAME` and `heads/TASK/NAME`. `adapter.json` carries the SHA-256 of the tensor
file: safetensors itself reads one with any of its values changed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from slasearch.adapters.pool import Pool, Shapes, slot_cost
from slasearch.adapters.sites import host_shapes, layers_of
from slasearch.errors import ArtifactError, ConfigError
from slasearch.records import Pooling, Slot, Structure
from slasearch.registry import KINDS

__all__ = [
    "CARD_FILE",
    "FORMAT_VERSION",
    "TENSOR_FILE",
    "AdapterCard",
    "BackboneCard",
    "TaskCard",
    "TaskName",
    "adapter_files",
    "card_bytes",
    "of_task",
    "parse_adapter",
    "read_adapter",
    "restore_pool",
    "save_tensors",
    "write_adapter",
]

FORMAT_VERSION = 1
CARD_FILE, TENSOR_FILE = "adapter.json", "adapter.safetensors"
_LARGEST_CARD = 4 * 1024 * 1024

TaskName = Annotated[str, Field(pattern=r"^\w[\w .-]*$", max_length=100)]
"""A name that holds a slash or starts with a dot is refused, because folders are called by it."""


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
    pooling: Pooling
    precision: Literal["fp32", "bf16"]


class TaskCard(_Card):
    """One task: its labels in the order of the head's rows (none without a head), and the slots its examples pass.

    `pairs` tells whether its examples are pairs of texts; None where that is not known.
    """

    name: TaskName
    labels: tuple[str, ...]
    metric: str
    max_tokens: Annotated[int, Field(ge=1)]
    pairs: bool | None = None
    slots: tuple[str, ...]


class AdapterCard(_Card):
    """Everything in `adapter.json`. `parameters` counts the modules without the heads.

    `tensors_sha256` is of the file beside it; None in memory, and beside the files of another library's format.
    """

    format_version: Literal[1]
    slasearch_version: str
    backbone: BackboneCard
    tasks: Annotated[tuple[TaskCard, ...], Field(min_length=1)]
    parameters: int
    tensors_sha256: str | None = None

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
    return adapter_files(card, tensors)


def adapter_files(card: AdapterCard, tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """The two files as bytes, by file name, from tensors that have their names in the file already."""
    file = save_tensors(tensors)
    sealed = card.model_copy(update={"tensors_sha256": hashlib.sha256(file).hexdigest()})
    return {CARD_FILE: card_bytes(sealed), TENSOR_FILE: file}


def card_bytes(card: AdapterCard) -> bytes:
    """A card as JSON; the same card always gives the same bytes."""
    return json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False).encode()


def save_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors by name as a safetensors file."""
    file: bytes = safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    return file


def of_task(
    card: AdapterCard, tensors: Mapping[str, Tensor], task: str | None
) -> tuple[AdapterCard, dict[str, Tensor]]:
    """The card and tensors of one task alone: its own slots and head, and their count; all of them for None.

    Raises:
        ArtifactError: The adapter has no such task.
    """
    if task is None:
        return card, dict(tensors)
    chosen = tuple(entry for entry in card.tasks if entry.name == task)
    if not chosen:
        known = ", ".join(entry.name for entry in card.tasks)
        raise ArtifactError(f"task: expected one of the adapter's ({known}), got {task!r}. Name one with --task.")
    own = {f"slots/{slot}" for slot in chosen[0].slots} | {f"heads/{task}"}
    kept = {name: tensor for name, tensor in tensors.items() if "/".join(name.split("/")[:2]) in own}
    count = sum(tensor.numel() for name, tensor in kept.items() if name.startswith("slots/"))
    return card.model_copy(update={"tasks": chosen, "parameters": count}), kept


def read_adapter(folder: Path) -> tuple[AdapterCard, dict[str, Tensor]]:
    """The card and tensors of an exported adapter.

    Raises:
        ArtifactError: A file is missing, too large, damaged, or of another format version.
    """
    for name in (CARD_FILE, TENSOR_FILE):
        if not (folder / name).is_file():
            raise ArtifactError(
                f"{folder / name}: expected an exported adapter, got no such file. "
                "Make one with `slasearch export` (format slasearch)."
            )
    size = (folder / CARD_FILE).stat().st_size
    if size > _LARGEST_CARD:
        raise ArtifactError(f"{folder / CARD_FILE}: expected at most {_LARGEST_CARD} bytes, got {size}.")
    return parse_adapter((folder / CARD_FILE).read_bytes(), (folder / TENSOR_FILE).read_bytes(), str(folder))


def parse_adapter(card_json: bytes, tensor_file: bytes, place: str) -> tuple[AdapterCard, dict[str, Tensor]]:
    """The card and tensors in the bytes of the two files; `place` is where they are from, for messages.

    Raises:
        ArtifactError: A file is damaged or of another format version.
    """
    try:
        card = AdapterCard.model_validate_json(card_json)
        _ = card.structure
    except (ValidationError, ValueError) as error:
        first = str(error).splitlines()[0] if not isinstance(error, ValidationError) else _first(error)
        raise ArtifactError(
            f"{place}/{CARD_FILE}: expected format version {FORMAT_VERSION}, got {first}. Export it again."
        ) from None
    try:
        tensors = safetensors.torch.load(tensor_file)
    except SafetensorError as error:
        raise ArtifactError(
            f"{place}/{TENSOR_FILE}: expected a safetensors file, got a damaged one ({error}). Export it again."
        ) from None
    expected, got = card.tensors_sha256, hashlib.sha256(tensor_file).hexdigest()
    if got != expected:
        raise ArtifactError(
            f"{place}/{TENSOR_FILE}: expected the file that {CARD_FILE} was written with (SHA-256 {expected}), got "
            f"another or a damaged one ({got}). Export it again."
        )
    return card.model_copy(update={"tensors_sha256": None}), tensors


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
    slots, hosts = card.structure.union, host_shapes(model)
    stored = Counter[str]()
    for name, tensor in tensors.items():
        stored["/".join(name.split("/")[:2])] += tensor.numel()
    for slot in slots:
        _check_slot(slot, layers, hosts, stored[f"slots/{slot.name}"])
    pool = Pool(slots, hosts, [task.name for task in card.tasks], generator=torch.Generator())
    heads = {task.name: nn.Linear(hidden, len(task.labels)) for task in card.tasks if task.labels}
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


def _check_slot(slot: Slot, layers: int, hosts: Shapes, stored: int) -> None:
    """Refuses a slot that no pool could have had or whose values are not all there, before memory is taken for it."""
    if slot.kind not in KINDS.names():
        raise ArtifactError(f"slot {slot.name}: expected a kind of {', '.join(KINDS.names())}, got {slot.kind!r}.")
    sites = [site for site in KINDS.get(slot.kind).sites if site in hosts]
    if slot.site not in sites or slot.layer >= layers or slot.rank < 1:
        raise ArtifactError(
            f"slot {slot.name}: expected a layer below {layers}, a site of {', '.join(sites)} and a rank of 1 or more. "
            "Export the adapter again."
        )
    try:
        wanted = slot_cost(slot, hosts).parameters
    except ConfigError as error:  # a kind may have a largest rank
        raise ArtifactError(f"slot {slot.name}: {error} Export the adapter again.") from None
    if wanted != stored:
        raise ArtifactError(
            f"slot {slot.name}: expected tensors of {wanted:,} values, got {stored:,}. Export the adapter again."
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
