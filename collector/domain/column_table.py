"""Everybody of one site as columns in memory: each person has a place, and each column a value at that place.

A column is loaded whole when it is first asked for. After that the feed of changes says whose rows to read again. New people stand behind
the others, unsorted, until there are many; people who are gone keep their place, dead, until then.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.domain import changes
from collector.domain.column_sources import PEOPLE, Column, Key, width
from collector.storage.database import Connection

Ids = NDArray[np.int64]
_CHUNK = 400
_SPARE = 1_024
_MOST_LATER = 50_000
"""New and dead people beyond which everybody is put into order again, or an eighth of all, where that is more."""
_MANY = 20_000
"""Changed people beyond which everything is loaded anew, or an eighth of all, where that is more."""


class TooMuchChanged(Exception):
    """More than is worth reading person by person: load everything anew."""


class Table:
    """The people of a site at one moment of the database, which `position` names in the feed of changes."""

    def __init__(self, connection: Connection, site: int) -> None:
        """Load who there is. The connection is in a snapshot."""
        self.site = site
        self.position = changes.position(connection, site)
        people = Column(PEOPLE)
        rows = people.read_all(connection, site)
        rows = rows[np.argsort(rows["id"], kind="stable")]
        self.size = self._ordered = len(rows)
        self._dead = 0
        self._later: dict[int, int] = {}
        self._capacity = self.size + self.size // 16 + _SPARE
        self._ids: Ids = np.zeros(self._capacity, np.int64)
        self._alive: NDArray[np.bool_] = np.zeros(self._capacity, np.bool_)
        self._ids[: self.size] = rows["id"]
        self._alive[: self.size] = True
        self.columns: dict[Key, Column] = {PEOPLE: people}
        """Those that are loaded, the one asked for longest ago first."""
        people.make(self._capacity)
        people.put(np.arange(self.size), rows)

    @property
    def ids(self) -> Ids:
        """The principal ids of everybody, dead ones included, by place."""
        return self._ids[: self.size]

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Whether the person at a place still is one."""
        return self._alive[: self.size]

    @property
    def bytes(self) -> int:
        """The memory it takes."""
        return self._ids.nbytes + self._alive.nbytes + sum(column.bytes for column in self.columns.values())

    def bytes_for(self, keys: Iterable[Key]) -> int:
        """Return the memory that those of these columns will take that are not loaded."""
        return sum(width(key) for key in keys if key not in self.columns) * self._capacity

    def array(self, key: Key, field: str) -> NDArray[Any]:
        """Return one array of a loaded column, by place."""
        return self.columns[key].arrays[field][: self.size]

    def attach(self, column: Column, rows: NDArray[Any], position: changes.Position) -> None:
        """Add a column with the rows of everybody, which were read after the table stood at this position.

        It stands there again: who changed since is read again by the next `refresh`, for all columns, which brings them to one moment.
        """
        column.make(self._capacity)
        places = self._places(rows["id"])
        column.put(places[places >= 0], rows[places >= 0])
        self.columns[column.key] = column
        self.position = position

    def use(self, keys: Iterable[Key]) -> None:
        """Note that these columns were asked for."""
        for key in keys:
            self.columns[key] = self.columns.pop(key)

    def refresh(self, connection: Connection, people: Iterable[int], position: changes.Position) -> None:
        """Read these people again and stand at a new position. The connection is in a snapshot, at that position.

        Raises:
            TooMuchChanged: nothing was changed here.
        """
        ids = np.array(sorted(people), np.int64)
        if len(ids) > max(_MANY, self.size // 8):
            raise TooMuchChanged
        columns = list(self.columns.values())
        read = [[column.read(connection, self.site, chunk) for chunk in _chunks(ids.tolist())] for column in columns]
        present = np.concatenate([ids[:0], *(rows["id"] for rows in read[list(self.columns).index(PEOPLE)])])
        self._bury(np.setdiff1d(ids, present))
        self._receive(present)
        places = self._places(present)
        for column, chunks in zip(columns, read, strict=True):
            column.clear(places)
            for rows in chunks:
                there = self._places(rows["id"])
                column.put(there[there >= 0], rows[there >= 0])
        self.position = position
        if len(self._later) + self._dead > max(_MOST_LATER, self.size // 8):
            self._put_in_order()

    def _places(self, ids: Ids) -> NDArray[np.int64]:
        """Return the places of people, -1 for those that have none."""
        ordered = self._ids[: self._ordered]
        places = np.searchsorted(ordered, ids).astype(np.int64)
        places[places == self._ordered] = 0
        missing = ordered[places] != ids if self._ordered else np.ones(len(ids), np.bool_)
        for index in np.flatnonzero(missing):
            places[index] = self._later.get(int(ids[index]), -1)
        return places

    def _bury(self, ids: Ids) -> None:
        places = self._places(ids)
        places = places[places >= 0]
        self._dead += int(np.count_nonzero(self._alive[places]))
        self._alive[places] = False

    def _receive(self, ids: Ids) -> None:
        """Give everybody a place who has none; who was dead is alive again."""
        places = self._places(ids)
        known = places[places >= 0]
        self._dead -= int(np.count_nonzero(~self._alive[known]))
        self._alive[known] = True
        new = ids[places < 0]
        if self.size + len(new) > self._capacity:
            self._grow(self.size + len(new))
        for number in new.tolist():
            self._ids[self.size] = number
            self._alive[self.size] = True
            self._later[number] = self.size
            self.size += 1

    def _grow(self, needed: int) -> None:
        self._capacity = needed + needed // 8 + _SPARE
        for name in ("_ids", "_alive"):
            small = getattr(self, name)
            larger = np.zeros(self._capacity, small.dtype)
            larger[: len(small)] = small
            setattr(self, name, larger)
        for column in self.columns.values():
            column.grow(self._capacity)

    def _put_in_order(self) -> None:
        """Sort everybody by id, without the dead."""
        order = np.flatnonzero(self.alive)
        order = order[np.argsort(self._ids[order], kind="stable")]
        self._ids[: len(order)] = self._ids[order]
        self._alive[: len(order)] = True
        for column in self.columns.values():
            column.move(order)
        self.size = self._ordered = len(order)
        self._later, self._dead = {}, 0


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
