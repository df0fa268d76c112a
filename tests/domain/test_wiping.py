"""What a deleted person did is wiped in steps, by whoever comes to it, and at whatever else the collector is at."""

import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec import structs

from collector import upkeep
from collector.domain import deletion, journal, people, simulation_runs
from collector.domain.deletion import Transact
from collector.services import WRITERS
from collector.storage import rewriting
from collector.storage.database import Connection
from collector.storage.slices import OVERFLOW
from collector.values.clock import DAY, MINUTE
from collector.values.errors import Reason
from tests.domain.test_deletion import begin_to_erase, erase, is_sound, wait_for_a_row
from tests.support.clock import FakeClock
from tests.support.world import World, lead, user
from tests.support.world import world as start


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    with start(database_url, clock) as world:
        yield world


def wiping(world: World, transact: Transact | None = None) -> Iterator[int]:
    return deletion.wipe(world.services.written, world.services.slices, transact or world.services.written.transact, world.site.id)


@pytest.mark.parametrize("engine", ["postgresql"])
def test_two_who_wipe_at_once_leave_nothing_between_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one sees what the first one is about to take, waits for it, and finds it gone: that is not the end."""
    monkeypatch.setattr(deletion, "STEP", 2)
    world.send(user(), *(world.event() for _ in range(5)))
    assert begin_to_erase(world, user()) == 5
    taken, release = threading.Event(), threading.Event()

    def slowly(work: Callable[[Connection], int]) -> int:
        with world.services.written.write() as tx:
            gone = work(tx)
            taken.set()
            assert release.wait(60)
        return gone

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(next, wiping(world, slowly))
        assert taken.wait(60)
        second = pool.submit(list, wiping(world))
        wait_for_a_row(world)
        release.set()
        assert first.result(60) == 2
        assert sum(second.result(60)) == 3
    assert world.rows("SELECT count(*) FROM events") == world.rows("SELECT count(*) FROM deletions") == [(0,)]
    assert is_sound(world)


@pytest.mark.parametrize("engine", ["postgresql"])
def test_what_pruning_takes_from_under_a_step_is_not_taken_for_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "STEP", 2)
    events = [structs.replace(world.event(), at=world.clock() - 2 * DAY + number) for number in range(5)]
    world.send(user(), *events)
    assert begin_to_erase(world, user()) == len(events)
    with ThreadPoolExecutor(1) as pool:
        with world.services.written.write() as tx:
            oldest = f"SELECT id FROM events_{OVERFLOW} ORDER BY at LIMIT 2"
            assert tx.run(f"DELETE FROM events_{OVERFLOW} WHERE id IN ({oldest})") == 2
            rest = pool.submit(list, wiping(world))
            wait_for_a_row(world)
        assert sum(rest.result(60)) == 3
    assert world.rows("SELECT count(*) FROM events") == world.rows("SELECT count(*) FROM deletions") == [(0,)]


def test_a_deletion_waits_for_nobody_elses_wiping(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upkeep may be at a hundred thousand silent leads; who asked for one person's deletion wants to know about that one."""
    monkeypatch.setattr(deletion, "STEP", 2)
    world.send(user("other"), *(world.event() for _ in range(5)))  # of a lower row id
    world.clock.advance(1)
    world.send(user(), *(world.event() for _ in range(5)), lead=lead())
    (other,) = world.person(user("other")).identities
    begin_to_erase(world, user("other"))
    assert erase(world, user())
    assert world.rows("SELECT DISTINCT identity FROM events") == world.rows("SELECT identity FROM deletions") == [(other.id,)]
    assert world.rows("SELECT count(*) FROM events") == [(5,)]
    assert sum(wiping(world)) == 5
    assert world.rows("SELECT count(*) FROM deletions") == [(0,)]


def test_a_deletion_that_upkeep_helps_with_ends_when_nothing_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL upkeep waits for the step that is being done; on SQLite the two take turns."""
    monkeypatch.setattr(deletion, "STEP", 2)
    world.send(user(), *(world.event() for _ in range(5)), lead=lead())
    services, helping = world.services, []

    def meeting(work: Callable[[Connection], int]) -> int:
        begun = bool(world.rows("SELECT 1 FROM deletions"))
        with services.written.write() as tx:
            done = work(tx)
            if begun and not helping:
                helping.append(pool.submit(list, wiping(world)))
                if services.written.engine == "postgresql":
                    wait_for_a_row(world)
        return done

    with ThreadPoolExecutor(1) as pool:
        person = world.person(user()).id
        assert deletion.erase(services.written, services.slices, meeting, services.keyring, world.site.id, person, world.clock)
        assert world.rows("SELECT count(*) FROM events") == world.rows("SELECT count(*) FROM deletions") == [(0,)]
        assert sum(helping[0].result(60)) <= 3
    assert is_sound(world)


def test_refused_claims_are_wiped_in_steps_and_nobody_reads_them_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals of before there was a bound may be as long as the site is old; the database's one writer is not held for all of one."""
    monkeypatch.setattr(deletion, "STEP", 2)
    names = [f"lead-{number}" for number in range(5)]
    for name in names:
        world.send(user("owner"), lead=lead(name))
        world.send(user(), lead=lead(name))
    world.send(user(), world.event(), lead=lead("own"))
    begin_to_erase(world, user())
    left = "SELECT count(*) FROM merges WHERE target NOT IN (SELECT id FROM identities)"
    with world.services.database.read() as connection:
        owner = people.by_key(connection, world.site.id, user("owner"))
        assert owner is not None
        assert {line.outcome for line in journal.of_person(connection, world.site.id, owner, limit=100)} == {"merged"}
        assert journal.of_site(connection, world.site.id, limit=100)[1] == len(names)
    counts = []
    for _ in wiping(world):
        counts.append(world.rows(left)[0][0])
        assert is_sound(world)
    assert max(before - after for before, after in itertools.pairwise([len(names), *counts])) == 2
    assert counts[-1] == 0
    assert world.rows("SELECT count(*) FROM deletions") == [(0,)]
    assert world.rows("SELECT count(*) FROM merges") == [(len(names),)]


