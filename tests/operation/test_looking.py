"""Whoever only looks at a database changes nothing: not a byte of it, nothing beside it, and where it lies need not be writable."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import operating
from tests.support.clock import FakeClock
from tests.support.disks import SmallDisk, small_disk
from tests.support.processes import run_command
from tests.support.world import lead
from tests.support.world import world as start

KEY = "a key that is long enough for tests"
FILE = "looked-at.db"


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with small_disk(32) as made:
        yield made


@pytest.fixture
def backup(database_url: str, clock: FakeClock, tmp_path: Path) -> Path:
    """A backup of an installation with two events, alone in its folder."""
    folder = tmp_path / "backups"
    folder.mkdir()
    with start(database_url, clock, secret_key=(KEY,)) as world:
        world.send(lead(), world.event(), world.event("saved"))
        operating.backup(world.services.settings, folder / FILE)
    return folder / FILE


@pytest.fixture
def served(clock: FakeClock, tmp_path: Path) -> Path:
    """The file that a collector served from until it was stopped, alone in its folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    with start(f"sqlite:///{folder / FILE}", clock, secret_key=(KEY,)) as world:
        world.send(lead(), world.event(), world.event("saved"))
    (folder / f"{FILE}.lock").unlink()
    assert [path.name for path in folder.iterdir()] == [FILE]
    return folder / FILE


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder; SQLite's shared memory is its own business, where there is a log."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


def examine(path: Path, tmp_path: Path) -> None:
    """Let the doctor look, who finds two events and nothing wrong."""
    told = run_command(["collector", "doctor", "--json"], tmp_path, {"DATABASE_URL": f"sqlite:///{path}", "SECRET_KEY": KEY})
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout)["counted"]["events"] == 2


def test_the_doctor_leaves_a_backup_as_it_is(backup: Path, tmp_path: Path) -> None:
    before = contents(backup.parent)
    examine(backup, tmp_path)
    assert contents(backup.parent) == before
    assert [path.name for path in backup.parent.iterdir()] == [FILE]


def test_the_doctor_reads_a_backup_where_nobody_can_write(backup: Path, disk: SmallDisk, tmp_path: Path) -> None:
    shutil.copy(backup, disk.folder / FILE)
    disk.let_nobody_write()
    examine(disk.folder / FILE, tmp_path)


def test_the_doctor_leaves_a_file_that_was_served_from_as_it_is(served: Path, tmp_path: Path) -> None:
    before = contents(served.parent)
    examine(served, tmp_path)
    assert contents(served.parent) == before
    assert [path.name for path in served.parent.iterdir()] == [FILE]


def test_the_doctor_reads_a_file_that_was_served_from_where_nobody_can_write(served: Path, disk: SmallDisk, tmp_path: Path) -> None:
    shutil.copy(served, disk.folder / FILE)
    disk.let_nobody_write()
    examine(disk.folder / FILE, tmp_path)


def test_the_doctor_leaves_file_and_log_of_a_collector_that_was_killed(clock: FakeClock, tmp_path: Path) -> None:
    live, killed = tmp_path / "live", tmp_path / "killed"
    live.mkdir()
    killed.mkdir()
    with start(f"sqlite:///{live / FILE}", clock, secret_key=(KEY,)) as world:
        world.send(lead(), world.event(), world.event("saved"))
        for name in (FILE, f"{FILE}-wal"):  # as they lie when power fails
            shutil.copy(live / name, killed / name)
    before = contents(killed)
    assert before[f"{FILE}-wal"]
    examine(killed / FILE, tmp_path)
    assert contents(killed) == before
    backup = tmp_path / "backup.db"
    told = run_command(["collector", "backup", str(backup)], tmp_path, {"DATABASE_URL": f"sqlite:///{killed / FILE}", "SECRET_KEY": KEY})
    assert "2 events" in told.stdout, told.stderr
    assert contents(killed) == before
