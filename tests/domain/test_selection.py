"""Everybody whom a query describes: what is measured over the timeline takes no more memory the more there is."""

import json
import tracemalloc
from typing import Any

import pytest

from collector.domain import measured, selection
from collector.domain.selection import select
from collector.storage.database import Connection
from collector.values.clock import MINUTE
from collector.values.queries import parse
from tests.support.world import World, user

PEOPLE = 10
TEXT = "x" * 1_000


def viewed(world: World, views: int) -> None:
    """Let each of a few people view so many pages, every second of them a pricing page."""
    for number in range(PEOPLE):
        metadata = [json.dumps({"path": "/pricing" if turn % 2 else "/", "text": TEXT}) for turn in range(views)]
        events = [world.event(at=world.clock() - turn * MINUTE, metadata=text) for turn, text in enumerate(metadata)]
        world.send(user(f"u-{number}"), *events, browser=False)


def often(count: int) -> dict[str, Any]:
    """A query for those who viewed the pricing page so often."""
    where = [{"field": "metadata.path", "operator": "=", "value": "/pricing"}]
    return {"event": "page-view", "field": "count", "operator": "=", "value": count, "where": where}


def found(world: World, raw: Any) -> int:
    node, services = parse(raw, retention_days=90), world.services
    with (
        services.database.read() as connection,
        select(connection, world.site, services.names, node, world.clock(), services.settings.retention) as (people, _),
    ):
        return people.count(connection)


def peak(world: World, raw: Any) -> int:
    """How many bytes a search takes at most."""
    found(world, raw)  # what is kept for good is there now
    tracemalloc.start()
    try:
        found(world, raw)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_search_by_metadata_takes_no_more_memory_of_four_times_as_many_views(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "EVENTS", 100)
    viewed(world, 100)
    few = peak(world, often(50))
    viewed(world, 300)
    many = peak(world, often(200))
    assert many < 1.5 * few
    assert world.rows("SELECT count(*) FROM events") == [(PEOPLE * 400,)]


@pytest.mark.parametrize(("events", "people"), [(1, 1), (3, 2), (7, 50), (2_000, 50_000)])
def test_however_little_is_in_memory_at_once_everything_is_counted_once(
    world: World, monkeypatch: pytest.MonkeyPatch, events: int, people: int
) -> None:
    monkeypatch.setattr(selection, "EVENTS", events)
    monkeypatch.setattr(measured, "PEOPLE", people)
    monkeypatch.setattr(measured, "_MERGED", people)
    viewed(world, 8)
    world.send(user("u-0"), world.event(metadata='{"path": "/pricing"}'), browser=False)
    assert [found(world, often(count)) for count in (3, 4, 5)] == [0, PEOPLE - 1, 1]


def test_first_and_last_are_those_of_all_that_meets_the_conditions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "EVENTS", 3)
    monkeypatch.setattr(measured, "PEOPLE", 1)
    viewed(world, 8)
    for field, ago in (("first", 7), ("last", 1)):
        at = (world.clock() - ago * MINUTE) // 1_000
        assert found(world, {**often(0), "field": field, "operator": "=", "value": at}) == PEOPLE, field
        assert found(world, {**often(0), "field": field, "operator": "=", "value": at + 1}) == 0, field


def test_a_search_by_metadata_may_be_part_of_a_transaction(world: World) -> None:
    viewed(world, 4)
    node, services = parse(often(2), retention_days=90), world.services
    with (
        services.database.write() as tx,
        select(tx, world.site, services.names, node, world.clock(), services.settings.retention) as (people, _),
    ):
        assert people.count(tx) == PEOPLE
    assert not services.database.in_transaction()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("more", [{}, {"within_days": 30}, {"within_days": 30, "where": []}], ids=["by metadata", "both", "within days"])
def test_sqlite_sorts_no_events_for_a_search(world: World, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]) -> None:
    """It would do so in the memory of the process that serves."""
    viewed(world, 2)
    plans: list[str] = []
    execute = Connection._execute

    def spy(self: Connection, sql: str, parameters: Any) -> Any:
        if " FROM events " in sql:
            plans.extend(row[3] for row in execute(self, f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall())
        return execute(self, sql, parameters)

    monkeypatch.setattr(Connection, "_execute", spy)
    chunks = Connection.chunks
    monkeypatch.setattr(Connection, "chunks", lambda self, sql, given, size: (spy(self, sql, given), chunks(self, sql, given, size))[1])
    assert found(world, {**often(1), **more}) == (0 if "where" in more else PEOPLE)
    assert plans
    assert [step for step in plans if "TEMP B-TREE" in step] == []
