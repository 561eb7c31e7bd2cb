"""Every registered kind and gate family passes its contract suite, alone and together, on every backbone family."""

from typing import Any

import pytest
import torch

from slasearch.adapters.kinds.bias import Bias
from slasearch.adapters.kinds.ia3 import Ia3
from slasearch.adapters.kinds.lora import Lora
from slasearch.adapters.kinds.prefix import Prefix
from slasearch.adapters.pool import Pool
from slasearch.records import SlotCost
from slasearch.registry import GATES, KINDS
from slasearch.testing.gates import check_gate
from slasearch.testing.kinds import check_combination, check_gates_in, check_kind
from slasearch.testing.modules import check_module
from slasearch.testing.tiny import TINY_FAMILIES


@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.parametrize("kind", KINDS.names())
def test_kind(kind: str, family: str) -> None:
    check_kind(kind, family)


@pytest.mark.parametrize("gate", GATES.names())
def test_gate_family(gate: str) -> None:
    check_gate(gate)


@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.parametrize("gate", GATES.names())
def test_gates_in_a_backbone(gate: str, family: str) -> None:
    check_gates_in(gate, family)


@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.parametrize("gate", GATES.names())
@pytest.mark.parametrize("kind", KINDS.names())
def test_combination(kind: str, gate: str, family: str) -> None:
    check_combination(kind, gate, family)


FAULTS: tuple[tuple[str, type, str, Any], ...] = (
    ("lora", Lora, "delta", lambda self, x, y, context: x @ self.down.T @ (self.up.T + 1e-7)),
    ("lora", Lora, "cost", classmethod(lambda cls, host, rank: SlotCost(rank * 20, rank * 12))),
    ("lora", Lora, "fold", lambda self, value: [w.data.mul_(value) for w in self.parameters()]),
    ("lora", Lora, "merge", lambda self, weight, bias: (weight + 2 * self.up @ self.down, bias)),
    ("lora", Lora, "combine", classmethod(lambda cls, m, z, x, y, c: sum(one.delta(x, y, c) for one in m))),
    ("ia3", Ia3, "merge_input", lambda self, weight, bias: (weight * self.gain, bias)),
    ("bias", Bias, "merge", lambda self, weight, bias: (weight, bias.add_(self.shift))),
    ("prefix", Prefix, "fold", lambda self, value: self.gate.data.mul_(value)),
)


@pytest.mark.parametrize(("kind", "module", "method", "wrong"), FAULTS)
def test_the_suite_finds_a_faulty_module(
    kind: str, module: type, method: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, method, wrong)
    with pytest.raises(AssertionError):
        check_module.__wrapped__(kind)


def test_the_suite_finds_a_faulty_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Pool.compose
    for wrong in (
        lambda self, layer, site, part, x, y: right(self, layer, site, part, x, y) * 1.001,
        lambda self, layer, site, part, x, y: right(self, layer, site, 0, x, y.detach()),
        lambda self, layer, site, part, x, y: right(self, layer, site, part, x, torch.zeros_like(y)) + y,
        lambda self, layer, site, part, x, y: y,
    ):
        monkeypatch.setattr(Pool, "compose", wrong)
        with pytest.raises(AssertionError):
            check_kind("scale", "llama")
