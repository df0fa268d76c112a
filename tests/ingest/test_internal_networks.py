"""Browsers in a network of the site's own people make their people internal; nothing of an address is kept."""

import hashlib
import hmac
from collections.abc import Iterator

import pytest

from collector.domain import merging
from tests.ingest.test_messages import create, numbers
from tests.support.browserless import CHROME, ORIGIN, Tracker
from tests.support.clock import FakeClock
from tests.support.world import World, user
from tests.support.world import world as start

OFFICE, ELSEWHERE = "203.0.113.77", "198.51.100.7"


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    networks = {"trusted_proxies": ("127.0.0.1",), "internal_networks": ("203.0.113.0/24",)}
    with start(database_url, clock, message_budget_ms=60_000, **networks) as running:
        yield running


def send(tracker: Tracker, address: str, *items: object, peer: str = "127.0.0.1") -> None:
    """Send what a proxy passes on from an address, or what another peer says that it does."""
    answer = tracker.client.post(
        "/collect",
        json=tracker.envelope(*items or [tracker.event()]),
        headers={"Origin": ORIGIN, "User-Agent": CHROME, "X-Forwarded-For": address},
        environ_overrides={"REMOTE_ADDR": peer},
    )
    assert answer.status_code == 202, answer.text


def internal(world: World, tracker: Tracker) -> object:
    """What the attribute of the browser's person is."""
    return world.attributes(("lead", tracker.lead.partition(".")[0])).get("internal")


def test_who_is_seen_in_an_internal_network_is_internal_from_then_on_wherever(tracker: Tracker, world: World) -> None:
    send(tracker, ELSEWHERE)
    assert internal(world, tracker) is None
    send(tracker, OFFICE)
    assert internal(world, tracker) is True
    send(tracker, ELSEWHERE)
    assert internal(world, tracker) is True


def test_they_are_in_no_number_of_a_message(tracker: Tracker, world: World) -> None:
    message = create(world)
    send(tracker, OFFICE)
    assert tracker.claim(message)["message"]
    assert numbers(world, message)["sent"] == 0


def test_what_a_visitor_says_of_its_address_without_our_proxy_is_not_believed(tracker: Tracker, world: World) -> None:
    send(tracker, OFFICE, peer=ELSEWHERE)
    assert internal(world, tracker) is None


def test_no_browser_can_say_it_of_itself(tracker: Tracker, world: World) -> None:
    send(tracker, ELSEWHERE, {"type": "identify", "at": world.clock(), "attributes": {"internal": True}})
    assert internal(world, tracker) is None


def test_what_rest_said_stays(tracker: Tracker, world: World) -> None:
    tracker.identify("guest")
    send(tracker, ELSEWHERE)
    world.set(user("guest"), {"internal": False}, browser=False)
    send(tracker, OFFICE)
    assert world.attributes(user("guest"))["internal"] is False


def test_what_was_said_of_a_user_is_not_said_of_a_browser_that_an_undone_merge_parts_from_it(tracker: Tracker, world: World) -> None:
    send(tracker, ELSEWHERE)
    world.set(user("guest"), {"internal": False}, browser=False)
    tracker.identify("guest")
    send(tracker, OFFICE)
    assert world.attributes(user("guest"))["internal"] is False
    (merge,) = world.rows("SELECT id FROM merges WHERE outcome = 'merged'")
    assert world.services.writer.run(world.site.id, lambda tx: merging.undo(tx, world.site.id, merge[0], world.clock()))
    assert internal(world, tracker) is True
    assert world.attributes(user("guest"))["internal"] is False


def test_what_was_said_of_a_browser_stays_when_its_user_is_proved_and_in_the_network(tracker: Tracker, world: World) -> None:
    send(tracker, ELSEWHERE)
    value = tracker.lead.partition(".")[0]
    world.set(("lead", value), {"internal": False}, browser=False)
    secret = world.site.identity_secrets[0].encode()
    tracker.identify("colleague", hash=hmac.new(secret, b"colleague", hashlib.sha256).hexdigest())
    send(tracker, OFFICE)
    assert world.attributes(user("colleague"))["internal"] is False


def test_who_is_seen_in_the_network_after_it_was_unset_is_internal_again(tracker: Tracker, world: World) -> None:
    secret = world.site.identity_secrets[0].encode()
    tracker.identify("colleague", hash=hmac.new(secret, b"colleague", hashlib.sha256).hexdigest())
    send(tracker, OFFICE)
    world.clock.advance(1)
    world.set(user("colleague"), {"internal": None}, browser=False)
    world.clock.advance(1)
    assert not world.attributes(user("colleague")).get("internal")
    send(tracker, OFFICE)
    assert world.attributes(user("colleague"))["internal"] is True


def test_a_user_id_that_nobody_proved_is_marked_by_the_browser_alone_so_that_an_undone_merge_takes_it_away(
    tracker: Tracker, new_tracker, world: World
) -> None:
    other = new_tracker()
    other.identify("somebody")
    send(other, ELSEWHERE)
    tracker.identify("somebody")
    send(tracker, OFFICE)
    assert world.attributes(user("somebody"))["internal"] is True
    assert world.rows(
        "SELECT count(*) FROM attributes a JOIN identities i ON i.id = a.identity WHERE own_value = 'true' AND kind = 'user'"
    ) == [(0,)]


def test_a_proved_user_is_internal_in_every_browser(tracker: Tracker, new_tracker, world: World) -> None:
    secret = world.site.identity_secrets[0].encode()
    tracker.identify("colleague", hash=hmac.new(secret, b"colleague", hashlib.sha256).hexdigest())
    send(tracker, OFFICE)
    assert world.attributes(user("colleague"))["internal"] is True
    phone = new_tracker()
    phone.identify("colleague")
    send(phone, ELSEWHERE)
    assert internal(world, phone) is True


def test_no_address_is_kept(tracker: Tracker, world: World) -> None:
    send(tracker, OFFICE)
    tables = ("identities", "attributes", "events", "visits", "totals", "names")
    assert not [row for table in tables for row in world.rows(f"SELECT * FROM {table}") if "203.0.113" in repr(row)]
