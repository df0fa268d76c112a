"""No statement about somebody reads all that a site has: each is explained by SQLite's own planner."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.domain import decisions, deletion, facts, imports, journal, merging, past, people, pruning, rankings, trigger_events
from collector.domain.imports import Base
from collector.storage.database import Connection
from collector.values.clock import DAY
from collector.values.messages import clean_auto_message
from collector.values.queries import parse
from collector.values.query_tree import needs
from tests.support.clock import FakeClock
from tests.support.world import World, lead, user
from tests.support.world import world as start

VISIT = "01a2104a-324e-7080-a9b1-02515962ad5b"
WHOLE = re.compile(r"SCAN (\w+)|SEARCH (\w+) USING (?:COVERING )?(?:INDEX \w+|PRIMARY KEY) \((?:site=\?|site=\? AND slice=\?)\)$")
LARGE = ("identities", "totals", "attributes", "visits", "merges", "deliveries", "decisions", "events_")
# Work through all that there is, in steps: these have to.
ALL = (
    "FROM events_0 WHERE site = ? AND coalesce(arrived_at, at)",
    "FROM identities WHERE site = ? AND id > ?",
)


@pytest.fixture
def world(tmp_path: Path, clock: FakeClock) -> Iterator[World]:
    with start(f"sqlite:///{tmp_path / 'leadlight.db'}", clock) as running:
        yield running


@pytest.fixture
def statements(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Every statement that runs from now on, with parameters it ran with."""
    seen: dict[str, Any] = {}
    execute = Connection._execute

    def spy(self: Connection, sql: str, parameters: Any) -> Any:
        seen.setdefault(sql, parameters)
        return execute(self, sql, parameters)

    chunks = Connection.chunks

    def spy_chunks(self: Connection, sql: str, parameters: Any = (), size: int = 5_000) -> Any:
        seen.setdefault(sql, parameters)
        return chunks(self, sql, parameters, size)

    monkeypatch.setattr(Connection, "_execute", spy)
    monkeypatch.setattr(Connection, "chunks", spy_chunks)
    return seen


def test_nothing_about_somebody_reads_a_whole_site(world: World, statements: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "PAGE", 1)  # what is read page by page is so here
    services, site = world.services, world.site.id
    world.send(lead(), world.event(visit=VISIT), world.event("saved"))
    world.set(lead(), {"email": "ann@example.com", "custom_attributes.plan": "pro"})
    world.send(user(), world.event(visit=VISIT), lead=lead())
    world.send(lead("other"), world.event(at=world.clock() - DAY), world.event("saved"))
    world.send(user(), world.event("saved", at=world.clock() + 1, metadata='{"plan": "pro"}'), lead=lead("other"))
    query = parse(
        {
            "operator": "AND",
            "value": [
                {
                    "event": "saved",
                    "field": "count",
                    "operator": ">",
                    "value": 0,
                    "where": [{"field": "metadata.plan", "operator": "=", "value": "pro"}],
                },
                {"event": "saved", "field": "count", "operator": ">", "value": 0, "within_days": 3},
                {"field": "custom_attributes.plan", "operator": "=", "value": "pro"},
                {"message": "none", "field": "seen", "operator": "has_any_value"},
            ],
        },
        retention_days=90,
    )
    with services.database.read() as connection:
        person = people.by_key(connection, site, user())
        assert person is not None
        facts.load(
            connection, world.site, services.names, person, needs(query), world.clock(), services.settings.retention, everything=True
        )
        then = world.clock() - 2 * DAY
        facts.load_then(connection, world.site, services.names, person, needs(query), then, services.settings.retention)
        people.by_email(connection, site, "ann@example.com")
        asked = (connection, site, services.names)
        assert trigger_events.lately(*asked, person.id, ["saved", "page-view"], world.clock()) == {"saved", "page-view"}
        waiting = trigger_events.waiting(*asked, person, ["saved", "page-view"], world.clock(), None)
        assert trigger_events.named(*asked, person, waiting["saved"][0].id, 0, None) == waiting["saved"][0]
        people.by_contact_id(connection, site, person.contact_id)
        people.timeline(connection, site, services.names, person.identities, 0, event="saved", limit=10)
        people.timeline(connection, site, services.names, person.identities, 0, behind=(world.clock(), b"0" * 16))
        people.before_sign_up(connection, site, services.names, person, 0, event="page-view", behind=(world.clock(), b"0" * 16))
        people.count_before_sign_up(connection, site, services.names, person, 0, "page-view")
        decisions.of_person(connection, site, person.id)
        decisions.of_person(connection, site, person.id, 1)
        merges = journal.of_person(connection, site, person, limit=10)
    services.decisions.note(site, person.id, [(1, "caps")], world.clock())
    services.decisions.write()
    services.names.ensure(site, "event", ["bought"], world.clock())
    services.writer.run(
        site, lambda tx: imports.set_bases(tx, site, services.names, services.maker, world.clock(), user(), [Base("bought", 2, 1, 2)])
    )
    services.writer.run(site, lambda tx: merging.undo(tx, site, merges[0].id, world.clock()))
    world.clock.advance(200 * DAY)
    world.send(lead("late"), world.event())
    for _ in pruning.prune(services.written, services.slices, services.written.transact, world.clock(), services.settings.retention):
        pass
    transact = functools.partial(services.writer.run, site)
    assert list(decisions.drop(transact, site, world.clock())) == [1]
    assert deletion.erase(services.written, services.slices, transact, services.keyring, site, world.person(user()).id, world.clock)
    assert len(statements) > 60
    assert any("(at > ? OR id > ?) AND name = ?" in sql for sql in statements)
    assert wholes(world, dict(statements)) == []


