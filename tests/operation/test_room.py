"""Writing SQLite's file anew takes room for a second one, in two places: where there is too little, that alone waits, and is said."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector import upkeep
from collector.domain import rounds
from collector.domain.doctor import examine
from collector.storage import rewriting
from collector.storage.database import Database
from collector.upkeep import Report, Upkeep, round_of
from tests.domain.test_deletion import erase
from tests.support.clock import FakeClock
from tests.support.disks import SmallDisk, small_disk
from tests.support.processes import clean_environment, run_command
from tests.support.world import World, lead
from tests.support.world import world as start

ROOM, FULL = 120, 70
"""Of the small disk, and of a file that fits there once, in megabytes."""
NAME = "Somebody who is deleted"
KEY = "a key that is long enough for tests"


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with small_disk(ROOM) as made:
        yield made


def fill(database: Database, megabytes: int) -> None:
    """Let a file grow, its log never by more than a little."""
    with database.write() as tx:
        tx.run("CREATE TABLE large (content BLOB)")
    for _ in range(megabytes):
        with database.write() as tx:
            tx.run("INSERT INTO large (content) VALUES (zeroblob(1000000))")
        assert database.cut_log()


def empty(database: Database) -> None:
    """Take away again what `fill` brought, step by step too: what is deleted is overwritten by way of the log."""
    for _ in range(FULL):
        with database.write() as tx:
            tx.run("DELETE FROM large WHERE rowid = (SELECT min(rowid) FROM large)")
        assert database.cut_log()


def owing(shop: World, megabytes: int = 0) -> None:
    """Have a file of some size that is to be written anew."""
    fill(shop.services.written, megabytes)
    shop.set(lead(), {"name": NAME})
    assert erase(shop, lead().key)


def do(shop: World) -> Report:
    report = Report()
    for _ in round_of(shop.services, shop.services.written.transact, report):
        pass
    return report


def trouble(shop: World) -> str:
    """What the doctor says of upkeep, which is about this one part or nothing."""
    found = [one for one in examine(shop.services.database, shop.services.keyring) if one.check == "upkeep"]
    assert {one.expected for one in found} <= {"rewriting done each night"}
    return found[0].found if found else ""


def last_whole(shop: World) -> int | None:
    with shop.services.database.read() as connection:
        return rounds.last_whole(connection)


def is_owed(shop: World) -> bool:
    return shop.rows("PRAGMA user_version") != [(0,)]


def log_of(shop: World) -> Path:
    return Path(shop.services.settings.database_url.removeprefix("sqlite:///") + "-wal")


@pytest.fixture
def crowded(disk: SmallDisk, clock: FakeClock) -> Iterator[World]:
    """A collector whose file is to be written anew and does not fit on its disk twice."""
    with start(f"sqlite:///{disk.folder / 'leadlight.db'}", clock) as shop:
        owing(shop, FULL)
        yield shop


def test_where_the_disk_has_too_little_it_is_refused_and_the_round_goes_on(disk: SmallDisk, crowded: World) -> None:
    assert do(crowded).failed == 1
    told = trouble(crowded)
    assert "MB on the disk of" in told
    assert str(disk.folder) in told
    assert log_of(crowded).stat().st_size < 10**6
    assert is_owed(crowded)
    assert last_whole(crowded) is None
    empty(crowded.services.written)
    assert do(crowded).failed == 0
    assert (trouble(crowded), is_owed(crowded), last_whole(crowded)) == ("", False, crowded.clock())


def test_where_it_turns_out_to_be_full_the_round_goes_on_and_the_log_gives_the_room_back(
    crowded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may have filled it since it was asked."""
    monkeypatch.setattr(rewriting, "_ask_for_room", lambda *_: None)
    assert do(crowded).failed == 1
    assert "SQLITE_FULL" in trouble(crowded)
    assert log_of(crowded).stat().st_size < 10**6
    assert is_owed(crowded)


