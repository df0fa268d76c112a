"""What is known about somebody who did something very often, read in bounded memory."""

import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from collector.domain import facts, imports, people
from collector.domain.audiences import PersonFacts, Total
from collector.domain.imports import Base
from collector.storage.database import Connection
from collector.values.clock import DAY, MINUTE
from collector.values.queries import parse
from collector.values.query_tree import EventMeasure, EventRule, needs
from tests.support.world import World, lead, user

SMALL = 10
MONTH = {"within_days": 30}


def often(plan: str, **more: Any) -> dict[str, Any]:
    """A rule about how often something was saved on a plan."""
    where = [{"field": "metadata.plan", "operator": "=", "value": plan}]
    return {"event": "saved", "field": "count", "operator": ">", "value": 0, "where": where, **more}


QUERIES = (often("pro"), often("free"), often("none"), often("pro", within_days=2))


def known(world: World, queries: Sequence[Any] = QUERIES) -> PersonFacts:
    services = world.services
    node = parse({"operator": "AND", "value": list(queries)}, retention_days=90)
    with services.database.read() as connection:
        person = people.by_key(connection, world.site.id, user())
        assert person is not None
        return facts.load(connection, world.site, services.names, person, needs(node), world.clock(), services.settings.retention)


def measures_of(queries: Sequence[Any]) -> list[EventMeasure]:
    """The measures that queries are about, in their order."""
    nodes = [parse(query, retention_days=90) for query in queries]
    return [node.measure for node in nodes if isinstance(node, EventRule)]


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


@pytest.mark.parametrize("size", [1, SMALL, 1_000])
def test_the_timeline_is_asked_once_about_all_events_and_tells_them_apart(world: World, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "PAGE", size)
    long_ago = world.clock() - 60 * DAY
    for turn in range(9):
        name = ("saved", "opened", "closed")[turn % 3]
        at = world.clock() - turn * DAY
        world.send(
            user(), world.event(name, at=at, metadata='{"plan": "pro"}'), world.event(name, at=long_ago, metadata='{"plan": "free"}')
        )
    questions: list[str] = []
    execute = Connection._execute

    def spy(self: Connection, sql: str, parameters: Any) -> Any:
        questions.append(sql)
        return execute(self, sql, parameters)

    monkeypatch.setattr(Connection, "_execute", spy)
    asked = [
        {**often(plan, **span), "event": name} for name in ("saved", "opened", "sold") for plan in ("pro", "free") for span in ({}, MONTH)
    ]
    by_key = known(world, asked).measures
    counts = {(one.event, one.where[0].test.operand, one.within_days): by_key[one.key].count for one in measures_of(asked)}
    assert counts == {
        **{(name, plan, days): 3 for name in ("saved", "opened") for plan, days in (("pro", None), ("free", None), ("pro", 30))},
        **{(name, "free", 30): 0 for name in ("saved", "opened")},
        **{("sold", plan, days): 0 for plan in ("pro", "free") for days in (None, 30)},
    }
    if size == 1_000:
        assert sum(" FROM events " in sql for sql in questions) == 1


def test_what_is_asked_of_a_day_is_not_read_back_further_for_what_is_asked_of_the_timeline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in range(30):
        world.send(user(), world.event("often", at=world.clock() - turn * DAY, metadata='{"plan": "pro"}'))
    world.send(user(), world.event("seldom", at=world.clock() - 80 * DAY, metadata='{"plan": "pro"}'))
    fetched: list[int] = []
    rows = Connection.rows

    def spy(self: Connection, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        found = rows(self, sql, parameters)
        if " FROM events " in sql:
            fetched.append(len(found))
        return found

    monkeypatch.setattr(Connection, "rows", spy)
    asked = [{**often("pro", within_days=2), "event": "often"}, {**often("pro"), "event": "seldom"}]
    found = known(world, asked).measures
    assert [found[one.key].count for one in measures_of(asked)] == [2, 1]
    assert sum(fetched) <= 4


def test_somebody_with_very_many_identities_is_read_in_few_questions_though_one_event_is_frequent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "PAGE", 100)
    for number in range(60):
        world.send(lead(f"l-{number}"), world.event("seldom", metadata='{"plan": "pro"}'))
        world.send(user(), world.event(), lead=lead(f"l-{number}"))
    world.send(user(), *(world.event("often", metadata='{"plan": "pro"}') for _ in range(101)))
    questions: list[str] = []
    rows = Connection.rows

    def spy(self: Connection, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        questions.append(sql)
        return rows(self, sql, parameters)

    monkeypatch.setattr(Connection, "rows", spy)
    asked = [{**often("pro"), "event": name} for name in ("often", "seldom", "a", "b", "c")]
    found = known(world, asked).measures
    assert [found[one.key].count for one in measures_of(asked)] == [101, 60, 0, 0, 0]
    # all together, these two by themselves, and the frequent one of each identity
    assert sum(" FROM events " in sql for sql in questions) <= 3 + 61 + 1


@pytest.mark.parametrize("pruned", [True, False])
def test_what_was_known_then_of_what_stands_in_the_totals_alone(world: World, *, pruned: bool) -> None:
    """What was done since is taken away; the last before it may stand in no timeline."""
    services, then = world.services, world.clock()
    last = then - 2 * DAY
    world.send(user(), world.event())
    services.names.ensure(world.site.id, "event", ["bought"], then)
    if pruned:
        number, owner = services.names.number(world.site.id, "event", "bought"), world.person(user()).id
        columns = ("site", "name", "identity", *(f"{half}{what}" for half in ("", "own_", "base_") for what in ("count", "last", "first")))
        row = (world.site.id, number, owner, *(5, last, then - 300 * DAY) * 3)
        services.writer.run(world.site.id, lambda tx: tx.insert("totals", columns, [row]))
    else:
        base = Base("bought", 5, then - 300 * DAY, last)
        services.writer.run(
            world.site.id, lambda tx: imports.set_bases(tx, world.site.id, services.names, services.maker, then, user(), [base])
        )
    world.clock.advance(DAY)
    world.send(user(), world.event("bought"))
    node = parse({"event": "bought", "field": "last", "operator": "less_than_days_ago", "value": 30}, retention_days=90)
    with services.database.snapshot() as connection:
        found = facts.load_then(
            connection, world.site, services.names, world.person(user()), needs(node), then, services.settings.retention
        )
    assert found.totals["bought"] == Total(5, then - 300 * DAY, last)


def test_the_timeline_is_asked_once_what_was_done_within_so_many_days(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for turn in range(9):
        world.send(user(), world.event(("saved", "opened", "closed")[turn % 3], at=world.clock() - turn * DAY))
    questions: list[str] = []
    rows = Connection.rows

    def spy(self: Connection, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        questions.append(sql)
        return rows(self, sql, parameters)

    monkeypatch.setattr(Connection, "rows", spy)
    asked = [{"event": name, "field": "count", "operator": ">", "value": 0, "within_days": 5} for name in ("saved", "opened", "sold")]
    found = known(world, asked).measures
    assert [found[one.key].count for one in measures_of(asked)] == [2, 2, 0]
    assert sum(" FROM events " in sql for sql in questions) == 1


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
