"""What a simulation says of some days is what happened on them: the same people are served for real, and then replayed."""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import Client

from collector.domain import past, pruning
from collector.domain.assumptions import Assumption
from collector.domain.auto_messages import AutoMessage
from collector.domain.replay import Scene, replay
from collector.domain.simulation import scene_of, simulate
from collector.values.clock import DAY, HOUR, MINUTE, SECOND
from collector.values.ids import new_uuid7
from collector.values.messages import clean_auto_message
from collector.web.browser import Responder
from tests.ingest.visitors import Crowd, Visitor
from tests.support.browserless import ENTRIES, Tracker
from tests.support.clock import FakeClock
from tests.support.world import World, lead
from tests.support.world import world as start

DAYS = 20
COUNT = {"field": "count", "operator": ">"}
MESSAGES: dict[str, dict[str, Any]] = {
    "pricing": {
        "audience": {"event": "page-view", **COUNT, "value": 2},
        "page": {"field": "path", "operator": "starts", "value": "/pricing"},
        "frequency": {"type": "every_time", "max": 3, "every_days": 1},
        "priority": 5,
    },
    "saved": {
        "trigger": {"type": "event", "event": "saved", "where": [{"field": "metadata.plan", "operator": "=", "value": "pro"}]},
        "ignore_caps": True,
        "frequency": {"type": "once"},
    },
    "users": {"audience": {"field": "role", "operator": "=", "value": "user"}, "holdout_percent": 30, "priority": 1},
    "waiting": {
        "trigger": {"type": "time", "seconds": 20},
        "audience": {"event": "page-view", **COUNT, "value": 3, "within_days": 7},
        "priority": 2,
        "frequency": {"type": "every_time", "every_days": 2},
    },
    "back": {
        "trigger": {"type": "exit_intent"},
        "audience": {
            "operator": "AND",
            "value": [
                {"field": "session_count", "operator": ">", "value": 1},
                {"field": "last_seen_at", "operator": "more_than_days_ago", "value": 1},
            ],
        },
        "priority": 3,
        "frequency": {"type": "once"},
    },
    "cart": {
        "audience": {
            "operator": "AND",
            "value": [
                {"event": "cart", "field": "last", "operator": ">", "value": {"event": "checked-out", "field": "last"}},
                {"field": "utm_source", "operator": "=", "value": "mail"},
                {"event": "cart", **COUNT, "value": 0, "where": [{"field": "metadata.plan", "operator": "=", "value": "free"}]},
            ],
        },
        "priority": 4,
        "frequency": {"type": "every_time", "max": 2},
    },
    "paid": {"trigger": {"type": "event", "event": "paid"}, "ignore_caps": True, "content": {"body": "{{event.metadata.plan}}"}},
}


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    with start(database_url, clock, message_budget_ms=60_000) as running:
        yield running


def create(world: World, name: str, **fields: Any) -> str:
    """Make a live message and return its id."""
    raw = {"name": name, "type": "popup", "state": "live", "content": {"body": "Hello"}, **fields}
    definition = clean_auto_message(raw, retention_days=90)
    made = world.services.writer.run(
        world.site.id, lambda tx: world.services.auto_messages.create(tx, world.site.id, definition, world.clock())
    )
    world.services.auto_messages.forget(world.site.id)
    return made.public_id


def scene(world: World, message: str, days: int) -> Scene:
    services = world.services
    with services.database.read() as connection:
        found = services.auto_messages.get(connection, world.site.id, message)
    assert found is not None
    others: list[AutoMessage] = list(services.auto_messages.live(world.site.id).messages)
    return scene_of(services.database, world.site, found, others, days, world.clock(), services.settings.retention)


Pair = tuple[str, str, str, int]
"""Contact, message, arm and time (ms)."""


def served(world: World) -> set[Pair]:
    """What everybody got."""
    sql = (
        "SELECT p.public_id, m.name, d.arm, d.claimed_at FROM deliveries d JOIN auto_messages m ON m.site = d.site AND m.id = d.message "
        "JOIN identities i ON i.site = d.site AND i.id = d.identity JOIN identities p ON p.site = i.site AND p.id = i.principal_id"
    )
    return set(world.rows(sql))


