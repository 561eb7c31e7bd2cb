"""Modules with a narrow hidden layer, all those of one host in two products.

    Σ_i z_i·(U_i·h_i + b_i) = [U_1 … U_m b_1 … b_m] · [z_1·h_1; …; z_m·h_m; z_1; …; z_m]

So z multiplies the few hidden numbers of a token, and neither it nor a bias passes over the wide deltas once more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

__all__ = ["project", "side_by_side"]


def side_by_side(parts: Sequence[Tensor], dim: int) -> Tensor:
    """The parts along one dimension; one alone is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


def project(
    hidden: Tensor,
    coefficients: Sequence[Tensor | None],
    ups: Sequence[Tensor],
    biases: Sequence[Tensor] | None = None,
) -> Tensor:
    """Σ_i z_i·(U_i·h_i + b_i).

    Args:
        hidden: The h_i side by side, `n x t x Σ r_i`.
        coefficients: z_i, `n x 1 x 1`; None is 1.
        ups: U_i, `d_out x r_i`.
        biases: b_i, `d_out`; None: there are none.

    Returns:
        `n x t x d_out`.
    """
    if all(z is None for z in coefficients):
        bias = None if biases is None else torch.stack(list(biases)).sum(0) if len(biases) > 1 else biases[0]
        return linear(hidden, side_by_side(ups, 1), bias)
    examples, tokens, _ = hidden.shape
    one = hidden.new_ones(1, 1, 1)
    gates = [(one if z is None else z).expand(examples, 1, 1) for z in coefficients]
    wide = [z.expand(-1, 1, up.shape[1]) for z, up in zip(gates, ups, strict=True)]
    hidden = hidden * side_by_side(wide, 2)
    if biases is None:
        return linear(hidden, side_by_side(ups, 1))
    columns = side_by_side(gates, 2).expand(-1, tokens, -1)
    return linear(torch.cat([hidden, columns], 2), torch.cat([*ups, *(bias[:, None] for bias in biases)], 1))
