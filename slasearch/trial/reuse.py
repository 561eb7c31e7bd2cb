"""Which hidden states of a split can be reused, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
import transformers
from torch import Tensor

from slasearch.records import ConditionSpec
from slasearch.registry import CONDITIONS
from slasearch.tasks.batches import Batch, eval_batches, evaluation_tokens
from slasearch.tasks.encoding import EncodedSplit
from slasearch.trial.backbone import Backbone
from slasearch.trial.model import TaskModel
from slasearch.trial.noise import noise_for
from slasearch.trial.prefix import HiddenStates, Piece, PrefixStore, key_of

__all__ = ["Reuse", "gathered"]

_VERSION = 5
"""Part of every key: raised when the way in which hidden states are computed, or their file, changes."""


class _Inputs(NamedTuple):
    """What hidden states follow from besides the tokens: the noise, and the task and epoch that it is drawn for."""

    task: str
    conditions: tuple[ConditionSpec, ...]
    epoch: int | None


class Reuse:
    """Hidden states below a model's first slot, by split, condition and depth.

    Args:
        backbone: Whose layers they are.
        store: Where they are kept.
    """

    def __init__(self, backbone: Backbone, store: PrefixStore) -> None:
        self._backbone, self._store = backbone, store
        self._keys: WeakKeyDictionary[EncodedSplit, dict[_Inputs, str]] = WeakKeyDictionary()
        self._there: dict[str, set[int]] = {}

    def states(
        self,
        model: TaskModel,
        split: EncodedSplit,
        task: str,
        depth: int,
        conditions: Sequence[ConditionSpec] = (),
        epoch: int | None = None,
    ) -> HiddenStates | None:
        """The hidden states that enter layer `depth` ≥ 1, computed if need be; None if they cannot be kept.

        They are too large then, or under noise that a program has registered: its code may change between two runs.

        Args:
            model: Runs the layers below; none of its slots lies there.
            split: The examples, disturbed already where a condition changes texts or tokens.
            task: Name of their task, from which embedding noise is drawn.
            depth: Number of layers to run.
            conditions: Embedding noise.
            epoch: Number of the training epoch that it is drawn for; None in evaluation, and without noise.
        """
        if any(condition.kind in CONDITIONS.added() for condition in conditions):
            return None
        return self._states(model, split, _Inputs(task, tuple(conditions), epoch), depth)

    def _states(self, model: TaskModel, split: EncodedSplit, inputs: _Inputs, depth: int) -> HiddenStates | None:
        base = self._base(split, inputs)
        backbone = self._backbone
        start = max((known for known in self._there.get(base, set()) if known < depth), default=0)

        def pieces() -> Sequence[Piece]:
            below = None
            if start and self._store.has(_entry(base, start)):
                below = self._states(model, split, inputs, start)
            lower = (start, below) if below is not None else None
            return [
                partial(self._fill, batch, model, split, inputs, depth, lower)
                for batch in eval_batches(split, 0, pad_token_id=backbone.tokenizer.pad_token_id, tokens=tokens)
            ]

        tokens = evaluation_tokens(backbone.device)
        dtype = next(backbone.model.parameters()).dtype
        states = self._store.get(_entry(base, depth), split, backbone.shapes.hidden, dtype, pieces)
        if states is not None:
            self._there.setdefault(base, set()).add(depth)
        return states

    def _fill(
        self,
        batch: Batch,
        model: TaskModel,
        split: EncodedSplit,
        inputs: _Inputs,
        depth: int,
        below: tuple[int, HiddenStates] | None,
        out: np.ndarray[Any, Any],
    ) -> None:
        noise = noise_for(batch, inputs.conditions, [inputs.task], self._backbone, inputs.epoch)
        rows = batch.rows.numpy()
        start = None if below is None else (below[0], below[1].gather(rows, batch.input_ids.shape[1]))
        hidden = model.lower(batch, depth, noise, start)
        flat = hidden[batch.attention_mask.bool()]
        out[_places(split, rows)] = flat.view(torch.int16).numpy() if hidden.dtype == torch.bfloat16 else flat.numpy()

    def _base(self, split: EncodedSplit, inputs: _Inputs) -> str:
        keys = self._keys.setdefault(split, {})
        if inputs not in keys:
            backbone = self._backbone
            noise = (inputs, split.example_ids) if inputs.conditions else None
            by = (torch.__version__, transformers.__version__, backbone.device.type, backbone.spec.precision)
            config: Any = backbone.model.config
            keys[inputs] = key_of(split, _VERSION, backbone.fingerprint, (*by, config.to_json_string()), noise)[:40]
        return keys[inputs]


def _entry(base: str, depth: int) -> str:
    return f"{base}-{depth}"


def _places(split: EncodedSplit, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Positions of the tokens of some examples, one example after another."""
    start, end = split.offsets[rows], split.offsets[rows + 1]
    return np.concatenate([np.arange(a, b) for a, b in zip(start, end, strict=True)])


def gathered(states: Sequence[HiddenStates | None], batch: Batch, width: int) -> Tensor | None:
    """`n x t x d` for a batch that may mix tasks, from the hidden states of each task; None if some task has none."""
    rows, tasks = batch.rows.numpy(), batch.task_index.cpu().numpy()
    present = sorted(set(tasks.tolist()))
    if any(states[task] is None for task in present):
        return None
    found = [(np.nonzero(tasks == task)[0], states[task]) for task in present]
    parts: list[tuple[Any, Tensor]] = [
        (places, one.gather(rows[places], width)) for places, one in found if one is not None
    ]
    if len(parts) == 1:
        return parts[0][1]
    out: Tensor = parts[0][1].new_empty((len(rows), width, parts[0][1].shape[2]))
    for places, part in parts:
        out[torch.from_numpy(places)] = part
    return out
