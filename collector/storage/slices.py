"""The timeline cut into weekly tables, so that only the newest, small index is written and old weeks are dropped whole.

A slice is the number of the week since 1970 (Thursday to Thursday) of the time inside an event's id. Slice 0 is the overflow for
ids whose time cannot be believed. Slices are made by the server's calendar alone. Every slice is a table `events_N`; `events`
reads them all: PostgreSQL's partitioned table, on SQLite a view.

A slice is open, then closed (its table refuses every insert by itself, so that no process can miss it), then pruned (its table is
gone, its row stays). Each process keeps in memory which slices there are; one that is behind meets the refusal, forgets, and the
writer runs the transaction again.
"""

import functools
import logging
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
import psycopg

from collector.storage import statistics
from collector.storage.database import Connection, Database
from collector.storage.faults import RunAgain, is_locked, is_unavailable, reason, require_set
from collector.storage.migrations import translated
from collector.values.clock import DAY, REST_AHEAD
from collector.values.ids import event_id_time

log = logging.getLogger(__name__)

WEEK = 7 * DAY
OVERFLOW = 0
AHEAD = 2
DRIFT = DAY
"""How far an id's time and the corrected time of its event may differ (ms), and how long a slice stays open beyond that."""

DETACH_SECONDS = 120
"""How long the end of a week is tried in all where somebody holds its table: a backup, or a transaction that somebody forgot to end."""

OPEN, CLOSED, PRUNED = "open", "closed", "pruned"

EVENT_COLUMNS = ("site", "slice", "id", "identity", "name", "at", "unverified", "visit", "page", "metadata")

EventRow = tuple[int, int, bytes, int, int, int, int, bytes | None, str | None, str | None]
"""An event as EVENT_COLUMNS has it."""

_ID = EVENT_COLUMNS.index("id")
_FIXED = struct.Struct(">hiqiqi16siqiqiqih")
"""How COPY has the columns of an event that are never null, each behind its length; before them, how many columns there are."""
_LENGTH = struct.Struct(">i")
_ARRIVED = struct.Struct(">iq")
_BEGIN, _END, _NULL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff", b"\xff\xff\xff\xff"

_LOCK = 7_305_808_869_229_539  # PostgreSQL advisory lock; any fixed number
_REFUSAL = "slice_closed"
_CHUNK = 500
_EARLY_MS = 20  # how long what is needed later waits for locks
_WAIT_MS, _TRY_SECONDS, _PAUSE_SECONDS = 300, 2, 1.0  # how long the end of a week waits for a lock, tries, and lets others pass
_LATER_SECONDS = 60
_FEW = 8


class Known(msgspec.Struct, frozen=True):
    """The slices there are, as one process knows them."""

    open: frozenset[int] = frozenset()
    ended: frozenset[int] = frozenset()
    """Closed or pruned: what belongs there comes too late."""
    readable: frozenset[int] = frozenset()
    """Open or closed: whatever stands there is there to be met."""
    overflow_from: int = 0
    """When (ms) the overflow begins: of what happened before, something was pruned, so that a repeat may not meet its first copy."""

    def home(self, id_time_ms: int, at_ms: int) -> int | None:
        """Return the slice of an event; None where it has ended.

        It is the week of the id, so that a repeat meets its first copy, or the overflow where id and corrected time differ by over a
        day. An id that claims a week that has ended but whose corrected time is recent comes from a clock that is wrong. The overflow ends
        too, long after the timeline has left it behind: what comes before its beginning, the retention was raised for.
        """
        week = id_time_ms // WEEK
        if abs(id_time_ms - at_ms) <= DRIFT:
            if week in self.open:
                return week
            if week in self.ended:
                return None
        return OVERFLOW if at_ms >= self.overflow_from else None


