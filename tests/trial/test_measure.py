"""Time and memory of an adapter: both with it and without it, and the backbone is clean afterwards."""

import pytest
import torch

from slasearch.adapters.export import AdapterCard, BackboneCard, TaskCard
from slasearch.adapters.pool import Pool
from slasearch.records import BackboneSpec, Slot
from slasearch.trial.backbone import Backbone, load_backbone
from slasearch.trial.measure import Measurement, measure
from slasearch.trial.model import make_heads

SLOTS = (Slot(5, "attn.v", "lora", 2), Slot(5, "ffn.out", "bias", 1))
PARAMETERS = 2 * (384 + 384) + 384


def measured(device: str) -> tuple[Backbone, Measurement]:
    backbone = load_backbone(BackboneSpec("bundled:minilm"), torch.device(device))
    pool = Pool(SLOTS, backbone.shapes.hosts, ("a",), generator=torch.Generator())
    heads = make_heads({"a": 2}, 384, generator=torch.Generator())
    names = tuple(slot.name for slot in SLOTS)
    task = TaskCard(name="a", labels=("n", "p"), metric="accuracy", max_tokens=4, slots=names)
    origin = BackboneCard(
        id="bundled:minilm", fingerprint="0", family="bert", layers=6, hidden=384, pooling="mean", precision="fp32"
    )
    card = AdapterCard(format_version=1, slasearch_version="0", backbone=origin, tasks=(task,), parameters=PARAMETERS)
    return backbone, measure(backbone, card, pool, heads)


def test_every_task_is_timed_and_the_backbone_stays_clean() -> None:
    backbone, found = measured("cpu")
    assert [(timing.task, timing.texts, timing.tokens) for timing in found.timings] == [("a", 1, 4), ("a", 32, 4)]
    assert all(timing.plain_ms > 0 and timing.adapted_ms > 0 for timing in found.timings)
    assert {timing.adapted_peak for timing in found.timings} == {None}
    assert found.adapter_bytes == 4 * PARAMETERS
    assert found.device.startswith("cpu")
    assert not any(module._forward_hooks for module in backbone.model.modules())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_tells_its_peak_of_memory() -> None:
    _, found = measured("cuda")
    for timing in found.timings:
        assert timing.plain_peak is not None
        assert timing.adapted_peak is not None
        assert 0 < timing.plain_peak <= timing.adapted_peak
