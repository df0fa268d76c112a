"""What a command writes under the name of nobody else's file: neither the backup it reads, nor a database in use, nor another program's."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from collector import operating
from collector.settings import Settings, SettingsError
from collector.storage.drafts import working_name
from collector.storage.occupancy import Occupancy
from tests.support.clock import FakeClock
from tests.support.world import lead, user, world

KEY = "a key that is long enough for tests"


@pytest.fixture
def settings(tmp_path: Path, clock: FakeClock) -> Settings:
    """Those of an installation in which one person did one thing."""
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'leadlight.db'}", secret_key=(KEY,))
    with world(settings.database_url, clock, secret_key=settings.secret_key) as shop:
        shop.send(lead(), shop.event())
        shop.send(user(), shop.event())
    return settings


@pytest.fixture
def database(settings: Settings) -> Path:
    return Path(settings.database_url.removeprefix("sqlite:///"))


@pytest.fixture
def backup(settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "backup.db"
    operating.backup(settings, path)
    return path


def held(path: Path) -> int:
    with closing(sqlite3.connect(path)) as raw:
        return int(raw.execute("SELECT count(*) FROM events").fetchone()[0])


def test_a_backup_that_stands_where_the_database_is_written_is_not_written_over(settings: Settings, database: Path, backup: Path) -> None:
    there = backup.rename(working_name(database))
    with pytest.raises(SettingsError, match="another name"):
        operating.restore(settings, there, replace=True)
    assert (held(there), held(database)) == (2, 2)
    with pytest.raises(SettingsError, match="another name"):
        operating.restore(settings, database, replace=True)


def test_nor_are_deletions_that_stand_there(settings: Settings, database: Path, backup: Path) -> None:
    deletions = working_name(database)
    deletions.write_text('{"site":1,"mac":"00","at":1}\n')
    with pytest.raises(SettingsError, match=r"another name|line 1"):
        operating.restore(settings, backup, replace=True, deletions=[deletions])
    assert deletions.read_text() == '{"site":1,"mac":"00","at":1}\n'
    assert held(database) == 2


@pytest.mark.parametrize("deletions", [False, True])
def test_a_backup_is_not_written_where_the_database_stands(
    settings: Settings, tmp_path: Path, clock: FakeClock, *, deletions: bool
) -> None:
    named = tmp_path / "shop"
    served = Settings(database_url=f"sqlite:///{working_name(named)}", secret_key=(KEY,))
    with world(served.database_url, clock, secret_key=served.secret_key) as shop:
        shop.send(lead(), shop.event())
    for asked in (served, settings):  # its own installation, and another one while somebody works with it
        with closing(Occupancy(served.database_url)), pytest.raises(SettingsError, match=r"belongs to the installation|in use"):
            operating.backup_deletions(asked, named) if deletions else operating.backup(asked, named)
    assert held(working_name(named)) == 1


@pytest.mark.parametrize("deletions", [False, True])
def test_what_is_no_file_is_not_replaced_by_one(settings: Settings, tmp_path: Path, *, deletions: bool) -> None:
    """As /dev/null, which root could replace for the whole machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SettingsError, match="it is no file"):
        operating.backup_deletions(settings, pipe) if deletions else operating.backup(settings, pipe, overwrite=True)
    assert pipe.is_fifo()


@pytest.mark.parametrize("replace", [False, True])
def test_another_programs_database_is_not_replaced(settings: Settings, backup: Path, tmp_path: Path, *, replace: bool) -> None:
    other = tmp_path / "app.sqlite3"
    with closing(sqlite3.connect(other, isolation_level=None)) as raw:
        raw.execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY)")
        raw.execute("INSERT INTO invoices VALUES (1)")
    there = Settings(database_url=f"sqlite:///{other}", secret_key=settings.secret_key)
    with pytest.raises(SettingsError, match="another program's database"):
        operating.restore(there, backup, replace=replace)
    with closing(sqlite3.connect(other)) as raw:
        assert raw.execute("SELECT id FROM invoices").fetchall() == [(1,)]
