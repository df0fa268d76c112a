"""Time limits of PostgreSQL's role are for what visitors wait for: an operator's commands take as long as there is to read or to write."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from collector import operating
from collector.domain import doctor
from collector.domain.doctor import Counts
from collector.settings import Settings
from collector.storage import copying, migrations
from collector.storage.database import Connection, Database
from tests.support.clock import FakeClock
from tests.support.postgres import alone, new_database
from tests.support.world import lead, world

LIMITS = ("statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    """A database whose sessions have every time limit that the server knows, at a minute."""
    with new_database(postgres_url) as made:
        name = made.rpartition("/")[2]
        with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:
            for (limit,) in connection.execute("SELECT name FROM pg_settings WHERE name = ANY(%s)", (list(LIMITS),)).fetchall():
                connection.execute(f"ALTER DATABASE \"{name}\" SET {limit} = '1min'".encode())
        yield made


def limits(connection: Connection) -> set[str]:
    """The names of the limits that hold in a transaction."""
    condition, names = connection.among(LIMITS[:3])
    return {
        row[0] for row in connection.rows(f"SELECT name FROM pg_settings WHERE name {condition} AND setting NOT IN ('0', '10000')", names)
    }


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], list[set[str]]]:
    """Has a function, which is given a connection, note which limits hold there."""

    def watch(place: Any, name: str) -> list[set[str]]:
        found: list[set[str]] = []
        before = getattr(place, name)

        def noted(*arguments: Any, **options: Any) -> Any:
            found.extend(limits(one) for one in arguments if isinstance(one, Connection) and one.engine == "postgresql")
            return before(*arguments, **options)

        monkeypatch.setattr(place, name, noted)
        return found

    return watch


def test_they_hold_for_whoever_serves(url: str) -> None:
    database = Database(url)
    try:
        with database.snapshot() as connection:
            assert {"statement_timeout", "idle_in_transaction_session_timeout"} <= limits(connection)
    finally:
        database.close()


def test_not_for_backup_doctor_upgrade_and_restore(
    url: str, clock: FakeClock, tmp_path: Path, seen: Callable[[Any, str], list[set[str]]]
) -> None:
    found = {
        "upgrade": seen(migrations, "run_steps"),
        "backup": seen(copying, "_make_slices"),
        "deletions": seen(operating.restoring, "written"),
        "doctor": seen(doctor, "_durable"),
        "restore": seen(operating.restoring, "remember"),
    }
    key = "a key that is long enough for tests"
    settings = Settings(database_url=url, secret_key=(key,))
    with world(url, clock, secret_key=(key,)) as shop:
        shop.send(lead(), shop.event())
    operating.backup(settings, tmp_path / "backup.db")
    operating.backup_deletions(settings, tmp_path / "deletions.ndjson")
    assert list(operating.doctor(settings, Counts())) == []
    alone(url)
    operating.restore(settings, tmp_path / "backup.db", replace=True)
    assert {name: held for name, held in found.items() if not held or any(held)} == {}