def test_what_was_taken_while_a_deletion_waited_happened_before_it(world: World) -> None:
    world.send(user(), world.event())
    writer = world.services.writer
    held, release = threading.Semaphore(0), threading.Event()

    def hold(_: Connection) -> None:
        held.release()
        release.wait(60)

    with ThreadPoolExecutor(8) as pool:
        holding = []
        for _ in range(WRITERS[world.services.written.engine]):
            holding.append(pool.submit(writer.run, 0, hold))
            assert held.acquire(timeout=60)
        deleting = pool.submit(erase, world, user())
        wait_until(lambda: writer.waiting() == 1)
        world.clock.advance(1_000)
        late = world.event()
        sending = pool.submit(world.send, user(), late)
        wait_until(lambda: writer.waiting() == 2)
        release.set()
        for one in holding:
            one.result()
        assert deleting.result(60)
        assert sending.result(60).error is None
    assert world.send(user(), late).events == [Reason.PERSON_DELETED]
    assert world.rows("SELECT count(*) FROM identities") == world.rows("SELECT count(*) FROM events") == [(0,)]


def test_one_that_was_interrupted_is_finished_without_waiting_for_the_night(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_FEED_SECONDS", 0.001)
    world.send(user(), world.event(), lead=lead())
    begin_to_erase(world, user())
    world.clock.advance(MINUTE + 1)  # whoever deleted it would be done by now
    running = upkeep.Upkeep(world.services)
    try:
        wait_until(lambda: world.rows("SELECT count(*) FROM deletions") == [(0,)])
    finally:
        running.stop()
    assert world.rows("SELECT count(*) FROM events") == [(0,)]
    assert not world.rows("SELECT 1 FROM upkeep WHERE part = 'round'"), "the night has not come"


@pytest.mark.parametrize("engine", ["sqlite"])
def test_the_file_is_written_anew_when_nothing_is_left_to_be_wiped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for somebody whose deletion began during the round of upkeep that does it."""
    world.send(user(), world.event())
    left: list[Any] = []
    write = rewriting._write_anew

    def noted(database: Any) -> None:
        left.append(world.rows("SELECT count(*) FROM events") + world.rows("SELECT count(*) FROM deletions"))
        write(database)

    def drop(*_: Any) -> Iterator[None]:
        assert begin_to_erase(world, user()) == 1
        return iter(())

    monkeypatch.setattr(rewriting, "_write_anew", noted)
    monkeypatch.setattr(simulation_runs, "drop", drop)
    report = upkeep.Report()
    for _ in upkeep.round_of(world.services, functools.partial(world.services.writer.run, 0), report, trusted=True):
        pass
    assert left == [[(0,), (0,)]]
    assert world.rows("PRAGMA user_version") == [(0,)]


@pytest.fixture
def failing(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The wiping of the first site fails."""
    wipe, first = deletion.wipe, world.site.id

    def fail(database: Any, slices: Any, transact: Any, site: int, *more: int) -> Iterator[int]:
        if site == first:
            raise LookupError("nothing that anybody knows")
        yield from wipe(database, slices, transact, site, *more)

    monkeypatch.setattr(deletion, "wipe", fail)
    return world


def test_what_fails_for_one_site_keeps_no_other_from_being_finished(failing: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_FEED_SECONDS", 0.001)
    before = failing.site.id
    failing.site = failing.new_site("Other", "https://other.example")
    assert before < failing.site.id
    failing.send(user(), failing.event())
    begin_to_erase(failing, user())
    failing.clock.advance(MINUTE + 1)
    running = upkeep.Upkeep(failing.services)
    try:
        wait_until(lambda: failing.rows("SELECT count(*) FROM deletions") == [(0,)])
    finally:
        running.stop()


@pytest.mark.parametrize("engine", ["sqlite"])
def test_the_file_is_written_anew_although_something_cannot_be_wiped_and_stays_owed(
    failing: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []
    monkeypatch.setattr(rewriting, "_write_anew", written.append)
    failing.send(user(), failing.event())
    begin_to_erase(failing, user())
    report = upkeep.Report()
    for _ in upkeep.round_of(failing.services, functools.partial(failing.services.writer.run, 0), report, trusted=True):
        pass
    assert written == [failing.services.written]
    assert failing.rows("PRAGMA user_version") != [(0,)]
    assert failing.rows("SELECT trouble FROM upkeep WHERE part = 'part wiping'") != []


def wait_until(holds: Callable[[], bool]) -> None:
    ticks = threading.Event()
    for _ in range(60_000):
        if holds():
            return
        ticks.wait(0.001)
    raise AssertionError("it never came to that")
