"""Contract of a gate family: call `check_gate(name)`; it raises AssertionError."""

from __future__ import annotations

import dataclasses

import torch

from slasearch.adapters.gates._base import GateEntry, GateFamily
from slasearch.adapters.gates.bank import GateBank
from slasearch.records import GateSpec
from slasearch.registry import GATES

__all__ = ["GATE_SPEC", "check_gate"]

GATE_SPEC = GateSpec(
    family="sigmoid", learning_rate=0.05, warm_up=0.1, initial_openness=0.8, threshold=0.5, temperature=0.5
)
_COSTS = torch.tensor([8.0, 16.0, 8.0, 40.0, 24.0])


def check_gate(name: str) -> None:
    """Start, ranges, gradients, determinism, both ends, and gates that are closed for good."""
    entry: GateEntry = GATES.get(name)
    spec = dataclasses.replace(GATE_SPEC, family=name)
    gates = entry.family(2, 5, spec, costs=_COSTS.double())
    assert gates.logits.shape == (2, 5)
    if entry.needs_budget:
        gates.set_target(0.8 * float(_COSTS.sum()), "per_task")
        torch.testing.assert_close(gates.openness(), torch.full((2, 5), 0.8), rtol=0, atol=1e-5)
    else:
        assert bool(gates.is_open().all()), "gates must start open"
    if gates.penalised:
        torch.testing.assert_close(gates.openness(), torch.full((2, 5), 0.8), rtol=0, atol=1e-5)
        (gradient,) = torch.autograd.grad(gates.openness().sum(), [gates.logits])
        assert bool((gradient > 0).all()), "openness must rise with the logit"
    _check_samples(gates)
    _check_ends(gates, entry)
    _check_bank(spec)


def _check_samples(gates: GateFamily) -> None:
    for share in (0.0, 0.5, 1.0):
        gates.set_progress(share)
        sample = gates.sample(torch.Generator().manual_seed(0))
        again = gates.sample(torch.Generator().manual_seed(0))
        assert torch.equal(sample, again), "the same generator must give the same gates"
        assert sample.requires_grad, "samples must be differentiable"
        for z in (sample, gates.value()):
            assert z.shape == (2, 5)
            assert not gates.bounded or bool(((z >= 0) & (z <= 1)).all()), "gates lie in [0, 1]"
        assert bool(((gates.openness() >= 0) & (gates.openness() <= 1)).all()), "openness lies in [0, 1]"
        assert gates.strength().shape == (2, 5)


def _check_ends(gates: GateFamily, entry: GateEntry) -> None:
    """Half of the gates are pushed up and half down: under a budget all alike would only compete."""
    high = torch.arange(10).reshape(2, 5) % 2 == 0
    with torch.no_grad():
        gates.logits.copy_(torch.where(high, 12.0, -12.0 if gates.bounded else 0.0))
    if entry.needs_budget:
        gates.set_target(float((_COSTS * high).sum(1).min()), "per_task")
        assert bool((gates.strength()[high].min() > gates.strength()[~high].max()).all()), "strength follows the logit"
        return
    assert torch.equal(gates.is_open(), high)
    assert bool((gates.value()[~high].abs() <= 1e-3).all()), "closed gates are 0"
    assert not gates.bounded or bool((gates.value()[high] >= 1 - 1e-3).all()), "open gates are 1"


def _check_bank(spec: GateSpec) -> None:
    """Closed for good is 0 in every view; shared gates are the same for every task."""
    bank = GateBank(spec, 2, _COSTS)
    bank.family.set_target(60.0, "union")
    alive = torch.ones(2, 5, dtype=torch.bool)
    alive[0, 1] = alive[1, 4] = False
    bank.close(alive)
    bank.close(torch.ones(2, 5, dtype=torch.bool))
    assert torch.equal(bank.alive, alive), "what is closed stays closed"
    for values in (bank.sample(torch.Generator().manual_seed(0)), bank.value(), bank.openness()):
        assert bool((values[~alive] == 0).all())
    assert not bool(bank.is_open()[~alive].any())
    assert bool((bank.strength()[~alive] == -torch.inf).all())
    shared = GateBank(dataclasses.replace(spec, shared=True), 2, _COSTS)
    sample = shared.sample(torch.Generator().manual_seed(0))
    assert sample.shape == (2, 5)
    assert torch.equal(sample[0], sample[1])
