"""What the frozen layers below an adapter give, computed once: files of hidden states that trials and workers share.

An entry holds the hidden states that enter one layer, for every token of one encoded split under one condition. It is a
`.npy` file, named by a hash of everything that its content follows from, and mapped into memory when read: workers of
one node share its pages. Entries that were not used for longest go first when the folder grows beyond its limit.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slasearch.tasks.encoding import EncodedSplit

__all__ = ["LIMIT", "HiddenStates", "PrefixStore", "key_of"]

LIMIT = 4 * 2**30
"""Bytes of hidden states that are kept by default."""

_log = logging.getLogger(__name__)
_DTYPES: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.bfloat16: np.int16, torch.float16: np.float16}
"""How numpy holds each precision; it has no bfloat16."""

Array = npt.NDArray[Any]


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
        self.made = 0
        """How many entries this process has computed."""

    def has(self, key: str) -> bool:
        """Whether an entry is there without computing it."""
        return key in self._held or (self._folder is not None and self._file(key).is_file())

    def get(
        self, key: str, split: EncodedSplit, width: int, dtype: torch.dtype, make: Callable[[Array], None]
    ) -> HiddenStates | None:
        """The entry, computed if it is not there; None if it is too large to be kept.

        Args:
            key: Hash of what the content follows from, see `key_of`.
            split: The tokens.
            width: d.
            dtype: Precision.
            make: Fills an array `tokens x d`.
        """
        shape, kind = (len(split.input_ids), width), np.dtype(_DTYPES[dtype])
        if shape[0] * width * kind.itemsize > self._limit:
            return None
        values = self._held.get(key)
        if values is None:
            values = (
                self._in_memory(shape, kind, make) if self._folder is None else self._on_disk(key, shape, kind, make)
            )
            self._held[key] = values
            self._forget()
        return HiddenStates(values, split.offsets, dtype)

    def _in_memory(self, shape: tuple[int, int], kind: np.dtype[Any], make: Callable[[Array], None]) -> Array:
        values = np.empty(shape, kind)
        make(values)
        self.made += 1
        return values

    def _on_disk(self, key: str, shape: tuple[int, int], kind: np.dtype[Any], make: Callable[[Array], None]) -> Array:
        file = self._file(key)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with _locked(file.with_suffix(".lock")):  # of two workers that want it at once, one computes it
                found = _read(file, shape, kind)
                if found is not None:
                    os.utime(file)
                    return found
                values = self._in_memory(shape, kind, make)
                temporary = file.with_suffix(f".{os.getpid()}.tmp")
                with temporary.open("wb") as out:
                    np.save(out, values, allow_pickle=False)
                temporary.replace(file)
            self._evict(file)
            return _read(file, shape, kind) if file.is_file() else values  # type: ignore[return-value]
        except OSError as error:
            _log.warning("%s: expected a folder to keep hidden states in, got %s; going on without", file, error)
            return self._in_memory(shape, kind, make)

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
            file.with_suffix(".lock").unlink(missing_ok=True)
            spent -= size

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


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(file: Path, shape: tuple[int, int], kind: np.dtype[Any]) -> Array | None:
    """The entry, or None if there is none or it is no such array."""
    try:
        values: Array = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        _log.warning("%s: expected hidden states, got %s; they are computed again", file, error)
        return None
    if values.shape != shape or values.dtype != kind:
        _log.warning("%s: expected hidden states %s, got %s; they are computed again", file, shape, values.shape)
        return None
    return values
