"""Frozen layers are computed once, for whoever asks, and change no number: files, limits, faults, noise, depths."""

import copy
import dataclasses
import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from word_tasks import make_tasks

from slasearch.adapters.pool import Pool
from slasearch.records import BackboneSpec, ConditionSpec, FinalisationSpec, Slot, TrainingSpec, TrialReport, TrialSpec
from slasearch.registry import CONDITIONS
from slasearch.tasks.encoding import EncodedSplit
from slasearch.trial.backbone import Backbone, load_backbone
from slasearch.trial.data import EvaluationData, TrainingData
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.prefix import Piece, PrefixStore, key_of
from slasearch.trial.reuse import Reuse
from slasearch.trial.run import TrialWorker

Spec = Callable[..., TrialSpec]
TASKS = make_tasks(gate=True)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(BackboneSpec("bundled:minilm"), torch.device("cpu"))


@pytest.fixture
def model(backbone: Backbone) -> Iterator[TaskModel]:
    """Slots in the layers 2, 4 and 5, with weights that do something."""
    slots = [Slot(2, "attn.v", "bias", 1), Slot(4, "ffn.out", "lora", 2), Slot(5, "attn.q", "lora", 2)]
    pool = Pool(slots, backbone.shapes.hosts, ["things", "mood"], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in pool.parameters():
            weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    heads = make_heads({"things": 2, "mood": 2}, backbone.shapes.hidden, generator=torch.Generator().manual_seed(2))
    with TaskModel(backbone, pool, heads) as made:
        yield made


def training(
    backbone: Backbone, store: PrefixStore, *conditions: ConditionSpec, recurring: bool = False, seed: int = 3
) -> TrainingData:
    more = {"reuse": Reuse(backbone, store), "recurring": recurring, "seed": seed}
    return TrainingData(TASKS, ("train",), backbone, conditions, batch_size=6, cache=None, **more)  # type: ignore[arg-type]


def test_losses_and_gradients_are_those_of_the_whole_model(backbone: Backbone, model: TaskModel) -> None:
    data = training(backbone, PrefixStore(None))
    weights = list(model.pool.parameters())
    for number, (batch, noise) in zip(range(5), data, strict=False):
        lower = data.lower(model, batch, 100)
        assert lower is not None
        assert lower[0] == 2
        results = []
        for start in (lower, None):
            loss = model.loss(batch, [1.0, 2.0], None, noise, start)
            results.append((loss.detach(), torch.autograd.grad(loss, weights)))
        torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=1e-6)
        for ours, theirs in zip(results[0][1], results[1][1], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
        if number == 2:  # slots below close: what is kept moves up
            model.pool.discard([model.pool.slots[0]])
            assert model.depth == 4
            moved = data.lower(model, batch, 100)
            assert moved is not None
            assert moved[0] == 4
            break


def test_it_is_only_computed_where_it_pays_and_inputs_stay(backbone: Backbone, model: TaskModel) -> None:
    store = PrefixStore(None)
    data = training(backbone, store)
    batch, _ = next(iter(data))
    assert data.lower(model, batch, 1) is None, "less than half an epoch is left"
    assert store.made == 0
    assert data.lower(model, batch, 3) is not None
    assert store.made == 2, "one entry for each task"
    for kind in ("embedding_gaussian", "typos", "neighbour"):
        fresh = training(backbone, store, ConditionSpec(kind, 0.3, "train"))
        assert fresh.lower(model, next(iter(fresh))[0], 100) is None, "inputs differ in each epoch"
    flipped = training(backbone, store, ConditionSpec("label_flips", 0.5, "train"))
    assert flipped.lower(model, next(iter(flipped))[0], 100) is not None, "wrong labels change no input"
    assert store.made == 2


@pytest.mark.parametrize("kinds", [["word_drop"], ["neighbour"], ["embedding_gaussian"], ["typos", "token_dropout"]])
def test_what_trials_disturb_alike_is_computed_once_an_epoch(
    kinds: list[str], backbone: Backbone, model: TaskModel, tmp_path: Path
) -> None:
    conditions = [ConditionSpec(kind, 0.4, "train") for kind in kinds]
    epochs, made = 3, []
    for seed in (3, 4):  # the second trial draws its batches in another order
        store = PrefixStore(tmp_path)
        data = training(backbone, store, *conditions, recurring=True, seed=seed)
        steps = epochs * data.batches_per_epoch - 1
        for step, (batch, noise) in zip(range(steps), data, strict=False):
            lower = data.lower(model, batch, steps - step)
            assert lower is not None
            results = [model.loss(batch, [1.0, 2.0], None, noise, start).detach() for start in (lower, None)]
            torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-6)
        made.append(store.made)
    assert made == [epochs * len(TASKS), 0]


