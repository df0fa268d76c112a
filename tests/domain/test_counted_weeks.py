"""What is moved out of a closed week was counted while nobody waited: it is added as counted, once, and brings nobody back."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
from msgspec import structs

from collector.domain import deletion, pruning
from collector.domain.identities import Key
from collector.domain.pruning import Step
from collector.services import Services, build
from collector.storage.database import Connection
from collector.storage.slices import CLOSED
from collector.values.clock import DAY
from tests.domain.test_slices import event, is_sound, places, pruner, record, states
from tests.support.clock import FakeClock
from tests.support.statements import heard
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
def other(world: World) -> Iterator[Services]:
    """Another process's collector on the same database."""
    services = build(structs.replace(world.services.settings), world.clock)
    yield services
    services.close()


@pytest.fixture
def crowd(world: World) -> list[Key]:
    """Three people with three events each in a week that has to be pruned by now."""
    keys = [user(f"u-{number}") for number in range(3)]
    for key in keys:
        record(world.services, world, *(event(world.clock() + number, world.clock() + number) for number in range(3)), key=key)
    world.clock.advance(40 * DAY)
    return keys


def prune(world: World, before: Callable[[], object], each: Callable[[set[str]], object] = lambda _: None) -> list[Step]:
    """Prune; something comes before each transaction from when the week is closed, and `each` hears what it asked."""
    services = world.services

    def transact(work: Callable[[Connection], int]) -> int:
        if CLOSED in states(world).values():
            before()
        with heard() as statements:
            touched = services.written.transact(work)
        each(statements)
        return touched

    return list(pruning.prune(services.written, services.slices, transact, world.clock(), services.settings.retention))


def test_nobody_waits_while_it_is_counted_what_somebody_did(world: World, crowd: list[Key]) -> None:
    """One may have done it a million times."""
    (week,) = set(places(world).values())
    before, said = [world.totals(key) for key in crowd], list[set[str]]()
    steps = prune(world, lambda: None, said.append)
    assert [step.events for step in steps if step.what == "moved"] == [3, 3, 3]
    moving = [statements for statements in said if any("base_count" in sql for sql in statements)]
    assert len(moving) == 3
    assert not [sql for statements in moving for sql in statements if f"events_{week}" in sql]
    assert [world.totals(key) for key in crowd] == before


@pytest.mark.parametrize("wiped", [True, False], ids=["and wiped at once", "and wiped later"])
def test_who_is_deleted_after_it_was_counted_does_not_come_back(world: World, crowd: list[Key], wiped: bool) -> None:
    services, site, transact = world.services, world.site.id, world.services.written.transact
    gone = [world.person(key).id for key in crowd[:2]]

    def delete() -> None:
        while gone:
            person = gone.pop()
            if wiped:
                assert deletion.erase(services.written, services.slices, transact, services.keyring, site, person, world.clock)
            else:
                assert transact(lambda tx, person=person: deletion.delete_person(tx, site, services.keyring, person, world.clock))

    prune(world, delete)
    assert gone == []
    list(deletion.wipe(services.written, services.slices, transact, site))
    assert places(world) == {}
    assert world.rows("SELECT count(*) FROM totals") == [(1,)]
    assert world.totals(crowd[2])["page-view"].count == 3
    assert is_sound(world)


def test_what_another_moved_after_it_was_counted_is_moved_once(
    world: World, other: Services, crowd: list[Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other.written, "alone", lambda _: contextlib.nullcontext(True))  # as on SQLite
    before, steps, turns = [world.totals(key) for key in crowd], pruner(other), list[str]()
    prune(world, lambda: turns.extend(step.what for step in [next(steps, None)] if step is not None))
    assert "moved" in turns
    assert [world.totals(key) for key in crowd] == before
    list(steps)
    assert [world.totals(key) for key in crowd] == before
    assert places(world) == {}
    assert is_sound(world)
