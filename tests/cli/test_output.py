"""Tables and JSON as verbs print them."""

import json

import pytest

from slasearch.cli._output import emit_json, show_table


def test_numbers_stand_right_and_text_left(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("name", "score", "n", "open"), [("lora", 0.123456, 12, True), ("a", None, 3, False)])
    assert capsys.readouterr().out.splitlines() == [
        "name   score   n  open",
        "lora  0.1235  12  yes",
        "a          -   3  no",
    ]


def test_sizes_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("value",), [(19650.0,), (1.5e-5,), (1234.56,), (float("inf"),)])
    assert capsys.readouterr().out.split() == ["value", "19650", "1.5e-05", "1235", "inf"]


def test_an_empty_table_is_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("name", "state"), [])
    assert capsys.readouterr().out == "name  state\n"


def test_json_has_null_for_what_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"a": [float("nan"), float("inf"), 1.5], "b": ("ü", {1: -float("inf")})})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": [None, None, 1.5], "b": ["ü", {"1": None}]}
    assert "ü" in out