def test_an_epoch_of_disturbed_inputs_is_kept_from_its_first_batch_on_or_not_at_all(
    backbone: Backbone, model: TaskModel
) -> None:
    store = PrefixStore(None)
    data = training(backbone, store, ConditionSpec("word_drop", 0.4, "train"), recurring=True)
    per_epoch, depths = data.batches_per_epoch, []
    assert per_epoch > 3
    steps = 2 * per_epoch + 1  # one step of a third epoch does not pay for all of it
    for step, (batch, _) in zip(range(steps), data, strict=False):
        lower = data.lower(model, batch, steps - step)
        depths.append(0 if lower is None else lower[0])
        if step == 1:
            model.pool.discard([model.pool.slots[0]])
    assert depths == [2] * per_epoch + [4] * per_epoch + [0]
    resumed = training(backbone, store, ConditionSpec("word_drop", 0.4, "train"), recurring=True)
    made, start = store.made, 2 * per_epoch - 1
    resumed.go_on(4)
    for step, (batch, _) in zip(range(start, steps), resumed.batches(start), strict=False):
        assert (resumed.lower(model, batch, steps - step) or (0,))[0] == depths[step]
    assert store.made == made, "an interrupted trial finds what it had"


@pytest.mark.parametrize("kind", [None, "typos", "embedding_gaussian", "neighbour", "weight_noise"])
def test_evaluation_is_bitwise_the_same(kind: str | None, backbone: Backbone, model: TaskModel, tmp_path: Path) -> None:
    condition = None if kind is None else ConditionSpec(kind, 0.4, "eval")
    found = []
    for store in (PrefixStore(None, limit=0), PrefixStore(None), PrefixStore(tmp_path), PrefixStore(tmp_path)):
        data = EvaluationData(TASKS, backbone, None, Reuse(backbone, store))
        found.append(data.logits(model, 0, "validation", condition, None)[1])
    assert all(torch.equal(logits, found[0]) for logits in found[1:])
    assert store.made == 0, "the second reader of a folder computes nothing"


