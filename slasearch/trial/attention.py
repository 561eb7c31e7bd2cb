"""The core of attention on a CPU: one query where all are the same, and fp32 where the backbone is bf16."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

__all__ = ["set_attention"]

_NAME = "slasearch_cpu"


def set_attention(model: Any) -> None:
    """Gives a model on a CPU this core, unless its family has an attention of its own."""
    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(_NAME)


def _core(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """SDPA over `n x heads x t x d` in fp32, the result in the precision of the queries.

    In bf16 PyTorch's backward pass is several times slower. Where one query stands for all tokens (its stride is 0, as
    `top_alone` leaves it) it is computed once.
    """
    tokens = query.shape[2]
    if tokens > 1 and query.stride(2) == 0:
        query = query[:, :, :1]
        attention_mask = None if attention_mask is None else attention_mask[:, :, :1]
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
    return out.to(query.dtype).expand(-1, tokens, -1, -1), None


AttentionInterface.register(_NAME, _core)
AttentionMaskInterface.register(_NAME, sdpa_mask)
