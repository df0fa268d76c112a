"""One way to speak to SQLite and PostgreSQL: plain SQL with `?`, transactions that retry, settings that survive a power cut.

SQLite writes with BEGIN IMMEDIATE always (a deferred upgrade fails at once, whatever the busy timeout says), in WAL mode with
synchronous=FULL, so that a commit is on disk when it returns. PostgreSQL runs at READ COMMITTED with its own synchronous_commit,
and rows are locked in ascending order by those who need them.
"""

import functools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import peewee
import psycopg
from playhouse.pool import PooledPostgresqlDatabase, PooledSqliteDatabase

Engine = Literal["sqlite", "postgresql"]
T = TypeVar("T")

SQLITE_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: the WAL is synced at each commit
    "foreign_keys": 1,
    "temp_store": 2,
    "cache_size": -64_000,
    "wal_autocheckpoint": 4_000,
}
SQLITE_BUSY_SECONDS = 30
_ATTEMPTS = 6
_BLOCK = 64  # rows in one INSERT
_RETRIED_STATES = {"40001", "40P01"}  # serialisation failure, deadlock


class Connection:
    """Statements on one connection. Inside `Database.write` they belong to one transaction."""

    def __init__(self, raw: Any, engine: Engine) -> None:
        self._raw = raw
        self.engine: Engine = engine

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        return list(self._execute(sql, parameters).fetchall())

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Run a query and return its first row, or None."""
        found: tuple[Any, ...] | None = self._execute(sql, parameters).fetchone()
        return found

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Run a query and return the first column of its first row, or None."""
        found = self.row(sql, parameters)
        return None if found is None else found[0]

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return the number of rows it changed."""
        return int(self._execute(sql, parameters).rowcount)

    def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each row of parameters."""
        if len(rows) == 1:
            self._execute(sql, rows[0])
        elif rows:
            self._raw.cursor().executemany(self._dialect(sql), rows)

    def insert(self, into: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], then: str = "") -> list[tuple[Any, ...]]:
        """Insert rows with as few statements as possible and return what `then` (ON CONFLICT, RETURNING) returns.

        No two rows may meet in one ON CONFLICT DO UPDATE. Rows go out in blocks of powers of two, so that few different statements
        have to be prepared; few, because SQLite's driver gives up the interpreter's lock for each.
        """
        returned: list[tuple[Any, ...]] = []
        start = 0
        while start < len(rows):
            size = min(1 << (len(rows) - start).bit_length() - 1, _BLOCK)
            block = rows[start : start + size]
            cursor = self._execute(_insert_sql(into, tuple(columns), size, then), [value for row in block for value in row])
            if "RETURNING" in then:
                returned += cursor.fetchall()
            start += size
        return returned

    def lock_suffix(self) -> str:
        """Return the clause that locks selected rows until the commit; SQLite's single writer needs none."""
        return " FOR NO KEY UPDATE" if self.engine == "postgresql" else ""

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what happens inside if it raises, and nothing else of the transaction."""
        self._raw.execute("SAVEPOINT unit")
        try:
            yield
        except BaseException:
            self._raw.execute("ROLLBACK TO SAVEPOINT unit")
            self._raw.execute("RELEASE SAVEPOINT unit")
            raise
        self._raw.execute("RELEASE SAVEPOINT unit")

    def _execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        return self._raw.execute(self._dialect(sql), parameters)

    def _dialect(self, sql: str) -> str:
        return _for_sqlite(sql) if self.engine == "sqlite" else _for_postgresql(sql)


@functools.lru_cache(maxsize=2_048)
def _insert_sql(into: str, columns: tuple[str, ...], rows: int, then: str) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {into} ({', '.join(columns)}) VALUES {', '.join([row] * rows)} {then}"  # noqa: S608 (names of our own)


@functools.lru_cache(maxsize=2_048)
def _for_sqlite(sql: str) -> str:
    """Translate `lesser` and `larger` of two values; SQLite's give NULL where either is."""
    return sql.replace("lesser(", "min(").replace("larger(", "max(")


@functools.lru_cache(maxsize=2_048)
def _for_postgresql(sql: str) -> str:
    """Translate the placeholders, and `lesser` and `larger`; PostgreSQL's pass over NULL."""
    return sql.replace("%", "%%").replace("?", "%s").replace("lesser(", "least(").replace("larger(", "greatest(")


class Database:
    """The database of one installation, chosen by its address. Safe to share between threads."""

    def __init__(self, url: str, *, connections: int = 20) -> None:
        if url.startswith("sqlite:///"):
            self.engine: Engine = "sqlite"
            self._pool: Any = PooledSqliteDatabase(
                url.removeprefix("sqlite:///"),
                pragmas=SQLITE_PRAGMAS,
                timeout=SQLITE_BUSY_SECONDS,
                max_connections=1_000,
                check_same_thread=False,
                cached_statements=512,
            )
        elif url.startswith(("postgresql://", "postgres://")):
            self.engine = "postgresql"
            self._pool = PooledPostgresqlDatabase(
                url,
                max_connections=connections,
                timeout=SQLITE_BUSY_SECONDS,
                stale_timeout=300,
                prefer_psycopg3=True,
                isolation_level="READ COMMITTED",
            )
        else:
            raise ValueError("DATABASE_URL must begin with sqlite:/// or postgresql://")
        self.url = url

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend a connection for queries; each sees what is committed when it starts."""
        with self._pool.connection_context():
            yield Connection(self._pool.connection(), self.engine)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run one transaction: committed at the end, undone on any exception."""
        with self._pool.connection_context():
            mode = ("IMMEDIATE",) if self.engine == "sqlite" else ()
            with self._pool.atomic(*mode):
                yield Connection(self._pool.connection(), self.engine)

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction, again after a deadlock or serialisation failure."""
        for attempt in range(_ATTEMPTS):
            try:
                with self.write() as tx:
                    return work(tx)
            except Exception as error:
                if attempt + 1 == _ATTEMPTS or not is_transient(error):
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close every connection of the pool."""
        self._pool.close_all()


def is_transient(error: BaseException) -> bool:
    """Say whether the same transaction may succeed when it is run again at once."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, psycopg.Error) and cause.sqlstate in _RETRIED_STATES:
            return True
        cause = getattr(cause, "orig", None) or cause.__cause__
    return False


def is_unavailable(error: BaseException) -> bool:
    """Say whether the database, and not the statement, is at fault: unreachable, full, read-only, locked."""
    return isinstance(
        error, (sqlite3.OperationalError, psycopg.OperationalError, psycopg.InterfaceError, peewee.OperationalError, peewee.InterfaceError)
    )
