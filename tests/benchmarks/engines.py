"""The databases of the benchmarks, kept in a folder on a real disk between runs: files of SQLite, a PostgreSQL server of our own."""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql

from tests.benchmarks.load import cpu_seconds
from tests.support import postgres
from tests.support.processes import free_port, last_lines

_START_SECONDS = 60
_STOP_SECONDS = 120
_DURABLE = {"shared_buffers": "2GB", "max_wal_size": "8GB"}
"""What an operator would set for a database of this size; all else is PostgreSQL's default, fsync and synchronous_commit included."""
_LOADING = {
    **_DURABLE,
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "synchronous_commit": "off",
}


class Engine(Protocol):
    """Databases by name on one engine."""

    name: str

    def url(self, database: str) -> str:
        """Return the address of a database, as DATABASE_URL."""

    def has(self, database: str) -> bool:
        """Say whether there is such a database."""

    def make(self, database: str) -> None:
        """Make sure of an empty database of that name."""

    def copy(self, source: str, target: str) -> None:
        """Make a database a copy of another, whatever it was before. Nobody may be using either."""

    def loading(self) -> Any:
        """Return a context in which writing is quick and not durable."""

    def cpu(self) -> float:
        """Return the CPU seconds of the server so far; 0 where the database is a file."""

    def version(self) -> str:
        """Return what it is."""

    def settings(self) -> str:
        """Return what is not its default."""

    def stop(self) -> None:
        """End the server."""


class Sqlite:
    """Each database is a file."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _file(self, database: str) -> Path:
        return self._folder / f"{database}.db"

    def url(self, database: str) -> str:
        return f"sqlite:///{self._file(database)}"

    def has(self, database: str) -> bool:
        return self._file(database).exists()

    def make(self, database: str) -> None:
        for path in self._folder.glob(f"{database}.db*"):
            path.unlink()

    def copy(self, source: str, target: str) -> None:
        self.make(target)
        with sqlite3.connect(self._file(source)) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.close()
        shutil.copyfile(self._file(source), self._file(target))
        with self._file(target).open("rb") as copied:
            os.fsync(copied.fileno())  # written back now and not while something is measured

    @contextmanager
    def loading(self) -> Iterator[None]:
        yield

    def cpu(self) -> float:
        return 0.0

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def settings(self) -> str:
        return "WAL, synchronous = FULL, as the product sets it"

    def stop(self) -> None:
        pass


class Postgresql:
    """Each database is one of our own server's, from the wheel that the tests use."""

    name = "postgresql"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._log = folder / "log"
        folder.mkdir(parents=True, exist_ok=True)
        self._account: dict[str, Any] = {}
        self._programs = postgres._programs()
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._account = {"user": postgres.NOBODY, "group": postgres.NOBODY, "extra_groups": []}
            if not postgres._reachable_by_others(folder):
                raise RuntimeError(f"run as root, PostgreSQL needs a folder that others can enter: {folder}")
            if not postgres._reachable_by_others(self._programs):
                self._programs = postgres._copied(self._programs, folder)
        if not self._data.exists():
            self._data.mkdir(mode=0o700)
            if self._account:
                os.chown(self._data, postgres.NOBODY, postgres.NOBODY)
            made = self._run("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
            if made.wait():
                shutil.rmtree(self._data)
                raise RuntimeError(f"initdb failed:\n{last_lines(self._log)}")
        self._start(_DURABLE)

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [str(self._programs / program), *arguments],
                cwd=self._data,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self._account,
            )

    def _start(self, settings: dict[str, str]) -> None:
        self._port = free_port()
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        options += ["-h", "127.0.0.1", "-p", str(self._port), "-k", "", "-c", "max_connections=200"]
        self._process = self._run("postgres", "-D", str(self._data), *options)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(f"{self._base}/postgres").close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{last_lines(self._log)}") from None
            time.sleep(0.02)

    @property
    def _base(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}"

    def _execute(self, statement: str, *names: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(f"{self._base}/postgres", autocommit=True) as connection:
            cursor = connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str) -> str:
        return f"{self._base}/{database}"

    def has(self, database: str) -> bool:
        return (database,) in self._execute("SELECT datname::text FROM pg_database")

    def make(self, database: str) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", database)
        self._execute("CREATE DATABASE {}", database)

    def copy(self, source: str, target: str) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", target)
        self._execute("CREATE DATABASE {} TEMPLATE {} STRATEGY = FILE_COPY", target, source)
        self._execute("CHECKPOINT")

    @contextmanager
    def loading(self) -> Iterator[None]:
        self.stop()
        self._start(_LOADING)
        try:
            yield
        finally:
            self.stop()
            self._start(_DURABLE)

    def cpu(self) -> float:
        return cpu_seconds(self._process.pid)

    def version(self) -> str:
        return "PostgreSQL " + str(self._execute("SHOW server_version")[0][0]).partition(" ")[0]

    def settings(self) -> str:
        told = ", ".join(f"{name} = {value}" for name, value in _DURABLE.items())
        return f"{told}, all else the default (fsync, synchronous_commit and full_page_writes on)"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)  # fast shutdown: sessions are ended
        self._process.wait(_STOP_SECONDS)


@contextmanager
def open_engine(name: str, folder: Path) -> Iterator[Engine]:
    """Open the databases of one engine in a folder, and end its server afterwards."""
    engine: Engine = Sqlite(folder / name) if name == "sqlite" else Postgresql(folder / name)
    try:
        yield engine
    finally:
        engine.stop()


def default_folder() -> Path:
    """Return where databases are kept: where root runs this, PostgreSQL runs as nobody, who cannot enter root's home."""
    if os.geteuid() == 0:
        return Path("/var/cache/leadlight-bench")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leadlight-bench"
