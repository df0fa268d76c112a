"""The edges of a deletion: whose an address is."""

import pytest

from collector.domain import contacts, deletion
from collector.domain.identities import EMAIL
from collector.domain.submissions import Outcome
from collector.values.errors import Reason
from tests.domain.test_deletion import erase, is_sound
from tests.support.clock import FakeClock
from tests.support.postgres import new_database
from tests.support.world import World, lead, user
from tests.support.world import world as start


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
