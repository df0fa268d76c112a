"""What one definition says of another stays true, whichever collectors change them at the same moment, in either order."""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from collector.domain import copies, element_rules, segments
from collector.domain.segments import Segment, SegmentExists, SegmentInUse
from collector.services import Services, build
from collector.storage.database import Connection
from collector.values.element_rules import clean_element_rule
from collector.values.errors import Problem
from collector.values.messages import clean_auto_message
from collector.values.queries import parse
from tests.support.world import World

PRO = {"field": "custom_attributes.plan", "operator": "=", "value": "pro"}
HELLO = {"name": "Hello", "type": "popup", "content": {"body": "Hello"}}
Work = Callable[[Services, Connection], Any]


def no_queries(tx: Connection, site: int) -> list[segments.Query]:
    """Return none: no message asks for anything."""
    return []


@pytest.fixture
def other(world: World) -> Iterator[Services]:
    """Another collector on the same database."""
    services = build(world.services.settings, world.clock)
    yield services
    services.close()


@pytest.fixture
def segment(world: World) -> Segment:
    def work(tx: Connection) -> Segment:
        return segments.create(tx, world.site.id, world.services.row_ids, "Pro", parse(PRO, retention_days=90), no_queries, world.clock())

    return world.services.written.transact(work)


def meet(world: World, other: Services, first: Work, second: Work) -> tuple[Future[Any], Future[Any]]:
    """Let `second` begin while `first` has done everything but its commit; return what became of both."""
    with ThreadPoolExecutor(2) as pool:
        began: Future[Any] = Future()

        def hold(tx: Connection) -> Any:
            try:
                done = first(world.services, tx)
            except Exception as error:
                began.set_exception(error)
                raise
            began.set_result(pool.submit(other.written.transact, functools.partial(second, other)))
            while not began.result().done() and not _somebody_waits(world):
                pass
            return done

        one: Future[Any] = pool.submit(world.services.written.transact, hold)
        one.exception()
        return one, began.result()


def _somebody_waits(world: World) -> bool:
    """Say whether a transaction of PostgreSQL waits for another one; of SQLite's, nobody goes on before the first has ended."""
    if world.services.database.engine == "sqlite":
        return True
    waits = "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()"
    return bool(world.rows(waits))


def asking(segment: Segment, **fields: Any) -> dict[str, Any]:
    return {**HELLO, "audience": {"field": "segment_id", "operator": "!=", "value": segment.public_id}, **fields}


def delete_segment(world: World, segment: Segment) -> Work:
    def work(services: Services, tx: Connection) -> None:
        segments.delete(tx, world.site.id, segment.public_id, services.auto_messages.queries)

    return work


def create_message(world: World, fields: dict[str, Any]) -> Work:
    definition = clean_auto_message(fields, retention_days=90)
    return lambda services, tx: services.auto_messages.create(tx, world.site.id, definition, world.clock())


def ways_to_ask(world: World, segment: Segment) -> dict[str, Work]:
    """Every way in which a message comes to ask for a segment."""
    site, services = world.site.id, world.services
    draft = services.written.transact(functools.partial(create_message(world, HELLO), services))
    away = services.written.transact(functools.partial(create_message(world, asking(segment, state="archived")), services))
    goal = {"query": {"field": "segment_id", "operator": "=", "value": segment.public_id}, "days": 7}
    edited = clean_auto_message(asking(segment), retention_days=90)
    return {
        "created": create_message(world, asking(segment)),
        "with a goal": create_message(world, {**HELLO, "goal": goal}),
        "edited": lambda services, tx: services.auto_messages.update(tx, site, draft.public_id, lambda *_: edited, world.clock()),
        "live again": lambda services, tx: services.auto_messages.set_state(tx, site, away.public_id, "live", world.clock()),
    }


WAYS = ("created", "with a goal", "edited", "live again")


@pytest.mark.parametrize("way", WAYS)
def test_a_segment_that_a_message_begins_to_ask_for_stays(world: World, other: Services, segment: Segment, way: str) -> None:
    asked, deleted = meet(world, other, ways_to_ask(world, segment)[way], delete_segment(world, segment))
    assert asked.exception() is None
    assert isinstance(deleted.exception(), SegmentInUse)
    assert world.rows("SELECT public_id FROM segments") == [(segment.public_id,)]


@pytest.mark.parametrize("way", WAYS)
def test_no_message_begins_to_ask_for_a_segment_that_goes(world: World, other: Services, segment: Segment, way: str) -> None:
    deleted, asked = meet(world, other, delete_segment(world, segment), ways_to_ask(world, segment)[way])
    assert deleted.exception() is None
    assert isinstance(asked.exception(), Problem)
    assert world.services.database.transact(lambda tx: world.services.auto_messages.queries(tx, world.site.id)) in ([], [("Hello", None)])


def test_no_copy_names_a_message_that_goes(world: World, other: Services) -> None:
    services, site = world.services, world.site
    named = services.written.transact(functools.partial(create_message(world, HELLO), services))
    rule = {"message": named.public_id, "field": "seen", "operator": "has_any_value"}
    asks = services.written.transact(functools.partial(create_message(world, {**HELLO, "audience": rule}), services))
    services.written.transact(lambda tx: services.auto_messages.set_state(tx, site.id, asks.public_id, "archived", world.clock()))
    deleted, copied = meet(
        world,
        other,
        lambda services, tx: services.auto_messages.delete(tx, site.id, named.public_id),
        lambda services, tx: copies.copy_to(tx, services.auto_messages, site, asks, 90, world.clock()),
    )
    assert deleted.exception() is None
    assert isinstance(copied.exception(), Problem)


def test_of_two_segments_that_take_one_name_one_is_refused(world: World, other: Services, segment: Segment) -> None:
    query, now = parse(PRO, retention_days=90), world.clock()
    second = world.services.written.transact(
        lambda tx: segments.create(tx, world.site.id, world.services.row_ids, "Two", query, no_queries, now)
    )

    def rename(one: Segment) -> Work:
        return lambda _, tx: segments.update(tx, world.site.id, one.public_id, "New", None, no_queries, now)

    renamed, refused = meet(world, other, rename(segment), rename(second))
    assert renamed.exception() is None
    assert isinstance(refused.exception(), SegmentExists)


def test_a_segment_that_goes_is_not_changed(world: World, other: Services, segment: Segment) -> None:
    deleted, changed = meet(
        world,
        other,
        delete_segment(world, segment),
        lambda _, tx: segments.update(tx, world.site.id, segment.public_id, "New", None, no_queries, world.clock()),
    )
    assert deleted.exception() is None
    assert isinstance(changed.exception(), LookupError)


def test_two_at_once_do_not_pass_the_most_rules_by_selector(world: World, other: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(element_rules, "MOST_ACTIVE", 1)
    definition = clean_element_rule({"source": "click", "selector": ".buy"})

    def add(services: Services, tx: Connection) -> Any:
        return element_rules.create(tx, world.site.id, services.row_ids, "bought", definition, world.clock())

    added, refused = meet(world, other, add, add)
    assert added.exception() is None
    assert isinstance(refused.exception(), Problem)
    assert len(world.rows("SELECT id FROM element_rules")) == 1