class Slices:
    """Knows which slices there are, makes those the calendar asks for, writes into them, closes and drops them."""

    def __init__(self, database: Database, retention_ms: int) -> None:
        self._database = database
        self._retention = retention_ms
        self._lock = threading.Lock()
        self._known = Known()
        self._later = 0.0

    def oldest(self, now_ms: int) -> int:
        """Return when the timeline begins (ms): what is older is not read, whether it was pruned or not."""
        return now_ms - self._retention

    def ensure(self, now_ms: int) -> Known:
        """Return the slices, after making those from the end of the retention to two weeks ahead.

        To make one takes a lock that an ANALYZE may hold for long, and a right that the role may have lost. Where this week and the next
        have theirs, what is for later weeks is tried again later.

        Raises:
            ClockUnset: the time is none that can be.
        """
        require_set(now_ms)
        wanted = {OVERFLOW, *range((now_ms - self._retention - DRIFT) // WEEK, now_ms // WEEK + AHEAD + 1)}
        known = self._known
        if wanted <= known.open | known.ended:
            return known
        soon = now_ms // WEEK + 1
        with self._lock:
            known = self._known  # `forget` asks nobody
            if wanted <= known.open | known.ended or (soon in known.open and time.monotonic() < self._later):
                return known
            try:
                known = self._database.transact(lambda tx: make(tx, wanted, soon))
            except Exception as error:  # the driver's, or peewee's around it
                if not is_unavailable(error):
                    raise
                with self._database.read() as connection:
                    known = _known(connection, _states(connection))
                if not {soon - 1, soon} <= known.open:
                    raise
                if not is_locked(error):
                    log.warning("the tables of coming weeks cannot be made: %s", reason(error))
                self._later = time.monotonic() + _LATER_SECONDS
            self._known = known
            return known

    def forget(self) -> None:
        """Look anew at what slices there are, before the next transaction."""
        self._known = Known()

    def insert(self, tx: Connection, site: int, number: int, rows: Sequence[EventRow], now_ms: int) -> set[bytes]:
        """Insert events of different ids into their slice, in the order of their ids, and return the ids that were there already.

        Raises:
            RunAgain: the slice was closed or the overflow pruned meanwhile, which `ensure` will know; or another transaction brought one
                of the events.
        """
        columns: Sequence[str] = EVENT_COLUMNS if number != OVERFLOW else (*EVENT_COLUMNS, "arrived_at")
        arrived = () if number != OVERFLOW else (now_ms,)
        try:
            if tx.engine == "sqlite":
                whole = [row + arrived for row in rows] if arrived else rows
                met = tx.insert_new(f"events_{number}", columns, whole, _ID)
                if gone := self._give_up(tx, site, number, met):
                    tx.insert_new(f"events_{number}", columns, [row for row in whole if row[_ID] in gone], _ID)
                met -= gone
                self._check_overflow(tx, number, rows, met, now_ms)
                return met
            # COPY takes half of what it costs the server to look out for a conflict at each row, and nearly always all of them are new.
            # So repeats are looked for beforehand: what is sent again waited for its sender's lock.
            met = self._found(tx, site, number, [row[2] for row in rows])
            met -= self._give_up(tx, site, number, met)
            if len(met) < len(rows):
                tx.copy(f"events_{number}", columns, _packed([row for row in rows if row[2] not in met] if met else rows, *arrived))
        except psycopg.errors.UniqueViolation as error:
            raise RunAgain("an event was brought by two at once") from error
        except (sqlite3.Error, psycopg.Error) as error:
            self._check_behind(error)
            raise
        self._check_overflow(tx, number, rows, met, now_ms)
        return met

    def _check_overflow(self, tx: Connection, number: int, rows: Sequence[EventRow], met: Collection[bytes], now_ms: int) -> None:
        """Raise RunAgain where the overflow was pruned of events like one that was not met, which this process did not know.

        Asked for after they were looked for: what was not there any more was pruned by then. Nothing is pruned at the age of a day.
        """
        if number == OVERFLOW:
            oldest = min((at for _, _, event_id, _, _, at, *_ in rows if event_id not in met), default=now_ms)
            if oldest < now_ms - DRIFT and oldest < _overflow_from(tx):
                self.forget()
                raise RunAgain("the overflow was pruned")

    def stored(self, tx: Connection, site: int, number: int, ids: Sequence[bytes]) -> set[bytes]:
        """Return those of the ids that a slice holds.

        Raises:
            RunAgain: the slice was dropped meanwhile; `ensure` will know.
        """
        try:
            if len(ids) > _FEW:  # ids begin with their time: what was sent together stands together, and of others there is little between
                between = f"SELECT id FROM events_{number} WHERE site = ? AND slice = ? AND id BETWEEN ? AND ? LIMIT {_FEW + 1}"
                rows = tx.rows(between, (site, number, min(ids), max(ids)))
                if len(rows) <= _FEW:
                    ids = sorted({bytes(row[0]) for row in rows}.intersection(ids))
            found = self._found(tx, site, number, ids)
            return found - self._give_up(tx, site, number, found)
        except (sqlite3.Error, psycopg.Error) as error:
            self._check_behind(error)
            raise

    @staticmethod
    def _found(tx: Connection, site: int, number: int, ids: Sequence[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        chunk = _CHUNK if tx.engine == "sqlite" else max(len(ids), 1)  # there all of them travel as one value
        for start in range(0, len(ids), chunk):
            among, parameters = tx.among(ids[start : start + chunk])
            sql = f"SELECT id FROM events_{number} WHERE site = ? AND slice = ? AND id {among}"
            found.update(bytes(row[0]) for row in tx.rows(sql, (site, number, *parameters)))
        return found

    @staticmethod
    def _give_up(tx: Connection, site: int, number: int, ids: Collection[bytes]) -> set[bytes]:
        """Delete those of a slice's events that wait to be wiped with who was deleted, and return their ids: nobody knows these any more.

        What comes anew with such an id would else be called a repeat of what goes.
        """
        gone: set[bytes] = set()
        ordered = sorted(ids)
        for start in range(0, len(ordered), _CHUNK):
            chunk = ordered[start : start + _CHUNK]
            among, parameters = tx.among(chunk)
            of = f"FROM events_{number} e LEFT JOIN deletions d ON d.site = e.site AND d.identity = e.identity"
            where = f"WHERE e.site = ? AND e.slice = ? AND e.id {among}"
            rows = tx.rows(f"SELECT e.id, d.identity {of} {where}", (site, number, *parameters))
            if len(rows) < len(chunk):
                raise RunAgain("an event that was met was wiped just now")
            waiting = sorted(bytes(event) for event, deleted in rows if deleted is not None)
            if waiting:
                among, parameters = tx.among(waiting)
                tx.run(f"DELETE FROM events_{number} WHERE site = ? AND slice = ? AND id {among}", (site, number, *parameters))
                gone.update(waiting)
        return gone

    def closable(self, now_ms: int, retention_ms: int) -> list[int]:
        """Return the open slices whose every event is older than a timeline of this length, by a margin that no clock of ours exceeds."""
        with self._database.read() as connection:
            numbers = numbers_in(connection, OPEN)
        return sorted(number for number in numbers if number != OVERFLOW and too_old(number, now_ms - retention_ms))

    @staticmethod
    def close(tx: Connection, number: int) -> None:
        """Let a slice take nothing any more, after whoever is writing into it has committed.

        On PostgreSQL the table's lock is waited for a moment only; a driver's error says that it was not to be had.
        """
        if tx.engine == "postgresql":
            tx.rows("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
            tx.run("SET LOCAL lock_timeout = '500ms'")
        if number not in numbers_in(tx, OPEN):
            return
        if tx.engine == "postgresql":
            tx.run(f"ALTER TABLE events_{number} ADD CONSTRAINT {_REFUSAL} CHECK (false) NOT VALID")
        else:
            tx.run(f"CREATE TRIGGER events_{number}_closed BEFORE INSERT ON events_{number} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END")
        tx.run("UPDATE slices SET state = ? WHERE slice = ?", (CLOSED, number))

    def drop(self, database: Database, number: int) -> None:
        """Take away a closed slice's table. On SQLite it is empty by then (`wipe`); PostgreSQL gives the file back at once.

        A driver's error says that somebody held it for DETACH_SECONDS; the next round goes on where this one came to.
        """
        deadline = time.monotonic() + DETACH_SECONDS
        if database.engine == "postgresql":
            _patiently(functools.partial(_detach, database, number), deadline)
        _patiently(functools.partial(_drop, database, number), deadline)
        self.forget()

    def delete_of(self, tx: Connection, site: int, identity: int, limit: int) -> int:
        """Delete up to `limit` events of an identity, from however many slices, and return how many there were.

        Raises:
            RunAgain: a slice was dropped meanwhile.
        """
        gone = 0
        try:
            for number in with_tables(tx):
                if gone >= limit:
                    break
                some = f"SELECT id FROM events_{number} WHERE site = ? AND identity = ? LIMIT ?"
                sql = f"DELETE FROM events_{number} WHERE site = ? AND slice = ? AND id IN ({some})"
                gone += tx.run(sql, (site, number, site, identity, limit - gone))
        except (sqlite3.Error, psycopg.Error) as error:
            self._check_behind(error)
            raise
        return gone

    def has_of(self, tx: Connection, site: int, identity: int) -> bool:
        """Say whether there is any event of an identity, in however many slices.

        Raises:
            RunAgain: a slice was dropped meanwhile.
        """
        try:
            return any(
                tx.row(f"SELECT 1 FROM events_{number} WHERE site = ? AND identity = ? LIMIT 1", (site, identity))
                for number in with_tables(tx)
            )
        except (sqlite3.Error, psycopg.Error) as error:
            self._check_behind(error)
            raise

    def _check_behind(self, error: Exception) -> None:
        """Raise RunAgain where an error of a slice's table means that this process is behind."""
        text = str(error)
        closed = isinstance(error, psycopg.errors.CheckViolation) and error.diag.constraint_name == _REFUSAL
        gone = isinstance(error, psycopg.errors.UndefinedTable) or text.startswith("no such table: events_")
        if closed or gone or text == _REFUSAL:
            self.forget()
            raise RunAgain("a slice has ended") from error


def _packed(rows: Sequence[EventRow], *arrived: int) -> bytes:
    """Return events in the binary form of PostgreSQL's COPY; `arrived`, in the overflow, is when they did (ms)."""
    number, end = len(EVENT_COLUMNS) + len(arrived), b"".join(_ARRIVED.pack(8, at) for at in arrived)
    fixed = _FIXED.pack
    known: dict[str | bytes | None, bytes] = {None: _NULL}
    parts = [_BEGIN]
    for site, week, event_id, identity, name, at, unverified, visit, page, metadata in rows:
        parts.append(fixed(number, 8, site, 8, week, 16, event_id, 8, identity, 8, name, 8, at, 2, unverified))
        for value in (visit, page, metadata):
            data = known.get(value)
            if data is None:
                text = value.encode() if isinstance(value, str) else value or b""
                data = known[value] = _LENGTH.pack(len(text)) + text
            parts.append(data)
        if end:
            parts.append(end)
    parts.append(_END)
    return b"".join(parts)


def ends(number: int) -> int:
    """Return the first ms after a slice's week."""
    return (number + 1) * WEEK


def too_old(number: int, oldest_ms: int) -> bool:
    """Say whether every event of a week is older than a timeline that begins at a time, by a margin that no clock of ours exceeds."""
    return ends(number) + 2 * DRIFT <= oldest_ms


def newest(connection: Connection, sites: Sequence[int]) -> int | None:
    """Return the time inside the newest id of the weeks' events (ms): those of which the browser's clock and the collector's agreed."""
    for number in reversed(with_tables(connection)):
        if number == OVERFLOW:
            continue
        sql = f"SELECT id FROM events_{number} WHERE site = ? AND slice = ? ORDER BY id DESC LIMIT 1"
        if found := [bytes(event_id) for site in sites if (event_id := connection.value(sql, (site, number))) is not None]:
            return event_id_time(max(found))
    return None


def numbers_in(connection: Connection, *states: str) -> list[int]:
    """Return the slices in one of these states, in order."""
    marks = ", ".join("?" * len(states))
    return [row[0] for row in connection.rows(f"SELECT slice FROM slices WHERE state IN ({marks}) ORDER BY slice", states)]


def with_tables(connection: Connection) -> list[int]:
    """Return the slices that have a table, in order."""
    return numbers_in(connection, OPEN, CLOSED)


def wipe(tx: Connection, site: int, number: int, limit: int) -> int:
    """Delete up to `limit` events of a site in a closed slice and return how many there were.

    SQLite only: it overwrites what is deleted row by row, but not the pages of a table that is dropped.
    """
    some = f"SELECT id FROM events_{number} WHERE site = ? AND slice = ? LIMIT ?"
    sql = f"DELETE FROM events_{number} WHERE site = ? AND slice = ? AND id IN ({some})"
    return tx.run(sql, (site, number, site, number, limit))


def make(tx: Connection, wanted: Collection[int], soon: int | None = None) -> Known:
    """Make those of the slices that are not there, and return all there are. Where the one needed `soon` is, no lock is waited for long.

    Raises:
        psycopg.errors.LockNotAvailable: then, if one was not to be had.
    """
    if tx.engine == "postgresql":
        if soon in _states(tx):
            tx.run(f"SET LOCAL lock_timeout = {_EARLY_MS}")
        tx.rows("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
    states = _states(tx)
    missing = sorted(set(wanted) - states.keys())
    for number in missing:
        for statement in translated(_table(number, tx), tx.engine):
            tx.run(statement)
        statistics.seed_slice(tx, number)
        tx.run("INSERT INTO slices (slice, state) VALUES (?, ?)", (number, OPEN))
        states[number] = OPEN
    if missing:
        _rebuild_view(tx)
    return _known(tx, states)


def _states(connection: Connection) -> dict[int, str]:
    return dict(connection.rows("SELECT slice, state FROM slices"))


def _known(connection: Connection, states: Mapping[int, str]) -> Known:
    is_open = {number for number, state in states.items() if state == OPEN}
    pruned = {number for number, state in states.items() if state == PRUNED}
    return Known(frozenset(is_open), frozenset(states.keys() - is_open), frozenset(states.keys() - pruned), _overflow_from(connection))


def note_overflow(tx: Connection, arrived_ms: int) -> None:
    """Note that an event was pruned from the overflow that arrived at a time: one like it, sent again, would not be known."""
    tx.run("UPDATE slices SET moved = larger(coalesce(moved, 0), ?) WHERE slice = ?", (arrived_ms, OVERFLOW))


def _overflow_from(connection: Connection) -> int:
    latest = connection.value("SELECT moved FROM slices WHERE slice = ?", (OVERFLOW,))
    return 0 if latest is None else latest + REST_AHEAD + 1  # nothing was taken that happened later than that after its arrival


def _table(number: int, tx: Connection) -> list[str]:
    if tx.engine == "postgresql":  # attached, not made as a part: that would lock the whole timeline against readers
        return [
            f"CREATE TABLE events_{number} (LIKE events INCLUDING ALL)",
            f"ALTER TABLE events ATTACH PARTITION events_{number} FOR VALUES IN ({number})",
        ]
    arrival = "arrived_at BIGINT, " if number == OVERFLOW else ""
    return [
        f"""CREATE TABLE events_{number} (
            site BIGINT NOT NULL, slice BIGINT NOT NULL, id BYTES NOT NULL, identity BIGINT NOT NULL, name BIGINT NOT NULL,
            at BIGINT NOT NULL, unverified SMALLINT NOT NULL, visit BYTES, page STRING, metadata STRING,
            {arrival}PRIMARY KEY (site, slice, id)) CLUSTERED""",
        f"CREATE INDEX events_{number}_identity ON events_{number} (site, identity, at)",
    ]


def _rebuild_view(tx: Connection) -> None:
    if tx.engine != "sqlite":
        return
    tx.run("DROP VIEW IF EXISTS events")
    columns = ", ".join(EVENT_COLUMNS)
    parts = [f"SELECT {columns} FROM events_{number}" for number in with_tables(tx)]
    tx.run("CREATE VIEW events AS " + " UNION ALL ".join(parts))


def _patiently(step: Callable[[], None], deadline: float) -> None:
    """Do what wants a table of PostgreSQL's to itself, until that worked or the time is over.

    Whoever names the table stands in a queue behind one who waits for it. So each try waits a moment only, and then lets them pass.
    """
    while True:
        try:
            return step()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected):
            if time.monotonic() >= deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def _detach(database: Database, number: int) -> None:
    """Take a partition out of the timeline, once whoever read it before is done.

    What is begun stays begun where it is cut short: then no new query reads the partition, and all that is left is to finish it.
    """
    with database.read() as connection:
        row = connection.row(
            "SELECT inhdetachpending FROM pg_inherits WHERE inhparent = 'events'::regclass AND inhrelid = to_regclass(?)",
            (f"events_{number}",),
        )
    if row is not None:
        how = "FINALIZE" if row[0] else "CONCURRENTLY"
        database.run_alone(f"ALTER TABLE events DETACH PARTITION events_{number} {how}", seconds=_TRY_SECONDS, lock_ms=_WAIT_MS)


def _drop(database: Database, number: int) -> None:
    with database.write() as tx:
        if tx.engine == "postgresql":
            tx.run(f"SET LOCAL lock_timeout = {_WAIT_MS}")
        if tx.run("UPDATE slices SET state = ? WHERE slice = ? AND state = ?", (PRUNED, number, CLOSED)):
            _rebuild_view(tx)
            tx.run(f"DROP TABLE IF EXISTS events_{number}")
            tx.run("DELETE FROM slice_sites WHERE slice = ?", (number,))
