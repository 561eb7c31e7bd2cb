"""An exported adapter in a model: in the backbone that it names, or in a user's own."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from slasearch.adapters.attach import Attachment, attach
from slasearch.adapters.export import AdapterCard, TaskCard, of_task, read_adapter, restore_pool
from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import hidden_states
from slasearch.errors import ArtifactError, TaskError
from slasearch.records import BackboneSpec
from slasearch.trial.backbone import Backbone, load_backbone, pool_tokens, weights_fingerprint

__all__ = ["LoadedAdapter", "load_adapter", "load_fitting"]


def load_fitting(card: AdapterCard, *, backbone: str | None, device: str) -> Backbone:
    """The backbone that an adapter was trained on.

    Args:
        card: What the adapter is.
        backbone: Id of the backbone where it lies elsewhere now, as `path:DIR`.
        device: Where to run.

    Raises:
        ArtifactError: Other weights lie there.
        BackboneError: The backbone is not found.
    """
    spec = BackboneSpec(backbone or card.backbone.id, card.backbone.precision, card.backbone.pooling)
    loaded = load_backbone(spec, torch.device(device))
    if loaded.fingerprint != card.backbone.fingerprint:
        raise ArtifactError(
            f"backbone: expected the weights that the adapter was trained on ({card.backbone.id}), got others at "
            f"{spec.id}. Name the right ones."
        )
    return loaded


def load_adapter(model: nn.Module, folder: Path | str, task: str | None = None) -> LoadedAdapter:
    """Attaches an exported adapter (format `slasearch`) to a Hugging Face model that you have loaded yourself.

    The model's own weights and code stay as they are: modules are added by forward hooks, on the model's device, frozen
    and in fp32. A model with a head of its own (`…ForSequenceClassification`, `…ForCausalLM`) works too: the adapter
    sits in the backbone under it.

        model = AutoModel.from_pretrained("...")
        adapter = slasearch.load_adapter(model, "adapter", task="tickets")
        logits = adapter.logits(**tokenizer(["The printer is on fire"], return_tensors="pt"))  # 1 x labels
        adapter.detach()

    Texts should have no space around them, as in training: to some tokenizers it is a token.

    Args:
        model: A model of the adapter's family, layers and widths. Its weights should be those that the adapter was
            trained on; where its files are known (`name_or_path` is a folder) other ones are warned about.
        folder: What `slasearch export` wrote.
        task: Load this task's modules and head alone. None: all tasks; the first is the current one.

    Raises:
        ArtifactError: The adapter is damaged, does not fit the model, or has no such task.
        BackboneError: The model's family is unknown.
    """
    card, tensors = of_task(*read_adapter(Path(folder)), task)
    inner = getattr(model, "base_model", model)
    _warn_of_other_weights(model, card)
    pool, heads = restore_pool(inner, card, tensors)
    return LoadedAdapter(card, inner, pool, heads)


def _warn_of_other_weights(model: nn.Module, card: AdapterCard) -> None:
    place = Path(str(getattr(model, "name_or_path", "") or "-"))
    if card.backbone.fingerprint and weights_fingerprint(place) not in ("", card.backbone.fingerprint):
        warnings.warn(
            f"backbone: expected the weights that the adapter was trained on ({card.backbone.id}), got others at "
            f"{place}. Its scores do not hold for them.",
            stacklevel=3,
        )


class LoadedAdapter:
    """An adapter attached to a model; made by `load_adapter`. A context manager that detaches at the end.

    The model's own forward passes take the path of the current task, which `task` names; assign to it to change path.
    """

    def __init__(self, card: AdapterCard, model: nn.Module, pool: Pool, heads: dict[str, nn.Linear]) -> None:
        self.card = card
        self._model = model
        self._cards: dict[str, TaskCard] = {task.name: task for task in card.tasks}
        device = next(model.parameters()).device
        self._pool = pool.to(device).requires_grad_(False)
        self._heads = {task: head.to(device).requires_grad_(False) for task, head in heads.items()}
        self._attachment: Attachment | None = attach(model, self._pool)
        self.task = card.tasks[0].name

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that are loaded."""
        return tuple(self._cards)

    @property
    def task(self) -> str:
        """The current task. Assigning another sends every example of later forward passes along its path.

        Raises:
            TaskError: The adapter has no such task.
        """
        return self._task

    @task.setter
    def task(self, name: str) -> None:
        if name not in self._cards:
            raise TaskError(f"task: expected one of {', '.join(self._cards)}, got {name!r}.")
        self._task = name
        self._pool.route_paths(torch.tensor([self.tasks.index(name)]), self.card.structure)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the current task, in the order of the logits; empty for an adapter without a head."""
        return self._cards[self._task].labels

    def hidden_states(self, **inputs: Any) -> Tensor:
        """The backbone's last hidden states on the current task's path, `n x t x d`.

        Args:
            inputs: What the model takes, as a tokenizer gives it.

        Raises:
            ArtifactError: The adapter was detached.
        """
        if self._attachment is None:
            raise ArtifactError("adapter: expected one that is attached, got a detached one. Load it again.")
        return hidden_states(self._model(**inputs)[0])

    def logits(self, **inputs: Any) -> Tensor:
        """Logits of the current task, `n x labels`, fp32.

        Args:
            inputs: What the model takes; `attention_mask` (`n x t`) is needed, because padding is left out of pooling.

        Raises:
            ArtifactError: The adapter was detached, or was exported without a head.
            TaskError: There is no attention mask.
        """
        if self._task not in self._heads:
            raise ArtifactError(
                f"logits: expected an adapter with a head for {self._task}, got one without. Use hidden_states, or "
                "your model's own head."
            )
        if "attention_mask" not in inputs:
            raise TaskError("inputs: expected attention_mask, got none. Pass all that the tokenizer gives.")
        mask = inputs["attention_mask"]
        vectors = pool_tokens(self.hidden_states(**inputs).float(), mask, self.card.backbone.pooling)
        logits: Tensor = self._heads[self._task](vectors)
        return logits

    def detach(self) -> None:
        """Takes the adapter out: the model computes what it did before. May be called again."""
        if self._attachment is not None:
            self._attachment.detach()
            self._attachment = None

    def __enter__(self) -> LoadedAdapter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()
