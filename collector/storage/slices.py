"""The timeline cut into weekly tables, so that only the newest, small index is written and old weeks are dropped whole.

A slice is the number of the week since 1970 (Thursday to Thursday) of the time inside an event's id. Slice 0 is the overflow for
ids whose time cannot be believed. Slices are made by the server's calendar alone. Every slice is a table `events_N`; `events`
reads them all: PostgreSQL's partitioned table, on SQLite a view.
"""

import threading

from collector.storage.database import Connection, Database
from collector.storage.migrations import translated
from collector.values.clock import DAY

WEEK = 7 * DAY
OVERFLOW = 0
AHEAD = 2
_LOCK = 7_305_808_869_229_539  # PostgreSQL advisory lock; any fixed number

EVENT_COLUMNS = ("site", "slice", "id", "identity", "name", "at", "unverified", "visit", "page", "metadata")


class Slices:
    """Knows which slices there are and makes those the calendar asks for."""

    def __init__(self, database: Database, retention_ms: int) -> None:
        self._database = database
        self._retention = retention_ms
        self._lock = threading.Lock()
        self._known: frozenset[int] = frozenset()

    def ensure(self, now_ms: int) -> frozenset[int]:
        """Return the open slices, after making those from the end of the retention to two weeks ahead."""
        wanted = {OVERFLOW, *range((now_ms - self._retention) // WEEK, now_ms // WEEK + AHEAD + 1)}
        known = self._known
        if wanted <= known:
            return known
        with self._lock:
            if not wanted <= self._known:
                self._known = self._database.transact(lambda tx: _make(tx, wanted))
            return self._known

    def known(self) -> frozenset[int]:
        """Return the slices that `ensure` has made or found, without making any."""
        return self._known

    def home(self, id_time_ms: int, at_ms: int, known: frozenset[int]) -> int:
        """Return the slice of an event: its id's week, or the overflow where id and corrected time differ by over a day."""
        week = id_time_ms // WEEK
        return week if abs(id_time_ms - at_ms) <= DAY and week in known else OVERFLOW


def _make(tx: Connection, wanted: set[int]) -> frozenset[int]:
    if tx.engine == "postgresql":
        tx.rows("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
    existing = {row[0] for row in tx.rows("SELECT slice FROM slices WHERE state = 'open'")}
    for number in sorted(wanted - existing):
        for statement in translated(_table(number, tx), tx.engine):
            tx.run(statement)
        tx.run("INSERT INTO slices (slice, state) VALUES (?, 'open')", (number,))
    if tx.engine == "sqlite" and wanted - existing:
        _rebuild_view(tx, existing | wanted)
    return frozenset(existing | wanted)


def _table(number: int, tx: Connection) -> list[str]:
    if tx.engine == "postgresql":
        return [f"CREATE TABLE events_{number} PARTITION OF events FOR VALUES IN ({number})"]
    return [
        f"""CREATE TABLE events_{number} (
            site BIGINT NOT NULL, slice BIGINT NOT NULL, id BYTES NOT NULL, identity BIGINT NOT NULL, name BIGINT NOT NULL,
            at BIGINT NOT NULL, unverified SMALLINT NOT NULL, visit BYTES, page STRING, metadata STRING,
            PRIMARY KEY (site, slice, id)) CLUSTERED""",
        f"CREATE INDEX events_{number}_identity ON events_{number} (site, identity, at)",
    ]


def _rebuild_view(tx: Connection, numbers: set[int]) -> None:
    tx.run("DROP VIEW IF EXISTS events")
    columns = ", ".join(EVENT_COLUMNS)
    parts = [f"SELECT {columns} FROM events_{number}" for number in sorted(numbers)]
    tx.run("CREATE VIEW events AS " + " UNION ALL ".join(parts))
