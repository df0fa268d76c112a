"""Pools of connections that do not wait for a database that is gone. peewee makes them; what is here decides how long they wait.

On PostgreSQL three things can be silent for ever. An idle connection whose server went away is recognised before it is lent. While a
statement gets no answer, a second connection asks whether anybody is there at all; a server that is merely busy says so. And locks:
a transaction of ours waits for them only so long, and the server ends it if we fall silent in the middle, so that a collector cut
off from its server leaves no locks behind. Whoever has to connect while the server cannot be reached does not try for as long as the
last attempt took, so that many waiting requests do not try one after the other.

A standby that was promoted may lack what its predecessor took last. So a pool notices when its connections lead to another server than
before, and counts how often that was.
"""

import sqlite3
import time
from collections.abc import Generator
from typing import Any

import psycopg
from peewee import OperationalError, Psycopg3Adapter, SqliteDatabase
from playhouse.pool import PooledPostgresqlDatabase
from psycopg.conninfo import conninfo_to_dict

CONNECT_SECONDS = 5
SILENCE_SECONDS = 2
LOCK_SECONDS = 10
IDLE_SECONDS = 10
_LOOKS = 3
_IDLE = 8  # connections to a file that are kept: each has a cache of its own
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}

WRITING = f"READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
"""How a transaction begins that writes."""
WRITING_IN_A_HURRY = f"{WRITING}; SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"
"""How one begins that others wait for."""


_OPENING = (
    b"SELECT pg_postmaster_start_time()::text, CASE WHEN current_setting('synchronous_commit') = 'off' "
    b"THEN set_config('synchronous_commit', 'on', false) END"
)
"""What a connection begins with: which server this is, told by when it was started, and that a commit is on disk when it is answered, where
the role or the server has it otherwise."""


def connection_parameters(url: str) -> dict[str, Any]:
    """Return what to connect with to an address: texts travel as UTF-8, whatever the role, the server or the environment says.

    Raises:
        ValueError: it is no address; what it says may be a part of a password, so it is not repeated.
    """
    try:
        named = conninfo_to_dict(url)
    except psycopg.Error:
        named = None
    host, port, name = (str((named or {}).get(part) or "") for part in ("host", "port", "dbname"))
    if named is None or "@" in host + name or not all(number.isdecimal() for number in port.split(",") if number):
        raise ValueError("DATABASE_URL cannot be read: within user and password, signs such as % @ / : are written %25 %40 %2F %3A")
    return {"connect_timeout": CONNECT_SECONDS, **_KEEPALIVE, **named, "client_encoding": "utf8"}


class ListeningConnection(psycopg.Connection[Any]):
    """A connection that asks whether the server is still there when it has heard nothing for a while."""

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        """Wait for an answer, as psycopg does everywhere.

        Raises:
            psycopg.DataError: the driver could not send it, although nothing is wrong with the connection: it has too many parameters, say.
                That is called an OperationalError too, as is a server that is gone.
        """
        try:
            return super().wait(self._listening(gen), *arguments, **options)
        except psycopg.OperationalError as error:
            if error.sqlstate is not None or self.closed:
                raise
            unsent = str(error)
        raise psycopg.DataError(unsent)  # out here, or the other would be among its causes

    def _listening(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        try:
            wanted = next(gen)
            heard = time.monotonic()
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > SILENCE_SECONDS:
                    self._ask_server()
                    heard = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _ask_server(self) -> None:
        """Make sure that somebody answers where this connection leads to; else close it.

        Raises:
            psycopg.OperationalError: nobody does.
        """
        try:
            psycopg.connect(self.info.dsn, password=self.info.password or None, connect_timeout=CONNECT_SECONDS).close()
        except psycopg.errors.ConnectionTimeout:
            self.close()
            raise psycopg.OperationalError("the server has fallen silent") from None
        except psycopg.Error:  # it says no, but it speaks
            return


class _Adapter(Psycopg3Adapter):
    """Makes the connections of one pool, one at a time (the pool holds its lock meanwhile)."""

    def __init__(self) -> None:
        super().__init__()
        self._absent_until = 0.0
        self._last: tuple[str, str] | None = None
        self._started: str | None = None

    def connect(self, db: "PostgresPool", **_: Any) -> ListeningConnection:
        """Connect to the first server that the address admits, beginning with that of the last connection."""
        began = time.monotonic()
        if began < self._absent_until:
            raise psycopg.OperationalError("the server could not be reached a moment ago")
        connection = None
        try:
            connection = ListeningConnection.connect(**_beginning_with(self._last, db.parameters), autocommit=True)  # as peewee has it
            if db.statement_ms:
                connection.execute(b"SET statement_timeout = %d" % db.statement_ms)
            row = connection.execute(_OPENING).fetchone()
        except psycopg.Error:
            now = time.monotonic()
            self._absent_until = now + min(now - began, CONNECT_SECONDS)
            if connection is not None:
                connection.close()
            raise
        started = None if row is None else row[0]
        if started not in (None, self._started):
            db.moves += self._started is not None
            self._started = started
        self._last = (connection.info.host, str(connection.info.port))
        return connection

    def is_connection_closed(self, conn: ListeningConnection) -> bool:
        """Say whether an idle connection is of no use, without asking the server: what it sent before it went away is here."""
        try:
            for _ in range(_LOOKS):  # farewell and end of the stream arrive one after the other
                conn.pgconn.consume_input()
        except psycopg.OperationalError:
            return True
        return bool(self.txn_status(conn) != self.txn_idle)


def _beginning_with(last: tuple[str, str] | None, wanted: dict[str, Any]) -> dict[str, Any]:
    """Put the server of the last connection first, where there are several: the others may be dead without saying so."""
    hosts = str(wanted.get("host") or "").split(",")
    if last is None or len(hosts) == 1 or "hostaddr" in wanted:
        return wanted
    ports = str(wanted.get("port") or "5432").split(",")
    servers = list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False))
    servers.sort(key=lambda server: server != last)
    return {**wanted, "host": ",".join(host for host, _ in servers), "port": ",".join(port for _, port in servers)}


