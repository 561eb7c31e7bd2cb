"""Contract of a gate family: call `check_gate(name)`; it raises AssertionError."""

from __future__ import annotations

import dataclasses

import torch

from slasearch.adapters.gates._base import GateEntry
from slasearch.records import GateSpec
from slasearch.registry import GATES

__all__ = ["GATE_SPEC", "check_gate"]

GATE_SPEC = GateSpec(
    family="sigmoid", learning_rate=0.05, warm_up=0.1, initial_openness=0.8, threshold=0.5, temperature=0.5
)


def check_gate(name: str) -> None:
    """Start, ranges, gradients, determinism, and both ends of one family."""
    entry: GateEntry = GATES.get(name)
    gates = entry.family(2, 5, dataclasses.replace(GATE_SPEC, family=name))
    assert gates.logits.shape == (2, 5)
    torch.testing.assert_close(gates.openness(), torch.full((2, 5), 0.8), rtol=0, atol=1e-5)
    assert bool(gates.is_open().all()), "gates that start at p = .8 must start open"
    for share in (0.0, 0.5, 1.0):
        gates.set_progress(share)
        sample = gates.sample(torch.Generator().manual_seed(0))
        again = gates.sample(torch.Generator().manual_seed(0))
        assert torch.equal(sample, again), "the same generator must give the same gates"
        for z in (sample, gates.value(), gates.openness()):
            assert z.shape == (2, 5)
            assert bool(((z >= 0) & (z <= 1)).all()), "gates lie in [0, 1]"
    (gradient,) = torch.autograd.grad(gates.openness().sum(), [gates.logits])
    assert bool((gradient > 0).all()), "openness must rise with the logit"
    with torch.no_grad():
        gates.logits.fill_(12.0)
    assert bool(gates.is_open().all())
    torch.testing.assert_close(gates.value(), torch.ones(2, 5), rtol=0, atol=1e-3)
    with torch.no_grad():
        gates.logits.fill_(-12.0)
    assert not bool(gates.is_open().any())
    torch.testing.assert_close(gates.value(), torch.zeros(2, 5), rtol=0, atol=1e-3)
