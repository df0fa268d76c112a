"""Whole columns of numbers out of the database, as numpy arrays."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.storage.database import Connection

_HEADER = 19
_TRAILER = 2


def read(connection: Connection, sql: str, parameters: Sequence[Any], names: Sequence[str], floats: Collection[str] = ()) -> NDArray[Any]:
    """Return the rows of a query as an array with these fields, each 8 bytes: BIGINT, or DOUBLE PRECISION for `floats`. None is NULL."""
    kinds = ["f8" if name in floats else "i8" for name in names]
    wanted = np.dtype(list(zip(names, kinds, strict=True)))
    if connection.engine == "sqlite":
        return np.fromiter(connection.stream(sql, parameters), wanted)
    # COPY writes a row as the number of its columns, then each value behind its length, the highest byte first.
    layout = [("columns", ">i2")]
    for name, kind in zip(names, kinds, strict=True):
        layout += [(f"length of {name}", ">i4"), (name, f">{kind}")]
    row = np.dtype(layout)
    data = connection.copied(sql, parameters)
    rows = np.frombuffer(data, row, (len(data) - _HEADER - _TRAILER) // row.itemsize, _HEADER)
    found = np.empty(len(rows), wanted)
    for name in names:
        found[name] = rows[name]
    return found
