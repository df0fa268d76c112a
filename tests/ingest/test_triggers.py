"""What opens a message beside a page: what only the browser can tell, events that wait a day whichever side sent them, and asking again."""

import hashlib
import hmac
import re
import threading
from typing import Any

import msgspec
import pytest

from collector.domain import facts, trigger_events
from collector.domain.submissions import Event
from collector.storage.database import Connection
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.ids import derived_event_id, event_id_text
from collector.values.messages import clean_auto_message
from tests.support.browserless import Tracker
from tests.support.world import World

PAID = {"type": "event", "event": "paid"}
VIEW_TRIGGERS = [{"type": "time", "seconds": 2.5}, {"type": "scroll", "percent": 50}, {"type": "exit_intent"}]
"""What the browser watches for, as definitions have it."""


def create(world: World, trigger: dict[str, Any], **fields: Any) -> str:
    """Make a live message and return its id."""
    raw = {"name": "Message", "type": "popup", "state": "live", "content": {"body": "Hello"}, "trigger": trigger, **fields}
    definition = clean_auto_message(raw, retention_days=90)
    made = world.services.writer.run(
        world.site.id, lambda tx: world.services.auto_messages.create(tx, world.site.id, definition, world.clock())
    )
    world.services.auto_messages.forget(world.site.id)
    return made.public_id


def change(world: World, message: str, **fields: Any) -> None:
    """Change a message's definition."""

    def changed(_: int, present: dict[str, Any]) -> Any:
        return clean_auto_message({**present, **fields}, retention_days=90)

    auto_messages = world.services.auto_messages
    world.services.writer.run(world.site.id, lambda tx: auto_messages.update(tx, world.site.id, message, changed, world.clock()))
    auto_messages.forget(world.site.id)


def rest(world: World, user_id: str = "u-1", name: str = "paid", **fields: Any) -> Event:
    """Record an event as REST does: of a user, without visit and page, under an id that the collector makes."""
    event = world.event(name, **fields)
    event = msgspec.structs.replace(event, id=derived_event_id(world.site.salt, event.at, "rest", event.id))
    assert world.send(("user", user_id), event, browser=False).error is None
    return event


def prove(tracker: Tracker, user_id: str = "u-1") -> None:
    """Assert a user id with the page's proof."""
    secret = tracker.world.site.identity_secrets[0].encode()
    tracker.identify(user_id, hash=hmac.new(secret, user_id.encode(), hashlib.sha256).hexdigest())


def poll(tracker: Tracker) -> Any:
    """Ask again in the page now shown, as a page does that stays open."""
    return tracker.collect(page={"url": tracker.url})


