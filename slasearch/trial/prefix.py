"""What the frozen layers below an adapter give, computed once: files of hidden states that trials and workers share.

An entry holds the hidden states that enter one layer, for every token of one encoded split under one condition. It is a
`.npy` file, named by a hash of everything that its content follows from, and mapped into memory when read: workers of
one node share its pages. Entries that were not used for longest go first when the folder grows beyond its limit.

Workers that want an entry at the same time make it together: it comes in pieces, and each worker takes those that no
other has taken. Which worker makes a piece changes no bit of it. What a worker had in hand when it was killed is made
by another.

After the array, a finished entry holds the SHA-256 of all bytes before it, which numpy ignores. Each process verifies a
file once, before it first uses it; a damaged file is removed and made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slasearch.tasks.encoding import EncodedSplit

__all__ = ["LIMIT", "HiddenStates", "Piece", "PrefixStore", "key_of"]

LIMIT = 4 * 2**30
"""Bytes of hidden states that are kept by default."""

_log = logging.getLogger(__name__)
_DTYPES: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.bfloat16: np.int16, torch.float16: np.float16}
"""How numpy holds each precision; it has no bfloat16."""

_ABANDONED = 24 * 3600
"""Seconds after which an entry that nobody has finished is removed."""
_SEAL = hashlib.sha256().digest_size
_DOOR = 0
"""The byte of a lock file that is held while an entry is begun or finished; the pieces' bytes follow."""

Array = npt.NDArray[Any]
Piece = Callable[[Array], None]
"""Fills its part of an array `tokens x d`."""


class HiddenStates:
    """Hidden states of every token of a split, one example after another.

    Args:
        values: `tokens x d`.
        offsets: `n + 1`: example i has the tokens from `offsets[i]` to `offsets[i + 1]`.
        dtype: Their precision.
    """

    def __init__(self, values: Array, offsets: npt.NDArray[np.int64], dtype: torch.dtype) -> None:
        self._values, self._offsets, self._dtype = values, offsets, dtype

    def gather(self, rows: npt.NDArray[np.int64], width: int) -> Tensor:
        """`n x width x d` of some examples; beyond an example's length stand the values of its last token."""
        start, end = self._offsets[rows], self._offsets[rows + 1]
        places = np.minimum(start[:, None] + np.arange(width), end[:, None] - 1)
        hidden: Tensor = torch.from_numpy(self._values[places])
        return hidden.view(self._dtype)


