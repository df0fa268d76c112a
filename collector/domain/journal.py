"""The journal of merges: who joined whom, when, why and on whose word; what was refused, and what was undone since.

Of somebody it may have very many lines, so it is read in pages: each begins after the row id that the one before ended with.
"""

from typing import Any

import msgspec

from collector.domain.people import Person
from collector.storage.database import Connection

_AFTER_ALL = 2**63 - 1


class NoMerge(LookupError):
    """There is no such merge (any more)."""


class Merge(msgspec.Struct, frozen=True):
    """One line of the journal. `lead` and `into` are contact ids, times in ms."""

    id: int
    lead: str
    into: str
    user: str
    """The user id, or email, that `into` goes by."""
    outcome: str
    """`merged` or `refused`."""
    at: int
    by: str
    """Who asked for it: `browser`, `rest` or `console`."""
    reason: str
    verified: bool
    undone_at: int | None
    undone_by: str | None


def of_site(connection: Connection, site: int, *, limit: int, before: int | None = None) -> tuple[list[Merge], int]:
    """Return the merges of a site, the newest first, those before row id `before`, and how many there are in all."""
    total = connection.value("SELECT count(*) FROM merges WHERE site = ? AND outcome = 'merged'", (site,))
    sql = _LINES + "WHERE m.site = ? AND m.outcome = 'merged' AND m.id < ? ORDER BY m.id DESC LIMIT ?"
    return [_line(row) for row in connection.rows(sql, (site, _AFTER_ALL if before is None else before, limit))], int(total)


def of_person(connection: Connection, site: int, person: Person, *, limit: int, before: int | None = None) -> list[Merge]:
    """Return lines about any identity of a person, the newest first, those before row id `before`."""
    among, members = connection.among([one.id for one in person.identities])
    # "+ 0": in the order of its ids the journal of the whole site would be read for the few lines of one person.
    sql = _LINES + f"WHERE m.site = ? AND (m.target {among} OR m.lead {among}) AND m.id + 0 < ? ORDER BY m.id + 0 DESC LIMIT ?"
    rows = connection.rows(sql, (site, *members, *members, _AFTER_ALL if before is None else before, limit))
    return [_line(row) for row in rows]


def line(connection: Connection, site: int, merge_id: int) -> Merge:
    """Return one line.

    Raises:
        NoMerge: there is none (any more).
    """
    row = connection.row(_LINES + "WHERE m.site = ? AND m.id = ?", (site, merge_id))
    if row is None:
        raise NoMerge(merge_id)
    return _line(row)


def _line(row: tuple[Any, ...]) -> Merge:
    return msgspec.convert(dict(zip(Merge.__struct_fields__, row, strict=True)), Merge, strict=False)


_LINES = (
    "SELECT m.id, l.public_id, t.public_id, t.value, m.outcome, m.at, m.by_whom, m.reason, m.verified, m.undone_at, m.undone_by "
    "FROM merges m JOIN identities l ON l.site = m.site AND l.id = m.lead JOIN identities t ON t.site = m.site AND t.id = m.target "
)
