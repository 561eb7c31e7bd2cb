"""Rows of a query as a pandas frame, with few of them Python objects at a time: a large study has millions."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Boolean, Column, Connection, Float, Integer, LargeBinary, Select

__all__ = ["frame_of", "without_collections"]

_AT_A_TIME = 50_000


@contextmanager
def without_collections() -> Iterator[None]:
    """No search for circles of garbage: among millions of rows, which have none, it takes as long as to read them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def frame_of(connection: Connection, query: Select[Any], columns: Sequence[str]) -> pd.DataFrame:
    """The query's rows with those columns of its one entity.

    Numbers that may be missing are floats, with NaN for what is missing.
    """
    entity = query.column_descriptions[0]["entity"]
    chosen = query.with_only_columns(*(getattr(entity, name) for name in columns))
    wanted = [entity.__table__.columns[name] for name in columns]
    rows = connection.execute(chosen, execution_options={"yield_per": _AT_A_TIME})
    parts: list[list[pd.Series[Any]]] = [[_series((), column)] for column in wanted]
    for some in rows.partitions():
        for part, column, values in zip(parts, wanted, zip(*some, strict=True), strict=True):
            part.append(_series(values, column))
    joined = {}
    for name, part in zip(columns, parts, strict=True):
        joined[name] = pd.concat(part, ignore_index=True)
        part.clear()
    return pd.DataFrame(joined, copy=False)


def _series(values: Sequence[Any], column: Column[Any]) -> pd.Series[Any]:
    if isinstance(column.type, Boolean):
        return pd.Series(values, dtype="bool")
    if isinstance(column.type, Integer) and not column.nullable:
        return pd.Series(values, dtype="int64")
    if isinstance(column.type, Integer | Float):
        return pd.Series(np.array(values, dtype=np.float64))
    return pd.Series(values, dtype="object" if isinstance(column.type, LargeBinary) else "str")