def offered(answer: Any) -> list[str]:
    return [offer["id"] for offer in answer.get("messages", [])]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that runs from now on."""
    seen: list[str] = []
    execute = Connection._execute

    def spy(self: Connection, sql: str, parameters: Any) -> Any:
        seen.append(sql)
        return execute(self, sql, parameters)

    monkeypatch.setattr(Connection, "_execute", spy)
    return seen


@pytest.mark.parametrize("trigger", VIEW_TRIGGERS, ids=lambda trigger: trigger["type"])
def test_the_browser_is_told_what_to_watch_for_where_all_else_holds(tracker: Tracker, world: World, trigger: dict[str, Any]) -> None:
    audience = {"event": "page-view", "field": "count", "operator": ">", "value": 1}
    message = create(world, trigger, audience=audience, page={"field": "path", "operator": "is", "value": "/pricing"})
    assert offered(tracker.view("/pricing")) == []
    mechanics = {name: value for name, value in trigger.items() if name != "type"}
    assert tracker.view("/pricing")["messages"] == [{"id": message, "trigger": trigger["type"], **mechanics}]
    assert offered(tracker.view("/docs")) == []


@pytest.mark.parametrize("trigger", VIEW_TRIGGERS, ids=lambda trigger: trigger["type"])
def test_a_claim_says_what_has_happened(tracker: Tracker, world: World, trigger: dict[str, Any]) -> None:
    """A messenger from a cache may not know the trigger, and claims at once."""
    message = create(world, trigger)
    tracker.view()
    assert tracker.claim(message) == {"message": None, "reason": "trigger"}
    assert tracker.claim(message, trigger="page") == {"message": None, "reason": "trigger"}
    assert tracker.claim(message, trigger=trigger["type"])["message"]["id"] == message


def test_caps_and_frequency_hold_back_what_the_browser_would_watch_for(tracker: Tracker, world: World) -> None:
    first = create(world, {"type": "exit_intent"}, priority=1, frequency={"type": "once"})
    second = create(world, {"type": "time", "seconds": 5})
    assert offered(tracker.view()) == [first, second]
    assert tracker.claim(first, trigger="exit_intent")["message"]
    assert offered(tracker.view()) == []
    world.clock.advance(10 * MINUTE)
    assert offered(tracker.view()) == [second]


def test_an_event_from_rest_opens_its_message_at_the_next_contact(tracker: Tracker, world: World) -> None:
    message = create(world, PAID, content={"body": "Thanks for {{event.metadata.plan}}"})
    prove(tracker)
    assert offered(tracker.view()) == []
    event = rest(world, metadata='{"plan": "pro"}')
    answer = tracker.view("/elsewhere")
    assert answer["messages"] == [{"id": message, "trigger": "event", "event": event_id_text(event.id)}]
    shown = tracker.claim(message, event=answer["messages"][0]["event"])["message"]
    assert shown["body"] == [{"tag": "p", "children": ["Thanks for pro"]}]
    assert offered(tracker.view()) == []


def test_an_event_from_rest_opens_its_message_in_the_browser_that_becomes_the_user(tracker: Tracker, world: World) -> None:
    message = create(world, PAID)
    rest(world)
    assert offered(tracker.view()) == []
    prove(tracker)
    assert offered(tracker.view()) == [message]


def test_an_event_from_rest_about_a_visitor_opens_its_message(tracker: Tracker, world: World) -> None:
    message = create(world, PAID)
    tracker.view()
    world.send(("lead", tracker.lead.split(".")[0]), world.event("paid"), browser=False)
    assert offered(tracker.view()) == [message]


def test_an_event_waits_for_the_next_contact_when_its_own_was_held_back(tracker: Tracker, world: World) -> None:
    message = create(world, PAID, page={"field": "path", "operator": "is", "value": "/thanks"})
    event = tracker.event("paid")
    assert offered(tracker.collect(event)) == []
    answer = tracker.view("/thanks")
    assert answer["messages"] == [{"id": message, "trigger": "event", "event": event["id"]}]
    assert tracker.claim(message, event=event["id"])["message"]


@pytest.mark.parametrize(("later", "found"), [(DAY - 1, True), (DAY, False)])
def test_a_waiting_event_expires_after_a_day(tracker: Tracker, world: World, later: int, *, found: bool) -> None:
    message = create(world, PAID)
    prove(tracker)
    rest(world)
    world.clock.advance(later)
    assert offered(tracker.view()) == ([message] if found else [])


def test_conditions_on_metadata_choose_among_the_waiting_events(tracker: Tracker, world: World) -> None:
    message = create(world, {**PAID, "where": [{"field": "metadata.plan", "operator": "=", "value": "pro"}]})
    prove(tracker)
    rest(world, metadata='{"plan": "basic"}')
    assert offered(tracker.view()) == []
    fitting = rest(world, metadata='{"plan": "pro"}')
    world.clock.advance(1)
    rest(world, metadata='{"plan": "basic"}')
    assert tracker.view()["messages"] == [{"id": message, "trigger": "event", "event": event_id_text(fitting.id)}]


def test_each_waiting_event_opens_its_message_once(tracker: Tracker, world: World) -> None:
    message = create(world, PAID, frequency={"type": "every_time"}, ignore_caps=True)
    prove(tracker)
    older, newer = rest(world), rest(world, at=world.clock() + 1)
    world.clock.advance(1)
    for event in (newer, older):
        assert tracker.view()["messages"] == [{"id": message, "trigger": "event", "event": event_id_text(event.id)}]
        shown = tracker.claim(message, event=event_id_text(event.id))["message"]
        tracker.report(message, shown["delivery"], "seen")
    assert offered(tracker.view()) == []


def test_what_waits_and_what_the_page_brings_up_stand_in_one_order(tracker: Tracker, world: World) -> None:
    low, high, middle = (
        create(world, {"type": "page"}, priority=1),
        create(world, PAID, priority=3),
        create(world, {"type": "page"}, priority=2),
    )
    prove(tracker)
    rest(world)
    assert offered(tracker.view()) == [high, middle, low]


def test_an_event_from_rest_opens_nothing_for_a_user_id_that_nobody_proved(tracker: Tracker, world: World) -> None:
    message = create(world, PAID)
    tracker.identify("u-1")
    event = rest(world)
    assert offered(tracker.view()) == []
    assert tracker.claim(message, event=event_id_text(event.id)) == {"message": None, "reason": "trigger"}
    assert "poll" not in tracker.view()


def test_an_event_from_rest_opens_nothing_once_the_user_is_not_signed_in(tracker: Tracker, world: World) -> None:
    message = create(world, PAID)
    prove(tracker)
    tracker.view()
    tracker.user = None
    event = rest(world)
    assert offered(tracker.view()) == []
    assert tracker.claim(message, event=event_id_text(event.id)) == {"message": None, "reason": "trigger"}


def test_an_event_of_its_own_browser_waits_for_a_user_id_that_nobody_proved(tracker: Tracker, world: World) -> None:
    message = create(world, PAID, page={"field": "path", "operator": "is", "value": "/thanks"})
    before = tracker.event("paid")
    tracker.collect(before)
    tracker.identify("u-1")
    assert offered(tracker.view("/thanks")) == [message]
    assert tracker.claim(message, event=before["id"])["message"]
    after = tracker.event("paid", url="https://shop.example/elsewhere")
    world.clock.advance(HOUR)
    change(world, message, frequency={"type": "every_time"})
    tracker.collect(after)
    assert tracker.view("/thanks")["messages"][0]["event"] == after["id"]


def test_pages_ask_again_only_while_a_message_waits_for_an_event_there(tracker: Tracker, world: World) -> None:
    create(world, {"type": "page"}, page={"field": "path", "operator": "is", "value": "/pricing"})
    assert "poll" not in tracker.view("/pricing")
    message = create(world, PAID, page={"field": "path", "operator": "starts", "value": "/account"})
    answer = tracker.view("/account")
    assert (answer["messages"], answer["poll"]) == ([], 30)
    assert "poll" not in tracker.view("/pricing")
    change(world, message, state="paused")
    assert "poll" not in tracker.view("/account")


def test_a_poll_offers_what_happened_elsewhere(tracker: Tracker, world: World) -> None:
    message = create(world, PAID)
    prove(tracker)
    tracker.view()
    assert offered(poll(tracker)) == []
    event = rest(world)
    answer = poll(tracker)
    assert answer["messages"] == [{"id": message, "trigger": "event", "event": event_id_text(event.id)}]
    assert answer["poll"] == 30
    assert tracker.claim(message, event=event_id_text(event.id))["message"]
    assert offered(poll(tracker)) == []


def test_a_poll_does_not_bring_up_what_the_page_brings_up(tracker: Tracker, world: World) -> None:
    create(world, {"type": "page"})
    create(world, PAID)
    tracker.view()
    assert offered(poll(tracker)) == []


def test_a_poll_is_told_when_there_is_nothing_to_wait_for_any_more(tracker: Tracker, world: World) -> None:
    message = create(world, PAID)
    tracker.view()
    change(world, message, state="paused")
    assert {"messages", "poll"} & poll(tracker).keys() == set()


def test_a_poll_leaves_no_trace(tracker: Tracker, world: World) -> None:
    def state() -> list[Any]:
        tables = ("identities", "events", "totals", "visits", "attributes", "merges", "deliveries")
        return [sorted(map(repr, world.rows(f"SELECT * FROM {table}"))) for table in tables]

    create(world, PAID)
    tracker.view()
    before = state()
    world.clock.advance(HOUR)
    assert poll(tracker)["accepted"] == 0
    prove(tracker)  # the lead would become part of the user by anything that is counted
    poll(tracker)
    tracker.lead = "n" * 22 + "." + "s" * 43
    poll(tracker)
    assert state() == before


def test_a_poll_with_another_secret_learns_nothing(tracker: Tracker, world: World) -> None:
    create(world, PAID)
    tracker.view()
    world.send(("lead", tracker.lead.split(".")[0]), world.event("paid"), browser=False)
    tracker.lead = tracker.lead.split(".")[0] + "." + "s" * 43
    assert offered(poll(tracker)) == []


def test_whoever_did_nothing_of_the_kind_costs_one_look_at_the_totals(tracker: Tracker, world: World, statements: list[str]) -> None:
    create(world, PAID, audience={"field": "custom_attributes.plan", "operator": "=", "value": "pro"})
    rest(world, "somebody-else")
    prove(tracker)
    tracker.view()
    world.services.auto_messages.live(world.site.id)
    statements.clear()
    poll(tracker)
    assert [re.search(r"FROM (\w+)", sql)[1] for sql in statements if "FROM" in sql] == ["identities", "identities", "totals"]


def test_the_timeline_is_asked_once_and_only_where_a_message_could_be_shown(tracker: Tracker, world: World, statements: list[str]) -> None:
    messages = [create(world, {"type": "event", "event": name}, frequency={"type": "once"}) for name in ("paid", "renewed")]
    prove(tracker)
    events = [rest(world, name=name) for name in ("paid", "renewed")]
    tracker.view()
    statements.clear()
    assert offered(poll(tracker)) == messages
    assert sum("FROM events" in sql for sql in statements) == 1
    assert tracker.claim(messages[0], event=event_id_text(events[0].id))["message"]  # and the other has to keep its distance
    statements.clear()
    assert offered(poll(tracker)) == []
    assert sum("FROM events" in sql for sql in statements) == 0


def test_trouble_with_waiting_events_costs_no_event_and_ends_no_asking(
    tracker: Tracker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(world, PAID)

    def broken(*_: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(trigger_events, "lately", broken)
    assert poll(tracker)["poll"] == 30
    assert tracker.view()["accepted"] == 1
    assert poll(tracker)["poll"] == 30


def test_who_did_none_of_it_lately_costs_the_timeline_nothing_where_a_page_is_decided_too(
    tracker: Tracker, world: World, statements: list[str]
) -> None:
    """The totals are read in any case then, and tell it."""
    shown = create(world, {"type": "page"})
    create(world, PAID)
    prove(tracker)
    rest(world)
    world.clock.advance(DAY)
    tracker.view()
    statements.clear()
    assert offered(tracker.view()) == [shown]
    assert not [sql for sql in statements if "FROM events" in sql and " ORDER BY at DESC" in sql]


def test_what_is_done_very_often_hides_no_other_event_that_waits(tracker: Tracker, world: World) -> None:
    never = [{"field": "metadata.plan", "operator": "=", "value": "never"}]
    create(world, {"type": "event", "event": "saved", "where": never})
    message = create(world, PAID, page={"field": "path", "operator": "is", "value": "/thanks"})
    prove(tracker)
    tracker.view("/")
    rest(world)
    for turn in range(trigger_events.MOST // 20 + 1):
        world.clock.advance(turn)
        tracker.collect(*(tracker.event("saved", metadata={"plan": "pro"}) for _ in range(20)))
    assert offered(tracker.view("/thanks")) == [message]


def test_events_that_may_open_nothing_here_hide_none_that_may(tracker: Tracker, world: World) -> None:
    """Of a user whom nobody proved, what the back end says opens nothing; its own browser's events do."""
    message = create(world, PAID, page={"field": "path", "operator": "is", "value": "/thanks"})
    tracker.identify("u-1")
    tracker.view("/")
    tracker.collect(tracker.event("paid"))
    for _ in range(trigger_events.MOST + 1):
        world.clock.advance(1)
        rest(world)
    assert offered(tracker.view("/thanks")) == [message]


def test_deciding_borrows_no_connection_of_the_writers(tracker: Tracker, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = {"event": "never heard of", "field": "count", "operator": "=", "value": 0, "within_days": 7}
    message = create(world, {"type": "page"}, audience=measured)
    create(world, {"type": "event", "event": "neither of this"})
    prove(tracker)
    tracker.view()
    borrowed: list[str] = []
    read = world.services.written.read

    def spy() -> Any:
        borrowed.append(threading.current_thread().name)
        return read()

    monkeypatch.setattr(world.services.written, "read", spy)
    assert offered(poll(tracker)) == []
    assert offered(tracker.view()) == [message]
    world.clock.advance(HOUR)
    assert {name for name in borrowed if not name.startswith("writer")} == set()


def test_a_fault_while_a_person_is_loaded_is_told_and_is_no_person_that_has_gone(
    tracker: Tracker, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create(world, {"type": "page"}, audience={"event": "saved", "field": "count", "operator": "=", "value": 0, "within_days": 3})
    tracker.view()
    monkeypatch.setattr(facts, "_measures", lambda *_: {})
    assert offered(tracker.view()) == []
    assert [record for record in caplog.records if "offers" in record.getMessage()]
