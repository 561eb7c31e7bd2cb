"""The attention of bf16 backbones on a CPU: its core in fp32, whose backward pass is several times faster there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

__all__ = ["set_attention"]

_NAME = "slasearch_fp32_core"


def set_attention(model: Any) -> None:
    """Gives a bf16 model on a CPU the fp32 core, unless its family has an attention of its own; others stay as is."""
    if model.device.type == "cpu" and model.dtype == torch.bfloat16 and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(_NAME)


def _fp32_core(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """SDPA over `n x heads x t x d` in fp32, the result in the precision of the queries."""
    mask = (
        attention_mask.float() if attention_mask is not None and attention_mask.is_floating_point() else attention_mask
    )
    bias = settings.pop("position_bias", None)
    out, _ = sdpa_attention_forward(
        module,
        query.float(),
        key.float(),
        value.float(),
        mask,
        position_bias=None if bias is None else bias.float(),
        **settings,
    )
    return out.to(query.dtype), None


AttentionInterface.register(_NAME, _fp32_core)
AttentionMaskInterface.register(_NAME, sdpa_mask)
