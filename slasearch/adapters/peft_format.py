"""The stock PEFT format: `adapter_config.json` and `adapter_model.safetensors`, as `peft.PeftModel` reads them.

It knows LoRA modules only, one for each linear module of the backbone and the same for every example: so it holds one
task's structure, whose open slots must all be of kinds that are `low_rank`. Slots that share a module are put together,

    B·A = [B₁ … B_n] · [A₁; …; A_n],

so their ranks add up; a slot on a slice of a fused module has zero rows in B for the rest of its output. Our scale is
1, hence alpha = r. `peft` itself is not needed to write it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from slasearch.adapters.export import AdapterCard, card_bytes, save_tensors
from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import Host, hosts_of, positions_were_separated
from slasearch.errors import ArtifactError
from slasearch.registry import KINDS

__all__ = ["HEAD_FILE", "SIDECAR_FILE", "check_peft", "head_files", "write_peft"]

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
HEAD_FILE, SIDECAR_FILE = "head.safetensors", "slasearch.json"


def check_peft(card: AdapterCard) -> None:
    """Refuses a structure that this format cannot hold.

    Raises:
        ArtifactError: A slot's kind is not `low_rank`, or no slot is open.
    """
    kinds = sorted({slot.kind for slot in card.structure.union})
    others = [kind for kind in kinds if not KINDS.get(kind).low_rank]
    if others or not kinds:
        known = " and ".join(name for name in KINDS.names() if KINDS.get(name).low_rank)
        found = f"one with {', '.join(others)}" if kinds else "one without open slots"
        raise ArtifactError(
            f"format peft: expected a structure of {known} slots alone, got {found}. "
            "Export it with --format slasearch, or with --format merged where its kinds can be merged."
        )


def write_peft(
    card: AdapterCard, pool: Pool, head: nn.Linear, model: nn.Module, *, base: str, revision: str | None = None
) -> dict[str, bytes]:
    """The files of one task's adapter by name: PEFT's two, and the head with the card beside them.

    Args:
        card: What the adapter is; of one task.
        pool: Its modules.
        head: Its head, `labels x hidden`.
        model: The backbone that the structure was trained on.
        base: What PEFT is to load the backbone from: a folder, or a repository of the hub.
        revision: The repository's revision.

    Raises:
        ArtifactError: A slot's kind is not `low_rank`, or no slot is open, or PEFT would apply a module to more than
            its tokens.
    """
    check_peft(card)
    if positions_were_separated(model):
        _check_positions(pool)
    modules = _modules(pool, model)
    ranks = {path: down.shape[0] for path, (down, _) in modules.items()}
    transposed = any(isinstance(model.get_submodule(path), Conv1D) for path in modules)
    config = _config(ranks, base, revision, transposed=transposed)
    weights = {
        f"base_model.model.{path}.lora_{name}.weight": tensor
        for path, pair in modules.items()
        for name, tensor in zip("AB", pair, strict=True)
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    return {CONFIG_FILE: text.encode(), WEIGHTS_FILE: save_tensors(weights), **head_files(card, head)}


def _check_positions(pool: Pool) -> None:
    """Refuses slots where the backbone as saved projects relative positions too: PEFT's modules would change those."""
    shared = sorted({slot.site for slot in pool.slots} & {"attn.q", "attn.k"})
    if shared:
        raise ArtifactError(
            f"format peft: expected no slot at attn.q or attn.k of this backbone, got {' and '.join(shared)}: "
            "it shares these projections with relative positions, which PEFT would change too. Export it with --format "
            "slasearch."
        )


def head_files(card: AdapterCard, head: nn.Linear) -> dict[str, bytes]:
    """What lies beside an export in another library's format: `head.safetensors` (weight, bias) and the card."""
    return {HEAD_FILE: save_tensors(head.state_dict()), SIDECAR_FILE: card_bytes(card)}


def _modules(pool: Pool, model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """For each module of the backbone with a slot its path, and A (`r x d_in`) and B (`d_out x r`) of all of them."""
    paths = {module: path for path, module in model.named_modules()}
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for slot in pool.slots:
        for part, host in enumerate(hosts_of(model, slot.layer, slot.site)):
            pool.bind(slot.layer, slot.site, part, host)
            down, up = pool.modules_of(slot)[part].as_lora()
            pairs.setdefault(paths[host.module], []).append((down, _in_whole(up, host)))
    return {
        path: (torch.cat([down for down, _ in found]), torch.cat([up for _, up in found], dim=1))
        for path, found in sorted(pairs.items())
    }


def _in_whole(up: Tensor, host: Host) -> Tensor:
    """B of a host as B of its whole module: zero rows outside the host's slice."""
    if host.whole:
        return up
    module = host.module
    width = int(module.nf) if isinstance(module, Conv1D) else int(module.out_features)  # type: ignore[arg-type]
    whole = up.new_zeros(width, up.shape[1])
    whole[host.start : host.stop] = up
    return whole


def _config(ranks: Mapping[str, int], base: str, revision: str | None, *, transposed: bool) -> dict[str, Any]:
    """PEFT's configuration; the commonest rank is `r`, the other modules stand in the patterns.

    PEFT reads a pattern as the end of a module's path, a regular expression: `^` and escapes make it that module's own.
    """
    counts = Counter(ranks.values())
    common = min(counts, key=lambda rank: (-counts[rank], rank))
    pattern = {f"^{re.escape(path)}": rank for path, rank in ranks.items() if rank != common}
    return {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION",
        "base_model_name_or_path": base,
        "revision": revision,
        "inference_mode": True,
        "r": common,
        "lora_alpha": common,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "target_modules": sorted(ranks),
        "bias": "none",
        "fan_in_fan_out": transposed,
        "lora_dropout": 0.0,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "modules_to_save": None,
        "use_dora": False,
        "use_rslora": False,
    }
