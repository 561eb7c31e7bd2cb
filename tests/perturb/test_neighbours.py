"""Neighbours of tokens: what the contract cannot know."""

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from slasearch.perturb import substitute_tokens
from slasearch.perturb.vocabulary import BEGINS, CONTINUES, OTHER, Vocabulary, forms_of
from slasearch.records import ConditionSpec


def tokens_under(level, ids, vocabulary, **options):
    condition = ConditionSpec("neighbour", level, "eval")
    return substitute_tokens(ids, np.array([0, len(ids)]), ["a"], condition, vocabulary, task="t", **options)


def test_neighbours_are_the_nearest_by_cosine_of_the_same_form():
    rows = np.random.default_rng(1).standard_normal((700, 6)).astype(np.float32) * np.linspace(0.1, 9, 700)[:, None]
    forms = np.array([0, 1, 1, 2], np.int8)[np.arange(700) % 4]
    vocabulary = Vocabulary(forms, lambda ids: rows[ids].astype(np.float32), neighbours=4)
    ids = np.flatnonzero(forms).astype(np.int32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (unit @ unit.T).astype(np.float64)
    cosines[forms[:, None] != forms] = -9
    np.fill_diagonal(cosines, -9)
    assert np.array_equal(vocabulary.nearest(ids), np.argsort(-cosines, axis=1)[ids, :4])
    fresh = Vocabulary(forms, lambda ids: rows[ids], neighbours=4)
    assert np.array_equal(fresh.nearest(ids[5:6]), vocabulary.nearest(ids[5:6])), "neighbours depend on what is asked"


def test_equal_embeddings_are_ranked_by_number_and_few_tokens_are_repeated():
    forms = np.array([0, 1, 1, 1, 2, 0], np.int8)
    rows = np.ones((6, 3), np.float32)
    vocabulary = Vocabulary(forms, lambda ids: rows[ids], neighbours=3)
    found = vocabulary.nearest(np.array([2, 1, 4], np.int32))
    assert found.tolist() == [[1, 3, 1], [2, 3, 2], [4, 4, 4]]


def test_a_row_of_zeros_has_neighbours_too():
    rows = np.zeros((9, 3), np.float32)
    vocabulary = Vocabulary(np.ones(9, np.int8), lambda ids: rows[ids], neighbours=2)
    assert vocabulary.nearest(np.array([0], np.int32)).tolist() == [[1, 2]]


def test_substitution_draws_evenly_among_the_neighbours():
    rows = np.random.default_rng(2).standard_normal((50, 4)).astype(np.float32)
    vocabulary = Vocabulary(np.ones(50, np.int8), lambda ids: rows[ids])
    ids = np.full(5000, 7, np.int32)
    found = tokens_under(0.5, ids, vocabulary)
    counts = [(found == other).mean() for other in vocabulary.nearest(ids[:1])[0]]
    assert counts == pytest.approx([0.1] * 5, abs=0.02)
    assert (found == 7).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("begins", "continues"),
    [
        (("a", "the", "!", "Ġ"), ("##s", "##ly")),
        (("▁a", "▁the", "▁▁", "▁"), ("s", "!", "##")),
        (("Ġa", "Ġthe", "ĠĠ", "Ġs"), ("s", "!", "##")),
        (("a", "the", "##"), ()),
    ],
    ids=["WordPiece", "SentencePiece", "byte-level", "unmarked"],
)
def test_forms_follow_the_marks_of_the_tokenizer(begins: tuple[str, ...], continues: tuple[str, ...]) -> None:
    others = ("<unk>", "[SEP]", "[unused7]", "<0x0A>", "<|im_start|>")
    known = {token: number for number, token in enumerate((*others, *begins, *continues))}
    model = Tokenizer(WordLevel(known, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, unk_token="<unk>", sep_token="[SEP]")
    forms = forms_of(tokenizer, len(known) + 3)
    expected = [OTHER] * len(others) + [BEGINS] * len(begins) + [CONTINUES] * len(continues) + [OTHER] * 3
    assert forms.tolist() == expected
