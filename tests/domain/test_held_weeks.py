"""The end of a week whose table somebody reads for long, as a backup does: it is waited for, and nobody else has to wait for that."""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from collector import operating
from collector.domain import deletion, pruning
from collector.domain.doctor import examine
from collector.domain.pruning import prune
from collector.domain.submissions import Event
from collector.storage import copying, slices
from collector.storage.database import Database
from collector.storage.slices import CLOSED, PRUNED, WEEK
from collector.storage.snapshots import snapshot
from collector.upkeep import Report, round_of
from collector.values.clock import DAY
from tests.support.clock import FakeClock
from tests.support.world import World, lead
from tests.support.world import world as start

pytestmark = pytest.mark.parametrize("engine", ["postgresql"])

SOON = 4.0
"""Seconds; a lock is waited for 10 s before somebody hears that the collector is overloaded."""
PENDING = "SELECT 1 FROM pg_inherits WHERE inhdetachpending"
WANTED = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = to_regclass(%s)"


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    """A collector with a timeline of two weeks."""
    with start(database_url, clock, retention_days=14, lead_retention_days=1_000) as running:
        yield running


@pytest.fixture
def event(world: World) -> Event:
    """What two visitors did, and the first event of them, in a week that is closed and added to the totals by now, but stands yet."""
    first = world.event()
    world.send(lead("goes"), first)
    world.send(lead("stays"), world.event())
    world.clock.advance(40 * DAY)
    services = world.services
    services.slices.ensure(world.clock())
    steps = prune(services.written, services.slices, services.written.transact, world.clock(), services.settings.retention)
    assert next(step.slice for step in steps if step.what == "moved") == first.at // WEEK
    steps.close()
    return first


@contextmanager
def upkeep(world: World) -> Iterator[Report]:
    """Do a round meanwhile, and wait for its end after that."""
    services, report = world.services, Report()

    def run() -> None:
        for _ in round_of(services, services.written.transact, report, trusted=True):
            pass

    running = threading.Thread(target=run)
    running.start()
    try:
        yield report
    finally:
        running.join(60)
    assert not running.is_alive()


@contextmanager
def reading(url: str) -> Iterator[None]:
    """Hold all weeks, as a backup and the doctor do."""
    database = Database(url)
    try:
        with snapshot(database):
            yield
    finally:
        database.close()


def until(url: str, sql: str, *parameters: Any) -> None:
    with psycopg.connect(url, autocommit=True) as watch:
        for _ in range(1_000):
            if watch.execute(sql.encode(), parameters).fetchall():
                return
            time.sleep(0.01)
    raise AssertionError(sql)


def seconds(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def erase(world: World) -> None:
    services, site = world.services, world.site.id
    transact = functools.partial(services.writer.run, site)
    person = world.person(lead("goes").key).id
    assert deletion.erase(services.written, services.slices, transact, services.keyring, site, person, world.clock)


def send_again(world: World, event: Event) -> None:
    """By a clock that was put right since: so it is looked for in both slices in which it could stand."""
    assert world.send(lead("stays"), Event(event.id, event.name, world.clock())).events == [False]


def look(world: World) -> None:
    assert list(examine(world.services.database, world.services.keyring)) == []


@pytest.mark.parametrize("begun", [False, True], ids=["in the timeline", "taken out of it"])
def test_nobody_waits_for_who_waits_for_a_backup(world: World, database_url: str, event: Event, begun: bool) -> None:
    week = event.at // WEEK
    if begun:
        with psycopg.connect(database_url) as connection:
            connection.execute(f"ALTER TABLE events DETACH PARTITION events_{week}".encode())
    with upkeep(world) as report, reading(database_url):
        waits: list[float] = []
        for work in (functools.partial(send_again, event=event), erase, look):
            until(database_url, WANTED, f"events_{week}")
            waits.append(seconds(functools.partial(work, world)))
        assert max(waits) < SOON, waits
        assert world.rows("SELECT state FROM slices WHERE slice = ?", week) == [(CLOSED,)]
    assert (report.dropped > 0, report.failed) == (True, 0)
    assert world.rows("SELECT state FROM slices WHERE slice = ?", week) == [(PRUNED,)]
    assert world.counts(lead("stays").key) == {"page-view": 1}
    look(world)


def test_what_was_cut_short_is_finished(world: World, database_url: str, event: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "DETACH_SECONDS", 1)
    with reading(database_url), upkeep(world) as report:
        until(database_url, PENDING)
    assert (report.dropped, report.failed) == (0, 1)
    assert {one.check for one in examine(world.services.database, world.services.keyring)} == {"upkeep"}
    send_again(world, event)
    with upkeep(world) as report:
        pass
    assert (report.dropped > 0, report.failed) == (True, 0)
    look(world)


def test_backups_made_beside_pruning_add_up(world: World, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins in the middle of the first one, which holds all weeks, and ends in spite of those that follow."""
    monkeypatch.setitem(pruning.STEP, "postgresql", 3)
    names = [f"lead-{number}" for number in range(10)]
    for _ in range(4):
        for name in names:
            world.send(lead(name), world.event())
        clock.advance(WEEK)
    clock.advance(40 * DAY)
    services = world.services
    services.slices.ensure(clock())
    steps = prune(services.written, services.slices, services.written.transact, clock(), services.settings.retention)
    next(step for step in steps if step.what == "moved")  # nothing is left to be closed
    pruning_on = threading.Thread(target=lambda: list(steps))

    def begin(*arguments: Any, make: Callable[..., None] = copying._make_slices) -> None:
        if not pruning_on.ident:
            pruning_on.start()
            until(services.settings.database_url, PENDING)
        make(*arguments)

    monkeypatch.setattr(copying, "_make_slices", begin)
    held = [backed_up(world, tmp_path / "first.db", len(names))]
    while pruning_on.is_alive():
        held.append(backed_up(world, tmp_path / f"{len(held)}.db", len(names)))
    held.append(backed_up(world, tmp_path / "last.db", len(names)))
    assert (held[0], held[-1]) == (40, 0)
    assert held == sorted(held, reverse=True)
    look(world)


def backed_up(world: World, path: Path, people: int) -> int:
    """Make a backup, in which everybody's four events add up, and return how many of them stand there one by one."""
    events = operating.backup(world.services.settings, path).events
    copy = Database(f"sqlite:///{path}", as_it_is=True)
    try:
        assert list(examine(copy, world.services.keyring)) == []
        with copy.read() as connection:
            assert connection.rows("SELECT own_count FROM totals") == [(4,)] * people
    finally:
        copy.close()
    return events
