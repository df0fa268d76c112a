"""Totals: how often an event was done, and when first and last. A row holds two halves: what its identity did alone (`own_*`), and what
the person did, which stands on the principal's row only. How halves are folded anew is in `merging` and `imports`.
"""

from collections.abc import Mapping, Sequence

from collector.storage.database import Connection
from collector.storage.slices import EventRow

_Part = list[int]
"""Count, last, first (ms)."""


def count(tx: Connection, site: int, rows: Sequence[EventRow], principals: Mapping[int, int]) -> None:
    """Add events that were inserted to the halves of their identities and of these principals, each row once."""
    own: dict[tuple[int, int], _Part] = {}
    for row in rows:
        at, key = row[5], (row[4], row[3])
        present = own.get(key)
        if present is None:
            own[key] = [1, at, at]
            continue
        present[0] += 1
        if at > present[1]:
            present[1] = at
        elif at < present[2]:
            present[2] = at
    effective: dict[tuple[int, int], _Part] = {}
    for (name, identity), part in own.items():
        _add(effective, (name, principals[identity]), *part)
    keys = sorted(own.keys() | effective.keys())
    parameters = [(site, *key, *effective.get(key, _NOBODY), *own.get(key, _NOTHING)) for key in keys]
    tx.insert("totals", COLUMNS, parameters, COUNT)


def _add(parts: dict[tuple[int, int], _Part], key: tuple[int, int], count: int, last: int, first: int) -> None:
    present = parts.get(key)
    if present is None:
        parts[key] = [count, last, first]
        return
    present[0] += count
    present[1] = max(present[1], last)
    present[2] = min(present[2], first)


_NOBODY = (None, None, None)
_NOTHING = (0, None, None)
COLUMNS = ("site", "name", "identity", "count", "last", "first", "own_count", "own_last", "own_first")
COUNT = """ON CONFLICT (site, name, identity) DO UPDATE SET
count = CASE WHEN excluded.count IS NULL THEN totals.count ELSE coalesce(totals.count, 0) + excluded.count END,
last = larger(coalesce(totals.last, excluded.last), coalesce(excluded.last, totals.last)),
first = lesser(coalesce(totals.first, excluded.first), coalesce(excluded.first, totals.first)),
own_count = totals.own_count + excluded.own_count,
own_last = larger(coalesce(totals.own_last, excluded.own_last), coalesce(excluded.own_last, totals.own_last)),
own_first = lesser(coalesce(totals.own_first, excluded.own_first), coalesce(excluded.own_first, totals.own_first))"""
