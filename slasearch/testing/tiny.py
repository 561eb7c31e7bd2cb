"""Tiny random backbones, one for each model family, for contract suites: fp32, evaluation mode, frozen."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoModel, BertConfig, LlamaConfig

from slasearch.adapters.sites import hidden_states

__all__ = ["TINY_FAMILIES", "run_tiny", "tiny_backbone"]

_SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}
_CONFIGS = {"bert": BertConfig, "llama": LlamaConfig}

TINY_FAMILIES: tuple[str, ...] = tuple(_CONFIGS)


def tiny_backbone(family: str, *, seed: int = 0) -> nn.Module:
    """A two-layer model of a family, hidden size 16; Llama with grouped keys and values, so that widths differ."""
    extra = {"num_key_value_heads": 2, "pad_token_id": 0} if family == "llama" else {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = AutoModel.from_config(_CONFIGS[family](**_SIZES, **extra))
    return model.requires_grad_(False).eval()


def run_tiny(model: nn.Module, *, examples: int = 3, tokens: int = 5, seed: int = 0) -> Tensor:
    """Hidden states (`examples x tokens x 16`) of random inputs that are the same for the same seed."""
    ids = torch.randint(1, 64, (examples, tokens), generator=torch.Generator().manual_seed(seed))
    output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return hidden_states(output[0])
