"""Conditions: the contract on every kind, and what the contract cannot know."""

import random
import re
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest

from slasearch.errors import MissingExtraError, RegistryError
from slasearch.perturb import describe_conditions, embedding_noise, perturb_examples
from slasearch.perturb._base import ConditionFacts, TextCondition, register_condition, sample_rng
from slasearch.perturb.typos import _private_copy
from slasearch.records import ConditionSpec, Example
from slasearch.registry import CONDITIONS
from slasearch.testing.conditions import CONDITION_CHECKS

LEVELS = (0.05, 0.1, 0.25, 0.5, 1.0)
TEXT = "The quick brown fox jumps over the lazy dog while nobody else is looking"
EXAMPLES = [Example(f"e{number}", TEXT, number % 4) for number in range(300)]


def under(kind, level, examples=EXAMPLES, *, where="eval", n_labels=4, **options):
    return perturb_examples(examples, ConditionSpec(kind, level, where), task="t", n_labels=n_labels, **options)


@pytest.mark.parametrize("kind", CONDITIONS.names())
@pytest.mark.parametrize("check", CONDITION_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, kind):
    check(kind)


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


def gaussian(level, ids, lengths, *, width=10, dim=32, scale=None, where="eval", epoch=None):
    condition = ConditionSpec("embedding_gaussian", level, where, scale=scale)
    return embedding_noise(ids, lengths, width, dim, condition, tasks=["t"] * len(ids), epoch=epoch)


def test_embedding_noise_has_the_share_and_the_scale_that_are_asked_for():
    ids = [f"e{number}" for number in range(400)]
    noise = gaussian(0.3, ids, [10] * 400, scale=0.5)
    disturbed = noise.any(axis=2)
    assert disturbed.mean() == pytest.approx(0.3, abs=0.03)
    assert noise[disturbed].std() == pytest.approx(0.5, abs=0.01)
    assert noise[disturbed].mean() == pytest.approx(0, abs=0.01)
    assert gaussian(1.0, ids, [10] * 400).std() == pytest.approx(1.0, abs=0.01)


def test_embedding_noise_does_not_depend_on_padding_or_neighbours():
    alone = gaussian(0.5, ["b"], [4], width=4)
    among = gaussian(0.5, ["a", "b"], [10, 4], width=10)
    assert np.array_equal(among[1, :4], alone[0])
    assert not among[1, 4:].any()


def test_equal_ids_of_two_tasks_get_different_noise_in_one_batch():
    condition = ConditionSpec("embedding_gaussian", 1.0, "eval")
    noise = embedding_noise(["a", "a"], [5, 5], 5, 8, condition, tasks=["x", "y"])
    assert not np.array_equal(noise[0], noise[1])


def test_families_are_not_mixed_up():
    with pytest.raises(RegistryError, match="embedding_noise"):
        under("embedding_gaussian", 0.5)
    with pytest.raises(RegistryError, match="disturbs the text"):
        embedding_noise(["a"], [1], 1, 1, ConditionSpec("typos", 0.5, "eval"), tasks=["t"])
    with pytest.raises(RegistryError, match="expected one of"):
        under("fog", 0.5)


def test_sample_seeds_tell_all_their_parts_apart():
    draws = {
        sample_rng(*parts).random()
        for parts in [
            ("k", "t", "e", 0),
            ("k", "t", "e", 1),
            ("k", "t", "f", 0),
            ("k", "u", "e", 0),
            ("l", "t", "e", 0),
            ("k", "te", "", 0),
            ("k", "t", "e", 0, 0),
            ("k", "t", "e", 0, 1),
        ]
    }
    assert len(draws) == 8
    assert sample_rng("k", "t", "e", 0).random() == sample_rng("k", "t", "e", 0).random()


def test_disturbed_inputs_never_change_between_versions():
    """Stored robustness is comparable over time only if these stay."""
    texts = [Example("id", "The quick brown fox jumps over it", 0)]
    assert under("typos", 0.6, texts)[0].text == "The quick bronw ox jumps over iit"
    assert under("word_drop", 0.5, texts)[0].text == "The quick over it"
    assert gaussian(1.0, ["id"], [1], width=1, dim=2)[0, 0].tolist() == pytest.approx([0.231713, -0.640134], abs=1e-5)


def test_descriptions_hold_every_kind_and_no_name_is_taken_twice():
    described = {entry["name"]: entry for entry in describe_conditions()}
    assert tuple(described) == CONDITIONS.names()
    assert described["typos"]["family"] == "text"
    facts = ConditionFacts("text", "share of words", 1.0, ("eval",), None, "s", "e", "s")
    with pytest.raises(RegistryError, match="'typos'"):
        register_condition("typos", facts)(type("Other", (TextCondition,), {"disturb": lambda *_: ""}))


def test_thousands_of_texts_and_a_batch_of_noise_are_fast():
    examples = [Example(f"e{number}", TEXT, 0) for number in range(3000)]
    start = time.perf_counter()
    under("typos", 0.2, examples)
    under("word_drop", 0.2, examples)
    assert time.perf_counter() - start < 2.0, "0.3 s on a quiet machine"
    ids = [f"e{number}" for number in range(120)]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        gaussian(0.2, ids, [64] * 120, width=64, dim=384)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1


def test_a_missing_package_is_named():
    with pytest.raises(MissingExtraError, match=r"module surely_not_installed_anywhere.*pip install slasearch"):
        _private_copy("surely_not_installed_anywhere")


def test_perturb_loads_no_torch():
    code = "import sys, slasearch.perturb as p; p.describe_conditions(); assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
