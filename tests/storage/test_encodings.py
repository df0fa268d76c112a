"""Texts are any code points, whatever encoding PostgreSQL, its role or the environment would rather have."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from collector import operating
from collector.domain.identities import Key
from collector.settings import Settings, SettingsError
from collector.setup import open_services
from collector.storage.database import Database
from tests.support.clock import FakeClock
from tests.support.postgres import new_database
from tests.support.world import user, world

NAME = "größe-尺寸-😀"


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    """A database whose sessions begin with another encoding."""
    with new_database(postgres_url) as made:
        name = made.rpartition("/")[2]
        with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE \"{name}\" SET client_encoding = 'LATIN1'".encode())
        yield made


@pytest.fixture
def encoded(postgres_url: str) -> Iterator[Callable[[str], str]]:
    """Makes an empty database of an encoding."""
    made: list[str] = []
    with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:

        def make(encoding: str) -> str:
            made.append(f"t_{uuid4().hex}")
            connection.execute(f"CREATE DATABASE {made[-1]} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0".encode())
            return f"{postgres_url}/{made[-1]}"

        yield make
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize("sender", [user(NAME), user("u-1")])
def test_the_encoding_of_sessions_is_ours(url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sender: Key) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    key = ("a key that is long enough for tests",)
    with world(url, clock, secret_key=key) as shop:
        shop.send(sender, shop.event(NAME, page=f'{{"title":"{NAME}"}}'))
        site = shop.site
        clock.advance(1_000)
    with world(url, clock, secret_key=key) as shop:  # what one process numbered, the next one finds
        shop.site = site
        shop.send(sender, shop.event(NAME, metadata=f'{{"size":"{NAME}"}}'))
        assert [(name, total.count) for name, total in shop.totals(sender).items()] == [(NAME, 2)]
        assert [(event.page, event.metadata) for event in shop.timeline(sender)] == [({}, {"size": NAME}), ({"title": NAME}, {})]
        backup = tmp_path / "backup.db"
        operating.backup(shop.services.settings, backup)
    with closing(sqlite3.connect(backup)) as raw:
        assert raw.execute("SELECT text FROM names WHERE text = ?", (NAME,)).fetchall() == [(NAME,)]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused(encoded: Callable[[str], str], encoding: str) -> None:
    settings = Settings(database_url=encoded(encoding), secret_key=("a key that is long enough for tests",))
    with pytest.raises(SettingsError, match=f"its encoding is {encoding}"):
        open_services(settings)
    database = Database(settings.database_url)
    try:
        with database.read() as connection:
            assert connection.rows("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    finally:
        database.close()
