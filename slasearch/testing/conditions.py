"""The contract of a condition, as checks to run on every registered kind.

@pytest.mark.parametrize("kind", CONDITIONS.names())
@pytest.mark.parametrize("check", CONDITION_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, kind):
    check(kind)
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from slasearch.perturb import embedding_change, perturb_examples, substitute_tokens, weight_change
from slasearch.perturb._base import ConditionFacts
from slasearch.perturb.vocabulary import BEGINS, CONTINUES, Int32s, Vocabulary
from slasearch.records import ConditionSpec, Example
from slasearch.registry import CONDITIONS

__all__ = ["CONDITION_CHECKS", "condition_digest"]

_SHARES = (0.05, 0.2, 0.5, 1.0)
_EXAMPLES = tuple(
    Example(
        f"e{number}",
        f"Number {number} of the quick brown foxes, naïve — jumps over {number * 7} lazy dogs!",
        number % 3,
    )
    for number in range(60)
)
_PAIRS = tuple(replace(example, text_pair="a second text beside it") for example in _EXAMPLES)
_MANY = tuple(
    Example(f"e{number}", "every plain word here may be changed somehow by whatever kind there is", number % 3)
    for number in range(400)
)
"""An even number of words, none of which a kind has to leave alone."""
_N_LABELS = 3
_WIDTH, _DIM, _TENSOR, _RMS = 12, 8, (3, 4), 0.5
_FORMS = np.repeat(np.array([0, BEGINS, CONTINUES], np.int8), [5, 35, 20])
_ROWS = np.random.default_rng(0).standard_normal((len(_FORMS), _DIM)).astype(np.float32)
_VOCABULARY = Vocabulary(_FORMS, lambda ids: _ROWS[ids])


def _facts(kind: str) -> ConditionFacts:
    facts = CONDITIONS.get(kind).facts
    assert isinstance(facts, ConditionFacts)
    return facts


def _condition(kind: str, share: float, *, seed: int = 0, where: str | None = None) -> ConditionSpec:
    facts = _facts(kind)
    at: Any = where if where in facts.where else facts.where[-1]
    return ConditionSpec(kind, share * facts.maximum, at, seed=seed)


# ---------------------------------------------------------------- what a model gets to see


def _tokens(example: Example) -> Int32s:
    """From 3 to 11 tokens of an example: a special one, ordinary ones, a special one."""
    number = int(example.id[1:])
    inner = np.random.default_rng(number).integers(5, len(_FORMS), size=1 + number % (_WIDTH - 3))
    return np.concatenate([[0], inner, [1]]).astype(np.int32)


def _disturbed(
    condition: ConditionSpec, examples: Sequence[Example] = _EXAMPLES, *, task: str = "task", epoch: int | None = None
) -> list[Any]:
    """For each example what a model gets to see of it, or of the tensor of that name: comparable with `==`."""
    family = _facts(condition.kind).family
    if family == "weights":
        return [weight_change(task, example.id, _TENSOR, condition).tolist() for example in examples]
    if family == "token":
        return _substituted(condition, examples, task, epoch)
    if family == "embedding":
        return _embedded(condition, examples, task, epoch)
    return list(perturb_examples(examples, condition, task=task, n_labels=_N_LABELS, epoch=epoch))


def _substituted(condition: ConditionSpec, examples: Sequence[Example], task: str, epoch: int | None) -> list[Any]:
    rows = [_tokens(example) for example in examples]
    offsets = np.cumsum([0, *map(len, rows)])
    ids = [example.id for example in examples]
    clean = np.concatenate(rows)
    found = substitute_tokens(clean, offsets, ids, condition, _VOCABULARY, task=task, epoch=epoch)
    assert found.dtype == np.int32
    assert (clean == np.concatenate(rows)).all(), "the clean tokens were written over"
    assert (_FORMS[found] == _FORMS[clean]).all(), "a token of another form, or a special one"
    assert (found == clean)[_FORMS[clean] == 0].all(), "a special token was replaced"
    return [row.tolist() for row in np.split(found, offsets[1:-1])]


def _embedded(condition: ConditionSpec, examples: Sequence[Example], task: str, epoch: int | None) -> list[Any]:
    rows = [_tokens(example) for example in examples]
    ids, lengths = [example.id for example in examples], [len(row) for row in rows]
    ordinary = np.array([np.pad(_FORMS[row] > 0, (0, _WIDTH - len(row))) for row in rows])
    change = embedding_change(ids, lengths, ordinary, _DIM, condition, rms=_RMS, tasks=[task] * len(ids), epoch=epoch)
    clean = np.random.default_rng(0).standard_normal((_WIDTH, _DIM)).astype(np.float32)
    seen = np.broadcast_to(clean, (len(rows), _WIDTH, _DIM))
    if change.factor is not None:
        assert change.factor.dtype == np.float32
        seen = change.factor[:, :, None] * seen
    if change.added is not None:
        assert change.added.dtype == np.float32
        seen = seen + change.added
    assert (seen == clean)[~ordinary].all(), "noise on special tokens or on padding"
    return [row[:length].tolist() for row, length in zip(seen, lengths, strict=True)]


def condition_digest(kind: str) -> str:
    """A hash of what models see under a kind, in training and evaluation; equal in every process of every run."""
    seen = [_disturbed(_condition(kind, 0.5, where=where), _PAIRS, epoch=3) for where in _facts(kind).where]
    return hashlib.sha256(repr(seen).encode("utf-8", "surrogatepass")).hexdigest()


# ---------------------------------------------------------------- checks


def facts_are_complete(kind: str) -> None:
    """Everything that tables and messages show is there; severities rise; labels are disturbed in training only."""
    facts = _facts(kind)
    assert facts.maximum > 0
    assert facts.units != "share" or facts.maximum == 1
    assert len(facts.severities) == 5
    assert list(facts.severities) == sorted(set(facts.severities))
    assert 0 < facts.severities[0] < facts.severities[-1] <= facts.maximum
    assert set(facts.where) <= {"train", "eval"}
    assert facts.where
    assert all((facts.level, facts.summary, facts.equation, facts.source))
    assert facts.family != "label" or facts.where == ("train",)
    assert facts.family != "weights" or facts.where == ("eval",)
    assert CONDITIONS.get(kind).name == kind


def level_zero_changes_nothing(kind: str) -> None:
    """Level 0 gives back the very same examples and tokens, and no noise."""
    condition = _condition(kind, 0.0)
    family = _facts(kind).family
    if family == "weights":
        assert not np.asarray(_disturbed(condition)).any()
    elif family == "embedding":
        lone = embedding_change(["e1"], [3], np.ones((1, 3), bool), _DIM, condition, rms=_RMS, tasks=["task"])
        assert lone.factor is None
        assert lone.added is None
    elif family == "token":
        ids = _tokens(_EXAMPLES[1])
        offsets = np.array([0, len(ids)])
        assert substitute_tokens(ids, offsets, ["e1"], condition, _VOCABULARY, task="task") is ids
    else:
        assert all(after is before for after, before in zip(_disturbed(condition), _EXAMPLES, strict=True))


def equal_calls_give_equal_results(kind: str) -> None:
    """Comparisons are paired: the same condition disturbs in the same way, whatever else happens in between."""
    condition = _condition(kind, 0.5)
    first = _disturbed(condition, _PAIRS)
    random.seed(1)
    assert _disturbed(condition, _PAIRS) == first


def examples_do_not_touch_each_other(kind: str) -> None:
    """An example alone, or in another order, is disturbed as it is among others."""
    condition = _condition(kind, 0.5)
    together = _disturbed(condition)
    assert [_disturbed(condition, [example])[0] for example in _EXAMPLES] == together
    assert _disturbed(condition, _EXAMPLES[::-1]) == together[::-1]


def levels_are_nested(kind: str) -> None:
    """What a level leaves alone, every lower level leaves alone, and units change identically.

    Where a level is a strength, a higher one goes further in the same direction.
    """
    clean = _disturbed(_condition(kind, 0.0))
    levels = [clean, *(_disturbed(_condition(kind, share)) for share in _SHARES)]
    assert levels[-1] != clean, "the highest level changes nothing"
    if _facts(kind).units != "share":
        top = _numbers(levels[-1]) - _numbers(clean)
        for share, level in zip(_SHARES, levels[1:], strict=True):
            assert np.allclose(_numbers(level) - _numbers(clean), share * top, rtol=1e-4, atol=1e-5)
        return
    for low, high in pairwise(levels):
        for before, lower, higher in zip(clean, low, high, strict=True):
            assert lower == before or higher != before
            _units_are_nested(before, lower, higher)


def _units_are_nested(before: Any, lower: Any, higher: Any) -> None:
    """Each word, token or label of the lower level is the clean one or that of the higher level."""
    units = [_units(seen) for seen in (before, lower, higher)]
    if len({len(found) for found in units}) == 1:
        assert all(low in (clean, high) for clean, low, high in zip(*units, strict=True))


def _units(seen: Any) -> list[Any]:
    return [seen.label, *seen.text.split()] if isinstance(seen, Example) else list(seen)


def _numbers(disturbed: list[Any]) -> npt.NDArray[np.float64]:
    return np.concatenate([np.ravel(row) for row in disturbed])


def a_share_is_the_share_that_is_disturbed(kind: str) -> None:
    """Where a level is a share, that part of the words, tokens or examples is disturbed, within sampling error."""
    facts = _facts(kind)
    if facts.units != "share":
        return
    clean = _disturbed(_condition(kind, 0.0), _MANY)
    for share in (0.1, 0.3, 0.6):
        hits = [
            _hits(before, after, label=facts.family == "label")
            for before, after in zip(clean, _disturbed(_condition(kind, share), _MANY), strict=True)
        ]
        disturbed, units = map(sum, zip(*hits, strict=True))
        margin = 5 * np.sqrt(2 * share * (1 - share) / units)  # of pairs, where words change places
        assert abs(disturbed / units - share) < margin, f"{disturbed / units:.3f} at level {share}"


def _hits(before: Any, after: Any, *, label: bool) -> tuple[int, int]:
    """How many words, tokens or examples are disturbed, and how many there are; special tokens do not count."""
    if isinstance(before, Example):
        if label:
            return int(before.label != after.label), 1
        old, new = before.text.split(), after.text.split()
        changed = sum(a != b for a, b in zip(old, new, strict=True)) if len(old) == len(new) else len(old) - len(new)
        return changed, len(old)
    changed = sum(a != b for a, b in zip(before, after, strict=True))
    return changed, len(before) - 2


def seed_and_task_matter(kind: str) -> None:
    """Another seed, or the same id in another task (of a tensor: another slot), is disturbed otherwise."""
    base = _disturbed(_condition(kind, 0.5))
    assert _disturbed(_condition(kind, 0.5, seed=1)) != base
    assert _disturbed(_condition(kind, 0.5), task="other") != base


def epochs_matter_in_training_only(kind: str) -> None:
    """In training each epoch disturbs anew (but a wrong label stays wrong); in evaluation the epoch is ignored."""
    facts = _facts(kind)
    if "eval" in facts.where:
        measured = _condition(kind, 0.5, where="eval")
        assert _disturbed(measured, epoch=0) == _disturbed(measured, epoch=1) == _disturbed(measured)
    if "train" in facts.where:
        trained = _condition(kind, 0.5, where="train")
        assert (_disturbed(trained, epoch=0) == _disturbed(trained, epoch=1)) == (facts.family == "label")


def examples_keep_what_is_not_disturbed(kind: str) -> None:
    """Ids and order stay; a text condition leaves labels alone and no text empty; a label condition leaves texts."""
    family = _facts(kind).family
    if family not in ("text", "label"):
        return
    for before, after in zip(_PAIRS, _disturbed(_condition(kind, 1.0), _PAIRS), strict=True):
        assert after.id == before.id
        assert 0 <= after.label < _N_LABELS
        if family == "text":
            assert after.label == before.label
            assert after.text.strip()
            assert after.text_pair.strip()
        else:
            assert (after.text, after.text_pair) == (before.text, before.text_pair)


def odd_texts_are_borne(kind: str) -> None:
    """One word, punctuation only, other scripts, digits of other scripts, emoji, line breaks: no text becomes empty."""
    texts = ("a", "!!!", "…", "٣٤ ٥", "你好 世界", "ß", "😀 😀", "a\nb\tc", "__", "İstanbul", "x" * 5000)
    odd = [Example(f"e{number}", text, 0) for number, text in enumerate(texts)]
    for share in _SHARES:
        for result in _disturbed(_condition(kind, share), odd):
            assert not isinstance(result, Example) or result.text.strip()


def global_random_state_is_untouched(kind: str) -> None:
    """Neither Python's nor numpy's global generator is drawn from or seeded."""
    python, legacy = random.getstate(), np.random.get_state()
    _disturbed(_condition(kind, 1.0))
    assert random.getstate() == python
    assert str(np.random.get_state()) == str(legacy)


CONDITION_CHECKS: tuple[Callable[[str], None], ...] = (
    facts_are_complete,
    level_zero_changes_nothing,
    equal_calls_give_equal_results,
    examples_do_not_touch_each_other,
    levels_are_nested,
    a_share_is_the_share_that_is_disturbed,
    seed_and_task_matter,
    epochs_matter_in_training_only,
    examples_keep_what_is_not_disturbed,
    odd_texts_are_borne,
    global_random_state_is_untouched,
)
"""Each takes the name of a kind and fails with AssertionError."""
