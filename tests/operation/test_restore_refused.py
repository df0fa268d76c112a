"""What restoring into PostgreSQL refuses: it asks first, and nothing has changed then."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from msgspec import structs

from collector import operating
from collector.settings import Settings, SettingsError
from collector.storage.database import Connection, Database
from collector.storage.migrations import pending, run_steps
from tests.support.clock import FakeClock
from tests.support.postgres import alone, new_database
from tests.support.world import lead, world


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
