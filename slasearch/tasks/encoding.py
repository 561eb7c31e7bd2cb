"""Texts to tokens, once: the result is cached under a hash of its content.

A cache entry is one `.npy` file of int32, mapped into memory when read:

    [checksum, n, offsets (n + 1), token ids (t), type ids (t)]

It is written under a temporary name and renamed, so that several processes may write the same entry. One that is
damaged fails its checksum and is made again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import tempfile
import weakref
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slasearch.errors import TaskError
from slasearch.records import Example

__all__ = ["EncodedSplit", "encode_split", "lone_surrogate"]

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EncodedSplit:
    """The tokens of n examples one after another, t in all; example i has those from `offsets[i]` to `offsets[i+1]`.

    Args:
        input_ids: `t`, token numbers.
        type_ids: `t`, 1 in the second text of a pair where the tokenizer tells texts apart, else 0.
        offsets: `n + 1`, the first is 0 and the last is t.
        labels: `n`, label numbers.
        example_ids: The n examples.
    """

    input_ids: Int32s
    type_ids: npt.NDArray[np.int8]
    offsets: Int64s
    labels: Int64s
    example_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.example_ids)

    @property
    def lengths(self) -> Int64s:
        """`n`, the number of tokens of each example, special ones included."""
        return np.diff(self.offsets)


@dataclass(frozen=True, eq=False)
class _Tokens:
    input_ids: Int32s
    type_ids: npt.NDArray[np.int8]
    offsets: Int64s


def lone_surrogate(text: str) -> bool:
    """Whether a text holds half of a character, as bytes become that are not in UTF-8; no tokenizer takes it."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def encode_split(tokenizer: Any, examples: Sequence[Example], max_tokens: int, cache: Path | None) -> EncodedSplit:
    """Tokenises examples, or reads their tokens from the cache.

    Args:
        tokenizer: A tokenizer of transformers.
        examples: The n examples; may be empty.
        max_tokens: Longer texts are cut; of a pair the longer text first.
        cache: Folder of cache entries, made if need be; None to do without.

    Raises:
        TaskError: A text has no token, or some examples are pairs and others are not.
    """
    tokens = None
    path = None if cache is None else cache / f"{_content_hash(tokenizer, examples, max_tokens)}.npy"
    if path is not None:
        tokens = _read(path, len(examples))
    if tokens is None:
        tokens = _tokenise(tokenizer, examples, max_tokens)
        if path is not None:
            _write(path, tokens)
    return EncodedSplit(
        input_ids=tokens.input_ids,
        type_ids=tokens.type_ids,
        offsets=tokens.offsets,
        labels=np.array([example.label for example in examples], dtype=np.int64),
        example_ids=tuple(example.id for example in examples),
    )


def _tokenise(tokenizer: Any, examples: Sequence[Example], max_tokens: int) -> _Tokens:
    if not examples:
        return _Tokens(np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(1, np.int64))
    paired = examples[0].text_pair is not None
    if any((example.text_pair is not None) != paired for example in examples):
        raise TaskError("expected pairs of texts throughout, or none, got both. Give each example a second text.")
    encoded = tokenizer(
        [example.text for example in examples],
        [example.text_pair for example in examples] if paired else None,
        truncation=True,
        max_length=max_tokens,
        return_attention_mask=False,
        return_token_type_ids=True,
    )
    rows = encoded["input_ids"]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    if not lengths.all():
        text = examples[int(lengths.argmin())].text
        raise TaskError(f"expected at least one token in each text, got none from {text!r:.80}. Remove that example.")
    input_ids = np.concatenate([np.asarray(row, dtype=np.int32) for row in rows])
    types = encoded.get("token_type_ids")
    type_ids = (
        np.zeros(len(input_ids), np.int8)
        if types is None
        else np.concatenate([np.asarray(row, dtype=np.int8) for row in types])
    )
    return _Tokens(input_ids, type_ids, np.concatenate([[0], lengths.cumsum()]))


# ---------------------------------------------------------------- cache


def _content_hash(tokenizer: Any, examples: Sequence[Example], max_tokens: int) -> str:
    digest = hashlib.sha256(f"{_identity(tokenizer)} {max_tokens} {len(examples)}\n".encode())
    for example in examples:
        for text in (example.text, example.text_pair):
            data = b"" if text is None else text.encode()
            digest.update(f"{'none' if text is None else len(data)}:".encode())
            digest.update(data)
    return digest.hexdigest()


_identities: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def _identity(tokenizer: Any) -> str:
    """A hash of all that decides how a tokenizer cuts texts, but truncation and padding, which each call sets."""
    if tokenizer not in _identities:
        facts: dict[str, Any] = {
            "class": type(tokenizer).__name__,
            "versions": [importlib.metadata.version(name) for name in ("transformers", "tokenizers")],
            "vocabulary": tokenizer.get_vocab(),
            "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
            "sides": [tokenizer.truncation_side, tokenizer.padding_side],
        }
        if getattr(tokenizer, "is_fast", False):
            backend = json.loads(tokenizer.backend_tokenizer.to_str())
            facts["backend"] = {**backend, "truncation": None, "padding": None}
        text = json.dumps(facts, sort_keys=True)
        _identities[tokenizer] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return _identities[tokenizer]


def _checksum(content: Int32s) -> np.int32:
    return np.uint32(zlib.crc32(content.data)).astype(np.int32)


def _read(path: Path, count: int) -> _Tokens | None:
    """The entry, or None if there is none or it is damaged."""
    try:
        entry = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        _log.warning("%s: expected a cache entry, got %s; it is made again", path, error)
        return None
    content = entry[1:]
    whole = entry.dtype == np.int32 and entry.ndim == 1 and len(entry) > 2 and entry[0] == _checksum(content)
    if not whole or content[0] != count:
        _log.warning("%s: expected a cache entry, got a damaged one; it is made again", path)
        return None
    offsets, tokens = content[1 : count + 2], content[count + 2 :]
    half = len(tokens) // 2
    return _Tokens(tokens[:half], tokens[half:].astype(np.int8), offsets.astype(np.int64))


def _write(path: Path, tokens: _Tokens) -> None:
    """Writes an entry. A cache that cannot be written costs time and nothing else, so that is only logged."""
    content = np.concatenate(
        [[len(tokens.offsets) - 1], tokens.offsets, tokens.input_ids, tokens.type_ids], dtype=np.int32, casting="unsafe"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, np.concatenate([[_checksum(content)], content]), allow_pickle=False)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        _log.warning("%s: expected a folder to write the cache to, got %s; going on without", path.parent, error)
