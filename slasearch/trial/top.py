"""The last layer for the pooled token alone: what the others would become above its attention is never read.

Keys and values are those of all tokens. Of the 12·d² products that a BERT layer takes for a token, 10·d² are left out
for all tokens but one. The numbers are those of the whole layer, up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import hosts_of, layers_of, table_of
from slasearch.trial.backbone import Backbone

__all__ = ["can_stand_alone", "top_alone"]


def can_stand_alone(backbone: Backbone, pool: Pool) -> bool:
    """Whether the last layer can go on with one token.

    Not where its family has no module at which tokens part, where a module acts on the whole layer, whose input is that
    of all tokens, or where the layer is computed again in the backward pass.
    """
    whole = (backbone.shapes.layers - 1, "block") in pool.places
    return bool(table_of(backbone.model).joint) and not whole and not backbone.spec.gradient_checkpointing


@contextmanager
def top_alone(model: nn.Module, places: Tensor) -> Iterator[None]:
    """While it is open the model gives `n x 1 x d`: its hidden states at one place of each example.

    Args:
        model: The backbone; modules may be attached to it.
        places: `n`, the place of the token that is wanted.
    """
    layers = layers_of(model)
    (query,) = hosts_of(model, len(layers) - 1, "attn.q")
    rows = torch.arange(len(places), device=places.device)

    def wanted(hidden: Tensor) -> Tensor:
        return hidden[rows, places].unsqueeze(1)

    tokens = 1

    def before_query(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        nonlocal tokens
        tokens = args[0].shape[1]
        return (wanted(args[0]),)

    def after_query(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        # Attention expects a query for each token. On a CPU its core sees that they are one (see `attention`).
        return output.expand(-1, tokens, -1)

    def before_joint(module: nn.Module, args: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return wanted(args[0]), wanted(args[1])

    joint = layers[-1].get_submodule(table_of(model).joint)
    handles = [
        query.module.register_forward_pre_hook(before_query, prepend=True),
        query.module.register_forward_hook(after_query),
        joint.register_forward_pre_hook(before_joint, prepend=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
