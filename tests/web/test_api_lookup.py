"""What is read in several statements while people become parts of one another."""

from collections.abc import Iterator

import pytest

from collector.domain import contacts, people
from collector.storage.database import Connection
from collector.values.clock import DAY
from collector.web.api import lookup
from tests.support.clock import FakeClock
from tests.support.world import World, lead, user
from tests.support.world import world as start


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    with start(database_url, clock) as running:
        yield running


def test_a_list_is_read_whole_although_somebody_in_it_merges_each_time(world: World) -> None:
    names = [f"lead-{number}" for number in range(10)]
    for name in names:
        world.send(lead(name), world.event())

    def read(connection: Connection) -> list[str]:
        listed = contacts.page(connection, world.site.id, None, 50)
        world.send(user(), lead=lead(names.pop()))
        return [people.load(connection, world.site.id, number).contact_id for number in listed]

    assert len(lookup.steady(world.services, read)) > 5


def test_who_types_an_email_does_not_come_to_own_what_is_sent_for_it(world: World) -> None:
    world.send(lead("thief"))
    world.set(user("attacker"), {"email": "victim@example.com"}, lead=lead("thief"))
    assert owners(world, "victim@example.com") == (None, None)
    world.set(user("victim"), {"email": "victim@example.com"}, browser=False)
    world.clock.advance(DAY)
    world.send(user("attacker"), world.event(), lead=lead("thief"))
    assert owners(world, "victim@example.com") == ("victim", "victim")


def owners(world: World, email: str) -> tuple[str | None, str | None]:
    """Return the user ids that one question and the batch's find for an email."""
    with world.services.database.read() as connection:
        alone = people.by_email(connection, world.site.id, email)
        batch = contacts.by_emails(connection, world.site.id, [email]).get(email)
    return alone and alone.user_id, batch and batch.value
