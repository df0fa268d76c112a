"""A change that is named is true: done to what is known, and done for real, it turns the verdict; and no step of it is needless."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from collector.domain import deliveries, facts, outlook
from collector.domain.audiences import PersonFacts, matches
from collector.domain.auto_messages import AutoMessage
from collector.domain.deliveries import SHOWN, Delivery, Report
from collector.domain.explanation import Explained, explain
from collector.domain.identities import Key
from collector.domain.nearest_change import nearest_change
from collector.domain.outlook import ActsOnMessage, Happens, Outlook, SetsAttribute, SignsUp, Step, Visits, Waits, clock_after
from collector.values.clock import HOUR
from collector.values.ids import new_uuid7
from collector.values.messages import clean_auto_message
from collector.values.queries import parse
from collector.values.query_tree import Group, Node, needs
from collector.values.visit_context import CLIENT
from tests.laws.asked import all_queries, live
from tests.support.clock import FakeClock
from tests.support.world import World, lead, user
from tests.support.world import world as start

_REASONS = (
    "no value that it could take was found to change that",
    "no visit was found to change that",
    "another visit may say otherwise",
    "that is nothing that anybody sets or does",
    "there is no such message any more",
    "its goal is met by other rules than these",
    "nobody can do that with the message as it is now",
    "what happened with a message stays",
    "a count is always known",
    "no event was found that meets these conditions",
    "more than 1,000 more of an event are not thought of",
    "what happened cannot be undone, and what is still to come does not change that",
    "no event within ten years was found to change that",
)
WHY_NONE = re.compile(
    "(?:This cannot (?:be made to hold|stop holding) any more|No few steps were found after which this would (?:no longer )?hold): "
    rf"(?:its rules get in each other’s way|.+; (?:{'|'.join(_REASONS)}))\.",
    re.DOTALL,
)
"""All that is ever said where there is no change."""

_FIELDS = ("seen", "clicked", "dismissed", "goal")
_about_messages = st.tuples(
    st.sampled_from(_FIELDS),
    st.sampled_from((("is_unknown", None), ("has_any_value", None), ("more_than_days_ago", 1), ("less_than_hours_ago", 2))),
).map(lambda it: {"message": "hello", "field": it[0], "operator": it[1][0], **({} if it[1][1] is None else {"value": it[1][1]})})
_asked = all_queries | st.tuples(st.sampled_from(("AND", "OR", "NOT")), all_queries, _about_messages).map(
    lambda it: {"operator": it[0], "value": [it[1], it[2]]}
)


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    with start(database_url, clock) as running:
        yield running


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_change_that_is_named_turns_the_verdict(world: World, data: st.DataObject) -> None:
    world.site = world.new_site()
    began = world.clock()
    live(world, data.draw, 0)
    message = _message(world)
    raw = data.draw(_asked)
    node = parse(json.loads(json.dumps(raw).replace('"hello"', f'"{message.public_id}"')), retention_days=90)
    try:
        _turned(world, node, message)
    finally:
        world.clock.now = began


def _rule(**rule: Any) -> Any:
    return pytest.param(rule, id=" ".join(str(part) for part in rule.values()))


_PRO = [{"field": "metadata.plan", "operator": "=", "value": "pro"}]


@pytest.mark.parametrize(
    "raw",
    [
        _rule(event="paid", field="count", operator=">", value=0),
        _rule(event="paid", field="count", operator="=", value=0),
        _rule(event="saved", field="count", operator=">=", value=4),
        _rule(event="saved", field="count", operator=">", value=2, where=_PRO),
        _rule(event="saved", field="count", operator="<", value=2, within_days=3),
        _rule(event="saved", field="last", operator="more_than_days_ago", value=5),
        _rule(event="saved", field="last", operator="less_than_hours_ago", value=1),
        _rule(event="paid", field="first", operator="is_unknown"),
        _rule(event="saved", field="last", operator="<", value={"event": "paid", "field": "last"}),
        _rule(field="custom_attributes.plan", operator="=", value="pro"),
        _rule(field="custom_attributes.plan", operator="!=", value="pro"),
        _rule(field="custom_attributes.seats", operator=">", value=3),
        _rule(field="custom_attributes.plan", operator="is_unknown"),
        _rule(field="email", operator="has_any_value"),
        _rule(field="email", operator="~", value="example"),
        _rule(field="session_count", operator=">", value=2),
        _rule(field="page_view_count", operator=">", value=0),
        _rule(field="last_seen_at", operator="more_than_days_ago", value=2),
        _rule(field="role", operator="=", value="user"),
        _rule(field="external_id", operator="has_any_value"),
        _rule(message="hello", field="seen", operator="has_any_value"),
        _rule(message="hello", field="clicked", operator="is_unknown"),
    ],
)
def test_of_one_rule_that_somebody_can_turn_a_change_is_named(world: World, raw: dict[str, Any]) -> None:
    pro = json.dumps({"plan": "pro"})
    world.send(lead("l-0"), *(world.event("saved", at=world.clock() - hours * HOUR, metadata=pro) for hours in (3, 2)))
    world.set(lead("l-0"), {"custom_attributes.plan": "free"})
    message = _message(world)
    node = parse(json.loads(json.dumps(raw).replace('"hello"', f'"{message.public_id}"')), retention_days=90)
    assert _turned(world, node, message)


def _turned(world: World, node: Node, message: AutoMessage) -> bool:
    """Do what is named, and say whether anything was."""
    key = _key(world)
    assert key is not None
    now, zone = world.clock(), world.site.zone
    known, ahead = _facts(world, key, node), _outlook(world, key, node)
    assert _relevant(ahead.facts(now), node) == _relevant(known, node)
    holds = matches(node, known, now, zone)
    _explained(node, explain(node, known, now, zone), known, now, zone)
    nearest = nearest_change(node, ahead, now, zone)
    if nearest.change is None:
        assert nearest.why_none is not None
        assert WHY_NONE.fullmatch(nearest.why_none), nearest.why_none
        return False
    change = nearest.change
    after, at = ahead.after_all(change.steps, now)
    assert at == change.at_ms
    assert matches(node, after.facts(at), at, zone) is not holds
    for place in range(len(change.steps)):
        without = (*change.steps[:place], *change.steps[place + 1 :])
        fewer, then = ahead.after_all(without, now)
        assert matches(node, fewer.facts(then), then, zone) is holds, change.in_words
    for step in change.steps:
        key = _do(world, key, step, message)
    assert world.clock() == change.at_ms
    assert matches(node, _facts(world, key, node), world.clock(), zone) is not holds, change.in_words
    return True


def _explained(node: Node, explained: Explained, known: PersonFacts, now: int, zone: Any) -> None:
    assert explained.holds is matches(node, known, now, zone)
    assert explained.in_words
    json.dumps(explained.as_json())
    if isinstance(node, Group):
        for child, one in zip(node.value, explained.children, strict=True):
            _explained(child, one, known, now, zone)


def _relevant(known: PersonFacts, node: Node) -> Any:
    asked = needs(node)
    return (
        {name: known.attributes.get(name) for name in asked.attributes},
        {name: known.totals.get(name) for name in asked.totals},
        known.measures,
        known.messages,
    )


# Doing it


def _do(world: World, key: Key, step: Step, message: AutoMessage) -> Key:
    """Do one step for real and return who it is afterwards."""
    now = world.clock()
    match step:
        case Happens():
            visit, text = _visit(world, key), json.dumps(step.metadata, ensure_ascii=False)
            _send(world, key, events=[world.event(step.event, at=now + place, visit=visit, metadata=text) for place in range(step.times)])
        case SetsAttribute():
            assert _send(world, key, changes={step.field: step.value}).protected == []
        case ActsOnMessage():
            person = world.person(key)
            nonce = new_uuid7(now)
            row = Delivery(person.id, message.id, 1, 1, SHOWN, nonce, now, None, None, None, None, None, None, None)
            world.services.writer.run(world.site.id, lambda tx: deliveries.insert(tx, world.site.id, row))
            report = Report(step.message, nonce, step.action, now)
            assert world.services.writer.run(world.site.id, lambda tx: deliveries.record(tx, world.site.id, person.id, report)) is True
        case SignsUp():
            world.send(user("somebody-new"), lead=lead("l-0"))
            key = user("somebody-new")
        case Waits():
            pass
    world.clock.now = clock_after(step, world.clock())
    return key


def _send(world: World, key: Key, *, events: Any = (), changes: dict[str, Any] | None = None) -> Any:
    who = lead(key[1]) if key[0] == "lead" else key
    if changes is not None:
        return world.set(who, changes, browser=False)
    return world.send(who, *events, client=_client(world, key))


def _client(world: World, key: Key) -> str | None:
    """What is known of the browser: it is the one of the latest visit."""
    known = {name: value for name, value in world.attributes(key).items() if name in CLIENT}
    return json.dumps(known, ensure_ascii=False) if known else None


def _visit(world: World, key: Key) -> str:
    """The visit that runs, else a new one, as the browser would say."""
    person = world.person(key).identities[0]
    if Visits(person.visit_count or 0, person.visit_started_at, person.visit_ended_at).runs(world.clock()):
        rows = world.rows(
            "SELECT v.visit FROM visits v JOIN identities i ON i.site = v.site AND i.id = v.identity "
            "WHERE i.site = ? AND i.principal_id = ? ORDER BY v.ended_at DESC, v.started_at DESC LIMIT 1",
            world.site.id,
            person.id,
        )
        return str(UUID(bytes=bytes(rows[0][0])))
    return new_uuid7(world.clock())


def _key(world: World) -> Key | None:
    found = world.rows("SELECT kind, value FROM identities WHERE site = ? AND principal_id = id ORDER BY id LIMIT 1", world.site.id)
    return (found[0][0], found[0][1]) if found else None


def _facts(world: World, key: Key, node: Node) -> PersonFacts:
    services = world.services
    person = world.person(key)
    with services.database.read() as connection:
        return facts.load(connection, world.site, services.names, person, needs(node), world.clock(), services.settings.retention)


def _outlook(world: World, key: Key, node: Node) -> Outlook:
    services = world.services
    person = world.person(key)
    with services.database.read() as connection:
        return outlook.load(connection, world.site, services.names, person, needs(node), world.clock(), services.settings.retention)


def _message(world: World) -> AutoMessage:
    raw = {"name": "Hello", "type": "popup", "state": "live", "content": {"title": "Hi", "body": "[There](https://example.com/)"}}
    definition, where = clean_auto_message(raw, retention_days=90), world.site.id
    made: AutoMessage = world.services.writer.run(
        where, lambda tx: world.services.auto_messages.create(tx, where, definition, world.clock())
    )
    return made