def simulated(world: World, scene: Scene) -> set[Pair]:
    """What everybody would have got."""
    found: set[Pair] = set()
    services = world.services
    for people in past.everybody(services.database, services.names, world.site.id, scene.wanted, scene.oldest, scene.since):
        for person in [] if isinstance(people, int) else people:
            for one in replay(scene, person):
                found.add((person.identities[0].public_id, one.message.definition.name, one.arm, one.at))
    return found


def crowd(world: World, people: int, seed: int, **options: Any) -> None:
    """Serve some people."""
    client = Client(ENTRIES["wsgi"](Responder(world.services)))
    Crowd(world, lambda: Tracker(world, client), people=people, days=DAYS, seed=seed, **options).serve()


@pytest.fixture
def browser(world: World) -> Callable[[], Visitor]:
    """Opens a browser of its own; what it does without a visit given is done in its first."""
    client = Client(ENTRIES["wsgi"](Responder(world.services)))

    def opened() -> Visitor:
        made = Visitor(Tracker(world, client))
        made.visit = new_uuid7(world.clock())
        return made

    return opened


def signed_in(visitor: Visitor, user: str = "u") -> None:
    """Say in the page now shown who is signed in."""
    secret = visitor.world.site.identity_secrets[0].encode()
    visitor.tracker.identify(user, hash=hmac.new(secret, user.encode(), hashlib.sha256).hexdigest())


def test_the_days_that_were_served_are_simulated_alike(world: World, long: bool) -> None:
    people = 200 if long else 50
    ids = {name: create(world, name, **fields) for name, fields in MESSAGES.items()}
    crowd(world, people, seed=1)
    real = served(world)
    assert real
    if long:  # contact ids are drawn, and of fewer people it may be that none is held out
        assert {one[1] for one in real} == set(MESSAGES)
        assert {one[2] for one in real} == {"shown", "held_out"}
    asked = scene(world, ids["pricing"], DAYS + 1)
    assert simulated(world, asked) == real
    for name in MESSAGES:  # whichever is asked about, the others take their turns beside it
        result = simulate(world.services.database, world.services.names, scene(world, ids[name], DAYS + 1), lambda _: None)
        own = [one for one in real if one[1] == name]
        shown = [one for one in own if one[2] == "shown"]
        assert (result.people, result.times) == (len({one[0] for one in shown}), len(shown))
        assert result.held_out == len({one[0] for one in own} - {one[0] for one in shown})
        assert sum(day.times for day in result.per_day) == result.times
        assert result.looked_at == len(world.rows("SELECT DISTINCT principal_id FROM identities"))


# Which page something happened in


def test_days_with_pages_that_are_left_alone_and_say_late_who_is_signed_in_are_simulated_alike(world: World, long: bool) -> None:
    ids = {name: create(world, name, **fields) for name, fields in MESSAGES.items()}
    crowd(world, 200 if long else 30, seed=2, returns=True)
    real = served(world)
    assert real
    assert simulated(world, scene(world, ids["pricing"], DAYS + 1)) == real


ALWAYS: dict[str, Any] = {"frequency": {"type": "every_time"}, "ignore_caps": True}
USERS = {"field": "role", "operator": "=", "value": "user"}


def test_a_message_stays_where_the_page_says_later_who_is_signed_in(world: World, browser: Callable[[], Visitor]) -> None:
    ids, visitor = create(world, "hello", **ALWAYS), browser()
    for path in ("/", "/docs"):  # at the first a visitor becomes a user, the other is recorded for the lead that is the user's by then
        visitor.tracker.user = None
        visitor.look(path)
        world.clock.advance(MINUTE)
        signed_in(visitor)
        visitor.do("saved", {})
        world.clock.advance(MINUTE)
    assert len(served(world)) == 2
    assert simulated(world, scene(world, ids, 1)) == served(world)


def test_what_a_page_did_last_tells_who_is_signed_in_there(world: World, browser: Callable[[], Visitor]) -> None:
    """From then on it gets what is for users, what waits in it too."""
    ids, visitor = create(world, "users", audience=USERS, **ALWAYS), browser()
    create(world, "waiting", trigger={"type": "time", "seconds": 90}, audience=USERS, priority=1, **ALWAYS)
    for path in ("/", "/docs"):
        visitor.tracker.user = None
        visitor.look(path)
        world.clock.advance(MINUTE)
        signed_in(visitor)
        visitor.do("saved", {})
        world.clock.advance(MINUTE)
    assert [one[3] for one in sorted(served(world), key=lambda one: one[3])] == [world.clock() - 3 * MINUTE, world.clock() - MINUTE]
    assert simulated(world, scene(world, ids, 1)) == served(world)


