"""Whether an error says that memory ran out, of the machine or of its GPU; loads no torch to tell."""

from __future__ import annotations

__all__ = ["is_out_of_memory"]

_WORDS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""As torch has it in a `RuntimeError` where it raises no class of its own: on the CPU, and inside of libraries."""


def is_out_of_memory(error: Exception) -> bool:
    """True for `MemoryError`, torch's `OutOfMemoryError`, and a `RuntimeError` that says so."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)
