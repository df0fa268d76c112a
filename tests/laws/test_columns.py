"""Columns in memory name the same people as SQL, at any moment, whoever wrote and whatever happened to people."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from collector import upkeep
from collector.domain import changes, column_sources, column_table, columns, contacts
from collector.domain.column_rules import Question, Unsupported
from collector.domain.column_sources import Column
from collector.domain.column_table import Table
from collector.domain.columns import Columns
from collector.domain.names import EVENT, Names
from collector.services import build
from collector.storage.database import Connection, Database
from collector.values.clock import DAY
from collector.values.queries import parse
from tests.laws import acts
from tests.laws.asked import VISITS, all_queries, in_memory, in_sql, live
from tests.laws.play import Play
from tests.support.clock import FakeClock
from tests.support.world import World, lead, user
from tests.support.world import world as start

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large])
PLENTY = 100_000_000

ABOUT_HISTORIES: tuple[dict[str, Any], ...] = (
    {"event": "page-view", "field": "count", "operator": ">", "value": 1},
    {"event": "created-report", "field": "count", "operator": "=", "value": 0},
    {"event": "page-view", "field": "last", "operator": "more_than_days_ago", "value": 3},
    {"event": "created-report", "field": "first", "operator": "less_than_days_ago", "value": 8},
    {"event": "page-view", "field": "first", "operator": "<", "value": {"event": "created-report", "field": "last"}},
    {"field": "last_seen_at", "operator": "less_than_days_ago", "value": 7},
    {"field": "last_active_at", "operator": "more_than_hours_ago", "value": 24},
    {"field": "created_at", "operator": "more_than_days_ago", "value": 1},
    {"field": "session_count", "operator": ">", "value": 1},
    {"field": "role", "operator": "=", "value": "lead"},
    {"field": "custom_attributes.plan", "operator": "=", "value": "a"},
    {"field": "custom_attributes.plan", "operator": ">=", "value": 1},
    {"field": "email", "operator": "has_any_value"},
    {"operator": "NOT", "value": [{"field": "page_view_count", "operator": ">", "value": 0}]},
)
ABOUT_TIMELINES: tuple[dict[str, Any], ...] = (
    {"event": "page-view", "field": "count", "operator": ">", "value": 0, "within_days": 3},
    {"event": "created-report", "field": "first", "operator": "more_than_days_ago", "value": 2, "within_days": 14},
    {
        "event": "page-view",
        "field": "last",
        "operator": "has_any_value",
        "where": [{"field": "metadata.plan", "operator": "!=", "value": "a"}],
    },
    {"event": "page-view", "field": "last", "operator": ">", "value": {"event": "created-report", "field": "last", "within_days": 7}},
    {"field": "updated_at", "operator": "less_than_days_ago", "value": 3},
    {"field": "external_id", "operator": "is_unknown"},
)


class Reader:
    """Columns of a process that only reads, with connections of its own; it may start anew."""

    def __init__(self, url: str, clock: FakeClock, limit_bytes: int = PLENTY) -> None:
        self.database = Database(url)
        self._clock = clock
        self._limit = limit_bytes
        self.start()

    writing = False
    """Whether somebody writes between two questions."""

    def start(self) -> None:
        """Know nothing, as a process does that has just started."""
        self.columns = Columns(self.database, Names(self.database, self.database, 0), self._clock, self._limit)

    def restart(self) -> None:
        self.columns.close()
        self.start()

    def ids(self, world: World, raw: Any) -> list[int] | None:
        node = parse(raw, retention_days=90)
        found = self.columns.ids(world.site, node, world.clock())
        if found is not None and not self.writing:
            assert self.columns.count(world.site, node, world.clock()) == len(found)
        return found

    def close(self) -> None:
        self.columns.close()
        self.database.close()


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens now and then with a million people happens all the time with a few."""
    monkeypatch.setattr(column_table, "_SPARE", 1)
    monkeypatch.setattr(column_table, "_CHUNK", 2)
    monkeypatch.setattr(column_table, "_MOST_LATER", 2)
    monkeypatch.setattr(column_table, "_MANY", 6)
    monkeypatch.setattr(column_sources, "_PAGE", 2)


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    with start(database_url, clock) as running:
        yield running