def test_both_on_one_disk_have_to_fit_together(disk: SmallDisk, crowded: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> int:
        do(crowded)
        return int(trouble(crowded).partition(" takes ")[2].partition(" MB")[0])

    apart = told()
    monkeypatch.setenv("SQLITE_TMPDIR", str(disk.folder))
    assert told() in (2 * apart, 2 * apart + 1)


def test_the_disk_for_temporary_files_is_asked_too(disk: SmallDisk, tmp_path: Path, clock: FakeClock) -> None:
    url = f"sqlite:///{tmp_path / 'leadlight.db'}"
    with start(url, clock, secret_key=(KEY,)) as shop:
        owing(shop, ROOM + 10)
    environ = {"DATABASE_URL": url, "SECRET_KEY": KEY}
    done = run_command(["collector", "prune", "--force"], tmp_path, {**environ, "SQLITE_TMPDIR": str(disk.folder)})
    assert done.returncode == 1
    assert f"MB on the disk of {disk.folder}" in done.stderr
    assert "Traceback" not in done.stderr
    done = run_command(["collector", "prune", "--force"], tmp_path, environ)
    assert done.returncode == 0, done.stderr


WHERE = """
import sqlite3
from pathlib import Path
from collector.storage.rewriting import temporary_folder
file = sqlite3.connect("")
file.execute("PRAGMA cache_size = 1")
file.execute("CREATE TABLE large AS SELECT zeroblob(10000000)")
names = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
print(*{Path(name).parent for name in names if "etilqs_" in name}, temporary_folder())
"""


@pytest.mark.parametrize("named", [("SQLITE_TMPDIR", "TMPDIR"), ("TMPDIR",), ()])
def test_sqlite_takes_the_folder_that_is_asked(named: tuple[str, ...], tmp_path: Path) -> None:
    environ = clean_environment({name: str(tmp_path / name) for name in named})
    for name in {"SQLITE_TMPDIR", "TMPDIR"} - set(named):
        environ.pop(name, None)
    for name in named:
        (tmp_path / name).mkdir()
    done = subprocess.run([sys.executable, "-c", WHERE], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True)
    taken, asked = done.stdout.split()
    assert taken == asked
    assert not named or asked == str(tmp_path / named[0])


def test_what_cannot_be_written_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", "")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    assert rewriting.temporary_folder() == Path("/var/tmp")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert rewriting.temporary_folder() is None


@pytest.fixture
def read(tmp_path: Path, clock: FakeClock) -> Iterator[World]:
    """A collector whose file is to be written anew."""
    with start(f"sqlite:///{tmp_path / 'leadlight.db'}", clock, upkeep_delay_seconds=0) as shop:
        owing(shop)
        yield shop


def traces(shop: World) -> list[str]:
    file = Path(shop.services.settings.database_url.removeprefix("sqlite:///"))
    return [path.name for path in file.parent.iterdir() if path.name.startswith(file.name) and NAME.encode() in path.read_bytes()]


def test_a_log_that_somebody_reads_is_told_and_cut_later_without_writing_the_file_once_more(
    read: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Database(read.services.settings.database_url)
    try:
        with reader.snapshot() as connection:
            connection.rows("SELECT * FROM sites")
            for _ in range(2):
                assert do(read).failed == 1
                assert "the log" in trouble(read)
                monkeypatch.setattr(rewriting, "_write_anew", None)
        assert do(read).failed == 0
        assert (trouble(read), is_owed(read), traces(read)) == ("", False, [])
    finally:
        reader.close()


def test_whoever_is_deleted_meanwhile_is_not_forgotten(read: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write_anew = rewriting._write_anew

    def slowly(database: Database) -> None:
        write_anew(database)
        read.set(lead("another"), {"name": NAME})
        assert erase(read, lead("another").key)

    monkeypatch.setattr(rewriting, "_write_anew", slowly)
    assert do(read).failed == 0
    assert is_owed(read)
    monkeypatch.setattr(rewriting, "_write_anew", write_anew)
    assert do(read).failed == 0
    assert not is_owed(read)


def test_a_serving_process_tries_soon_again(read: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_SOON_SECONDS", 0.01)
    monkeypatch.setattr(upkeep, "_FEED_SECONDS", 0.01)
    reader = Database(read.services.settings.database_url)
    leave, told = threading.Event(), threading.Event()

    def hold() -> None:
        with reader.snapshot() as connection:
            connection.rows("SELECT * FROM sites")
            told.set()
            leave.wait(60)

    holding = threading.Thread(target=hold)
    holding.start()
    assert told.wait(60)
    running = Upkeep(read.services)
    try:
        assert until(lambda: trouble(read) != "")
        leave.set()
        assert until(lambda: trouble(read) == "" and last_whole(read) is not None)
    finally:
        leave.set()
        running.stop()
        holding.join()
        reader.close()
    assert not is_owed(read)


def until(holds: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
