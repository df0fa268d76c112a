"""The whole database as it stands at one moment, read while collectors write, and what its engine says of it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from collector.storage import time_limits
from collector.storage.database import Connection, Database
from collector.storage.slices import with_tables

_ATTEMPTS = 6
_MOST_LINES = 100


@contextmanager
def snapshot(database: Database, *, in_parts: bool = False) -> Iterator[Connection]:
    """Lend a connection that sees one moment; the tables of the slices that there are then stay until it is given back.

    It may take longer than the role may.

    With `in_parts`, PostgreSQL is told that everything is read part by part: it would rather read a whole table for each.
    """
    with ExitStack() as stack:
        for attempt in range(_ATTEMPTS):
            with database.read() as connection:
                hold = [f"events_{number}" for number in sorted(event_tables(connection) & set(with_tables(connection)))]
            try:
                connection = stack.enter_context(database.snapshot(hold))
                break
            except psycopg.errors.UndefinedTable:  # dropped between the two looks
                if attempt + 1 == _ATTEMPTS:
                    raise
        time_limits.lift(connection)
        if in_parts and database.engine == "postgresql":
            connection.run("SET LOCAL enable_seqscan = off")
            connection.run("SET LOCAL max_parallel_workers_per_gather = 0")  # the other cores are left to whoever serves
        yield connection


def damage(connection: Connection) -> list[str]:
    """Return what SQLite finds wrong with the pages of its file. PostgreSQL looks at its own as it reads them."""
    if connection.engine != "sqlite":
        return []
    return [line for (line,) in connection.rows(f"PRAGMA quick_check({_MOST_LINES})") if line != "ok"]


def dangling(connection: Connection) -> list[str]:
    """Return references to rows that are not there. PostgreSQL never lets one be."""
    if connection.engine != "sqlite":
        return []
    found = connection.rows("PRAGMA foreign_key_check")
    return [f"a row of {table} refers to a row of {parent} that is not there" for table, _, parent, _ in found[:_MOST_LINES]]


def event_tables(connection: Connection) -> set[int]:
    """Return the slices that have a table, by the catalogue and not by what is written down about them."""
    names = [str(row[0]) for row in connection.rows(_TABLES[connection.engine])]
    return {int(name[7:]) for name in names if name.startswith("events_") and name[7:].isdigit()}


def in_timeline(connection: Connection, number: int) -> bool:
    """Say whether `events` reads a slice's table."""
    if connection.engine == "postgresql":
        found = connection.value(
            "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = 'events'::regclass AND NOT i.inhdetachpending AND c.relname = ?",
            (f"events_{number}",),
        )
        return bool(found)
    view = connection.value("SELECT sql FROM sqlite_master WHERE type = 'view' AND name = 'events'") or ""
    return f" events_{number} " in f"{view} "


def refuses(connection: Connection, number: int) -> bool:
    """Say whether a slice's table refuses every insert, as that of a closed slice has to."""
    if connection.engine == "postgresql":
        sql = (
            "SELECT count(*) FROM pg_constraint n JOIN pg_class c ON c.oid = n.conrelid WHERE c.relname = ? AND n.conname = 'slice_closed'"
        )
    else:
        sql = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
    return bool(connection.value(sql, (f"events_{number}",)))


def number_of_events(connection: Connection) -> int:
    """Return how many events the slices hold."""
    return sum(connection.value(f"SELECT count(*) FROM events_{number}") for number in with_tables(connection))


def others(connection: Connection, own: int = 0) -> dict[str, int]:
    """Return how many other connections to a PostgreSQL database there are, by role; the server's own workers have none.

    Who may not know what other roles do is still told that they are there. `own` is the server's number of one more that does not count.
    """
    rows = connection.rows(
        "SELECT usename, count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ? "
        "AND usename IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend' GROUP BY usename ORDER BY usename",
        (own,),
    )
    return dict(rows)


_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": (
        "SELECT c.relname FROM pg_class c JOIN pg_class p ON p.relnamespace = c.relnamespace "
        "WHERE p.oid = 'events'::regclass AND c.relkind = 'r'"
    ),
}