class PrefixStore:
    """Hidden states by content, made when first asked for.

    Args:
        folder: Where files lie; None: nothing is shared or kept on disk, entries live in this process.
        limit: Most bytes of all entries; a larger one is not kept. Read-only files that others have mapped stay valid
            when they are evicted.
    """

    def __init__(self, folder: Path | None, *, limit: int = LIMIT) -> None:
        self._folder, self._limit = folder, limit
        self._held: dict[str, Array] = {}
        self._sound: set[tuple[Path, int]] = set()
        """Entries that this process has verified, each with the inode that it had."""
        self.made = 0
        """How many pieces this process has computed."""

    def has(self, key: str) -> bool:
        """Whether an entry is there without computing it."""
        return key in self._held or (self._folder is not None and self._file(key).is_file())

    def get(
        self,
        key: str,
        split: EncodedSplit,
        width: int,
        dtype: torch.dtype,
        pieces: Callable[[], Sequence[Piece]],
    ) -> HiddenStates | None:
        """The entry, computed if it is not there; None if it is too large to be kept.

        Args:
            key: Hash of what the content follows from, see `key_of`.
            split: The tokens.
            width: d.
            dtype: Precision.
            pieces: What fills an array `tokens x d` together, in any order, the same for each caller of a key.
        """
        shape, kind = (len(split.input_ids), width), np.dtype(_DTYPES[dtype])
        if shape[0] * width * kind.itemsize > self._limit:
            return None
        values = self._held.get(key)
        if values is None:
            values = (
                self._in_memory(shape, kind, pieces())
                if self._folder is None
                else self._on_disk(key, shape, kind, pieces)
            )
            self._held[key] = values
            self._forget()
        return HiddenStates(values, split.offsets, dtype)

    def _in_memory(self, shape: tuple[int, int], kind: np.dtype[Any], pieces: Sequence[Piece]) -> Array:
        values = np.empty(shape, kind)
        for piece in pieces:
            piece(values)
            self.made += 1
        return values

    def _on_disk(
        self, key: str, shape: tuple[int, int], kind: np.dtype[Any], pieces: Callable[[], Sequence[Piece]]
    ) -> Array:
        file = self._file(key)
        try:
            found = self._read(file, shape, kind)
            if found is not None:
                os.utime(file)
                return found
            file.parent.mkdir(parents=True, exist_ok=True)
            values = self._together(file, shape, kind, pieces())
            self._evict(file)
            found = self._read(file, shape, kind)
            return values if found is None else found
        except OSError as error:
            _log.warning("%s: expected a folder to keep hidden states in, got %s; going on without", file, error)
            return self._in_memory(shape, kind, pieces())

    def _together(self, file: Path, shape: tuple[int, int], kind: np.dtype[Any], pieces: Sequence[Piece]) -> Array:
        """Makes the pieces that no other worker of this machine is making, and waits for those that one is."""
        part, lock_file = (file.with_suffix(f".{_machine()}.{ending}") for ending in ("part", "lock"))
        lock = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with _holding(lock, _DOOR):
                found = self._read(file, shape, kind)  # by those that were here a moment ago
                if found is not None:
                    return found
                values = _begun(part, lock, shape, kind, len(pieces))
            for wait in (False, True):
                for number, piece in enumerate(pieces, _DOOR + 1):
                    self._make(piece, number, lock, values, wait=wait)
            with _holding(lock, _DOOR):
                if _is_at(lock, lock_file):  # else others have finished it
                    _seal(part)
                    part.replace(file)
                    lock_file.unlink()
        finally:
            os.close(lock)
        return values

    def _make(self, piece: Piece, number: int, lock: int, values: Array, *, wait: bool) -> None:
        if _done(lock, number):
            return
        with _holding(lock, number, wait=wait) as mine:
            if mine and not _done(lock, number):
                piece(values)
                self.made += 1
                os.pwrite(lock, b"\1", number)

    def _read(self, file: Path, shape: tuple[int, int], kind: np.dtype[Any]) -> Array | None:
        """The entry, or None if there is none or it is damaged; a damaged one is removed."""
        try:
            entry = file, file.stat().st_ino
            if entry in self._sound or _sealed(file):
                self._sound.add(entry)
                values: Array = np.load(file, mmap_mode="r", allow_pickle=False)
                if values.shape == shape and values.dtype == kind:
                    return values
        except FileNotFoundError:
            return None
        _log.warning("%s: expected hidden states, got a damaged file; they are computed again.", file)
        file.unlink(missing_ok=True)
        return None

    def _file(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{key}.npy"

    def _evict(self, newest: Path) -> None:
        """Removes the entries that were not used for longest until the folder keeps to its limit."""
        files = []
        for file in newest.parent.glob("*.npy"):
            with contextlib.suppress(FileNotFoundError):  # another worker was faster
                status = file.stat()
                files.append((status.st_mtime, status.st_size, file))
        spent = sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if spent <= self._limit or file == newest:
                continue
            file.unlink(missing_ok=True)
            spent -= size
        for file in (*newest.parent.glob("*.part"), *newest.parent.glob("*.lock")):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > _ABANDONED:
                    file.unlink()

    def _forget(self) -> None:
        """Lets go of what was asked for first, so that this process holds no more than the limit."""
        while sum(values.nbytes for values in self._held.values()) > self._limit:
            del self._held[next(iter(self._held))]


def key_of(split: EncodedSplit, *facts: object) -> str:
    """Hash of a split's tokens and of whatever else the hidden states follow from."""
    digest = hashlib.sha256(repr(facts).encode())
    for array in (split.input_ids, split.type_ids, split.offsets):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@cache
def _machine() -> str:
    """This machine since it was started: pages of a file are shared within it, and lost when it goes down."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


@contextlib.contextmanager
def _holding(lock: int, byte: int, *, wait: bool = True) -> Iterator[bool]:
    """Holds a byte of a lock file; False if another process has it and this one shall not wait.

    What a process held is free when it ends, however it ends. A piece's byte is 1 once the piece is done.
    """
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN, 1, byte)


def _done(lock: int, number: int) -> bool:
    return os.pread(lock, 1, number) == b"\1"


def _is_at(opened: int, path: Path) -> bool:
    """Whether an open file still has its place in the folder."""
    try:
        return os.path.samestat(os.fstat(opened), path.stat())
    except FileNotFoundError:
        return False


def _begun(part: Path, lock: int, shape: tuple[int, int], kind: np.dtype[Any], pieces: int) -> Array:
    """The entry as far as it is, or an empty one whose space is taken on the disk: a full disk is an error here."""
    if part.exists() and os.fstat(lock).st_size == _DOOR + 1 + pieces:
        return np.load(part, mmap_mode="r+", allow_pickle=False)  # type: ignore[no-any-return]
    part.unlink(missing_ok=True)
    os.ftruncate(lock, 0)
    values = np.lib.format.open_memmap(part, mode="w+", dtype=kind, shape=shape)
    with part.open("r+b") as out:
        os.posix_fallocate(out.fileno(), 0, part.stat().st_size)
    os.ftruncate(lock, _DOOR + 1 + pieces)
    return values


def _seal(part: Path) -> None:
    """Appends the checksum, and waits for the disk: a name must not outlive what it stands for."""
    digest = hashlib.sha256(np.memmap(part, mode="r").data).digest()
    with part.open("ab") as out:
        out.write(digest)
        out.flush()
        os.fsync(out.fileno())


def _sealed(file: Path) -> bool:
    """Whether the checksum of an entry is right."""
    if file.stat().st_size <= _SEAL:
        return False
    content = np.memmap(file, mode="r")
    return hashlib.sha256(content[:-_SEAL].data).digest() == content[-_SEAL:].tobytes()
