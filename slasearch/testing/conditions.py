"""The contract of a condition, as checks to run on every registered kind.

@pytest.mark.parametrize("kind", CONDITIONS.names())
@pytest.mark.parametrize("check", CONDITION_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, kind):
    check(kind)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from slasearch.perturb import embedding_noise, perturb_examples
from slasearch.perturb._base import ConditionFacts
from slasearch.records import ConditionSpec, Example
from slasearch.registry import CONDITIONS

__all__ = ["CONDITION_CHECKS"]

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
_N_LABELS = 3
_WIDTH, _DIM = 12, 8


def _facts(kind: str) -> ConditionFacts:
    facts = CONDITIONS.get(kind).facts
    assert isinstance(facts, ConditionFacts)
    return facts


def _condition(kind: str, share: float, *, seed: int = 0, where: str | None = None) -> ConditionSpec:
    facts = _facts(kind)
    at: Any = where if where in facts.where else facts.where[-1]
    return ConditionSpec(kind, share * facts.maximum, at, seed=seed)


def _disturbed(
    condition: ConditionSpec, examples: Sequence[Example] = _EXAMPLES, *, task: str = "task", epoch: int | None = None
) -> list[Any]:
    """For each example what a model gets to see of it: comparable with `==`."""
    if _facts(condition.kind).family != "embedding":
        return list(perturb_examples(examples, condition, task=task, n_labels=_N_LABELS, epoch=epoch))
    ids = [example.id for example in examples]
    lengths = [3 + int(example.id[1:]) % (_WIDTH - 3) for example in examples]
    noise = embedding_noise(ids, lengths, _WIDTH, _DIM, condition, tasks=[task] * len(ids), epoch=epoch)
    assert noise.shape == (len(ids), _WIDTH, _DIM)
    assert noise.dtype == np.float32
    assert all(not row[length:].any() for row, length in zip(noise, lengths, strict=True)), "noise on padding"
    return [row.tolist() for row in noise]


def facts_are_complete(kind: str) -> None:
    """Everything that tables and messages show is there, and labels are disturbed in training only."""
    facts = _facts(kind)
    assert facts.maximum > 0
    assert set(facts.where) <= {"train", "eval"}
    assert facts.where
    assert all((facts.level, facts.summary, facts.equation, facts.source))
    assert facts.family != "label" or facts.where == ("train",)
    assert CONDITIONS.get(kind).name == kind


def level_zero_changes_nothing(kind: str) -> None:
    """Level 0 gives back the very same examples, or no noise."""
    condition = _condition(kind, 0.0)
    clean = _disturbed(condition)
    if _facts(kind).family == "embedding":
        assert not np.asarray(clean).any()
    else:
        assert all(after is before for after, before in zip(clean, _EXAMPLES, strict=True))


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
    """What a level leaves alone, every lower level leaves alone; labels and tokens change identically."""
    clean = _disturbed(_condition(kind, 0.0))
    levels = [clean, *(_disturbed(_condition(kind, share)) for share in _SHARES)]
    assert levels[-1] != clean, "the highest level changes nothing"
    for low, high in pairwise(levels):
        for before, lower, higher in zip(clean, low, high, strict=True):
            assert lower == before or higher != before
    if _facts(kind).family != "text":
        changed = [np.asarray(_numbers(level)) != _numbers(clean) for level in levels]
        for number, low in enumerate(levels[:-1]):
            assert (np.asarray(_numbers(low)) == _numbers(levels[-1]))[changed[number]].all()


def _numbers(disturbed: list[Any]) -> Any:
    return [row.label if isinstance(row, Example) else row for row in disturbed]


def seed_and_task_matter(kind: str) -> None:
    """Another seed, or the same id in another task, is disturbed otherwise."""
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
    if family == "embedding":
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
    seed_and_task_matter,
    epochs_matter_in_training_only,
    examples_keep_what_is_not_disturbed,
    odd_texts_are_borne,
    global_random_state_is_untouched,
)
"""Each takes the name of a kind and fails with AssertionError."""
