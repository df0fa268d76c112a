"""One way to speak to SQLite and PostgreSQL: plain SQL with `?`, transactions that retry, settings that survive a power cut.

SQLite writes with BEGIN IMMEDIATE always (a deferred upgrade fails at once, whatever the busy timeout says), in WAL mode with
synchronous=FULL, so that a commit is on disk when it returns. PostgreSQL runs at READ COMMITTED with its own synchronous_commit, unless
that is off, and rows are locked in ascending order by those who need them.
"""

import contextlib
import functools
import itertools
import json
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import psycopg
from psycopg.pq import TransactionStatus

from collector.storage.drafts import give_to_owner
from collector.storage.faults import back_off, is_outage, is_transient
from collector.storage.occupancy import Place
from collector.storage.packing import packed
from collector.storage.pools import WRITING, WRITING_IN_A_HURRY, FilePool, ListeningConnection, PostgresPool, connection_parameters
from collector.storage.questions import Question, rows_of, together

Engine = Literal["sqlite", "postgresql"]
T = TypeVar("T")

SQLITE_BUSY_SECONDS = 30
SQLITE_PRAGMAS = {
    "busy_timeout": SQLITE_BUSY_SECONDS * 1_000,
    "synchronous": 2,  # FULL: the WAL is synced at each commit
    "secure_delete": 1,  # what is deleted or replaced is overwritten, or a deleted person could be read from the file
    "foreign_keys": 1,
    "temp_store": 2,
    "cache_size": -64_000,  # KB
    "wal_autocheckpoint": 4_000,
}
_CUT_LOG_MS = 250
_ATTEMPTS = 6
_WAL_ATTEMPTS = 100
_MOST_OWED = 2**31 - 1  # what the header of the file holds
_BLOCK = 256  # rows in one INSERT
_NOTICE_ABSENCE = (  # as long as we go on waiting for the server (`connection_parameters`), or so; by itself it would for two hours
    "SELECT set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false), "
    "set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '20000', false)"
)
_MOST_VARIABLES = 8_192  # of a list; a statement may have 32,766 in all, and be about several


# sqlite3 asks each value that is not a number or text how it would be adapted, and finds out that it need not be. Told how, it asks less.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(type(None), cast("Callable[[None], None]", {}.get))


