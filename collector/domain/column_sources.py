"""The columns of people: arrays with one value for each place, and the statements they are read with, for everybody or for some."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from collector.domain.identities import marks
from collector.storage import arrays
from collector.storage.database import Connection

UNKNOWN = -(2**63)
"""Stands for a time that is not known: before every other."""
MOST_VALUES = 4_096
"""Different values of an attribute that are told apart."""

_PAGE = 50_000
"""Rows read at once."""

Key = tuple[str, int]
"""What a column holds, and the number of the name it is about."""

PEOPLE = ("people", 0)
"""`lead`: whether it is one; `active`, `ended` and `here`: when it was active, when its latest visit ended, and when it was seen last if
it is still here, each to the second (ms); `rest`: how many ms more `ended` is; `visits`: how many. Of everybody, always loaded."""
CREATED = ("created", 0)
"""`created`: when the first of its identities was made (ms)."""
EVENT = "event"
"""`count`, `last`, `first` of an event over all time."""
NUMBER = "number"
"""`number` of an attribute, NaN where it has none."""
VALUE = "value"
"""`code` of an attribute's value: 0 where nothing is known, else its place among the column's `values`."""


class _Source(msgspec.Struct, frozen=True):
    """Where a column comes from. `sql` gives a person's row id and its fields; its condition goes on at `{only}`, with `person`."""

    sql: str
    person: str
    fields: tuple[str, ...]
    types: tuple[str, ...]
    defaults: tuple[float, ...]
    """What stands where there is no row."""


# Instants that are worked out are told to the second, as everywhere.
_SOURCES = {
    "people": _Source(
        "SELECT p.id, CAST(CASE p.kind WHEN 'lead' THEN 1 ELSE 0 END AS BIGINT), coalesce(p.active_at / 1000 * 1000, {unknown}), "
        "coalesce(p.visit_ended_at / 1000 * 1000, {unknown}), coalesce(p.visit_ended_at % 1000, 0), "
        "coalesce(p.previous_visit_ended_at / 1000 * 1000, p.visit_started_at / 1000 * 1000, {unknown}), coalesce(p.visit_count, 0) "
        "FROM identities p WHERE p.site = ? AND +p.principal_id = p.id{only}",  # the plus: in the order of the primary key
        "p.id",
        ("lead", "active", "ended", "rest", "here", "visits"),
        ("?", "i8", "i8", "i2", "i8", "i8"),
        (0, UNKNOWN, UNKNOWN, 0, UNKNOWN, 0),
    ),
    "created": _Source(
        "SELECT principal_id, min(created_at) / 1000 * 1000 FROM identities WHERE site = ?{only} GROUP BY principal_id",
        "principal_id",
        ("created",),
        ("i8",),
        (UNKNOWN,),
    ),
    EVENT: _Source(
        "SELECT identity, count, coalesce(last, {unknown}), coalesce(first, {unknown}) "
        "FROM totals WHERE site = ? AND name = ? AND count IS NOT NULL{only}",
        "identity",
        ("count", "last", "first"),
        ("i8", "i8", "i8"),
        (0, UNKNOWN, UNKNOWN),
    ),
    NUMBER: _Source(
        "SELECT identity, num FROM attributes WHERE site = ? AND attr = ? AND value <> 'null' AND num IS NOT NULL{only}",
        "identity",
        ("number",),
        ("f8",),
        (float("nan"),),
    ),
    VALUE: _Source(
        "SELECT identity, value FROM attributes WHERE site = ? AND attr = ? AND value <> 'null'{only}",
        "identity",
        ("code",),
        ("i4",),
        (0,),
    ),
}


def width(key: Key) -> int:
    """Return the bytes that a column takes for each person."""
    return sum(np.dtype(one).itemsize for one in _SOURCES[key[0]].types)


class Column:
    """One or several arrays, and how they are read."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self._source = _SOURCES[key[0]]
        self.arrays: dict[str, NDArray[Any]] = {}
        """By field; none before `make`."""
        self.values: list[Any] | None = [None]
        """What the codes stand for; None where there are too many: then 1 is something."""
        self._codes: dict[str, int] = {}

    @property
    def bytes(self) -> int:
        """The memory of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def make(self, capacity: int) -> None:
        """Make room for so many people, of whom nothing is known."""
        source = self._source
        for field, kind, default in zip(source.fields, source.types, source.defaults, strict=True):
            self.arrays[field] = np.full(capacity, default, np.dtype(kind))

    def read_all(self, connection: Connection, site: int) -> NDArray[Any]:
        """Return the rows of everybody: `id` and the fields. The connection is in a snapshot."""
        if connection.engine == "postgresql":
            return self._read(connection, site, "", ())
        # Page by page: as text, which is how SQLite hands them over, they are several times as large.
        pages = [self._read(connection, site, "", (), _PAGE)]
        while len(pages[-1]) == _PAGE:
            pages.append(self._read(connection, site, f" AND {self._source.person} > ?", (int(pages[-1]["id"].max()),), _PAGE))
        return np.concatenate(pages)

    def read(self, connection: Connection, site: int, people: Sequence[int]) -> NDArray[Any]:
        """Return the rows of these people."""
        return self._read(connection, site, f" AND {self._source.person} IN ({marks(people)})", people)

    def _read(self, connection: Connection, site: int, only: str, people: Sequence[int], limit: int | None = None) -> NDArray[Any]:
        kind, number = self.key
        sql = self._source.sql.format(only=only, unknown=UNKNOWN) + (f" ORDER BY {self._source.person} LIMIT {limit}" if limit else "")
        parameters = (site, *((number,) if number else ()), *people)
        if kind == VALUE:
            coded = ((person, self._code(value)) for person, value in connection.stream(sql, parameters))
            return np.fromiter(coded, dtype=np.dtype([("id", "i8"), ("code", "i8")]))
        return arrays.read(connection, sql, parameters, ("id", *self._source.fields), floats=("number",))

    def clear(self, places: NDArray[np.int64]) -> None:
        """Let nothing be known at these places."""
        for array, default in zip(self.arrays.values(), self._source.defaults, strict=True):
            array[places] = default

    def put(self, places: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Put rows at their places."""
        for field, array in self.arrays.items():
            array[places] = rows[field] if self.values is not None else np.minimum(rows[field], 1)
        if self.values is None and self._codes:  # there have just become too many
            self._codes.clear()
            np.minimum(self.arrays["code"], 1, out=self.arrays["code"])

    def grow(self, capacity: int) -> None:
        """Make room for more people."""
        for field, array in self.arrays.items():
            larger = np.empty(capacity, array.dtype)
            larger[: len(array)] = array
            self.arrays[field] = larger

    def move(self, order: NDArray[np.int64]) -> None:
        """Put what stands at these places to the front, in their order."""
        for array in self.arrays.values():
            array[: len(order)] = array[order]

    def _code(self, text: str) -> int:
        if self.values is None:
            return 1
        code = self._codes.get(text)
        if code is None:
            if len(self.values) > MOST_VALUES:
                self.values = None
                return 1
            code = self._codes[text] = len(self.values)
            self.values.append(json.loads(text))
        return code
