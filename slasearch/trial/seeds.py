"""Seeds: everything random in a trial draws from a generator of its own, named by what it is for."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["derived_seed", "generator"]


def derived_seed(seed: int, purpose: str) -> int:
    """An independent seed for one purpose (`modules`, `heads`, `gates`, …), the same on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=7).digest(), "little")


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator seeded for one purpose."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose))
