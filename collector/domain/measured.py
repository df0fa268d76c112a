"""What many people did, added up in little memory, where it is measured event by event."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from collector.domain.audiences import Total, together

PEOPLE = 50_000
"""Of so many people the totals are at hand; those of all others are packed, in 32 bytes each."""
_MERGED = 10 * PEOPLE
"""So many packed totals more than people are borne, since some are of people who were packed before."""

Row = tuple[int, int, int, int]
"""A person's row id, how often, first and last (ms)."""


class Measured:
    """Totals by person. Nobody of whom nothing was added is among them."""

    def __init__(self) -> None:
        self._lately: dict[int, Total] = {}
        self._packed: list[NDArray[np.int64]] = []

    def add(self, person: int, total: Total) -> None:
        """Add what a person did (at least one event)."""
        before = self._lately.get(person)
        self._lately[person] = total if before is None else together(before, total)
        if len(self._lately) >= PEOPLE:
            self._pack()

    def portions(self) -> Iterator[list[Row]]:
        """Yield a row of each person, many at a time."""
        self._pack()
        merged = _merged(self._packed)
        for start in range(0, len(merged), PEOPLE):
            yield [tuple(row) for row in merged[start : start + PEOPLE].tolist()]

    def _pack(self) -> None:
        rows = [(person, total.count, total.first_ms, total.last_ms) for person, total in self._lately.items()]
        self._packed.append(np.array(rows, np.int64).reshape(-1, 4))
        self._lately = {}
        if sum(map(len, self._packed[1:])) > len(self._packed[0]) + _MERGED:
            self._packed = [_merged(self._packed)]


def _merged(packed: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    rows = np.concatenate(packed)
    if not len(rows):
        return rows
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    starts = np.flatnonzero(np.concatenate(([True], rows[1:, 0] != rows[:-1, 0])))
    columns = (np.add, rows[:, 1]), (np.minimum, rows[:, 2]), (np.maximum, rows[:, 3])
    return np.column_stack([rows[starts, 0], *(add.reduceat(column, starts) for add, column in columns)])
