"""Conditions: the contract on every kind, and what the contract cannot know of all of them together."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from perturb_kit import TEXT, gaussian, noise, under

from slasearch.config.schema import ConditionsConfig
from slasearch.errors import MissingExtraError, RegistryError
from slasearch.perturb import describe_conditions, substitute_tokens, weight_change
from slasearch.perturb._base import TextCondition, register_condition, sample_rng
from slasearch.perturb._typist import private_copy
from slasearch.perturb.vocabulary import Vocabulary
from slasearch.records import ConditionSpec, Example
from slasearch.registry import CONDITIONS
from slasearch.testing.conditions import CONDITION_CHECKS, condition_digest


@pytest.mark.parametrize("kind", CONDITIONS.names())
@pytest.mark.parametrize("check", CONDITION_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, kind):
    check(kind)


def test_two_runs_see_the_same():
    """Other processes, with other hash seeds, disturb identically."""
    module = "from slasearch.testing.conditions import CONDITIONS, condition_digest"
    code = f"{module}; print([condition_digest(kind) for kind in CONDITIONS.names()])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "17"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == str([condition_digest(kind) for kind in CONDITIONS.names()])


def test_families_are_not_mixed_up():
    with pytest.raises(RegistryError, match=r"expected one that disturbs texts or labels.*Use embedding_change"):
        under("embedding_gaussian", 0.5)
    with pytest.raises(RegistryError, match=r"disturbs embeddings, got one of the family 'text'.*perturb_examples"):
        noise("typos", 0.5, ["a"], [1])
    condition = ConditionSpec("weight_noise", 0.5, "eval")
    with pytest.raises(RegistryError, match=r"disturbs tokens, got one of the family 'weights'.*Use weight_change"):
        substitute_tokens(np.zeros(1, np.int32), np.array([0, 1]), ["a"], condition, None, task="t")
    with pytest.raises(RegistryError, match=r"disturbs weights, got one of the family 'token'.*Use substitute_tokens"):
        weight_change("s", "w", (1,), ConditionSpec("neighbour", 0.5, "eval"))
    with pytest.raises(RegistryError, match="expected one of"):
        under("fog", 0.5)


def measured(**fields):
    return ConditionsConfig.model_validate({"measured": [fields]}).measured[0]


@pytest.mark.parametrize("kind", [name for name in CONDITIONS.names() if "eval" in CONDITIONS.get(name).facts.where])
def test_levels_that_are_left_out_are_the_five_severities_of_the_kind(kind):
    severities = CONDITIONS.get(kind).facts.severities
    assert measured(kind=kind).levels == severities
    assert measured(kind=kind, levels=[severities[1]]).levels == severities[1:2]
    with pytest.raises(ValueError, match="at least 1"):
        measured(kind=kind, levels=[])


def test_weights_are_not_trained_under_noise():
    with pytest.raises(ValueError, match="condition for train, got 'weight_noise', which is for eval only"):
        ConditionsConfig.model_validate({"train": [{"kind": "weight_noise", "level": 0.1}]})


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


PINNED = {
    "char_swap": "Hte quick brown fox, it jumsp oevr it",
    "char_drop": "The quic bron fox, i jumps over it",
    "char_repeat": "Thee quickk brrown fox, itt jumps oveer itt",
    "word_swap": "quick The brown fox, jumps it over it",
    "casing": "The Quick Brown fox, IT jumps over it",
    "punctuation": "The quick, brown fox it jumps! over? it",
}


def test_disturbed_inputs_never_change_between_versions():
    """Stored robustness is comparable over time only if these stay."""
    texts = [Example("id", "The quick brown fox jumps over it", 0)]
    assert under("typos", 0.6, texts)[0].text == "The quick bronw ox jumps over iit"
    assert under("word_drop", 0.5, texts)[0].text == "The quick over it"
    texts = [Example("id", "The quick brown fox, it jumps over it", 0)]
    assert {kind: under(kind, 0.5, texts)[0].text for kind in PINNED} == PINNED
    labels = [e.label for e in under("label_flips", 0.5, [Example(f"e{n}", "x", 1) for n in range(8)], where="train")]
    assert labels == [1, 2, 2, 1, 3, 3, 3, 1]


def test_disturbed_numbers_never_change_between_versions():
    assert gaussian(1.0, ["id"], [1], width=1, dim=2)[0, 0].tolist() == pytest.approx([0.231713, -0.640134], abs=1e-5)
    added = noise("neftune", 5.0, ["id"], [1], width=1, dim=2).added
    assert added[0, 0].tolist() == pytest.approx([0.173722, -0.026614], abs=1e-5)
    assert noise("token_dropout", 0.5, ["id"], [10]).factor[0].tolist() == [0, 1, 1, 1, 1, 0, 0, 0, 1, 0]
    rows = np.eye(12, 8, dtype=np.float32)
    vocabulary = Vocabulary(np.ones(12, np.int8), lambda ids: rows[ids])
    ids, condition = np.arange(8, dtype=np.int32), ConditionSpec("neighbour", 0.5, "eval")
    found = substitute_tokens(ids, np.array([0, 8]), ["id"], condition, vocabulary, task="t")
    assert found.tolist() == [3, 1, 3, 4, 4, 5, 6, 7]
    change = weight_change("s", "w", (2,), ConditionSpec("weight_noise", 1.0, "eval"))
    assert change.tolist() == pytest.approx([-1.098182, 0.440474], abs=1e-5)


def test_descriptions_hold_every_kind_and_no_name_is_taken_twice():
    described = {entry["name"]: entry for entry in describe_conditions()}
    assert tuple(described) == CONDITIONS.names()
    assert described["typos"]["family"] == "text"
    assert described["neftune"]["units"] == "absolute"
    assert described["neftune"]["severities"] == (1.0, 2.5, 5.0, 10.0, 15.0)
    facts = CONDITIONS.get("typos").facts
    with pytest.raises(RegistryError, match="'typos'"):
        register_condition("typos", facts)(type("Other", (TextCondition,), {"disturb": lambda *_: ""}))


def test_thousands_of_texts_and_a_batch_of_noise_are_fast():
    examples = [Example(f"e{number}", TEXT, 0) for number in range(3000)]
    start = time.perf_counter()
    under("typos", 0.2, examples)
    under("word_drop", 0.2, examples)
    under("char_swap", 0.2, examples)
    assert time.perf_counter() - start < 2.0, "0.4 s on a quiet machine"
    ids = [f"e{number}" for number in range(120)]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        gaussian(0.2, ids, [64] * 120, width=64, dim=384)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1


def test_a_missing_package_is_named():
    with pytest.raises(MissingExtraError, match=r"module surely_not_installed_anywhere.*pip install -e \."):
        private_copy("surely_not_installed_anywhere")


def test_perturb_loads_no_torch():
    code = "import sys, slasearch.perturb as p; p.describe_conditions(); assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