def test_what_waits_in_a_page_is_claimed_by_who_is_signed_in_by_then(world: World, browser: Callable[[], Visitor]) -> None:
    ids, visitor = create(world, "waiting", trigger={"type": "time", "seconds": 90}, audience=USERS, **ALWAYS), browser()
    visitor.look("/")
    world.clock.advance(MINUTE)
    signed_in(visitor)
    visitor.do("saved", {})
    world.clock.advance(MINUTE // 2)
    visitor.claim_due()
    world.clock.advance(MINUTE)
    visitor.look("/docs")
    assert [one[3] for one in served(world)] == [world.clock() - MINUTE]
    assert simulated(world, scene(world, ids, 1)) == served(world)


@pytest.mark.parametrize("user", [None, "u"])
def test_a_page_that_was_left_alone_for_long_is_the_same_page(world: World, browser: Callable[[], Visitor], user: str | None) -> None:
    """What is done there begins a new visit, and shows nothing a second time; the next page does."""
    ids, visitor = create(world, "hello", **ALWAYS), browser()
    if user:
        signed_in(visitor, user)
    visitor.look("/")
    for _ in range(3):
        world.clock.advance(40 * MINUTE)
        visitor.visit = new_uuid7(world.clock())
        visitor.do("saved", {})
    world.clock.advance(MINUTE)
    visitor.look("/docs")
    assert len(served(world)) == 2
    assert simulated(world, scene(world, ids, 1)) == served(world)


def test_who_was_in_a_page_after_long_has_stayed_there(world: World, browser: Callable[[], Visitor]) -> None:
    ids, visitor = create(world, "waiting", trigger={"type": "time", "seconds": 20}, **ALWAYS), browser()
    visitor.look("/")
    world.clock.advance(20 * SECOND)
    visitor.claim_due()
    world.clock.advance(HOUR)
    visitor.visit = new_uuid7(world.clock())
    visitor.do("saved", {})
    assert [one[3] for one in served(world)] == [world.clock() - HOUR]
    assert simulated(world, scene(world, ids, 1)) == served(world)


@pytest.mark.parametrize("told_apart", [True, False])
def test_the_page_of_one_device_is_not_that_of_another(world: World, browser: Callable[[], Visitor], told_apart: bool) -> None:
    """A user of two devices, which leads tell apart only where something was done there before signing in."""
    page = {"field": "path", "operator": "is", "value": "/pricing"}
    ids, laptop, phone = create(world, "pricing", page=page, **ALWAYS), browser(), browser()
    for device in (laptop, phone):
        if told_apart:
            device.look("/")
            world.clock.advance(SECOND)
        signed_in(device)
        device.look("/pricing")
        world.clock.advance(MINUTE)
    phone.look("/docs")
    world.clock.advance(HOUR)
    phone.visit = new_uuid7(world.clock())
    phone.look("/docs")
    for device in (laptop, phone):  # the laptop's page has its message still, the phone's has none
        world.clock.advance(MINUTE)
        laptop.visit = laptop.visit if device is phone else new_uuid7(world.clock())
        device.do("saved", {})
    world.clock.advance(MINUTE)
    phone.look("/pricing")
    assert len(served(world)) == 3
    assert simulated(world, scene(world, ids, 1)) == served(world)


@pytest.mark.parametrize("told_apart", [True, False])
def test_a_page_that_is_not_known_is_none_of_another_device(world: World, browser: Callable[[], Visitor], told_apart: bool) -> None:
    """One that was opened before the timeline began, say: what is done there by a lead, or at another address, is no other device's."""
    ids, laptop, phone = create(world, "hello", **ALWAYS), browser(), browser()
    signed_in(laptop)
    laptop.look("/")
    world.clock.advance(HOUR)
    phone.view, phone.visit = new_uuid7(world.clock()), new_uuid7(world.clock())
    if told_apart:
        phone.do("saved", {})
        world.clock.advance(SECOND)
    else:
        phone.tracker.url = "https://shop.example/docs"
    signed_in(phone)
    phone.do("saved", {})
    assert len(served(world)) == 2
    assert simulated(world, scene(world, ids, 1)) == served(world)


# Where it is not alike, it says so


def test_who_says_after_the_view_went_out_who_is_signed_in_gets_more(world: World, browser: Callable[[], Visitor]) -> None:
    """The collector hears of the view again then, and counts and keeps nothing of that."""
    ids, visitor = create(world, "users", audience=USERS, **ALWAYS), browser()
    for path in ("/", "/docs"):
        visitor.tracker.user = None
        visitor.look(path)
        world.clock.advance(SECOND)
        signed_in(visitor)
        visitor.hear(visitor.tracker.collect({**visitor.tracker.event(visit=visitor.visit), "id": visitor.view}))
        world.clock.advance(MINUTE)
    asked = scene(world, ids, 1)
    assert len(served(world)) == 2
    assert simulated(world, asked) == set()
    assert asked.rewound.assumptions.keys() >= {Assumption.SIGNED_IN}


@pytest.mark.parametrize(
    ("fields", "matters"),
    [
        ({}, False),
        ({"trigger": {"type": "time", "seconds": 5}, "content": {"body": 'Hello {{first_name | fallback: "you"}}'}}, False),
        ({"content": {"body": "Hello {{first_name}}"}}, True),
        ({"audience": {"event": "saved", **COUNT, "value": 2}}, True),
        ({"trigger": {"type": "event", "event": "saved"}}, True),
    ],
)
def test_who_is_signed_in_matters_where_something_is_asked_of_somebody(world: World, fields: dict[str, Any], matters: bool) -> None:
    assert (Assumption.SIGNED_IN in scene(world, create(world, "hello", **fields), 1).rewound.assumptions) is matters


def test_of_two_tabs_the_one_opened_last_is_where_something_is_done(world: World, browser: Callable[[], Visitor]) -> None:
    saved = create(world, "saved", trigger={"type": "event", "event": "saved"}, ignore_caps=True)
    create(world, "hello", page={"field": "path", "operator": "is", "value": "/"}, **ALWAYS)
    first = browser()
    second = Visitor(first.tracker)
    second.visit = first.visit
    for tab, path in ((first, "/"), (second, "/docs")):
        tab.look(path)
        world.clock.advance(SECOND)
    first.tracker.url = "https://shop.example/"
    first.do("saved", {})
    asked = scene(world, saved, 1)
    assert [one[1] for one in served(world)] == ["hello"]
    assert sorted(one[1] for one in simulated(world, asked)) == ["hello", "saved"]
    assert asked.rewound.assumptions.keys() >= {Assumption.TABS}


def test_who_stays_in_the_last_page_of_a_visit_gets_more(world: World) -> None:
    ids = create(world, "waiting", trigger={"type": "time", "seconds": 20}, frequency={"type": "every_time"}, ignore_caps=True)
    crowd(world, 40, 4, lingers=True)
    real, asked = served(world), scene(world, ids, DAYS + 1)
    found = simulated(world, asked)
    assert found < real
    later = (
        "SELECT count(*) FROM deliveries d JOIN events v ON v.site = d.site AND v.id = d.view "
        "JOIN events e ON e.site = v.site AND e.visit = v.visit AND e.at >= d.claimed_at WHERE d.claimed_at = ?"
    )
    for _, _, _, at in real - found:  # nothing more is known of these visits
        assert world.rows(later, at) == [(0,)]
    assert asked.rewound.assumptions.keys() >= {Assumption.SECONDS}


def test_who_dismisses_a_message_gets_fewer(world: World) -> None:
    ids = create(world, "hello", ignore_caps=True)
    crowd(world, 40, 5, dismisses=True)
    real, asked = served(world), scene(world, ids, DAYS + 1)
    found = simulated(world, asked)
    assert real < found
    first: dict[str, int] = {}
    for contact, _, _, at in real:
        first[contact] = min(at, first.get(contact, at))
    assert all(at > first[contact] for contact, _, _, at in found - real)
    assert asked.rewound.assumptions.keys() >= {Assumption.UNANSWERED}


def test_what_was_said_later_counts_as_if_it_had_always_been_so(world: World) -> None:
    audience = {"field": "custom_attributes.plan", "operator": "=", "value": "pro"}
    ids = create(world, "pro", audience=audience, frequency={"type": "every_time"}, ignore_caps=True)
    began = world.clock()
    crowd(world, 60, 6, says={"plan": "pro"})
    real, asked = served(world), scene(world, ids, DAYS + 1)
    found = simulated(world, asked)
    assert real < found
    sql = (
        "SELECT p.public_id, min(a.own_at) FROM attributes a JOIN identities i ON i.site = a.site AND i.id = a.identity "
        "JOIN identities p ON p.site = i.site AND p.id = i.principal_id WHERE a.attr > 100 AND a.own_value IS NOT NULL GROUP BY p.public_id"
    )
    said = dict(world.rows(sql))
    assert all(at < said[contact] for contact, _, _, at in found - real)
    assert min(said.values()) > began + DAYS * DAY // 2
    assert "custom_attributes.plan" in asked.rewound.assumptions[Assumption.ATTRIBUTES]


def test_what_was_got_before_the_first_day_is_not_known(world: World) -> None:
    ids = create(world, "once", frequency={"type": "once"}, ignore_caps=True)
    crowd(world, 40, 7)
    asked, since = scene(world, ids, DAYS // 2), world.clock() - DAYS // 2 * DAY
    found, real = simulated(world, asked), served(world)
    assert {one for one in real if one[3] >= since} < found
    early = {one[0] for one in real if one[3] < since}
    assert {one[0] for one in found - real} <= early
    assert asked.rewound.assumptions.keys() >= {Assumption.FRESH}


def test_what_is_due_after_the_last_moment_is_nobodys(world: World) -> None:
    """People go on while they are read, so that a page is known to have been open until after it."""
    ids = create(world, "waiting", trigger={"type": "time", "seconds": 20})
    page, visit = '{"url":"https://shop.example/"}', new_uuid7(world.clock())
    world.send(lead("a"), world.event(page=page, visit=visit))
    world.clock.advance(10 * SECOND)
    asked = scene(world, ids, 1)
    world.clock.advance(30 * SECOND)
    for name in ("saved", "page-view"):
        world.send(lead("a"), world.event(name, page=page, visit=visit))
        assert simulated(world, asked) == set()
    assert len(simulated(world, scene(world, ids, 1))) == 1


# What is known of the time before


def test_totals_before_the_timeline_count(world: World) -> None:
    """What was pruned, what waits for it and what was imported stands in the totals; only what happened since is taken away."""
    audience = {"event": "page-view", **COUNT, "value": 2}
    ids = create(world, "third", audience=audience, frequency={"type": "once"})
    page = '{"url":"https://shop.example/"}'
    services, began = world.services, world.clock()
    for after in (0, DAY, 95 * DAY):
        world.clock.now = began + after
        world.send(lead("a"), world.event(page=page))
        world.send(lead("b"), world.event(page=page)) if after else None
    for prunes in (False, True):
        if prunes:
            list(pruning.prune(services.written, services.slices, services.written.transact, world.clock(), services.settings.retention))
        assert [one[3] for one in simulated(world, scene(world, ids, 90))] == [began + 95 * DAY]


def test_progress_goes_up_to_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "PEOPLE", 2)
    ids = create(world, "hello")
    for number in range(7):
        world.send(lead(f"p-{number}"), world.event(page='{"url":"https://shop.example/"}'))
    told: list[int] = []
    result = simulate(world.services.database, world.services.names, scene(world, ids, 1), told.append)
    assert result.people == 7
    assert told == sorted(told)
    assert len(set(told)) == 4


def test_internal_people_are_left_out_and_it_says_so(world: World) -> None:
    ids = create(world, "hello")
    for name in ("a", "b"):
        world.send(lead(name), world.event(page='{"url":"https://shop.example/"}'))
    world.set(lead("a").key, {"internal": True}, browser=False)
    result = simulate(world.services.database, world.services.names, scene(world, ids, 1), lambda _: None)
    assert (result.people, result.looked_at) == (1, 2)
    assert Assumption.INTERNAL.sentence in result.assumptions


def test_a_value_that_is_missing_holds_it_back(world: World) -> None:
    ids = create(world, "hello", content={"body": "Hello {{first_name}}"})
    for name in ("a", "b"):
        world.send(lead(name), world.event(page='{"url":"https://shop.example/"}'))
    world.set(lead("a"), {"name": "Ann Lee"})
    assert len(simulated(world, scene(world, ids, 1))) == 1