@pytest.fixture
def reader(world: World) -> Iterator[Reader]:
    made = Reader(world.services.settings.database_url, world.clock)
    yield made
    made.close()


@relaxed
@given(data=st.data())
def test_columns_and_sql_name_the_same_people(world: World, reader: Reader, data: st.DataObject) -> None:
    world.site = world.new_site()
    for number in range(data.draw(st.integers(1, 4))):
        live(world, data.draw, number)
        for raw in data.draw(st.lists(all_queries, min_size=1, max_size=6)):
            assert reader.ids(world, raw) == (in_sql(world, raw) if is_held(reader, world, raw) else None), raw


def is_held(reader: Reader, world: World, raw: Any) -> bool:
    """Whether columns hold what a query asks for, by its form: then they have to answer."""
    try:
        Question(world.site, Names(reader.database, reader.database, 0), parse(raw, retention_days=90), world.clock())
    except Unsupported:
        return False
    return True


@settings(relaxed, max_examples=settings.default.max_examples // 2)
@given(history=acts.acts, phase=acts.phases)
def test_after_everything_that_happens_columns_say_what_sql_says(begin: Callable[..., Play], history: list[acts.Act], phase: int) -> None:
    play = begin(phase)
    with ExitStack() as stack:
        reader = Reader(play.world.services.settings.database_url, play.clock)
        stack.callback(reader.close)
        for act in history:
            play.act(act)
            agree(reader, play.world)
        play.finish()
        agree(reader, play.world)
        for raw in (*ABOUT_HISTORIES, *ABOUT_TIMELINES):
            assert in_memory(play.world, raw) == in_sql(play.world, raw), raw
        reader.restart()
        agree(reader, play.world)


def agree(reader: Reader, world: World) -> None:
    for raw in ABOUT_HISTORIES:
        assert reader.ids(world, raw) == in_sql(world, raw), raw


EVERYBODY = {"field": "role", "operator": "has_any_value"}
SAVED = {"event": "saved", "field": "count", "operator": ">", "value": 0}


def test_what_one_writer_acknowledged_is_there_at_once_whoever_asks(world: World, reader: Reader) -> None:
    other = build(world.services.settings, world.clock)
    try:
        for number in range(3):
            world.send(lead(f"l-{number}"), world.event("saved"))
            assert reader.columns.count(world.site, parse(SAVED, retention_days=90), world.clock()) == number + 1
            assert other.columns.count(world.site, parse(SAVED, retention_days=90), world.clock()) == number + 1
    finally:
        other.close()


def test_what_is_committed_late_is_seen_although_others_came_before(world: World, reader: Reader) -> None:
    world.send(lead("l-0"), world.event("saved"))
    first = in_sql(world, EVERYBODY)
    assert reader.ids(world, EVERYBODY) == first
    slow = Database(world.services.settings.database_url)
    try:
        with slow.write() as tx:
            add_contact(tx, world, "ada@example.com")
            if tx.engine == "postgresql":  # on SQLite nobody else can write meanwhile
                world.send(lead("l-1"), world.event("saved"))
            present = in_sql(world, EVERYBODY)
            assert reader.ids(world, EVERYBODY) == present
            world.clock.advance(DAY)
            assert reader.ids(world, EVERYBODY) == present
        late = in_sql(world, EVERYBODY)
        assert len(late) == len(present) + 1
        assert reader.ids(world, EVERYBODY) == late
    finally:
        slow.close()


def test_of_many_people_columns_are_loaded_while_sql_answers_and_others_write(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "AT_ONCE", 0)
    monkeypatch.setattr(column_table, "_MANY", 100)
    world.set(lead("l-0"), {"custom_attributes.plan": "a", "email": "ada@example.com"})
    reader.writing = True
    stopping = threading.Event()

    def write() -> None:
        for number in itertools.count():
            events = world.event("page-view", visit=VISITS[number % 3]), world.event("created-report")
            world.send(user(f"u-{number % 3}"), *events, lead=lead(f"l-{number % 7}"))
            if stopping.is_set():
                return

    with ThreadPoolExecutor(1) as pool:
        for _ in range(5):
            reader.restart()
            stopping.clear()
            writing = pool.submit(write)
            try:
                assert reader.ids(world, ABOUT_HISTORIES[0]) is None
                for raw in ABOUT_HISTORIES:
                    while reader.ids(world, raw) is None:
                        stopping.wait(0.001)
            finally:
                stopping.set()
            writing.result()
            agree(reader, world)


def test_a_column_that_took_long_to_read_is_brought_to_the_present_when_it_is_added(world: World) -> None:
    world.send(lead("l-0"), world.event("saved"))
    site, database = world.site.id, world.services.database
    number = world.services.names.number(site, EVENT, "saved")
    assert number is not None
    with database.snapshot() as connection:
        table = Table(connection, site)
    began, column = table.position, Column((column_sources.EVENT, number))
    with database.snapshot() as connection:
        rows = column.read_all(connection, site)
    world.send(lead("l-0"), world.event("saved"))
    world.send(lead("l-1"), world.event("saved"))
    refresh(table, database)
    table.attach(column, rows, began)
    refresh(table, database)
    assert table.array(column.key, "count").tolist() == [2, 1]


def refresh(table: Table, database: Database) -> None:
    with database.snapshot() as connection:
        table.refresh(connection, *changes.since(connection, table.site, table.position))


def test_a_reader_that_slept_while_the_feed_was_purged_begins_anew(world: World, reader: Reader) -> None:
    world.send(lead("l-0"), world.event("saved"))
    assert len(reader.ids(world, SAVED) or ()) == 1
    with world.services.database.read() as connection:
        slept = changes.position(connection, world.site.id)
    for number in range(1, 3):
        world.send(lead(f"l-{number}"), world.event("saved"))
    world.clock.advance(changes.KEPT + 1)
    world.send(lead("l-3"), world.event("saved"))
    assert world.services.database.transact(lambda tx: changes.purge(tx, world.site.id, world.clock())) > 0
    with pytest.raises(changes.Purged), world.services.database.read() as connection:
        changes.since(connection, world.site.id, slept)
    assert reader.ids(world, SAVED) == in_sql(world, SAVED)
    assert len(reader.ids(world, SAVED) or ()) == 4


def test_a_reader_that_keeps_up_misses_nothing_by_purging(world: World) -> None:
    world.send(lead("l-0"), world.event("saved"))
    with world.services.database.read() as connection:
        position = changes.position(connection, world.site.id)
    for number in range(1, 5):
        world.send(lead(f"l-{number}"), world.event("saved"))
        with world.services.database.read() as connection:
            people, position = changes.since(connection, world.site.id, position)
        assert people == {world.person(lead(f"l-{number}").key).id}
        world.clock.advance(changes.KEPT + 1)
        world.services.database.transact(lambda tx: changes.purge(tx, world.site.id, world.clock()))
    with world.services.database.read() as connection:
        assert changes.since(connection, world.site.id, position)[0] == set()


def test_what_is_beyond_the_bound_is_left_to_sql(world: World) -> None:
    world.send(lead("l-0"), world.event("saved"))
    for limit in (0, 10):
        tight = Reader(world.services.settings.database_url, world.clock, limit)
        assert tight.ids(world, SAVED) is None
        tight.close()


def test_a_name_that_comes_after_a_question_was_put_is_nobodys_for_it(world: World) -> None:
    node = parse({"event": "came-later", "field": "count", "operator": ">", "value": 0}, retention_days=90)
    question = Question(world.site, world.services.names, node, world.clock())
    world.send(lead("l-0"), world.event("came-later"))
    with world.services.database.snapshot() as connection:
        table = Table(connection, world.site.id)
    assert table.size == 1
    assert not question.matching(table).any()


def test_inside_a_transaction_that_may_not_see_the_present_sql_answers(world: World, reader: Reader) -> None:
    world.send(lead("l-0"), world.event("saved"))
    with reader.database.snapshot():
        assert reader.ids(world, SAVED) is None
    assert reader.ids(world, SAVED) == in_sql(world, SAVED)


def test_columns_that_nobody_asks_for_make_room(world: World) -> None:
    for name in ("saved", "paid", "page-view"):
        world.send(lead("l-0"), world.event(name))
    roomy = Reader(world.services.settings.database_url, world.clock)
    asked = [{"event": name, "field": "count", "operator": "=", "value": 1} for name in ("saved", "paid", "page-view")]
    for raw in asked:
        assert roomy.ids(world, raw) == in_sql(world, raw)
    most = roomy.columns.size()
    roomy.close()
    tight = Reader(world.services.settings.database_url, world.clock, most - 1)
    for raw in (*asked, *asked):
        assert tight.ids(world, raw) == in_sql(world, raw)
        assert tight.columns.size() < most
    tight.close()


def test_texts_of_which_there_are_too_many_are_left_to_sql(world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_sources, "MOST_VALUES", 2)
    is_known = {"field": "custom_attributes.x", "operator": "has_any_value"}
    for number in range(4):
        world.set(lead(f"l-{number}"), {"custom_attributes.x": f"text {number}"})
        world.send(lead(f"m-{number}"), world.event())
        for raw in (is_known, {**is_known, "operator": "is_unknown"}):
            assert reader.ids(world, raw) == in_sql(world, raw)
        found = reader.ids(world, {"field": "custom_attributes.x", "operator": "=", "value": "text 0"})
        assert found == (None if number >= 2 else in_sql(world, {"field": "custom_attributes.x", "operator": "=", "value": "text 0"}))


@pytest.mark.parametrize(
    "raw",
    [
        {"event": "saved", "field": "count", "within_days": 5, "operator": ">", "value": 1},
        {
            "event": "saved",
            "field": "last",
            "where": [{"field": "metadata.plan", "operator": "=", "value": "pro"}],
            "operator": "has_any_value",
        },
        {"field": "external_id", "operator": "=", "value": "u-1"},
        {"message": "5f" * 12, "field": "seen", "operator": "has_any_value"},
        {"operator": "OR", "value": [SAVED, {"message": "5f" * 12, "field": "seen", "operator": "has_any_value"}]},
    ],
)
def test_what_columns_do_not_hold_is_left_to_sql(world: World, reader: Reader, raw: Any) -> None:
    world.send(user("u-1"), world.event("saved"), browser=False)
    assert reader.ids(world, raw) is None


def test_the_feed_is_not_relied_on_while_collectors_without_it_are_replaced(world: World, reader: Reader, engine: str) -> None:
    world.send(lead("l-0"), world.event("saved"))
    later = world.clock() + DAY
    world.services.database.transact(lambda tx: tx.run("UPDATE schema_migrations SET applied_at = ? WHERE version = 4", (later,)))
    assert reader.ids(world, SAVED) == (in_sql(world, SAVED) if engine == "sqlite" else None)
    world.clock.advance(2 * DAY + 1)
    reader.restart()
    assert reader.ids(world, SAVED) == in_sql(world, SAVED)


def test_upkeep_purges_the_feed(world: World) -> None:
    for number in range(3):
        world.send(lead(f"l-{number}"), world.event())
    upkeep.purge_feed(world.services, world.services.database.transact)
    assert len(world.rows("SELECT at FROM changes WHERE site = ?", world.site.id)) == 3
    world.clock.advance(changes.KEPT + 1)
    upkeep.purge_feed(world.services, world.services.database.transact)
    assert len(world.rows("SELECT at FROM changes WHERE site = ?", world.site.id)) == 1


def add_contact(tx: Connection, world: World, email: str) -> None:
    services = world.services
    contacts.create(tx, world.site.id, services.names, services.maker, world.clock(), external_id=None, values={"email": email})
