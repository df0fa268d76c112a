"""A role of PostgreSQL that loses a right: an outage, said as one, which ends where the right comes back."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from collector import upkeep
from collector.domain.doctor import examine
from collector.storage.faults import is_unavailable
from collector.storage.slices import OVERFLOW, WEEK, with_tables
from collector.storage.writer import Overloaded
from tests.support.clock import FakeClock
from tests.support.postgres import new_database
from tests.support.world import World, lead, world


class Role:
    """A role that owns nothing but what it made, and whoever gives it its rights in the schema."""

    def __init__(self, url: str, owner: psycopg.Connection) -> None:
        self.name = f"r_{uuid4().hex}"
        self._owner = owner
        self.run("CREATE ROLE {} LOGIN")
        self.run("GRANT CREATE ON SCHEMA public TO {}")
        self.url = url.replace("postgres@", f"{self.name}@")

    def run(self, statement: str) -> None:
        self._owner.execute(statement.format(self.name).encode())


@pytest.fixture
def role(postgres_url: str) -> Iterator[Role]:
    with new_database(postgres_url) as url, psycopg.connect(url, autocommit=True) as owner:
        role = Role(url, owner)
        yield role
        role.run("DROP OWNED BY {} CASCADE")
        role.run("DROP ROLE {}")


@pytest.fixture
def shop(role: Role, clock: FakeClock) -> Iterator[World]:
    with world(role.url, clock) as shop:
        shop.send(lead(), shop.event())
        yield shop


def test_weeks_that_cannot_be_made_ahead_cost_nothing_until_they_are_needed(
    role: Role, shop: World, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    role.run("REVOKE CREATE ON SCHEMA public FROM {}")
    clock.advance(WEEK)
    with caplog.at_level(logging.WARNING):
        shop.send(lead(), shop.event())
    assert "the tables of coming weeks cannot be made: InsufficientPrivilege 42501" in caplog.text
    clock.advance(WEEK)
    with pytest.raises(Overloaded):
        shop.send(lead(), shop.event())
    role.run("GRANT CREATE ON SCHEMA public TO {}")
    shop.send(lead(), shop.event())
    assert shop.counts(lead().key) == {"page-view": 3}


def test_a_right_that_one_kind_of_work_lacks_costs_nobody_else_anything(role: Role, shop: World) -> None:
    writer = shop.services.writer
    role.run("ALTER TABLE segments OWNER TO postgres")
    with ThreadPoolExecutor(2) as pool:
        stop = threading.Event()

        def send() -> None:
            while not stop.is_set():
                shop.send(lead(), shop.event())

        sending = pool.submit(send)
        try:
            for _ in range(20):
                with pytest.raises(Exception, match="permission denied") as told:
                    writer.run(shop.site.id, lambda tx: tx.run("DELETE FROM segments WHERE site = ?", (shop.site.id,)))
                assert is_unavailable(told.value)  # 503 for who asked
        finally:
            stop.set()
        sending.result()
    assert writer.takes(lambda _: None)


def test_a_week_that_may_not_be_closed_is_told_and_the_rest_of_the_night_is_done(role: Role, shop: World, clock: FakeClock) -> None:
    services = shop.services
    with services.database.read() as connection:
        weeks = [number for number in with_tables(connection) if number != OVERFLOW]
    role.run(f"ALTER TABLE events_{weeks[0]} OWNER TO postgres")
    role.run(f"GRANT ALL ON events_{weeks[0]} TO {{}}")
    clock.advance(services.settings.retention + 3 * WEEK)
    report = upkeep.Report()
    for _ in upkeep.round_of(services, services.written.transact, report, trusted=True):
        pass
    assert [str(one) for one in examine(services.database, services.keyring) if "InsufficientPrivilege" in str(one)]
    assert report.failed


def test_a_table_that_may_not_be_written_is_an_outage(role: Role, shop: World) -> None:
    """As where another role has restored it."""
    writer = shop.services.writer
    role.run("ALTER TABLE totals OWNER TO postgres")
    with pytest.raises(Overloaded):
        shop.send(lead(), shop.event())
    assert writer._refused == {False: "InsufficientPrivilege 42501"}
    role.run("ALTER TABLE totals OWNER TO {}")
    shop.send(lead(), shop.event())
    assert writer.takes(lambda _: None)
    assert shop.counts(lead().key) == {"page-view": 2}
