"""The tokens of a backbone: which are ordinary, which begin a word, and the nearest neighbours of each.

    cos(a, b) = ⟨E_a, E_b⟩ / (|E_a|·|E_b|),    E the backbone's own table of token embeddings

Neighbours are searched among tokens of the same form (beginning or continuation of a word), in blocks, for the tokens
that are asked for; each is searched once and kept. The nearest are ranked again in fp64, and ties by number, so that
they depend neither on the blocks nor on which tokens were asked for together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BEGINS", "CONTINUES", "OTHER", "Forms", "Int32s", "Vocabulary", "forms_of"]

Int32s = npt.NDArray[np.int32]
Forms = npt.NDArray[np.int8]
_Floats = npt.NDArray[np.floating[Any]]

OTHER, BEGINS, CONTINUES = 0, 1, 2
"""Form of a token: special, unknown or reserved; beginning of a word; continuation of one."""

_RESERVED = re.compile(r"\[.+\]|<.+>", re.DOTALL)
_MARKS = ("##", "▁", "Ġ")
"""How word pieces are marked: WordPiece marks continuations, SentencePiece and byte-level BPE beginnings."""
_WANTED, _CANDIDATES, _SPARE = 256, 8192, 8


def forms_of(tokenizer: Any, size: int) -> Forms:
    """The form of each token, `V`.

    Args:
        tokenizer: A tokenizer of transformers.
        size: V, rows of the table of embeddings; rows that the tokenizer does not know are `OTHER`.
    """
    tokens: dict[str, int] = tokenizer.get_vocab()
    counts = Counter(mark for token in tokens for mark in _MARKS if token.startswith(mark) and token != mark)
    mark = counts.most_common(1)[0][0] if counts else None
    forms = np.zeros(size, np.int8)
    special = set(tokenizer.all_special_ids)
    for token, number in tokens.items():
        if number < size and number not in special and not _RESERVED.fullmatch(token):
            marked = mark is not None and token.startswith(mark)
            forms[number] = CONTINUES if mark is not None and marked == (mark == "##") else BEGINS
    return forms


class Vocabulary:
    """The V tokens of one backbone.

    Args:
        forms: `V`, the form of each token.
        rows: The embeddings of n tokens by number, `n x d` in fp32; called for blocks, from the CPU.
        neighbours: How many neighbours k each token has.
    """

    def __init__(self, forms: Forms, rows: Callable[[Int32s], _Floats], *, neighbours: int = 5) -> None:
        self.ordinary: npt.NDArray[np.bool_] = forms != OTHER
        self.neighbours = neighbours
        self._forms, self._rows = forms, rows
        self._found = np.zeros((len(forms), 0), np.int32)
        self._known = np.zeros(len(forms), np.bool_)

    def nearest(self, ids: Int32s) -> Int32s:
        """For n ordinary tokens their neighbours, `n x k`, nearest first.

        Where fewer than k tokens have the same form they are repeated; a token alone of its form has itself.
        """
        self.prepare(ids)
        return self._found[ids]

    def prepare(self, ids: Int32s) -> None:
        """Finds the neighbours of many tokens at once, those that are not ordinary left out."""
        if not self._found.size:
            self._found = np.zeros((len(self._forms), self.neighbours), np.int32)
        missing = np.unique(ids[self.ordinary[ids] & ~self._known[ids]])
        for form in (BEGINS, CONTINUES):
            candidates = np.flatnonzero(self._forms == form).astype(np.int32)
            for wanted in _blocks(missing[self._forms[missing] == form], _WANTED):
                self._found[wanted] = self._search(wanted, candidates)
        self._known[missing] = True

    def _search(self, wanted: Int32s, candidates: Int32s) -> Int32s:
        """The nearest `n x k` of `candidates`, which hold the n wanted tokens too."""
        if len(candidates) == 1:
            return np.repeat(wanted[:, None], self.neighbours, axis=1)
        vectors = _unit(self._rows(wanted))
        best = np.zeros((len(wanted), 0), np.int32)
        cosines = np.zeros((len(wanted), 0), np.float32)
        for block in _blocks(candidates, _CANDIDATES):
            found = vectors @ _unit(self._rows(block)).T
            found[wanted[:, None] == block] = -np.inf
            best = np.concatenate([best, np.broadcast_to(block, found.shape)], axis=1)
            cosines = np.concatenate([cosines, found], axis=1)
            count = min(self.neighbours + _SPARE, cosines.shape[1])
            kept = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
            best, cosines = np.take_along_axis(best, kept, 1), np.take_along_axis(cosines, kept, 1)
        ranked = self._rank(wanted, best)
        return ranked[:, np.arange(self.neighbours) % min(ranked.shape[1], len(candidates) - 1)]

    def _rank(self, wanted: Int32s, found: Int32s) -> Int32s:
        vectors = _unit(self._rows(wanted).astype(np.float64))
        others = _unit(self._rows(found.ravel()).astype(np.float64)).reshape(*found.shape, -1)
        cosines = np.einsum("nd,ncd->nc", vectors, others).round(12)
        cosines[found == wanted[:, None]] = -np.inf
        return np.take_along_axis(found, np.lexsort((found, -cosines)), 1)


def _blocks(ids: Int32s, size: int) -> Iterator[Int32s]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _unit(rows: _Floats) -> _Floats:
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: _Floats = rows / np.maximum(norms, np.finfo(rows.dtype).tiny)
    return unit
