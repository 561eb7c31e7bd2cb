"""Label numbers of many examples as a few bytes, for the database: what was true and what was predicted, one by one.

The bytes are the numbers as little-endian 32-bit integers, in the order of the split's examples, deflated (zlib).
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

__all__ = ["packed", "unpacked"]


def packed(numbers: npt.ArrayLike) -> bytes:
    """Label numbers (`n`) as bytes."""
    return zlib.compress(np.asarray(numbers, dtype="<i4").tobytes())


def unpacked(data: bytes) -> npt.NDArray[np.int64]:
    """The label numbers (`n`) again. Raises zlib.error or ValueError for bytes that `packed` has not made."""
    return np.frombuffer(zlib.decompress(data), dtype="<i4").astype(np.int64)