class PostgresPool(PooledPostgresqlDatabase):  # type: ignore[misc]
    """At most so many connections to one database of PostgreSQL."""

    psycopg3_adapter = _Adapter

    def __init__(self, url: str, connections: int, statement_ms: int = 0) -> None:
        """`statement_ms` is after how many ms the server ends a statement, 0 for never.

        Raises:
            ValueError: see `connection_parameters`.
        """
        self.parameters = connection_parameters(url)
        super().__init__(url, max_connections=connections, timeout=CONNECT_SECONDS, stale_timeout=300, prefer_psycopg3=True)
        self.statement_ms = statement_ms
        self.moves = 0
        self._ended = False

    def close_all(self) -> None:
        """End every connection: one that a thread is using, when it is given back. To end it under that thread is a fault of memory."""
        self._ended = True
        self.close()
        self.close_idle()

    def _can_reuse(self, conn: ListeningConnection) -> bool:
        return not self._ended and bool(super()._can_reuse(conn))  # asked with the pool's lock held

    def begin(self, isolation_level: str | None = None) -> None:
        """Begin a transaction with this level, and with what follows it there."""
        self.cursor().execute(f"BEGIN ISOLATION LEVEL {isolation_level or WRITING}", prepare=False)  # several statements in one message


class FilePool(SqliteDatabase):
    """Connections to one file of SQLite: as many as are used at a time, each given on to whoever asks next; some of them stay.

    peewee's own pool has a limit, a clock and a heap, for servers that are waited for. A file is not, and a short read took a tenth less
    time without them.
    """

    _state: Any  # peewee's, of this thread

    def __init__(self, name: str, **options: Any) -> None:
        self._idle: list[sqlite3.Connection] = []
        self._ended = False
        super().__init__(name, **options)

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Lend a connection to this thread, and say whether it had none."""
        if not self._state.closed or not self._idle:
            return bool(super().connect(reuse_if_open))
        try:
            self._state.set_connection(self._idle.pop())
        except IndexError:  # another thread was quicker
            return bool(super().connect(reuse_if_open))
        return True

    def close(self) -> bool:
        """Give this thread's connection back, and say whether it had one."""
        lent = self._lent()
        if lent is not None:
            if len(self._idle) < _IDLE:
                self._idle.append(lent)
            else:
                lent.close()
            if self._ended:
                self._end_idle()
        return lent is not None

    def manual_close(self) -> bool:
        """End this thread's connection, and say whether it had one."""
        lent = self._lent()
        if lent is not None:
            lent.close()
        return lent is not None

    def close_all(self) -> None:
        """End every connection: one that a thread is using, when it is given back. To end it under that thread is a fault of memory."""
        self._ended = True
        self.close()
        self._end_idle()

    def _end_idle(self) -> None:
        while True:
            try:
                idle = self._idle.pop()
            except IndexError:
                return
            idle.close()

    def _lent(self) -> sqlite3.Connection | None:
        lent: sqlite3.Connection | None = self._state.conn
        if self._state.transactions:
            raise OperationalError("a transaction is open")
        self._state.reset()
        return lent
