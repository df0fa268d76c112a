"""A restored backup forgets what came after it, but not who was deleted: those go again, whatever they were called, and nobody else."""

import functools
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from collector import operating
from collector.domain import contacts, deletion, merging, people, tombstones
from collector.domain.doctor import examine
from collector.domain.identities import EMAIL, Key
from collector.values.clock import HOUR
from collector.values.errors import Reason
from tests.support.clock import FakeClock
from tests.support.postgres import alone
from tests.support.world import World, lead, user
from tests.support.world import world as start

OLD, NEW, OTHER = (EMAIL, "old@example.com"), (EMAIL, "new@example.com"), (EMAIL, "other@example.com")


class Installation:
    """A collector that is backed up, and stopped, restored and started again. Time goes on by an hour with each act."""

    def __init__(self, url: str, clock: FakeClock, backup: Path) -> None:
        self.url = url
        self.clock = clock
        self.backup = backup
        self._key = secrets.token_urlsafe(32)
        self._running = ExitStack()
        self._start()
        self.site = self.world.site

    def _start(self) -> None:
        self.world: World = self._running.enter_context(start(self.url, self.clock, secret_key=(self._key,)))

    def back_up(self) -> None:
        operating.backup(self.world.services.settings, self.backup)
        self.clock.advance(HOUR)

    def restore(self) -> int:
        """Put the backup back and return how many people were deleted again; the doctor has to find nothing."""
        settings = self.world.services.settings
        self.close()
        alone(self.url)
        deleted = operating.restore(settings, self.backup, replace=True).deleted
        self._start()
        self.world.site = self.site
        assert list(examine(self.world.services.database, self.world.services.keyring)) == []
        return deleted

    def close(self) -> None:
        self._running.close()

    def know(self, address: Key) -> str:
        """Make a user who is known by an address, and return the contact id."""
        services, now = self.world.services, self.clock.advance(HOUR)
        made: str = services.writer.run(
            self.site.id,
            lambda tx: contacts.create(
                tx, self.site.id, services.names, services.maker, now, external_id=None, values={"email": address[1]}
            ),
        )
        return made

    def rename(self, address: Key, other: Key) -> None:
        """Let the user of an address be known by another one."""
        services, now, contact = self.world.services, self.clock.advance(HOUR), self.world.person(address).contact_id
        services.writer.run(
            self.site.id,
            lambda tx: contacts.update(
                tx, self.site.id, services.names, services.maker, now, contact, external_id=None, values={"email": other[1]}
            ),
        )

    def erase(self, key: Key) -> int:
        """Delete the person of an identity, and return when that was."""
        services, now = self.world.services, self.clock.advance(HOUR)
        transact = functools.partial(services.writer.run, self.site.id)
        person = self.world.person(key).id
        assert deletion.erase(services.written, services.slices, transact, services.keyring, self.site.id, person, lambda: now)
        return now

    def undo(self) -> None:
        """Undo the one merge."""
        now = self.clock.advance(HOUR)
        ((merge,),) = self.world.rows("SELECT id FROM merges")
        assert self.world.services.writer.run(self.site.id, lambda tx: merging.undo(tx, self.site.id, merge, now))

    def exists(self, key: Key) -> bool:
        with self.world.services.database.read() as connection:
            return people.by_key(connection, self.site.id, key) is not None

    def events(self) -> int:
        return int(self.world.rows("SELECT count(*) FROM events")[0][0])


@pytest.fixture
def shop(database_url: str, clock: FakeClock, tmp_path: Path) -> Iterator[Installation]:
    running = Installation(database_url, clock, tmp_path / "backup.db")
    yield running
    running.close()