STAFF = "SEARCH attributes USING PRIMARY KEY (site=? AND attr=?)"
"""How those are found who stay out of the numbers."""


def test_a_ranking_reads_the_totals_of_its_event_and_the_events_of_those_who_did_it(world: World, statements: dict[str, Any]) -> None:
    names, site = world.services.names, world.site.id
    world.send(lead(), world.event("saved"), world.event("paid"))
    world.send(user(), world.event("saved"), lead=lead())
    statements.clear()
    with world.services.database.snapshot() as connection:
        assert [one.count for one in rankings.of_all_time(connection, site, names, "saved", limit=10)] == [2]
        assert [one.count for one in rankings.since(connection, site, names, "saved", 0, limit=10)] == [2]
        assert rankings.sums(connection, site, names, ["saved", "paid"])["paid"].count == 1
    asked = dict(statements)
    assert wholes(world, asked) == []
    plans = {sql: plan(world, sql, parameters) for sql, parameters in asked.items() if "FROM totals" in sql or "FROM events" in sql}
    assert len(plans) == 4
    for sql, lines in plans.items():
        reads = [line for line in lines if line.startswith(("SCAN totals", "SCAN events_", "SEARCH")) and STAFF not in line]
        key = "(site=? AND name=?" if "FROM totals" in sql else "(site=? AND identity=? AND at>?)"
        assert reads
        assert all(key in line for line in reads), (sql, lines)


def test_the_past_of_some_people_is_read_by_their_own_keys(world: World, statements: dict[str, Any]) -> None:
    world.send(lead(), world.event(visit=VISIT), world.event("saved"))
    world.send(user(), world.event("saved"), lead=lead())
    world.clock.advance(100 * DAY)
    world.send(user(), world.event("saved"), lead=lead("other"))
    audience = {
        "operator": "AND",
        "value": [
            {"event": "saved", "field": "count", "operator": ">", "value": 0},
            {"field": "custom_attributes.plan", "operator": "is_unknown"},
            {"field": "session_count", "operator": ">", "value": 0},
            {"event": "saved", "field": "count", "operator": ">", "value": 0, "within_days": 3},
        ],
    }
    raw = {"name": "Hello", "type": "popup", "content": {"body": "Hello {{city | fallback: 'you'}}"}, "audience": audience}
    services, site, now = world.services, world.site.id, world.clock()
    definition = clean_auto_message(raw, retention_days=90)
    made = services.writer.run(site, lambda tx: services.auto_messages.create(tx, site, definition, now))
    with services.database.read() as connection:
        message = services.auto_messages.get(connection, site, made.public_id)
    assert message is not None
    for everything in (False, True):
        wanted = past.Wanted([msgspec.structs.replace(message, has_variables=everything)])
        statements.clear()
        assert past.number_of_people(services.database, site, now - 90 * DAY) == 1
        assert list(past.everybody(services.database, services.names, site, wanted, now - 90 * DAY, now - 90 * DAY))
        assert len(statements) >= 10
        assert any("AND at < ?" in sql for sql in statements)
        assert wholes(world, dict(statements)) == []


def plan(world: World, sql: str, parameters: Any) -> list[str]:
    """How SQLite means to run a statement."""
    with world.services.database.read() as connection:
        return [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {sql}", parameters)]


def wholes(world: World, statements: dict[str, Any]) -> list[str]:
    """The statements that read all that a site has of something large, with their plans."""
    found = []
    with world.services.database.read() as connection:
        for sql, parameters in statements.items():
            if not sql.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")) or any(part in sql for part in ALL):
                continue
            try:
                plan = [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {sql}", parameters)]
            except Exception as error:
                if "no such table: events_" in str(error):  # a slice that was dropped since
                    continue
                raise
            for line in plan:
                match = WHOLE.match(line)
                if (
                    match
                    and any((match[1] or match[2]).startswith(table) for table in LARGE)
                    and "events_" not in sql.partition("WHERE")[0]
                ):
                    found.append(f"{line}: {sql}")
    return found
