"""A role of PostgreSQL that loses a right: an outage, said as one, which ends where the right comes back."""

import logging
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from collector.storage.slices import WEEK
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
    assert not shop.services.writer.takes(lambda _: None) or shop.services.writer.alive()
    role.run("GRANT CREATE ON SCHEMA public TO {}")
    shop.send(lead(), shop.event())
    assert shop.counts(lead().key) == {"page-view": 3}


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
