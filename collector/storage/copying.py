"""An installation copied whole: from either engine into a file of SQLite, which is what a backup is, and from such a file into either.

Rows go from one engine to the other in the order of their keys, a few thousand at a time; nothing has to fit into memory. What the
tables and columns are is read from the file's own schema, so that a change of the schema changes nothing here.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql

from collector.storage import statistics, time_limits
from collector.storage.database import Connection, Database
from collector.storage.migrations import migrate
from collector.storage.pools import connection_parameters
from collector.storage.slices import CLOSED, OPEN, PRUNED, Slices, make
from collector.storage.snapshots import damage, event_tables, snapshot

_PASSING = {"changes", "changes_purged"}
"""Tables about the order of an engine's own commits, which means nothing to another: they begin empty there."""
KEPT = "kept_tombstones"
_CHUNK = 5_000
_OWN = {"schema_migrations", "slices", "changes", "changes_purged"}
"""Tables that are made along with the schema and the slices, or tell of this database's transactions, and are not copied."""
_PAGES = -64_000
"""SQLite's cache while copying, in KiB."""


class Table(NamedTuple):
    """A table, its columns, and those of its key in order."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def query(self) -> str:
        """The statement that reads it in the order of its key."""
        return f"SELECT {', '.join(self.columns)} FROM {self.name} ORDER BY {', '.join(self.key)}"


def save(source: Database, working: Path, now_ms: int) -> None:
    """Copy everything, as it stands at one moment, into an empty file. Collectors write meanwhile.

    Whoever calls this syncs the file.
    """
    if source.engine == "sqlite":
        with source.read() as connection:
            connection.run("VACUUM INTO ?", (str(working),))
        return
    fresh = Database(f"sqlite:///{working}")
    try:
        migrate(fresh, now_ms)
    finally:
        fresh.close()
    with snapshot(source) as taken, _quick_file(working) as file:
        _make_slices(taken, file)
        indices = file.rows("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        for name, _ in indices:
            file.run(f"DROP INDEX {name}")
        for table in tables(file):
            marks = ", ".join("?" * len(table.columns))
            insert = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})"
            for rows in taken.chunks(table.query, size=_CHUNK):
                file.run_many(insert, rows)
        for _, statement in indices:  # sorted at once, which is quicker than one by one
            file.run(statement)
        statistics.seed(file)
        _end_slices(taken, file)


@contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """Open a file of SQLite that nobody writes, and change nothing, not even beside it.

    Raises:
        sqlite3.DatabaseError: it is none.
    """
    file = path.resolve()
    whole_in_itself = not file.with_name(f"{file.name}-wal").exists()
    address = f"{file.as_uri()}?mode=ro{'&immutable=1' if whole_in_itself else ''}"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as raw:
        yield Connection(raw, "sqlite")


def damage_of(path: Path) -> str | None:
    """Return the first thing that is wrong with a backup's pages, or None."""
    try:
        with reading(path) as connection:
            return next(iter(damage(connection)), None)
    except sqlite3.DatabaseError as error:
        return str(error)


def load_file(backup: Path, working: Path) -> None:
    """Copy a backup into an empty file, without what deleted rows leave in one."""
    with reading(backup) as connection:
        connection.run("VACUUM INTO ?", (str(working),))


def settle(path: Path) -> None:
    """Bring everything of a database that nobody uses into its one file, so that nothing beside it is taken for its successor's.

    Raises:
        Damaged: the file is no database, or none any more.
        sqlite3.OperationalError: somebody uses it.
    """
    with whole(), closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode = DELETE")


class Damaged(Exception):
    """A file cannot be read as a database."""


@contextmanager
def whole() -> Iterator[None]:
    """Tell a damaged file from every other error inside.

    Raises:
        Damaged: what SQLite read made no sense.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise
        raise Damaged(str(error)) from error


@contextmanager
def loading(url: str, backup: Path, check: Callable[[Connection], None]) -> Iterator[Connection]:
    """Replace everything in a PostgreSQL database of our schema by a backup of the same schema, in the transaction that is lent.

    `check` is asked when nobody else can read or write any more, and may raise: whoever comes later waits, and finds what was loaded.
    The tombstones that were there are kept aside in the table KEPT until the commit.
    """
    with reading(backup) as file, psycopg.connect(**connection_parameters(url)) as raw, raw.transaction():
        tx = Connection(raw, "postgresql")
        time_limits.lift(tx)
        plain = [table for table in tables(file) if not table.name.startswith("events_")]
        emptied = ["slices", *(table.name for table in plain), *sorted(_PASSING & _names(file))]
        tx.run(f"LOCK TABLE events, {', '.join(emptied)} IN ACCESS EXCLUSIVE MODE")
        check(tx)
        tx.run(f"CREATE TEMPORARY TABLE {KEPT} ON COMMIT DROP AS SELECT site, mac, at FROM tombstones")
        for number in sorted(event_tables(tx)):
            tx.run(f"DROP TABLE events_{number}")
        tx.run(f"TRUNCATE {', '.join(emptied)}")
        _make_slices(file, tx)
        for table in tables(file):
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, table.columns))
            )
            with raw.cursor() as cursor, cursor.copy(statement) as copy:
                for rows in file.chunks(table.query, size=_CHUNK):
                    for row in rows:
                        copy.write_row(row)
        _end_slices(file, tx)
        yield tx
        tx.run(f"ANALYZE events, {', '.join(table.name for table in plain)}")  # or nothing would be found quickly for some minutes


def tables(file: Connection) -> list[Table]:
    """Return the tables of a file of SQLite that hold rows to copy, those first that others refer to."""
    found: list[tuple[int, Table]] = []
    for name in sorted(_names(file) - _OWN - _PASSING):
        columns = file.rows("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", (name,))
        key = [column for place, column in sorted((place, column) for column, place in columns if place)]
        refers = file.rows("SELECT 1 FROM pragma_foreign_key_list(?)", (name,))
        found.append((len(refers), Table(name, tuple(column for column, _ in columns), tuple(key))))
    return [table for _, table in sorted(found)]


def _names(file: Connection) -> set[str]:
    return {row[0] for row in file.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'")}


def _make_slices(source: Connection, target: Connection) -> None:
    """Make the tables of the slices that have one, all of them open until they are filled."""
    make(target, sorted(number for number, state in _slices(source).items() if state in (OPEN, CLOSED)))


def _end_slices(source: Connection, target: Connection) -> None:
    """Close what was closed, and remember what was pruned, also from the overflow."""
    for number, state in _slices(source).items():
        if state == CLOSED:
            Slices.close(target, number)
        elif state == PRUNED:
            target.run("INSERT INTO slices (slice, state) VALUES (?, ?)", (number, PRUNED))
    for row in source.rows("SELECT moved, slice FROM slices WHERE moved IS NOT NULL"):
        target.run("UPDATE slices SET moved = ? WHERE slice = ?", row)


def _slices(connection: Connection) -> dict[int, str]:
    return dict(connection.rows("SELECT slice, state FROM slices ORDER BY slice"))


@contextmanager
def _quick_file(path: Path) -> Iterator[Connection]:
    """Open a file that nobody else knows yet, in one transaction that is safe for as long as nothing fails."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for pragma in ("journal_mode = DELETE", "synchronous = OFF", "journal_mode = OFF", "temp_store = 1", f"cache_size = {_PAGES}"):
            raw.execute(f"PRAGMA {pragma}")
        raw.execute("BEGIN")
        yield Connection(raw, "sqlite")
        raw.execute("COMMIT")