class Connection:
    """Statements on one connection. Inside `Database.write` they belong to one transaction."""

    def __init__(self, raw: Any, engine: Engine) -> None:
        self._raw = raw
        self.engine: Engine = engine
        self._read_ahead: dict[Question, list[tuple[Any, ...]]] = {}

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        rows: list[tuple[Any, ...]] = self._execute(sql, parameters).fetchall()
        return rows

    def asked(self, question: Question) -> list[tuple[Any, ...]]:
        """Return the rows of a question; for the first who asks, those that were read ahead."""
        found = self._read_ahead.pop(question, None) if self._read_ahead else None
        return self.rows(question.sql, question.parameters) if found is None else found

    def read_ahead(self, *questions: Question) -> None:
        """Ask several questions at once; `asked` then has the answers, all of one moment, each for the next who asks.

        PostgreSQL hears one statement: its driver takes more time for each than this takes to read. To SQLite there is no way to go, but
        it takes and gives back its locks once instead of each time.
        """
        if self.engine == "postgresql":
            sql = together(tuple(question.sql for question in questions))
            answers = self.row(sql, [value for question in questions for value in question.parameters]) or ()
            self._read_ahead = {question: rows_of(text, question) for question, text in zip(questions, answers, strict=True)}
        elif not self._raw.in_transaction:
            self._raw.execute("BEGIN")
            try:
                self._read_ahead = {question: self._execute(question.sql, question.parameters).fetchall() for question in questions}
            finally:
                self._raw.execute("COMMIT")

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Run a query and return its first row, or None."""
        found: tuple[Any, ...] | None = self._execute(sql, parameters).fetchone()
        return found

    def chunks(self, sql: str, parameters: Sequence[Any] = (), size: int = 5_000) -> Generator[list[tuple[Any, ...]], None, None]:
        """Run a query and yield its rows in lists of up to `size`, so that no more of them is ever in memory."""
        # A cursor of the server's: the client's would fetch everything at once.
        cursor = self._raw.cursor() if self.engine == "sqlite" else self._raw.cursor(name="chunks")
        try:
            cursor.execute(self._dialect(sql), parameters)
            while rows := cursor.fetchmany(size):
                yield rows
        finally:
            cursor.close()

    @contextmanager
    def cursors(self) -> Iterator[None]:
        """Let `chunks` be asked outside `write` and `snapshot`: PostgreSQL has a cursor for as long as a transaction, and this is one."""
        if self.engine == "sqlite" or self._raw.info.transaction_status != TransactionStatus.IDLE:
            yield
            return
        with self._raw.transaction():
            self.run("SET LOCAL cursor_tuple_fraction = 1")  # they are read to their end
            yield

    def stream(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Run a query and return its rows to be taken one by one; no other statement may run on the connection meanwhile."""
        return iter(self._execute(sql, parameters))

    def copied(self, sql: str, parameters: Sequence[Any] = ()) -> bytes:
        """Run a query of PostgreSQL's and return what its COPY gives in binary form."""
        with self._raw.cursor() as cursor, cursor.copy(self._dialect(f"COPY ({sql}) TO STDOUT (FORMAT BINARY)"), parameters) as copy:
            return b"".join(copy)

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

        No two rows may meet in one ON CONFLICT DO UPDATE. A column is of one type, or null; its default is null where all of it is.
        To PostgreSQL they go as arrays. SQLite's go out in blocks of powers of two, so that few different statements have to be prepared;
        few, because its driver gives up the interpreter's lock for each.
        """
        if not rows:
            return []
        if self.engine == "postgresql":
            return self._insert_arrays(into, columns, rows, then)
        return [row for block in _blocks(rows) for row in self._insert_block(into, columns, block, then)]

    def _insert_block(self, into: str, columns: Sequence[str], block: Sequence[Sequence[Any]], then: str) -> list[tuple[Any, ...]]:
        values = list(itertools.chain.from_iterable(block))
        cursor = self._execute(_insert_sql(into, tuple(columns), len(block), then), values)
        return list(cursor.fetchall()) if "RETURNING" in then else []

    def _insert_arrays(self, into: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], then: str) -> list[tuple[Any, ...]]:
        arrays = [(name, array) for name, values in zip(columns, zip(*rows, strict=True), strict=True) if (array := packed(values))]
        names = ", ".join(name for name, _ in arrays)
        sql = f"INSERT INTO {into} ({names}) SELECT * FROM unnest({', '.join('?' * len(arrays))}) {then}"
        cursor = self._execute(sql, [array for _, array in arrays])
        return list(cursor.fetchall()) if "RETURNING" in then else []

    def insert_new(self, into: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], key: int) -> set[Any]:
        """Insert those rows that are not there yet, and return what the others have in the column with place `key`. SQLite only."""
        # Nearly always all of them are new: then nothing has to be returned. A statement that fails undoes itself, not the transaction.
        met: set[Any] = set()
        for block in _blocks(rows):
            try:
                self._insert_block(into, columns, block, "")
            except sqlite3.IntegrityError:
                then = f"ON CONFLICT DO NOTHING RETURNING {columns[key]}"
                met |= {row[key] for row in block}.difference(row[0] for row in self._insert_block(into, columns, block, then))
        return met

    def copy(self, into: str, columns: Sequence[str], data: bytes) -> None:
        """Hand PostgreSQL rows in the binary form of its COPY, the quickest way for many; a single one that is there already fails."""
        with self._raw.cursor() as cursor, cursor.copy(f"COPY {into} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(data)

    def update(self, table: str, site: int, key: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> None:
        """Set whole numbers or null in rows of a site: each names a row by its `key`, then gives its columns. Each column has a rule that
        makes its value of what it was, `{0}`, and what is given, `{1}`.
        """
        if not rows:
            return
        if self.engine == "postgresql":
            names = [key, *columns]
            settings = ", ".join(f"{name} = {rule.format(f't.{name}', f'n.{name}')}" for name, rule in columns.items())
            arrays = [packed(values, int) for values in zip(*rows, strict=True)]
            given = f"unnest({', '.join('?' * len(names))}) AS n ({', '.join(names)})"
            # The site stands there by itself, not among the rows: so the statement says of whose rows it is.
            self._execute(f"UPDATE {table} t SET {settings} FROM {given} WHERE t.site = ? AND t.{key} = n.{key}", [*arrays, site])
            return
        settings = ", ".join(f"{name} = {rule.format(name, f'?{place}')}" for place, (name, rule) in enumerate(columns.items(), 3))
        self.run_many(f"UPDATE {table} SET {settings} WHERE site = ?1 AND {key} = ?2", [(site, *row) for row in rows])

    def among(self, values: Sequence[int] | Sequence[str] | Sequence[bytes]) -> tuple[str, Sequence[Any]]:
        """Return the condition that a column is one of these values, and its parameters; of none it is nothing.

        Few different texts come of it, so that a statement is prepared once: one array on PostgreSQL, on SQLite a power of two of values,
        and beyond what a statement may have there one text of JSON, in which bytes do not go.
        """
        if not values:
            return "IN (NULL)", ()
        if self.engine == "postgresql":
            return "= ANY(?)", (packed(values),)
        size = 1 << (len(values) - 1).bit_length()
        if size > _MOST_VARIABLES:
            return "IN (SELECT value FROM json_each(?))", (json.dumps(list(values)),)
        return f"IN ({', '.join('?' * size)})", [*values, *[values[-1]] * (size - len(values))]

    def pairs(self, pairs: Sequence[tuple[Any, Any]]) -> tuple[str, Sequence[Any]]:
        """Return a query of these pairs, of which there is one at least, and its parameters; see `among`."""
        if self.engine == "postgresql":
            return "SELECT * FROM unnest(?, ?)", [packed(values) for values in zip(*pairs, strict=True)]
        values = list(itertools.chain.from_iterable(pairs))
        return f"VALUES {', '.join(['(?, ?)'] * len(pairs))}", values

    def lock_suffix(self) -> str:
        """Return the clause that locks selected rows until the commit; SQLite's single writer needs none."""
        return " FOR NO KEY UPDATE" if self.engine == "postgresql" else ""

    def owe_rewriting(self) -> None:
        """Note in SQLite's file, with this transaction, that it is to be written anew: see `rewriting`."""
        if self.engine == "sqlite":
            owed = self.value("PRAGMA user_version")
            self.run(f"PRAGMA user_version = {owed % _MOST_OWED + 1}")

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


