"""What the paths of a trial's tasks hold and share, on structures small enough to count by hand."""

from collections.abc import Mapping

import pytest

from slasearch.analysis.paths import PathModule, TrialPaths, jaccard, paths_of
from slasearch.errors import ReportError
from slasearch.records import GateRow, Slot
from slasearch.registry import KINDS, UNRANKED_KINDS

Q = Slot(0, "attn.q", "lora", 4)
Q_BIAS = Slot(0, "attn.q", "bias", 1)
OUT = Slot(1, "ffn.out", "lora", 1)
OUT_WIDE = Slot(1, "ffn.out", "lora", 4)
CLOSED = Slot(2, "attn.v", "lora", 4)
POOL = {Q: 100, Q_BIAS: 10, OUT: 25, OUT_WIDE: 100, CLOSED: 100}


def trial(chosen: Mapping[str, set[Slot]], pool: Mapping[Slot, int] = POOL) -> TrialPaths:
    rows = [
        GateRow(task, slot, 0.5, 0.5, slot in slots, cost)
        for task, slots in chosen.items()
        for slot, cost in pool.items()
    ]
    return paths_of(rows, list(chosen), label="c3")


def modules(paths: TrialPaths, task: str) -> tuple[PathModule, ...]:
    return next(path.modules for path in paths.tasks if path.task == task)


def test_modules_stand_in_forward_order_with_their_ranks_added_up() -> None:
    paths = trial({"a": {OUT_WIDE, OUT, Q_BIAS, Q}})
    assert [(found.layer, found.site, found.text) for found in modules(paths, "a")] == [
        (0, "attn.q", "lora r4"), (0, "attn.q", "bias"), (1, "ffn.out", "lora r5"),
    ]  # fmt: skip
    path = paths.tasks[0]
    assert (path.slots, path.parameters, path.layers) == (4, 235, (0, 1))
    assert path.kinds == {"lora": 2, "bias": 1}
    assert (paths.layers, paths.sites) == ((0, 1, 2), ("attn.q", "attn.v", "ffn.out"))
    assert paths.kinds_at("attn.q") == ("lora", "bias")


def test_rank_one_copies_are_one_module_of_their_number() -> None:
    pool = {Slot(0, "attn.q", "lora", 1, index): 10 for index in range(8)}
    chosen = {slot for slot in pool if slot.index in (1, 4, 6)}
    (found,) = modules(trial({"a": chosen}, pool), "a")
    assert (found.text, found.parameters, [slot.index for slot in found.slots]) == ("lora r3", 30, [1, 4, 6])


def test_sharing_is_all_some_or_own() -> None:
    paths = trial({"a": {Q, Q_BIAS, OUT}, "b": {Q, Q_BIAS}, "c": {Q}})
    assert [found.sharing for found in modules(paths, "a")] == ["all", "some", "own"]
    assert [found.sharing for found in modules(paths, "c")] == ["all"]
    assert paths.tasks[0].sharing == {"all": 1, "some": 1, "own": 1}
    assert [paths.users(slot) for slot in (Q, Q_BIAS, OUT, CLOSED)] == [3, 2, 1, 0]


def test_a_module_that_is_shared_in_part_is_neither_shared_nor_own() -> None:
    paths = trial({"a": {OUT, OUT_WIDE}, "b": {OUT}})
    assert [found.sharing for found in modules(paths, "a")] == ["some"]
    assert [found.sharing for found in modules(paths, "b")] == ["all"]
    assert paths.tasks[0].sharing == {"all": 1, "some": 0, "own": 1}


def test_overlap_and_size_count_shared_slots_once() -> None:
    paths = trial({"a": {Q, OUT}, "b": {Q, OUT_WIDE}, "c": set()})
    assert (paths.slots, paths.parameters) == (3, 225)
    found = {(pair.one, pair.other): (pair.shared, pair.together, pair.jaccard) for pair in paths.overlap}
    assert found == {("a", "b"): (1, 3, pytest.approx(1 / 3)), ("a", "c"): (0, 2, 0.0), ("b", "c"): (0, 2, 0.0)}
    assert (paths.tasks[2].modules, paths.tasks[2].layers, paths.tasks[2].slots) == ((), (), 0)


def test_one_task_shares_everything_with_all_tasks() -> None:
    paths = trial({"a": {Q}})
    assert paths.overlap == ()
    assert paths.tasks[0].sharing == {"all": 1, "some": 0, "own": 0}


def test_kinds_of_extensions_stand_behind() -> None:
    strange = Slot(0, "attn.q", "aaa", 2)
    paths = trial({"a": {strange, Q_BIAS}}, {strange: 1, Q_BIAS: 1})
    assert paths.kinds == ("bias", "aaa")
    assert [found.text for found in modules(paths, "a")] == ["bias", "aaa r2"]


def test_no_gates_are_refused() -> None:
    with pytest.raises(ReportError, match="structure of trial c3: expected stored gates"):
        paths_of([], ["a"], label="c3")


def test_kinds_without_a_rank_are_those_that_say_so() -> None:
    builtin = [name for name in KINDS.names() if KINDS.get(name).module.__module__.startswith("slasearch.adapters")]
    assert {name for name in builtin if not KINDS.get(name).ranked} == UNRANKED_KINDS


def test_jaccard_by_hand() -> None:
    assert jaccard(frozenset("abc"), frozenset("bcd")) == 0.5
    assert jaccard(frozenset(), frozenset()) == 1.0
    assert jaccard(frozenset("a"), frozenset()) == 0.0
