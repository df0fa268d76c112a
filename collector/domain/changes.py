"""The feed of changes: which people's numbers each commit changed, for those who keep a copy of everybody in memory.

Whatever changes what a person adds up to appends a row, in the same transaction. A reader stands at a position, the state of the
database at one moment, and asks for what was committed since. No clock decides what it gets: SQLite commits one after the other, and of
PostgreSQL's transactions a snapshot says exactly which it had seen, however long one of them took. Rows are purged after `KEPT`; what
is missing is written down, so that a reader that slept longer knows.
"""

import struct
from collections.abc import Collection, Iterator

from collector.storage.database import Connection
from collector.values.clock import DAY, MINUTE

KEPT = 10 * MINUTE
"""How long a row is kept at least, by the clocks of those who write (ms)."""
_STEP = 1_000
_SCHEMA = 4
_REPLACED = DAY


class Purged(Exception):
    """Something that was committed since a reader's position is not in the feed any more."""


Position = str
"""A moment of the database: on SQLite the last row's position, on PostgreSQL a snapshot."""


def note(tx: Connection, site: int, people: Collection[int], now_ms: int) -> None:
    """Say that this transaction changes these people: principals, those that cease to be one, and those that come."""
    if people:
        data = struct.pack(f"<{len(people)}q", *people)
        tx.run(_NOTE[tx.engine], (site, site, now_ms, data) if tx.engine == "sqlite" else (site, now_ms, data))


def position(connection: Connection, site: int) -> Position:
    """Return where the feed stands now; in a snapshot, at its moment."""
    if connection.engine == "postgresql":
        return str(connection.value("SELECT pg_current_snapshot()::text"))
    return str(connection.value("SELECT max(position) FROM changes WHERE site = ?", (site,)) or 0)


def since(connection: Connection, site: int, after: Position) -> tuple[set[int], Position]:
    """Return the people changed by what was committed since a position, and the new position.

    Raises:
        Purged: not all of that is in the feed any more.
    """
    if connection.engine == "postgresql":
        rows = connection.rows(_SINCE, (after, after, site, after, site))
        if rows[0][1]:
            raise Purged
        return _unpacked(row[2] for row in rows if row[2] is not None), str(rows[0][0])
    # The rows first: what is purged between the two statements is then missed by neither.
    found = connection.rows("SELECT position, people FROM changes WHERE site = ? AND position > ? ORDER BY position", (site, int(after)))
    if (connection.value("SELECT position FROM changes_purged WHERE site = ?", (site,)) or 0) > int(after):
        raise Purged
    return _unpacked(people for _, people in found), str(found[-1][0]) if found else after


def purge(tx: Connection, site: int, now_ms: int) -> int:
    """Purge up to 1,000 rows that are older than `KEPT`, and return how many; all but the newest, from which SQLite counts on."""
    rows = tx.rows(_OLDEST[tx.engine], (site, _STEP + 1))
    old = 0
    while old < len(rows) - 1 and rows[old][1] < now_ms - KEPT:
        old += 1
    if old:
        last = rows[old - 1][0]
        for statement in _PURGE[tx.engine]:
            tx.run(statement, (site, last))
    return old


def is_complete(connection: Connection, now_ms: int) -> bool:
    """Say whether everybody who writes writes to the feed too.

    Collectors of a version that did not know it are replaced one after the other on PostgreSQL; it is relied on a day after it was made,
    or at once where it was made with the database.
    """
    if connection.engine == "sqlite":
        return True
    ran = dict(connection.rows("SELECT version, applied_at FROM schema_migrations WHERE version IN (1, ?)", (_SCHEMA,)))
    return bool(ran[_SCHEMA] == ran[1] or ran[_SCHEMA] < now_ms - _REPLACED)


def _unpacked(rows: Iterator[bytes]) -> set[int]:
    people: set[int] = set()
    for data in rows:
        people.update(struct.unpack(f"<{len(data) // 8}q", data))
    return people


_NOTE = {
    "sqlite": "INSERT INTO changes (site, position, at, people) "
    "VALUES (?, coalesce((SELECT max(position) FROM changes WHERE site = ?), 0) + 1, ?, ?)",
    "postgresql": "INSERT INTO changes (site, at, people) VALUES (?, ?, ?) "
    "ON CONFLICT (site, position) DO UPDATE SET people = changes.people || excluded.people",
}
# What a dump brought along from another server may lie ahead of this one's transactions, and says nothing.
_SINCE = (
    "SELECT pg_current_snapshot()::text, p.position >= pg_snapshot_xmin(?::pg_snapshot), c.people FROM (SELECT 1) one "
    "LEFT JOIN changes c ON c.position >= pg_snapshot_xmin(?::pg_snapshot) AND c.site = ? "
    "AND c.position < pg_snapshot_xmax(pg_current_snapshot()) AND NOT pg_visible_in_snapshot(c.position, ?::pg_snapshot) "
    "LEFT JOIN changes_purged p ON p.site = ? AND p.position < pg_snapshot_xmax(pg_current_snapshot())"
)
# On PostgreSQL nothing that somebody who asks now could still stand before: a long transaction holds everybody's position back.
_OLDEST = {
    "sqlite": "SELECT position, at FROM changes WHERE site = ? ORDER BY position LIMIT ?",
    "postgresql": "SELECT position::text, at FROM changes WHERE site = ? AND position < pg_snapshot_xmin(pg_current_snapshot()) "
    "ORDER BY changes.position LIMIT ?",
}
_PURGE = {
    "sqlite": (
        "DELETE FROM changes WHERE site = ? AND position <= ?",
        "INSERT INTO changes_purged (site, position) VALUES (?, ?) ON CONFLICT (site) DO UPDATE SET position = excluded.position",
    ),
    "postgresql": (
        "DELETE FROM changes WHERE site = ? AND position <= ?::xid8",
        "INSERT INTO changes_purged (site, position) VALUES (?, ?::xid8) "
        "ON CONFLICT (site) DO UPDATE SET position = larger(changes_purged.position, excluded.position)",
    ),
}
