"""Every registered kind and gate family passes its contract suite, alone and together, on every backbone family."""

import pytest

from slasearch.registry import GATES, KINDS
from slasearch.testing.gates import check_gate
from slasearch.testing.kinds import check_combination, check_gates_in, check_kind
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
