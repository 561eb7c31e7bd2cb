"""Records to plain data and back: what `json.dumps` takes, and what `json.loads` gives; numbers in plain text."""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

from pydantic import TypeAdapter

from slasearch.errors import StorageError

__all__ = ["digits", "finite", "from_plain", "stored_json", "to_plain"]

R = TypeVar("R")


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def finite(value: Any) -> Any:
    """The data as JSON can hold it: NaN and infinity become null, keys become text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def digits(value: float, count: int = 4) -> str:
    """A number in a few significant digits, whole where that needs more: `0.8412`, `1.5e-05`, `19650`."""
    return f"{value:.{count}g}" if abs(value) < 10**count - 0.5 or math.isinf(value) else f"{value:.0f}"


def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    return _ADAPTERS.get(cls) or _ADAPTERS.setdefault(cls, TypeAdapter(cls))


def to_plain(record: Any) -> dict[str, Any]:
    """A record of `slasearch.records` as nested dicts, lists and scalars; bytes become base64 text."""
    plain: dict[str, Any] = _adapter(type(record)).dump_python(record, mode="json")
    return plain


def from_plain(cls: type[R], data: dict[str, Any]) -> R:
    """The record that `to_plain` made `data` of; fields that `data` lacks have their defaults.

    Raises:
        pydantic.ValidationError (a ValueError): `data` does not fit the record.
    """
    record: R = _adapter(cls).validate_json(json.dumps(data))
    return record


def stored_json(text: str) -> Any:
    """What a column of the database holds as JSON.

    Raises:
        StorageError: It is no JSON: the file is damaged.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise StorageError(
            f"database: expected JSON where it was stored, got a damaged text ({error}). Restore a copy of the "
            "database, or choose another with --storage."
        ) from None