class TestAddresses:
    def test_who_had_another_address_when_the_backup_was_made_is_deleted_again(self, shop: Installation) -> None:
        shop.know(OLD)
        shop.back_up()
        shop.rename(OLD, NEW)
        shop.erase(NEW)
        assert shop.restore() == 1
        assert not shop.exists(OLD)

    def test_even_where_the_address_is_another_living_users_by_the_time_of_the_deletion(self, shop: Installation) -> None:
        shop.know(OLD)
        shop.back_up()
        shop.rename(OLD, NEW)
        shop.know(OLD)
        shop.erase(NEW)
        assert shop.restore() == 1
        assert not shop.exists(OLD)

    def test_what_is_older_than_the_deletion_brings_nobody_back_by_a_former_address(self, shop: Installation) -> None:
        shop.know(OLD)
        shop.rename(OLD, NEW)
        late = shop.world.event()
        at = shop.erase(NEW)
        for address in (OLD, NEW):
            assert shop.world.send(address, late, browser=False).events == [Reason.PERSON_DELETED]
            assert not shop.exists(address)
        assert shop.world.send(OLD, shop.world.event(at=at + 1), browser=False).events == [True]

    def test_nor_by_the_address_that_a_user_with_an_external_id_had(self, shop: Installation) -> None:
        shop.world.set(user(), {"email": "Old@example.com"}, browser=False)
        late = shop.world.event()
        shop.erase(user())
        assert shop.world.send(OLD, late, browser=False).events == [Reason.PERSON_DELETED]
        assert not shop.exists(OLD)

    def test_who_takes_the_address_of_a_deleted_user_stays_but_nothing_from_before_counts(self, shop: Installation) -> None:
        shop.know(OLD)
        shop.know(NEW)
        at = shop.erase(OLD)
        shop.rename(NEW, OLD)
        shop.back_up()
        assert shop.restore() == 0
        late, fresh = shop.world.event(at=at), shop.world.event(at=at + 1)
        assert shop.world.send(OLD, late, fresh, browser=False).events == [Reason.PERSON_DELETED, True]

    def test_who_takes_an_address_up_before_its_former_user_is_deleted_stays_too(self, shop: Installation) -> None:
        shop.know(OLD)
        shop.rename(OLD, NEW)
        shop.know(OTHER)
        shop.rename(OTHER, OLD)
        early = shop.world.event()
        shop.erase(NEW)
        shop.back_up()
        assert shop.restore() == 0
        assert shop.world.send(OLD, early, browser=False).events == [True]

    def test_so_does_who_had_it_before_and_was_not_deleted(self, shop: Installation) -> None:
        shop.know(OLD)
        shop.back_up()
        shop.rename(OLD, OTHER)
        shop.know(OLD)
        at = shop.erase(OLD)
        assert shop.restore() == 0
        late = shop.world.event(at=at)
        assert shop.world.send(OLD, late, browser=False).events == [Reason.PERSON_DELETED]

    def test_deleted_by_an_earlier_version_an_address_alone_tells(self, shop: Installation) -> None:
        first = shop.know(OLD)
        shop.back_up()
        shop.erase(OLD)
        forget_contact_ids(shop.world)
        shop.know(OLD)
        shop.erase(OLD)
        assert shop.restore() == 1
        assert shop.world.rows("SELECT count(*) FROM identities WHERE public_id = ?", first) == [(0,)]


def forget_contact_ids(world: World) -> None:
    """Leave of the deletion of an address what the version before set up: the address's tombstone alone."""
    services = world.services
    address = tombstones.mac(services.keyring, world.site.id, OLD)
    with services.written.write() as tx:
        assert tx.run("DELETE FROM tombstones WHERE mac <> ?", (address,)) == 2


class TestLeads:
    @pytest.fixture
    def joined(self, shop: Installation) -> Installation:
        """A backup of a user and the lead that became part of it, with an event of each; the merge was undone since."""
        shop.world.send(lead(), shop.world.event())
        shop.world.send(user(), shop.world.event("paid"), lead=lead())
        shop.back_up()
        shop.undo()
        return shop

    def test_a_lead_that_was_parted_and_deleted_takes_nothing_of_its_user_along(self, joined: Installation) -> None:
        joined.erase(lead().key)
        assert joined.restore() == 1
        assert not joined.exists(lead().key)
        assert joined.world.counts(user()) == {"paid": 1}
        assert joined.events() == 1

    def test_a_user_that_was_parted_and_deleted_takes_nothing_of_its_lead_along(self, joined: Installation) -> None:
        joined.erase(user())
        assert joined.restore() == 1
        assert not joined.exists(user())
        assert joined.world.counts(lead().key) == {"page-view": 1}
        assert joined.events() == 1

    def test_both_deleted_both_go(self, joined: Installation) -> None:
        joined.erase(user())
        joined.erase(lead().key)
        assert joined.restore() == 2
        assert joined.world.rows("SELECT count(*) FROM identities") == [(0,)]
        assert joined.events() == 0
