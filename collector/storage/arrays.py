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
        if floats:
            return np.fromiter(connection.stream(sql, parameters), wanted)
        # All rows in one: the driver asks for the interpreter's lock after each, and gets it late where other threads are busy.
        lists = ", ".join(f"group_concat({name}, ' ')" for name in names)
        texts = connection.row(f"WITH found ({', '.join(names)}) AS ({sql}) SELECT {lists} FROM found", parameters)
        columns = [np.fromstring(text or "", np.int64, sep=" ") for text in texts or ()]
        found = np.empty(len(columns[0]), wanted)
        for name, column in zip(names, columns, strict=True):
            found[name] = column
        return found
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
