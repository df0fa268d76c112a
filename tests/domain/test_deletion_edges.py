"""The edges of a deletion: what a clock ahead of ours sent before it, and whose an address is."""

import pytest

from collector.domain import contacts, deletion
from collector.domain.identities import EMAIL
from collector.domain.submissions import Outcome
from collector.values.clock import AHEAD, DAY, HOUR, MINUTE
from collector.values.errors import Reason
from tests.domain.test_deletion import erase, exists, is_sound, known_by_rest
from tests.support.clock import FakeClock
from tests.support.postgres import new_database
from tests.support.world import World, lead, user
from tests.support.world import world as start


class TestClocksAhead:
    @pytest.mark.parametrize("ahead", [1, 2 * MINUTE, AHEAD])
    def test_what_a_clock_ahead_of_ours_sent_before_it_brings_nobody_back(self, world: World, ahead: int) -> None:
        sent = world.event(at=world.clock() + ahead)
        assert world.send(user(), sent, browser=False).events == [True]
        world.clock.advance(1)
        assert erase(world, user())
        assert world.send(user(), sent, browser=False).events == [Reason.PERSON_DELETED]
        assert not exists(world, user())
        world.clock.advance(ahead)
        assert world.send(user(), sent, world.event(at=sent.at + 1), browser=False).events == [Reason.PERSON_DELETED, True]
        assert is_sound(world)

    def test_a_total_of_years_to_come_keeps_nobody_away_for_longer_than_an_hour(self, world: World) -> None:
        """As a collector may have written it whose clock was wrong."""
        world.send(user(), world.event(at=world.clock() + 5 * 365 * DAY))
        assert erase(world, user())
        assert world.send(user(), world.event(at=world.clock() + AHEAD)).events == [Reason.PERSON_DELETED]
        assert world.send(user(), world.event(at=world.clock() + AHEAD + 1)).events == [True]

    def test_what_rest_says_of_who_came_anew_holds_though_the_deletion_lies_ahead(self, world: World) -> None:
        services, site = world.services, world.site.id
        world.clock.advance(1)
        world.send(user(), world.event(at=world.clock() + HOUR), browser=False)
        assert erase(world, user())
        contact = known_by_rest(world, world.clock())
        for name in ("Grace", "Ada", "Bob"):
            services.writer.run(
                site,
                lambda tx, name=name: contacts.update(
                    tx, site, services.names, services.maker, world.clock(), contact, external_id=None, values={"name": name}
                ),
            )
            assert world.attributes(user()) == {"name": name}
            world.clock.advance(HOUR // 2 + 1)


class TestAddresses:
    ADDRESS = "ada@example.com"

    def addressed(self, world: World, at: int, email: str) -> Outcome:
        """Send an event of whoever is known by an address, as REST does it."""
        return world.send((EMAIL, email), world.event(at=at), browser=False)

    @pytest.mark.parametrize("verified", [True, False])
    def test_one_that_only_a_browser_typed_is_nobodys(self, world: World, verified: bool) -> None:
        world.set(user(), {"email": self.ADDRESS}, lead=lead(), verified=verified)
        before = world.clock()
        world.clock.advance(1)
        assert erase(world, user())
        assert self.addressed(world, before, self.ADDRESS).events == [Reason.PERSON_DELETED if verified else True]
        assert is_sound(world)

    def test_who_is_made_by_an_address_while_somebody_is_deleted_who_typed_it_is_somebody_else(
        self, postgres_url: str, clock: FakeClock
    ) -> None:
        with new_database(postgres_url) as url, start(url, clock) as world:
            services, site = world.services, world.site.id
            world.set(user(), {"email": self.ADDRESS}, lead=lead())
            values = {"email": self.ADDRESS}
            person = world.person(user()).id
            with services.database.write() as deleting:
                assert deletion.delete_person(deleting, site, services.keyring, person, clock)
                services.writer.run(
                    site,
                    lambda tx: contacts.create(tx, site, services.names, services.maker, clock(), external_id=None, values=values),
                )
            assert is_sound(world)
