"""Verbs that list what is available here."""

import json
import re
from typing import Any

import pytest

from slasearch.registry import CONDITIONS, GATES, KINDS, PRUNERS, SAMPLERS


@pytest.fixture
def listed(command: Any) -> Any:
    """The JSON that a listing verb prints."""
    return lambda verb: json.loads(command(verb, "--json").out)


def test_samplers(listed: Any, command: Any) -> None:
    found = listed("samplers")
    phases = {row["name"]: row["for"] for row in found["samplers"]}
    assert phases["one_at_a_time"] == ["design"]
    assert phases["qmc"] == ["design", "optimise"]
    assert phases["tpe"] == ["optimise"]
    assert re.search(r"^qmc +design, optimise +", command("samplers").out, re.MULTILINE)
    assert {row["name"] for row in found["samplers"]} == set(SAMPLERS)
    assert {row["name"] for row in found["pruners"]} == set(PRUNERS)
    assert "successive_halving" in command("samplers").out


def test_kinds_gates_and_conditions(listed: Any, command: Any) -> None:
    found = listed("kinds")
    assert [row["name"] for row in found["kinds"]] == list(KINDS.names())
    assert [row["name"] for row in found["gates"]] == list(GATES.names())
    assert [row["name"] for row in found["conditions"]] == list(CONDITIONS.names())
    assert all(row["equation"] and row["source"] for row in found["kinds"] + found["gates"])
    text = command("kinds").out
    assert "r·(d_in + d_out)" in text
    assert "hard_concrete" in text
    both = command("kinds", "--markdown", "--json")
    assert (both.code, both.out) == (2, "")
    assert "expected --markdown or --json, got both" in both.err
    assert command("kinds", "--markdown").out.startswith("### Kinds\n\n| name | equation |")


def test_tasks(listed: Any, command: Any) -> None:
    found = listed("tasks")
    assert any(row["name"].startswith("bundled:") for row in found)
    assert all(row["available"] in (True, False) for row in found)
    assert "bundled:" in command("tasks").out


def test_doctor_ends_with_4_where_the_database_is_not_reachable(command: Any) -> None:
    answer = command("doctor", "--storage", "postgresql+psycopg://me:secret@127.0.0.1:1/studies", "--json")
    assert answer.code == 4
    assert "secret" not in answer.out
