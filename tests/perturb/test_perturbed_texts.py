"""Text and label kinds: what the contract cannot know."""

import random
import re
import time
from itertools import pairwise

import numpy as np
import pytest
from perturb_kit import LEVELS, TEXT, under

from slasearch.perturb._words import WORD
from slasearch.records import Example


def test_typos_change_the_share_of_words_that_the_level_says():
    words = TEXT.split()
    for level in LEVELS:
        changed = [
            after != before
            for example in under("typos", level)
            for before, after in zip(words, example.text.split(), strict=True)
        ]
        assert np.mean(changed) == pytest.approx(level, abs=0.03)
    assert all(changed), "at level 1 every word has an error"


def test_words_are_found_in_linear_time_and_as_said():
    text = "it's «so» 3 — !!! ...a_b-c… \u3000ünï \n=x= ="
    assert WORD.findall(text) == ["it's", "«so»", "3", "...a_b-c…", "ünï", "=x="]
    source = random.Random(0)
    for _ in range(500):
        drawn = "".join(source.choices(" \t=-a1_é.", k=30))
        words = [part for part in drawn.split() if re.search(r"\w", part)]
        assert WORD.findall(drawn) == words
    signs = "=" * 200_000  # a minute and more if each place were a beginning
    begun = time.process_time()
    assert WORD.findall(signs + " word") == ["word"]
    assert time.process_time() - begun < 5


def test_typos_of_a_lower_level_stand_identically_in_a_higher_one():
    words = TEXT.split()
    levels = [[example.text.split() for example in under("typos", level)] for level in LEVELS]
    for low, high in pairwise(levels):
        for text_low, text_high in zip(low, high, strict=True):
            for before, lower, higher in zip(words, text_low, text_high, strict=True):
                assert lower in (before, higher)


def test_typos_keep_spacing_and_make_one_error_a_word():
    text = "  two  spaces\tand\na line — !!! "
    (example,) = under("typos", 1.0, [Example("a", text, 0)])
    assert re.findall(r"\s+", example.text) == re.findall(r"\s+", text)
    assert " — !!! " in example.text
    for before, after in zip(text.split(), example.text.split(), strict=True):
        assert abs(len(before) - len(after)) <= 1


def test_typos_do_not_depend_on_other_users_of_the_global_random_state():
    before = under("typos", 0.5)
    random.seed(123)
    expected = random.random()
    random.seed(123)
    assert under("typos", 0.5) == before
    assert random.random() == expected


def test_word_drop_nests_and_keeps_order_and_one_word():
    words = TEXT.split()
    levels = [[example.text.split() for example in under("word_drop", level)] for level in LEVELS]
    for low, high in pairwise(levels):
        for text_low, text_high in zip(low, high, strict=True):
            kept = iter(text_low)
            assert all(word in kept for word in text_high), "a higher level keeps a part of what a lower one keeps"
    for level, texts in zip(LEVELS, levels, strict=True):
        assert np.mean([len(text) / len(words) for text in texts]) == pytest.approx(1 - level, abs=0.08)
    assert all(len(text) == 1 for text in levels[-1])


def test_marks_that_stand_alone_are_no_words_to_word_drop():
    texts = {
        example.text for example in under("word_drop", 1.0, [Example(str(i), "Fine , really !", 0) for i in range(40)])
    }
    assert texts == {"Fine , !", ", really !"}
    assert under("word_drop", 1.0, [Example("a", ":-) !", 0)])[0].text == ":-) !"


def test_word_drop_leaves_spacing_alone_where_nothing_is_dropped():
    assert under("word_drop", 1.0, [Example("a", " one ", 0)])[0].text == " one "
    assert under("word_drop", 1.0, [Example("a", "   ", 0)])[0].text == "   "


def test_label_flips_flip_the_share_to_every_other_label_equally():
    examples = [Example(f"e{number}", "x", 1) for number in range(3000)]
    for level in LEVELS:
        labels = np.bincount([e.label for e in under("label_flips", level, examples, where="train")], minlength=4)
        assert 1 - labels[1] / 3000 == pytest.approx(level, abs=0.03)
        assert labels[[0, 2, 3]] / 3000 == pytest.approx(level / 3, abs=0.03)


def test_label_flips_have_nothing_to_flip_to_with_one_label():
    assert under("label_flips", 1.0, [Example("a", "x", 0)], where="train", n_labels=1)[0].label == 0


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("char_swap", "aa ab", "aa ba"),
        ("char_swap", "a 1 -", "a 1 -"),
        ("char_swap", "Ab", "Ba"),
        ("char_drop", "a aa", "a a"),
        ("char_repeat", "a 7 …", "aa 77 …"),
        ("word_swap", "one  two", "two  one"),
        ("word_swap", " one — two\t", " two — one\t"),
        ("word_swap", "one", "one"),
        ("casing", "I 22 ß", "i 22 SS"),
        ("punctuation", "it! 3.5, …", "it 3.5 …"),
    ],
)
def test_what_a_kind_makes_of_every_word(kind, before, after):
    assert under(kind, 1.0, [Example("a", before, 0)])[0].text == after


def test_character_operations_keep_the_other_characters():
    for before, swapped, dropped, repeated in zip(
        TEXT.split(), *(under(f"char_{how}", 1.0)[0].text.split() for how in ("swap", "drop", "repeat")), strict=True
    ):
        assert swapped != before
        assert sorted(swapped.lower()) == sorted(before.lower())
        assert len(dropped) == len(before) - 1
        assert len(repeated) == len(before) + 1
        assert any(repeated[:at] + repeated[at + 1 :] == before for at in range(len(repeated)))


def test_word_swap_moves_each_word_one_place_at_most_and_leaves_one_of_an_odd_number():
    words = [f"w{number}" for number in range(13)]
    alone = set()
    for number in range(60):
        (example,) = under("word_swap", 1.0, [Example(f"e{number}", " ".join(words), 0)])
        moved = example.text.split()
        assert sorted(moved) == sorted(words)
        assert all(abs(moved.index(word) - place) <= 1 for place, word in enumerate(words))
        (stayed,) = (word for place, word in enumerate(words) if moved[place] == word)
        alone.add(stayed)
    assert alone == set(words[::2])


def test_punctuation_is_put_in_and_taken_away():
    texts = [example.text for example in under("punctuation", 1.0, [Example(f"e{n}", "so", 0) for n in range(3000)])]
    assert {text[:-1] for text in texts} == {"so"}
    assert [texts.count(f"so{mark}") / 3000 for mark in ".,;:!?"] == pytest.approx([1 / 6] * 6, abs=0.03)
    assert under("punctuation", 1.0, [Example("a", "Is it?! (No) a", 0)])[0].text.split()[1] == "it"


def test_casing_takes_every_other_form():
    texts = {example.text for example in under("casing", 1.0, [Example(f"e{n}", "McKay", 0) for n in range(200)])}
    assert texts == {"MCKAY", "mckay", "Mckay", "mCkAY"}
