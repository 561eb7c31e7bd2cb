"""What `slasearch kinds` and the documentation list is what the code has."""

from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from slasearch.config.schema import POOL_PRESETS, PoolConfig
from slasearch.records import FinalisationSpec
from slasearch.registry import CONDITIONS, CONTROLS, GATES, KINDS
from slasearch.service.catalogue import catalogue, markdown

METHOD = Path(__file__).parents[2] / "docs" / "method.md"
BEGIN, END = "<!-- printed by `slasearch kinds --markdown` -->\n", "<!-- end of what is printed -->\n"


def test_everything_is_listed_with_its_equation_and_source() -> None:
    found = catalogue()
    names = {what: tuple(row["name"] for row in rows) for what, rows in found.items()}
    assert names["kinds"] == KINDS.names()
    assert names["gates"] == GATES.names()
    assert names["conditions"] == CONDITIONS.names()
    assert names["controls"] == CONTROLS.names()
    assert names["presets"] == tuple(POOL_PRESETS)
    for what, rows in found.items():
        assert what == "presets" or all(row["equation"] and row["source"] for row in rows)
    assert all(row["parameters"] for row in found["kinds"])


def test_a_preset_is_listed_as_the_pool_that_it_stands_for() -> None:
    for row in catalogue()["presets"]:
        given = {field: tuple(row[field]) for field in ("kinds", "sites", "ranks")}
        assert PoolConfig(**given) == PoolConfig(preset=row["name"]).model_copy(update={"preset": None})


@pytest.mark.parametrize("field", ["ranking", "finish"])
def test_finalisers_are_those_that_a_study_may_name(field: str) -> None:
    listed = {row["name"] for row in catalogue()["finalisers"] if row["field"] == field}
    assert listed == set(get_args(get_type_hints(FinalisationSpec)[field]))


def test_the_documentation_holds_what_the_code_says() -> None:
    text = METHOD.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    printed = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert printed == markdown().strip(), "docs/method.md is behind: put the output of slasearch kinds --markdown there"
