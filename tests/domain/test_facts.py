"""What is known about somebody who did something very often, read in bounded memory."""

import json
import tracemalloc
from typing import Any

import pytest

from collector.domain import facts, people
from collector.domain.audiences import PersonFacts, Total
from collector.storage.database import Connection
from collector.values.clock import DAY, MINUTE
from collector.values.queries import parse
from collector.values.query_tree import needs
from tests.support.world import World, lead, user

SMALL = 10


def often(plan: str, **more: Any) -> dict[str, Any]:
    """A rule about how often something was saved on a plan."""
    where = [{"field": "metadata.plan", "operator": "=", "value": plan}]
    return {"event": "saved", "field": "count", "operator": ">", "value": 0, "where": where, **more}


QUERIES = (often("pro"), often("free"), often("none"), often("pro", within_days=2))


def known(world: World) -> PersonFacts:
    services = world.services
    node = parse({"operator": "AND", "value": list(QUERIES)}, retention_days=90)
    with services.database.read() as connection:
        person = people.by_key(connection, world.site.id, user())
        assert person is not None
        return facts.load(connection, world.site, services.names, person, needs(node), world.clock(), services.settings.retention)


@pytest.fixture
def busy(world: World) -> dict[str, list[int]]:
    """A person of three identities, each of whom saved many times, some in one ms; the times by plan."""
    times: dict[str, list[int]] = {"pro": [], "free": []}
    for number, browser in enumerate((lead("l-1"), lead("l-2"), None)):
        turns = [world.clock() - number * DAY - turn // 4 * 30 * MINUTE for turn in range(23 + number * 17)]
        for turn, at in enumerate(turns):
            times["free" if turn % 3 else "pro"].append(at)
        events = [
            world.event("saved", at=at, metadata=json.dumps({"plan": "free" if turn % 3 else "pro"})) for turn, at in enumerate(turns)
        ]
        if browser is None:
            world.send(user(), *events)
        else:
            world.send(browser, *events)
            world.send(user(), world.event(), lead=browser)
    return times


@pytest.mark.parametrize("size", [1, 4, SMALL, 1_000])
def test_page_by_page_everything_is_counted_once(
    world: World, busy: dict[str, list[int]], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "PAGE", size)
    lately = [at for at in busy["pro"] if at > world.clock() - 2 * DAY]
    expected = [*busy.values(), [], lately]
    found = known(world).measures.values()
    assert sorted(map(repr, found)) == sorted(repr(Total(len(at), min(at), max(at)) if at else Total()) for at in expected)


def test_no_more_than_a_page_of_events_is_fetched_at_once(
    world: World, busy: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "PAGE", SMALL)
    fetched: list[int] = []
    rows = Connection.rows

    def spy(self: Connection, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        found = rows(self, sql, parameters)
        if " FROM events " in sql:
            fetched.append(len(found))
        return found

    monkeypatch.setattr(Connection, "rows", spy)
    known(world)
    assert sum(fetched) > sum(map(len, busy.values())) > 10 * SMALL
    assert max(fetched) <= SMALL + 1


def test_memory_does_not_grow_with_what_somebody_did(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "PAGE", 100)
    text = json.dumps({"plan": "pro", "text": "x" * 2_000})
    for _ in range(10):
        world.send(user(), *(world.event("saved", metadata=text) for _ in range(400)))
    known(world)  # what is kept for good is there now
    tracemalloc.start()
    try:
        known(world)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 400 * len(text), "of 4,000"
    assert world.rows("SELECT count(*) FROM events") == [(4_000,)]


def test_what_is_done_for_the_first_time_meanwhile_was_not_done_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    services, then, rows = world.services, world.clock(), Connection.rows
    world.send(user(), world.event())
    world.clock.advance(MINUTE)
    meanwhile = [lambda: world.send(user(), world.event("saved"))]

    def overtaken(self: Connection, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        found = rows(self, sql, parameters)
        if " FROM totals " in sql and meanwhile:
            meanwhile.pop()()
        return found

    node = parse({"event": "saved", "field": "count", "operator": ">", "value": 0}, retention_days=90)
    person = world.person(user())
    monkeypatch.setattr(Connection, "rows", overtaken)
    with services.database.read() as connection:
        found = facts.load_then(connection, world.site, services.names, person, needs(node), then, services.settings.retention)
    assert not meanwhile
    assert "saved" not in found.totals or found.totals["saved"].count == 0
    assert world.counts(user())["saved"] == 1
