"""What restoring into PostgreSQL refuses: it asks first, and nothing has changed then."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import structs

from collector import operating
from collector.domain.doctor import examine
from collector.services import build
from collector.settings import Settings, SettingsError
from collector.storage import copying
from collector.storage.database import Connection, Database
from collector.storage.migrations import pending, run_steps
from tests.support.clock import FakeClock
from tests.support.postgres import alone, new_database
from tests.support.world import World, lead, world


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    with new_database(postgres_url) as made:
        yield made


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


@pytest.fixture
def settings(url: str, backup: Path, clock: FakeClock, tmp_path: Path) -> Settings:
    """Those of an installation on a new database, of which there is a backup."""
    with world(f"sqlite:///{tmp_path / 'leadlight.db'}", clock) as shop:
        shop.send(lead(), shop.event())
        operating.backup(shop.services.settings, backup)
        return structs.replace(shop.services.settings, database_url=url)


def test_one_that_holds_data_is_not_even_brought_up_to_date(settings: Settings, backup: Path, clock: FakeClock) -> None:
    """Collectors of the version before go on with it."""
    database = Database(settings.database_url)

    def first_schema(tx: Connection) -> None:
        tx.run("CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, applied_at BIGINT NOT NULL)")
        run_steps(tx, [1], clock())
        tx.run(
            "INSERT INTO sites (id, site_key, name, origins, time_zone, verification, salt, identity_secrets, settings, created_at) "
            "VALUES (7, 'old', 'Old', '[]', 'UTC', 'optional', ?, '[]', '{}', 1)",
            (b"salt",),
        )

    try:
        database.transact(first_schema)
        with database.read() as connection:
            before = pending(connection)
        database.close()  # a restore wants to be alone
        alone(settings.database_url)
        with pytest.raises(SettingsError, match="--replace"):
            operating.restore(settings, backup)
        with database.read() as connection:
            assert pending(connection) == before != []
            assert connection.rows("SELECT name FROM sites") == [("Old",)]
    finally:
        database.close()


def test_one_that_another_role_is_connected_to_is_in_use(settings: Settings, backup: Path, postgres_url: str) -> None:
    """It may be the role of the collectors; whoever restores has no right to know what they do, and is still told of them."""
    name = settings.database_url.rpartition("/")[2]
    with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE ROLE "restorer_{name}" LOGIN'.encode())
        connection.execute(f'ALTER DATABASE "{name}" OWNER TO "restorer_{name}"'.encode())
    own = structs.replace(settings, database_url=settings.database_url.replace("postgres@", f"restorer_{name}@"))
    with psycopg.connect(settings.database_url) as served:
        served.execute("SELECT 1")
        with pytest.raises(SettingsError, match=r"in use by other connections \(1 of postgres\)"):
            operating.restore(own, backup)
    alone(settings.database_url)
    assert operating.restore(own, backup).events == 1


class TestACollectorThatComesMeanwhile:
    """Preparing the backup may take minutes; what is acknowledged in them must not be lost."""

    @pytest.fixture
    def come(self, settings: Settings, clock: FakeClock) -> Iterator[Callable[[], World]]:
        """Starts a collector on the database that is restored into, where somebody is seen at once."""
        started: list[World] = []

        def start() -> World:
            started.append(World(build(settings, clock), clock))
            started[-1].send(lead("new"), started[-1].event())
            return started[-1]

        yield start
        for shop in started:
            shop.services.close()

    def test_while_the_backup_is_prepared(
        self, settings: Settings, backup: Path, come: Callable[[], World], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prepare, came = operating._of_this_schema, []

        @contextmanager
        def prepared(path: Path) -> Iterator[Path]:
            with prepare(path) as file:
                came.append(come())
                yield file

        monkeypatch.setattr(operating, "_of_this_schema", prepared)
        with pytest.raises(SettingsError, match=r"in use by other connections \(\d+ of postgres\)"):
            operating.restore(settings, backup, replace=True)
        self.is_as_it_was(came[0])

    def test_in_the_last_moment(self, settings: Settings, backup: Path, come: Callable[[], World], monkeypatch: pytest.MonkeyPatch) -> None:
        load, came = copying.loading, []

        def loading(*arguments: Any) -> Any:
            came.append(come())
            return load(*arguments)

        monkeypatch.setattr(copying, "loading", loading)
        with pytest.raises(SettingsError, match=r"in use by other connections \(\d+ of postgres\)"):
            operating.restore(settings, backup, replace=True)
        self.is_as_it_was(came[0])

    def test_after_that_it_waits_and_serves_what_was_restored(
        self, settings: Settings, backup: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        remember, coming = operating.restoring.remember, []

        def remembering(*arguments: Any) -> None:
            if not coming:
                coming.append(pool.submit(build, settings, clock))
                until_one_waits(settings.database_url)
            remember(*arguments)

        monkeypatch.setattr(operating.restoring, "remember", remembering)
        with ThreadPoolExecutor(1) as pool:
            assert operating.restore(settings, backup).events == 1
            services = coming[0].result(30)
        try:
            assert [site.name for site in services.sites.all()] == ["Shop"]
        finally:
            services.close()

    @staticmethod
    def is_as_it_was(shop: World) -> None:
        """What was there stands there, and one more event gets its place beside it."""
        shop.send(lead("new"), shop.event("saved"))
        assert shop.counts(lead("new").key) == {"page-view": 1, "saved": 1}
        assert shop.rows("SELECT count(*) FROM sites") == [(1,)]
        assert list(examine(shop.services.database, shop.services.keyring)) == []


def until_one_waits(url: str) -> None:
    """Return when somebody waits for a table."""
    server, _, name = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as watch:
        sql = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND wait_event = 'relation'"
        for _ in range(1_000):
            if watch.execute(sql, (name,)).fetchall():
                return
            time.sleep(0.01)
    raise AssertionError("nobody waits")
