"""What an adapter costs at work: time and memory of a forward pass, with it and without it, on this machine."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import nn

from slasearch.adapters.export import AdapterCard, TaskCard
from slasearch.adapters.pool import Pool
from slasearch.tasks.batches import Batch
from slasearch.trial.backbone import Backbone
from slasearch.trial.latency import forward_seconds
from slasearch.trial.model import TaskModel

__all__ = ["Measurement", "Timing", "measure"]

TEXTS = (1, 32)
"""Sizes of the batches that are timed."""
_WARM_UP, _FEWEST, _MOST, _SECONDS = 2, 5, 40, 1.5


@dataclass(frozen=True)
class Timing:
    """A forward pass over `texts` texts of `tokens` tokens: medians in ms, without and with the adapter.

    The peaks are bytes above what lay in the device's memory before the pass; None where the device cannot tell.
    """

    task: str
    texts: int
    tokens: int
    plain_ms: float
    adapted_ms: float
    plain_peak: int | None
    adapted_peak: int | None


@dataclass(frozen=True)
class Measurement:
    """What was measured and where; `adapter_bytes` are those of the modules' tensors, without the heads."""

    device: str
    threads: int
    torch: str
    adapter_bytes: int
    timings: tuple[Timing, ...]


def measure(backbone: Backbone, card: AdapterCard, pool: Pool, heads: Mapping[str, nn.Linear]) -> Measurement:
    """Times each task of an adapter on random texts, as long as the task allows.

    Passes with and without the adapter take turns, so that what else the machine does disturbs both alike.

    Args:
        backbone: Where it runs.
        card: What the adapter is.
        pool: Its modules.
        heads: For each task its head.
    """
    plain = Pool((), backbone.shapes.hosts, pool.tasks, generator=torch.Generator())
    size = sum(weight.numel() * weight.element_size() for weight in pool.parameters())
    with TaskModel(backbone, pool, heads) as model, torch.inference_mode():
        timings = tuple(
            _timing(model, card, task, number, texts, plain)
            for number, task in enumerate(card.tasks)
            for texts in TEXTS
        )
    return Measurement(_device_name(backbone.device), torch.get_num_threads(), torch.__version__, size, timings)


def _timing(model: TaskModel, card: AdapterCard, task: TaskCard, number: int, texts: int, plain: Pool) -> Timing:
    tokens = min(task.max_tokens, _most_tokens(model.backbone))
    batch = _random_batch(model.backbone, number, texts, tokens)
    adapted = model.pool
    seconds: dict[Pool, list[float]] = {plain: [], adapted: []}
    peaks: dict[Pool, int | None] = {}
    started = perf_counter()
    for turn in range(_WARM_UP + _MOST):
        for pool in (plain, adapted):
            model.swap(pool, model.heads)
            taken, peaks[pool] = _pass(model, batch, card)
            seconds[pool] += [] if turn < _WARM_UP else [taken]
        if len(seconds[adapted]) >= _FEWEST and perf_counter() - started > _SECONDS:
            break
    medians = [1000 * statistics.median(seconds[pool]) for pool in (plain, adapted)]
    return Timing(task.name, texts, tokens, medians[0], medians[1], peaks[plain], peaks[adapted])


def _most_tokens(backbone: Backbone) -> int:
    """How long a text may be; some families keep two of their positions for themselves."""
    positions = getattr(backbone.model.config, "max_position_embeddings", None)
    limit = int(backbone.tokenizer.model_max_length)
    return min(limit, positions - 2) if isinstance(positions, int) else limit


def _random_batch(backbone: Backbone, task: int, texts: int, tokens: int) -> Batch:
    words = int(backbone.model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    ids = torch.randint(words, (texts, tokens), generator=torch.Generator().manual_seed(0))
    zeros = torch.zeros(texts, dtype=torch.int64)
    whole = Batch(
        ids,
        torch.ones_like(ids),
        torch.zeros_like(ids),
        zeros,
        zeros + task,
        tuple(map(str, range(texts))),
        torch.arange(texts),
    )
    return whole.to(backbone.device)


def _pass(model: TaskModel, batch: Batch, card: AdapterCard) -> tuple[float, int | None]:
    """Seconds of one forward pass, and its peak of memory."""
    device = model.backbone.device
    if device.type != "cuda":
        return forward_seconds(model, batch, card.structure), None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    return forward_seconds(model, batch, card.structure), torch.cuda.max_memory_allocated(device) - before


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"
