"""An exported adapter at work: labels for new texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from slasearch.adapters.export import AdapterCard, read_adapter, restore_pool
from slasearch.errors import ArtifactError, TaskError
from slasearch.records import Example
from slasearch.tasks.batches import eval_batches, evaluation_tokens
from slasearch.tasks.encoding import encode_split, lone_surrogate
from slasearch.trial.load import load_fitting
from slasearch.trial.model import TaskModel

__all__ = ["Prediction", "Predictor"]

Text = str | tuple[str, str]


@dataclass(frozen=True)
class Prediction:
    """The likeliest label of a text and its probability (softmax, not calibrated)."""

    label: str
    probability: float


class Predictor:
    """A backbone with an adapter attached; made by `load`."""

    def __init__(self, card: AdapterCard, model: TaskModel) -> None:
        self._card, self._model = card, model
        self._cards = {task.name: task for task in card.tasks}

    @classmethod
    def load(cls, folder: Path | str, *, backbone: str | None = None, device: str = "cpu") -> Predictor:
        """Loads an exported adapter and the backbone that it was trained on.

        Args:
            folder: What `slasearch export` wrote in its own format: `adapter.json` and `adapter.safetensors`.
            backbone: Id of the backbone where it lies elsewhere now, as `path:DIR`.
            device: Where to run.

        Raises:
            ArtifactError: The adapter is damaged, has no head, or does not fit the backbone.
            BackboneError: The backbone is not found.
        """
        card, tensors = read_adapter(Path(folder))
        bare = [task.name for task in card.tasks if not task.labels]
        if bare:
            raise ArtifactError(
                f"adapter: expected a head for each task, got none for {', '.join(bare)}. "
                "Put it into a model of your own with slasearch.load_adapter."
            )
        loaded = load_fitting(card, backbone=backbone, device=device)
        pool, heads = restore_pool(loaded.model, card, tensors)
        return cls(card, TaskModel(loaded, pool, heads))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that this adapter was trained on."""
        return tuple(self._cards)

    def logits(self, task: str, texts: Sequence[Text]) -> torch.Tensor:
        """Logits of a task for texts or pairs, `n x labels` on the CPU, in the order of the texts.

        Raises:
            TaskError: The adapter has no such task, or it was not trained on what is given: pairs, or single texts.
        """
        if task not in self._cards:
            raise TaskError(f"task: expected one of {', '.join(self._cards)}, got {task!r}.")
        card = self._cards[task]
        if isinstance(texts, str):
            raise TaskError(f"texts: expected a list of texts, got one text. Call it with [{texts!r:.40}].")
        examples = [_example(number, text, card.pairs) for number, text in enumerate(texts)]
        backbone = self._model.backbone
        encoded = encode_split(backbone.tokenizer, examples, card.max_tokens, None)
        batches = eval_batches(
            encoded,
            self.tasks.index(task),
            pad_token_id=backbone.tokenizer.pad_token_id,
            tokens=evaluation_tokens(backbone.device),
        )
        out = torch.empty(len(examples), len(card.labels))
        with torch.inference_mode():
            for batch in batches:
                ((_, _, logits),) = self._model.forward(batch, self._card.structure)
                out[[int(example) for example in batch.example_ids]] = logits.cpu()
        return out

    def predict(self, task: str, texts: Sequence[Text]) -> list[Prediction]:
        """The likeliest label of each text or pair.

        Raises:
            TaskError: As for `logits`.
        """
        probabilities = self.logits(task, texts).softmax(1)
        best = probabilities.max(1)
        labels = self._cards[task].labels
        return [
            Prediction(labels[int(index)], float(value)) for value, index in zip(best.values, best.indices, strict=True)
        ]


def _example(number: int, text: Text, pairs: bool | None) -> Example:
    match text:
        case str():
            first, second = text, None
        case [str(first), str() | None as second]:
            pass
        case _:
            raise TaskError(
                f"text {number + 1}: expected a text or a pair of texts, got {type(text).__name__}: {text!r:.80}."
            )
    if pairs is not None and pairs != (second is not None):
        wanted, got = ("a pair of texts", "one text") if pairs else ("one text", "a pair")
        raise TaskError(f"text {number + 1}: expected {wanted}, as in the adapter's training, got {got}: {text!r:.80}.")
    if any(map(lone_surrogate, filter(None, (first, second)))):
        raise TaskError(f"text {number + 1}: expected text in UTF-8, got other bytes: {text!r:.80}.")
    # As sources do with what is trained on: to some tokenizers a space at the end is a token.
    return Example(str(number), first.strip(), 0, None if second is None else second.strip())