def _blocks(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield rows in blocks whose sizes are powers of two, as large as they may be."""
    start = 0
    while start < len(rows):
        size = min(1 << (len(rows) - start).bit_length() - 1, _BLOCK)
        yield rows[start : start + size]
        start += size


@functools.lru_cache(maxsize=2_048)
def _insert_sql(into: str, columns: tuple[str, ...], rows: int, then: str) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {into} ({', '.join(columns)}) VALUES {', '.join([row] * rows)} {then}"


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

    def __init__(self, url: str, *, connections: int = 20, as_it_is: bool = False, statement_ms: int = 0, cache_mb: int = 64) -> None:
        """Open it. `as_it_is` is for those who only look: no byte of a file of SQLite changes, nor the mode that it is in.

        `statement_ms` is after how many ms PostgreSQL ends a statement, also one that waits for a lock; 0 for never. `cache_mb`
        is how much of a file of SQLite each connection keeps in memory, in MB; there are as many as threads that use one at a time.
        """
        if url.startswith("sqlite:///"):
            self.engine: Engine = "sqlite"
            name = url.removeprefix("sqlite:///")
            if not as_it_is:
                _make_private(name)
            self._pool: Any = FilePool(
                _address_to_look_at(Path(name)) if as_it_is else name,
                pragmas={**SQLITE_PRAGMAS, "cache_size": -1_000 * cache_mb},
                check_same_thread=False,
                cached_statements=512,
                uri=as_it_is,
            )
            self._pool.register_function(_compare_numbers, "compare_numbers", 2)
            self._place: Place | None = None
            if not as_it_is:
                self._use_wal()
                self._place = Place.of(url)
        elif url.startswith(("postgresql://", "postgres://")):
            self.engine = "postgresql"
            self._pool = PostgresPool(url, connections, statement_ms)
            self._place = None
        else:
            raise ValueError("DATABASE_URL must begin with sqlite:/// or postgresql://")
        self.url = url

    def _use_wal(self) -> None:
        """Put the file into WAL mode, for good. The switch does not wait for other processes that do the same, so it is tried again."""
        for attempt in range(_WAL_ATTEMPTS):
            try:
                with self.read() as connection:
                    if connection.value("PRAGMA journal_mode") == "wal" or connection.value("PRAGMA journal_mode = wal") == "wal":
                        return
            except sqlite3.OperationalError as error:
                if not is_outage(error) or attempt + 1 == _WAL_ATTEMPTS:
                    raise
            time.sleep(0.05)
        raise OSError("the database file cannot be put into WAL mode; is it on a network file system?")

    @property
    def moves(self) -> int:
        """How often connections came to lead to another server than before, which may lack what the last one took. 0 for a file."""
        return 0 if self.engine == "sqlite" else int(self._pool.moves)

    @contextmanager
    def write(self, *, hurry: bool = False) -> Iterator[Connection]:
        """Run one transaction: committed at the end, undone on any exception.

        In a hurry, no lock of PostgreSQL is waited for without end: that it is not to be had is an outage then.
        """
        mode = "IMMEDIATE" if self.engine == "sqlite" else WRITING_IN_A_HURRY if hurry else WRITING
        with self.read() as connection:
            with self._pool.atomic(mode):
                yield connection
            self.check_place()  # once more: what was committed is on disk, but under which name?

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend this thread's connection, which goes back to the pool when whoever asked first is done.

        It is for queries, each of which sees what is committed when it starts; to write there is `write`.

        Raises:
            Replaced: it would lead to a file that is not the one of this name any more, or mix the two.
        """
        self.check_place()
        first = self._pool.connect(reuse_if_open=True)
        try:
            yield Connection(self._pool.connection(), self.engine)
        except Exception as error:
            if first and is_outage(error):  # another connection may do better: to a file that is writable again, to the new primary
                self._pool.manual_close()
            raise
        finally:
            if first:
                self._pool.close()

    def check_place(self) -> None:
        """Make sure that a file of SQLite still stands under its name.

        Raises:
            Replaced: another does, or none.
        """
        if self._place is not None:
            self._place.check()

    @contextmanager
    def snapshot(self, hold: Sequence[str] = ()) -> Iterator[Connection]:
        """Lend a connection for queries that all see the same moment, whoever writes meanwhile. It may be used for long.

        Nothing but temporary tables is to be written there, which PostgreSQL takes for writing too.

        `hold` are tables that nobody may drop before the end: on PostgreSQL not even a snapshot keeps them.
        """
        with self.read() as connection:
            if self.engine == "sqlite":
                connection.rows("PRAGMA temp_store = 1")  # what is sorted may not fit into memory
            try:
                with self._pool.atomic("DEFERRED" if self.engine == "sqlite" else "REPEATABLE READ"):
                    if self.engine == "postgresql":
                        connection.run("SET LOCAL cursor_tuple_fraction = 1")  # cursors here are read to their end
                        if hold:  # before the first query, which takes the snapshot
                            connection.run(f"LOCK TABLE {', '.join(hold)} IN ACCESS SHARE MODE")
                    yield connection
            finally:
                if self.engine == "sqlite":
                    connection.rows(f"PRAGMA temp_store = {SQLITE_PRAGMAS['temp_store']}")

    def in_transaction(self) -> bool:
        """Say whether this thread is inside `write` or `snapshot`: whatever it reads then may not be the present."""
        return bool(self._pool.in_transaction())

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction, again after a deadlock or serialisation failure."""
        for attempt in range(_ATTEMPTS):
            try:
                with self.write() as tx:
                    return work(tx)
            except Exception as error:
                if attempt + 1 == _ATTEMPTS or not is_transient(error):
                    raise
                back_off(attempt)
        raise AssertionError("unreachable")

    @contextmanager
    def _session(self) -> Iterator[ListeningConnection]:
        """Lend a connection to PostgreSQL beside the pool; where the network is cut, the server ends it too, and what it holds is free."""
        with ListeningConnection.connect(**connection_parameters(self.url), autocommit=True) as session:
            session.execute(_NOTICE_ABSENCE)
            yield session

    def run_alone(self, sql: str, *, seconds: int = 0, lock_ms: int = 0) -> None:
        """Run a statement of PostgreSQL that no transaction may hold.

        The server ends it after so many `seconds`, or where it waits for a lock for so many ms; 0 for never.
        """
        with self._session() as session:
            session.execute(f"SET statement_timeout = '{seconds}s'".encode())
            session.execute(f"SET lock_timeout = {lock_ms}".encode())
            session.execute(sql.encode())

    @contextmanager
    def alone(self, lock: int) -> Iterator[bool]:
        """Hold an advisory lock of PostgreSQL meanwhile; False where another process holds it. SQLite's transactions need none."""
        if self.engine == "sqlite":
            yield True
            return
        with self._session() as session:
            row = session.execute("SELECT pg_try_advisory_lock(%s)", (lock,)).fetchone()
            try:
                yield row is not None and bool(row[0])
            finally:
                with contextlib.suppress(psycopg.Error):  # the end of a connection frees it too, but not before the next one may ask
                    session.execute("SELECT pg_advisory_unlock_all()")

    def cut_log(self) -> bool:
        """Write SQLite's log into the file and cut it to nothing, so that it keeps no copy of what was deleted.

        Returns False where a reader or writer is in the way: try again later. PostgreSQL recycles its log by itself.
        """
        if self.engine != "sqlite":
            return True
        with self.read() as connection:
            connection.rows(f"PRAGMA busy_timeout = {_CUT_LOG_MS}")
            try:
                row = connection.row("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.rows(f"PRAGMA busy_timeout = {SQLITE_BUSY_SECONDS * 1_000}")
        return row is not None and row[0] == 0

    def close(self) -> None:
        """Close every connection of the pool."""
        self._pool.close_all()


def _compare_numbers(left: str, right: str) -> int:
    """Compare two numbers in JSON exactly, whatever their size: below 0, 0 or above 0. PostgreSQL has `numeric` for that."""
    one, other = json.loads(left), json.loads(right)
    return int(one > other) - int(one < other)


def _address_to_look_at(path: Path) -> str:
    """Return the address of a file of SQLite for those who change nothing.

    A file that nobody serves from may be in WAL mode without a log beside it. Where one can be made, SQLite may write: it makes an empty
    log and takes it away again, which whoever is read-only would leave behind. Where not, nobody can write, and it is read as it lies.
    """
    file = path.resolve()
    mode = "ro"
    if _is_in_wal_mode(file) and not file.with_name(f"{file.name}-wal").exists():
        mode = "rw" if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK) else "ro&immutable=1"
    return f"{file.as_uri()}?mode={mode}"


def _is_in_wal_mode(path: Path) -> bool:
    """Say what the header of a file of SQLite says."""
    with path.open("rb") as file:
        return file.read(20)[18:] == bytes((2, 2))


def _make_private(name: str) -> None:
    """Make the file where there is none, readable by its owner alone: it holds personal data. WAL and index take after it."""
    if name and name != ":memory:" and not Path(name).exists():
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            give_to_owner(descriptor, Path(name).absolute().parent)
            os.close(descriptor)
