"""Leading singular vectors of a host's weight, the same wherever they are computed, and kept while the host lives.

Computed on the CPU in fp64, so that vectors agree between machines far beyond fp32; each pair has the sign that makes
the largest entry of the left vector positive, since an SVD leaves signs open.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from slasearch.adapters.sites import Host
from slasearch.errors import BackboneError

__all__ = ["host_weight", "singular_vectors"]

Vectors = tuple[Tensor, Tensor, Tensor]

_FEWEST = 64
"""So many are kept at least, so that larger ranks of the same pool need no decomposition of their own."""

_known: WeakKeyDictionary[nn.Module, dict[tuple[int, int | None], tuple[Any, int, Vectors]]] = WeakKeyDictionary()
"""By the host's module and slice: the weight and its version that were read, and what was found."""


def host_weight(host: Host) -> Tensor:
    """The weight of a linear host, `d_out x d_in`, in fp32."""
    weight = host.module.get_parameter("weight").detach().float()
    return (weight.T if isinstance(host.module, Conv1D) else weight)[host.start : host.stop]


@torch.no_grad()
def singular_vectors(host: Host, rank: int) -> Vectors:
    """U (`d_out x rank`), Σ (`rank`, falling) and Vᵀ (`rank x d_in`) of a linear host's weight; fp32, on the CPU.

    Args:
        host: The host.
        rank: How many of the leading ones, at most its narrower side.

    Raises:
        BackboneError: The weight is quantised.
    """
    weight = host.module.get_parameter("weight")
    if not weight.is_floating_point():
        raise BackboneError(
            f"lora_xs: expected a host with floating-point weights, got {weight.dtype}. Load the backbone unquantised, "
            "or leave the kind out."
        )
    found, version = _known.setdefault(host.module, {}), weight._version
    kept = found.get((host.start, host.stop))
    if kept is None or kept[0]() is not weight or kept[1] != version or len(kept[2][1]) < rank:
        vectors = _decomposed(host_weight(host).cpu().double(), max(rank, _FEWEST))
        found[host.start, host.stop] = kept = (ref(weight), version, vectors)
    left, values, right = kept[2]
    return left[:, :rank], values[:rank], right[:rank]


def _decomposed(weight: Tensor, count: int) -> Vectors:
    """The leading `count` triplets of a matrix in fp64, as fp32 in memory of their own."""
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    left, values, right = left[:, :count], values[:count], right[:count]
    signs = left[left.abs().argmax(0), torch.arange(len(values))].sign()
    return (left * signs).float(), values.float(), (right * signs[:, None]).float()