def test_noise_of_a_programs_own_is_never_kept(
    backbone: Backbone, model: TaskModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that mends its condition and runs again must not get what the condition gave before."""
    own, found = copy.copy(CONDITIONS.get("embedding_gaussian")), []
    monkeypatch.setitem(CONDITIONS._entries, "own", own)
    for times in (1.0, 2.0):
        monkeypatch.setattr(own, "change", lambda *a, _t=times: type(own).change(own, *a[:3], _t * a[3], *a[4:]))
        data = EvaluationData(TASKS, backbone, None, Reuse(backbone, PrefixStore(tmp_path)))
        found.append(data.logits(model, 0, "validation", ConditionSpec("own", 0.4, "eval"), None)[1])
    assert not torch.equal(*found)


def test_deeper_states_go_on_from_those_below(
    backbone: Backbone, model: TaskModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = training(backbone, PrefixStore(None))
    next(iter(data))
    split = data._now[0]
    layers_run: list[tuple[int, int]] = []
    lower = TaskModel.lower

    def spied(self: TaskModel, batch: object, depth: int, noise: object = None, below: object = None) -> torch.Tensor:
        layers_run.append((0 if below is None else below[0], depth))  # type: ignore[index]
        return lower(self, batch, depth, noise, below)  # type: ignore[arg-type]

    monkeypatch.setattr(TaskModel, "lower", spied)
    model.pool.discard(model.pool.slots[:2])
    reuse, direct = Reuse(backbone, PrefixStore(None)), Reuse(backbone, PrefixStore(None))
    rows = np.arange(3)
    reuse.states(model, split, "things", 2)
    deeper = reuse.states(model, split, "things", 5)
    at_once = direct.states(model, split, "things", 5)
    assert set(layers_run) == {(0, 2), (2, 5), (0, 5)}
    assert deeper is not None
    assert at_once is not None
    assert torch.equal(deeper.gather(rows, 4), at_once.gather(rows, 4))


# ---------------------------------------------------------------- the store


def split_of(*lengths: int) -> EncodedSplit:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.arange(offsets[-1], dtype=np.int32)
    labels = np.zeros(len(lengths), dtype=np.int64)
    return EncodedSplit(ids, np.zeros(len(ids), dtype=np.int8), offsets, labels, tuple(map(str, lengths)))


def filled(value: float, pieces: int = 1, seconds: float = 0.0) -> Callable[[], Sequence[Piece]]:
    """Pieces that each write every `pieces`-th row, and take their time."""

    def piece(number: int) -> Piece:
        def make(out: np.ndarray) -> None:  # type: ignore[type-arg]
            time.sleep(seconds)
            out[number::pieces] = value

        return make

    return lambda: [piece(number) for number in range(pieces)]


def test_rows_come_back_padded_with_their_last_token() -> None:
    split = split_of(2, 3)
    store = PrefixStore(None)

    def numbers(out: np.ndarray) -> None:  # type: ignore[type-arg]
        out[:] = np.arange(5)[:, None]

    states = store.get("k", split, 2, torch.float32, lambda: [numbers])
    assert states is not None
    assert states.gather(np.array([1, 0]), 3)[:, :, 0].tolist() == [[2, 3, 4], [0, 1, 1]]


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    split, size = split_of(4), 4 * 2 * 4 + 128 + 32
    store = PrefixStore(tmp_path, limit=2 * size)
    for number, key in enumerate("abc"):
        store.get(key, split, 2, torch.float32, filled(number))
        os.utime(tmp_path / f"{key}.npy", (number, number))
    assert sorted(file.stem for file in tmp_path.glob("*.npy")) == ["b", "c"]
    states = PrefixStore(tmp_path, limit=2 * size).get("a", split, 2, torch.float32, filled(7))
    assert states is not None
    assert states.gather(np.array([0]), 1)[0, 0, 0] == 7


def test_what_is_larger_than_the_limit_is_not_kept() -> None:
    assert PrefixStore(None, limit=8).get("k", split_of(4), 2, torch.float32, filled(1)) is None


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY rubbish", b"x" * 500])
def test_rubbish_in_place_of_an_entry_is_made_again(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "k.npy").write_bytes(content)
    store = PrefixStore(tmp_path)
    states = store.get("k", split_of(4), 2, torch.float32, filled(3))
    assert states is not None
    assert states.gather(np.array([0]), 1)[0, 0, 0] == 3
    assert store.made == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("place", [10, 150, -1], ids=["header", "values", "checksum"])
def test_a_flipped_bit_is_found_and_the_entry_is_made_again(
    place: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    split, file = split_of(40), tmp_path / "k.npy"
    assert PrefixStore(tmp_path).get("k", split, 2, torch.float32, filled(3)) is not None
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[place] ^= 1
    file.write_bytes(damaged)
    store = PrefixStore(tmp_path)
    states = store.get("k", split, 2, torch.float32, filled(3))
    assert states is not None
    assert (states.gather(np.arange(1), 40) == 3).all()
    assert store.made == 1
    assert file.read_bytes() == whole
    assert [(record.levelname, str(file) in record.message) for record in caplog.records] == [("WARNING", True)]


def test_an_entry_is_verified_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = split_of(4)
    PrefixStore(tmp_path).get("k", split, 2, torch.float32, filled(3))
    hashed: list[int] = []
    sha256 = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda data=b"": hashed.append(len(data)) or sha256(data))
    store = PrefixStore(tmp_path, limit=100)
    for key in "kmkn":  # each is let go of when the next comes
        store.get(key, split, 2, torch.float32, filled(3))
    assert store.made == 2
    assert hashed.count(160) == 5, "k, and twice each of the two that are made here"


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    states = PrefixStore(tmp_path / "file" / "below").get("k", split_of(4), 2, torch.float32, filled(3))
    assert states is not None


def test_keys_tell_tokens_and_facts_apart() -> None:
    keys = {key_of(split_of(2, 3), "a"), key_of(split_of(3, 2), "a"), key_of(split_of(2, 3), "b")}
    assert len(keys) == 3
    assert key_of(split_of(2, 3), "a") in keys


PIECES, SPLIT = 12, split_of(4000)


def _want(folder: Path, seconds: float, results: "multiprocessing.Queue[tuple[int, bool]]") -> None:
    store = PrefixStore(folder)
    assert store.get("k", SPLIT, 64, torch.float32, filled(1, PIECES, seconds)) is not None
    results.put((store.made, bool((np.load(folder / "k.npy") == 1).all())))


def test_several_processes_make_an_entry_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[tuple[int, bool]] = context.Queue()
    processes = [context.Process(target=_want, args=(tmp_path, 0.05, results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    assert sum(made for made, _ in found) == PIECES, "each piece is made once"
    assert max(made for made, _ in found) < PIECES, "and by more than one process"
    assert all(whole for _, whole in found), "everyone has all of it"
    assert [file.name for file in tmp_path.iterdir()] == ["k.npy"]


def test_what_a_killed_process_had_begun_is_finished_by_another(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[tuple[int, bool]] = context.Queue()
    killed = context.Process(target=_want, args=(tmp_path, 0.2, results))
    killed.start()
    until = time.monotonic() + 20
    while not any(b"\1" in file.read_bytes() for file in tmp_path.glob("*.lock")) and time.monotonic() < until:
        time.sleep(0.01)
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    assert not (tmp_path / "k.npy").exists(), "half an entry is none"
    _want(tmp_path, 0.0, results)
    made, whole = results.get(timeout=10)
    assert 0 < made < PIECES, "what was done is not done again"
    assert whole
    assert (tmp_path / "k.npy").exists()


def test_a_late_worker_does_not_put_half_an_entry_in_place(tmp_path: Path) -> None:
    """Its entry was finished by another and evicted, and someone has begun it again."""
    part, seen = next(iter(_parts(tmp_path))), []

    def begun_again(out: np.ndarray) -> None:  # type: ignore[type-arg]
        out.fill(1)
        lock = part.with_suffix(".lock")
        lock.unlink()
        lock.touch()
        part.unlink()
        part.write_bytes(b"half")
        seen.append(part)

    states = PrefixStore(tmp_path).get("k", SPLIT, 64, torch.float32, lambda: [begun_again])
    assert seen
    assert states is not None
    assert states.gather(np.array([0]), 1)[0, 0, 0] == 1
    assert part.read_bytes() == b"half"
    assert not (tmp_path / "k.npy").exists()


def _parts(folder: Path) -> Iterator[Path]:
    """Where the entry `k` of a folder is made."""

    def look(out: np.ndarray) -> None:  # type: ignore[type-arg]
        found.extend(probe.glob("k.*.part"))
        out.fill(0)

    found: list[Path] = []
    probe = folder / "probe"
    PrefixStore(probe).get("k", SPLIT, 64, torch.float32, lambda: [look])
    return (folder / file.name for file in found)


def test_a_full_disk_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    states = PrefixStore(tmp_path).get("k", split_of(4), 2, torch.float32, filled(3))
    assert states is not None
    assert states.gather(np.array([0]), 1)[0, 0, 0] == 3


# ---------------------------------------------------------------- whole trials


def test_workers_share_a_folder_and_get_the_same_report(make_spec: Spec, tmp_path: Path) -> None:
    spec = make_spec(
        training=TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=12, reports=2),
        finalisation=FinalisationSpec(share=0.6),
        measured=(ConditionSpec("typos", 0.5, "eval"),),
    )

    def report(cache: Path | None) -> tuple[TrialReport, int]:
        worker = TrialWorker(make_tasks(), cache=cache, threads=1, device="cpu")
        found = list(worker.run(spec))[-1]
        assert isinstance(found, TrialReport)
        kept = tuple(cost for cost in found.costs if cost.unit != "s")
        return dataclasses.replace(found, costs=kept), worker.resources._store.made

    first, made = report(tmp_path)
    second, again = report(tmp_path)
    alone, _ = report(None)
    assert made > 0
    assert again == 0
    assert first == second == alone
