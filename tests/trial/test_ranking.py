"""Slots ranked on held-out batches: their worth follows from the examples, however these are dealt out to batches."""

from pathlib import Path

import torch
from word_tasks import make_tasks

from slasearch.adapters.pool import Pool
from slasearch.records import BackboneSpec, Slot
from slasearch.tasks.batches import eval_batches, train_batches
from slasearch.tasks.encoding import encode_split
from slasearch.testing.kinds import disturb_weights
from slasearch.testing.tiny import save_tiny
from slasearch.trial.backbone import load_backbone
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.ranking import _saliency


def test_saliency_does_not_depend_on_the_batches(tmp_path: Path) -> None:
    """Five examples of one task, sixteen of the other, in batches of eight: unevenly mixed, and a last one of five."""
    backbone = load_backbone(BackboneSpec(f"path:{save_tiny('bert', tmp_path)}"), torch.device("cpu"))
    tasks = make_tasks()
    slots = [Slot(layer, site, "lora", 1) for layer in (0, 1) for site in ("attn.q", "ffn.out")]
    names = [task.spec.name for task in tasks]
    pool = Pool(slots, backbone.shapes.hosts, names, generator=torch.Generator().manual_seed(0))
    disturb_weights(pool)
    heads = make_heads(dict.fromkeys(names, 2), backbone.shapes.hidden, generator=torch.Generator().manual_seed(2))
    splits = [
        encode_split(backbone.tokenizer, task.splits["train"][:count], 16, None)
        for task, count in zip(tasks, (5, 16), strict=True)
    ]
    mixed = list(train_batches(splits, 8, seed=3, epoch=0, pad_token_id=0))
    assert len({int(batch.task_index.sum()) for batch in mixed}) > 1
    assert len({len(batch.labels) for batch in mixed}) == 2
    apart = [batch for n, split in enumerate(splits) for batch in eval_batches(split, n, pad_token_id=0, tokens=999)]
    assert len(apart) == 2
    with TaskModel(backbone, pool, heads) as model:
        found = [_saliency(model, torch.ones(2, 4), [(batch, None) for batch in batches]) for batches in (mixed, apart)]
    assert found[0].min() > 0
    torch.testing.assert_close(*found, rtol=1e-4, atol=0)
