"""Choices on an axis can be told apart: by their names, by what is left of these, or by letters with a key."""

import pytest

from slasearch.report.figures._fields import _letter, choice_keys, choice_names

SITES = ['["attn.q"]', '["attn.q", "attn.v"]', '["attn.out"]', '["ffn.in"]']
ATTENTION = '["attn.q", "attn.k", "attn.v", "attn.out"]'
ALL = '["attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out"]'


def test_names_that_have_room_stay() -> None:
    assert choice_names(["sigmoid", "budget"]) == ("sigmoid", "budget")
    assert choice_names(SITES) == ("attn.q", "attn.q + attn.v", "attn.out", "ffn.in")
    assert choice_keys([("gates.family", ["sigmoid", "budget"]), ("pool.sites", SITES)]) == []


def test_a_long_name_is_cut_where_it_is_told_apart_yet() -> None:
    assert choice_names(["auto", ATTENTION]) == ("auto", "attn.q + attn.k + a…")
    assert choice_names(["auto", ATTENTION], 8) == ("auto", "attn.q…")


def test_names_that_begin_alike_are_letters_with_a_key() -> None:
    assert choice_names([ATTENTION, ALL]) == ("A", "B")
    (key,) = choice_keys([("pool.sites", [ATTENTION, ALL]), ("pool.sites", [ATTENTION, ALL])])
    assert key.replace("\u00a0", " ") == (
        "sites in the pool: A = attn.q + attn.k + attn.v + attn.out, "
        "B = attn.q + attn.k + attn.v + attn.out + ffn.in + ffn.out"
    )


def test_many_names_of_which_one_needs_two_lines_are_letters() -> None:
    """Seven upright names have one line each."""
    short = [f"name {place}" for place in range(7)]
    assert choice_names(short) == tuple(short)
    assert choice_names([*short[:6], "a longer name"]) == tuple("ABCDEFG")
    assert choice_names([*short[:5], "a longer name"])[5] == "a longer name"


@pytest.mark.parametrize(("place", "letter"), [(0, "A"), (25, "Z"), (26, "AA"), (27, "AB"), (52, "BA")])
def test_letters_go_on_after_the_last(place: int, letter: str) -> None:
    assert _letter(place) == letter
