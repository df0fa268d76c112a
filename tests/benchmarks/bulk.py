"""Bulk loading into a database of the product: straight into tables, indices made afterwards, nothing synced on the way.

A load that was interrupted leaves a database that is good for nothing.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import psycopg
from psycopg import sql


class Bulk(Protocol):
    """An open load."""

    def append(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write rows, best in the order of the primary key."""

    def finish(self) -> None:
        """Make the indices again and leave the database as the product keeps it."""


@contextmanager
def open_bulk(database_url: str) -> Iterator[Bulk]:
    """Open a load, to be ended by `finish`; nobody else may use the database meanwhile."""
    if database_url.startswith("sqlite:///"):
        file = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
        try:
            yield SqliteBulk(file)
        finally:
            file.close()
    else:
        with psycopg.connect(database_url, autocommit=True) as connection:
            yield PostgresBulk(connection)


class SqliteBulk:
    """Without a journal: several times as fast, and safe here because a broken load is thrown away."""

    def __init__(self, file: sqlite3.Connection) -> None:
        self._file = file
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000", "threads = 2"):
            file.execute(f"PRAGMA {pragma}").fetchall()
        self._indices = file.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
        for name, _ in self._indices:
            file.execute(f"DROP INDEX {name}")

    def append(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._file.execute("BEGIN")
        marks = ", ".join("?" * len(columns))
        self._file.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
        self._file.execute("COMMIT")

    def finish(self) -> None:
        for _, statement in self._indices:
            self._file.execute(statement)
        self._file.execute("PRAGMA locking_mode = NORMAL").fetchall()
        self._file.execute("PRAGMA journal_mode = WAL").fetchall()


class PostgresBulk:
    """COPY in binary form; run the server without fsync meanwhile."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        # Indices that are neither behind a constraint nor a part of a partitioned one.
        self._indices = connection.execute(
            "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind IN ('i', 'I') AND NOT c.relispartition "
            "AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid)"
        ).fetchall()
        for name, _ in self._indices:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))

    def append(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        types: dict[str, str] = dict(
            self._connection.execute(
                "SELECT a.attname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = %s::regclass",
                (table,),
            ).fetchall()
        )
        into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        with self._connection.cursor() as cursor, cursor.copy(into) as copy:
            copy.set_types([types[column] for column in columns])
            for row in rows:
                copy.write_row(row)

    def finish(self) -> None:
        self._connection.execute("SET maintenance_work_mem = '1GB'")
        for _, statement in self._indices:
            self._connection.execute(statement.encode())
        self._connection.execute("VACUUM (FREEZE, ANALYZE)")
        self._connection.execute("CHECKPOINT")
