"""The end of the overflow, which no week has: what is due there is found while nobody waits, and counts once for good."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import structs

from collector.domain import deletion, pruning
from collector.domain.identities import Key
from collector.services import Services, build
from collector.storage.database import Connection
from collector.storage.slices import DRIFT
from collector.values.clock import DAY, HOUR
from collector.values.errors import Reason
from collector.values.ids import event_id_text
from tests.domain.test_slices import RETENTION, YEAR, again, event, is_sound, places, pruner, record
from tests.support.clock import FakeClock
from tests.support.world import World, user
from tests.support.world import world as start


@pytest.fixture
def world(database_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A collector with a timeline of two weeks that prunes in steps of two events."""
    for engine in pruning.STEP:
        monkeypatch.setitem(pruning.STEP, engine, 2)
    with start(database_url, clock, retention_days=14) as running:
        yield running


@pytest.fixture
def start_longer(world: World) -> Iterator[Callable[[], Services]]:
    """Starts another process's collector on the same database, whose timeline is 90 days."""
    started: list[Services] = []

    def longer() -> Services:
        started.append(build(structs.replace(world.services.settings, retention_days=90), world.clock))
        return started[-1]

    yield longer
    for services in started:
        services.close()


class TestPruned:
    @pytest.mark.parametrize("noticed", [True, False], ids=["started since", "that has not noticed"])
    def test_a_longer_timeline_counts_nothing_again_that_was_pruned(
        self, world: World, start_longer: Callable[[], Services], noticed: bool
    ) -> None:
        now = world.clock()
        of_rest, ahead = event(now, now - 5 * DAY), event(now - 2 * DAY, now + HOUR)
        record(world.services, world, of_rest, ahead)
        world.clock.advance(RETENTION + 2 * DRIFT)
        longer = start_longer()
        for services in (world.services, longer):
            services.slices.ensure(world.clock())
        list(pruner(world.services))
        assert places(world) == {}
        if noticed:
            longer = start_longer()
        later = event(now - 2 * DAY, now + HOUR + 1)
        assert record(longer, world, later, of_rest, ahead) == [True, Reason.TOO_OLD, Reason.TOO_OLD]
        assert world.counts(user()) == {"page-view": 3}
        assert is_sound(world)

    def test_what_is_no_older_than_the_timeline_is_never_refused_for_what_was_pruned(self, world: World) -> None:
        record(world.services, world, event(world.clock() - 2 * DAY, world.clock() + HOUR))
        world.clock.advance(RETENTION + DRIFT + 1)  # no sooner it is pruned
        list(pruner(world.services))
        assert places(world) == {}
        oldest = event(world.clock(), world.clock() - RETENTION)
        assert record(world.services, world, oldest, again(oldest, oldest.at)) == [True, False]

    def test_where_nothing_was_pruned_a_longer_timeline_takes_what_is_older(
        self, world: World, start_longer: Callable[[], Services]
    ) -> None:
        now = world.clock()
        record(world.services, world, event(now, now - 5 * DAY))
        list(pruner(world.services))
        assert record(start_longer(), world, event(now, now - 60 * DAY)) == [True]


class TestPruningTheOverflow:
    @pytest.fixture
    def due(self, world: World) -> list[Key]:
        """Three people with an event each in the overflow, and nothing else that is due."""
        keys = [user(f"u-{number}") for number in range(3)]
        for key in keys:
            record(world.services, world, event(world.clock() + 5 * YEAR, world.clock()), key=key)
        world.clock.advance(RETENTION + DRIFT)
        list(pruner(world.services))
        assert len(places(world)) == 3
        world.clock.advance(1)
        return keys

    def prune(self, world: World, meanwhile: Callable[[], Any] = lambda: None) -> list[int]:
        """Prune in steps of two, and return what each transaction touched; `meanwhile` comes before each."""
        services, touched = world.services, []

        def transact(work: Callable[[Connection], int]) -> int:
            meanwhile()
            touched.append(services.written.transact(work))
            return touched[-1]

        list(pruning.prune(services.written, services.slices, transact, world.clock(), RETENTION))
        return touched

    def test_nobody_waits_while_it_is_looked_for_what_is_due(self, world: World, due: list[Key]) -> None:
        """The look goes through the whole overflow, so that it is no part of a transaction: none finds nothing."""
        fresh = [event(world.clock() + 5 * YEAR, world.clock()) for _ in range(5)]
        record(world.services, world, *fresh)
        assert self.prune(world) == [2, 1]
        assert self.prune(world) == []
        assert places(world).keys() == {event_id_text(one.id) for one in fresh}
        assert is_sound(world)

    def test_who_is_deleted_after_the_look_is_left_to_be_wiped(self, world: World, due: list[Key]) -> None:
        services, site = world.services, world.site.id
        people = [world.person(key).id for key in due]

        def delete_all() -> None:
            while people:
                delete = functools.partial(deletion.delete_person, person=people.pop(), clock=world.clock)
                services.written.transact(lambda tx, delete=delete: delete(tx, site, services.keyring))

        assert self.prune(world, delete_all) == [0]
        assert sum(deletion.wipe(services.written, services.slices, services.written.transact, site)) == 3
        assert is_sound(world)
