"""Going back over the timeline for a new rule: when it begins, and that no view is passed over that was under way."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from werkzeug.test import Client

from collector import backfill
from collector.domain import event_rules
from collector.domain.event_rules import ActiveRules
from collector.services import Services, build
from collector.values.clock import DAY, MINUTE
from collector.values.ids import new_uuid7
from collector.web.browser import Responder
from tests.ingest.test_event_rules import counts, new_rule
from tests.support.browserless import ENTRIES, Tracker
from tests.support.world import World

NO_RULES = ActiveRules((), (), frozenset())


@pytest.fixture
def other(world: World) -> Iterator[Services]:
    """Another process's collector on the same database."""
    services = build(world.services.settings, world.clock)
    try:
        yield services
    finally:
        services.close()


@pytest.fixture
def going_back(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """Starts the thread, which looks for new rules all the time; returns what waits until it has looked several times more."""
    monkeypatch.setattr(backfill, "LOOK_SECONDS", 0.001)
    looked = threading.Semaphore(0)
    pending = event_rules.pending

    def spy(*given: Any) -> Any:
        looked.release()
        return pending(*given)

    monkeypatch.setattr(event_rules, "pending", spy)
    running: list[backfill.Backfill] = []

    def wait() -> None:
        if not running:
            running.append(backfill.Backfill(world.services))
        while looked.acquire(blocking=False):
            pass
        for _ in range(8):
            assert looked.acquire(timeout=60)

    yield wait
    for one in running:
        one.stop()


def know_no_rules(services: Services, world: World) -> None:
    """Let a collector not have read of any rule."""
    services.event_rules._active[world.site.id] = (float("inf"), NO_RULES)


def went_back(world: World) -> bool:
    return world.rows("SELECT backfilled_at FROM event_rules WHERE backfilled_at IS NULL") == []


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


@contextmanager
def held(world: World, tracker: Tracker) -> Iterator[None]:
    """Hold the row of a browser's lead."""
    with psycopg.connect(world.services.settings.database_url) as holder:
        holder.execute("SELECT 1 FROM identities WHERE value = %s FOR UPDATE", (tracker.lead.partition(".")[0],))
        yield


def test_it_begins_when_the_rule_was_seen_for_so_long_whatever_clocks_say_of_its_time(
    world: World, going_back: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "SETTLED_SECONDS", 3_600)
    new_rule(world)
    world.clock.advance(DAY)
    going_back()
    assert not went_back(world)
    monkeypatch.setattr(backfill, "SETTLED_SECONDS", 0)
    until(lambda: went_back(world))


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_view_that_waits_for_a_row_in_another_collector_that_did_not_know_the_rule_is_counted(
    world: World, other: Services, going_back: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "SETTLED_SECONDS", 3_600, raising=False)
    tracker = Tracker(world, Client(ENTRIES["rsgi"](Responder(other))))
    tracker.view("/")
    know_no_rules(other, world)
    with held(world, tracker):
        viewing = threading.Thread(target=tracker.view, args=("/pricing",))
        viewing.start()
        until(lambda: world.rows("SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0,)])
        new_rule(world)
        world.clock.advance(MINUTE)
        going_back()
    viewing.join()
    monkeypatch.setattr(backfill, "SETTLED_SECONDS", 0, raising=False)
    until(lambda: went_back(world))
    assert counts(world, tracker) == {"page-view": 2, "saw-pricing": 1}


@pytest.mark.parametrize("before", [MINUTE // 2, 1_000 * DAY], ids=["in its week", "in the overflow"])
def test_a_view_that_is_committed_behind_what_was_gone_over_is_found_at_the_end(
    world: World, tracker: Tracker, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr(event_rules, "STEP", 1)
    for _ in range(2):
        world.clock.advance(MINUTE)
        tracker.view("/pricing")
    rule = new_rule(world)
    steps = backfill.apply(world.services, world.site, rule)
    for _ in range(2):
        next(steps)
    know_no_rules(world.services, world)
    tracker.collect(tracker.event(id=new_uuid7(world.clock() - before), url="https://shop.example/pricing"))
    assert counts(world, tracker) == {"page-view": 3, "saw-pricing": 2}
    for _ in steps:
        pass
    assert counts(world, tracker) == {"page-view": 3, "saw-pricing": 3}
    assert went_back(world)


def test_what_is_gone_over_again_is_not_old(world: World, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_rules, "STEP", 1)
    for _ in range(5):
        tracker.view("/pricing")
        world.clock.advance(DAY)
    rule = new_rule(world)
    # five views and the end, and once more those of the last two days
    assert len(list(backfill.apply(world.services, world.site, rule))) == 5 + 2 + 1
    assert counts(world, tracker) == {"page-view": 5, "saw-pricing": 5}


def test_interrupted_while_it_goes_over_the_newest_again_it_does_not_begin_anew(
    world: World, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_rules, "STEP", 1)
    for _ in range(3):
        tracker.view("/pricing")
    rule = new_rule(world)
    steps = backfill.apply(world.services, world.site, rule)
    for _ in range(4):
        next(steps)
    steps.close()
    assert not went_back(world)
    assert len(list(backfill.apply(world.services, world.site, rule))) == 3 + 1
    assert counts(world, tracker) == {"page-view": 3, "saw-pricing": 3}
    assert went_back(world)
