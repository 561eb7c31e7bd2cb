"""Tiny random backbones, one for each model family, for contract suites: two layers, evaluation mode, frozen.

Each has what its family is special for: grouped keys and values, heads wider than their share of the hidden size, fused
projections, sliding windows and position codes that change from layer to layer, relative positions.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from slasearch.adapters.sites import FAMILIES, hidden_states, separate_positions

__all__ = ["TINY_FAMILIES", "run_tiny", "save_tiny", "tiny_backbone"]

_SIZES: Mapping[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED: Mapping[str, Any] = {"num_key_value_heads": 2}
_WIDE: Mapping[str, Any] = {**_GROUPED, "head_dim": 10}
_ALTERNATING: Mapping[str, Any] = {"sliding_window": 3, "layer_types": ["sliding_attention", "full_attention"]}
_EXTRA: Mapping[str, Mapping[str, Any]] = {
    "roberta": {"type_vocab_size": 1},
    "xlm-roberta": {"type_vocab_size": 1},
    "electra": {"embedding_size": 12},
    "distilbert": {"hidden_dim": 24},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 4,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "conv_kernel_size": 3,
        "type_vocab_size": 0,
    },
    "gpt2": {"n_inner": 24},
    "llama": _WIDE,
    "qwen2": {**_GROUPED, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
    "qwen3": {**_WIDE, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
    "mistral": {**_WIDE, "sliding_window": 3},
    "gemma": _WIDE,
    "gemma2": {**_WIDE, **_ALTERNATING},
    "gemma3_text": {**_WIDE, **_ALTERNATING},
    "smollm3": {**_GROUPED, "no_rope_layers": [1, 0]},
    "phi": _GROUPED,
    "phi3": _GROUPED,
}

TINY_FAMILIES: tuple[str, ...] = tuple(FAMILIES)


def tiny_backbone(family: str, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A two-layer model of a family, hidden size 16, as `load_backbone` would give it."""
    config = AutoConfig.for_model(family, **{**_SIZES, **_EXTRA.get(family, {})})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = AutoModel.from_config(config)
    separate_positions(model)
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)  # as in a saved model, buffers such as rotary frequencies stay fp32
    return model.requires_grad_(False).eval()


def run_tiny(model: nn.Module, *, examples: int = 3, tokens: int = 5, seed: int = 0) -> Tensor:
    """Hidden states (`examples x tokens x 16`) of random inputs that are the same for the same seed."""
    ids = torch.randint(1, 64, (examples, tokens), generator=torch.Generator().manual_seed(seed))
    output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return hidden_states(output[0])


def save_tiny(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Writes a tiny model and a tokeniser of single characters into a folder, which is a backbone then.

    A text may have up to 30 characters without spaces, in lower case.
    """
    tiny_backbone(family, seed=seed).save_pretrained(folder)  # type: ignore[operator]
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    characters = string.ascii_lowercase + string.digits + string.punctuation[:24]
    vocabulary = {token: number for number, token in enumerate([*special, *characters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return folder
