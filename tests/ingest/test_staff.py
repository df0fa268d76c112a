"""Internal people: tracked and reached like anybody, but out of the numbers and not held back by caps."""

from collector.domain import rankings
from collector.values.clock import HOUR, MINUTE
from tests.ingest.test_messages import create, numbers, offered
from tests.support.browserless import Tracker
from tests.support.world import World, user


def hire(world: World, user_id: str) -> None:
    """Make a user internal, as REST does."""
    world.set(user(user_id), {"internal": True}, browser=False)


def test_what_staff_does_with_a_message_is_in_none_of_its_numbers(tracker: Tracker, new_tracker, world: World) -> None:
    message = create(world, content={"title": "Hello", "body": "[A link](https://shop.example/a)"})
    staff = new_tracker()
    staff.identify("staff")
    hire(world, "staff")
    for browser in (tracker, staff):
        browser.view()
        shown = browser.claim(message)["message"]["delivery"]
        browser.report(message, shown, "clicked", link="https://shop.example/a")
    found = numbers(world, message)
    assert (found["matched"], found["sent"], found["seen"], found["clicked"]) == (1, 1, 1, 1)
    assert found["links"] == [{"link": "https://shop.example/a", "clicked": 1}]


def test_caps_hold_nothing_back_from_staff(tracker: Tracker, world: World) -> None:
    messages = [create(world, frequency={"type": "once"}) for _ in range(5)]
    tracker.identify("staff")
    tracker.view()
    assert tracker.claim(messages[0])["message"]
    assert tracker.claim(messages[1])["reason"] == "caps"
    hire(world, "staff")
    assert set(offered(tracker.view())) == set(messages[1:])
    assert all(tracker.claim(message)["message"] for message in messages[1:])


def test_who_is_no_longer_staff_is_held_back_and_counted_again(tracker: Tracker, world: World) -> None:
    first, second = create(world), create(world)
    tracker.identify("staff")
    hire(world, "staff")
    tracker.view()
    assert tracker.claim(first)["message"]
    assert numbers(world, first)["sent"] == 0
    world.clock.advance(MINUTE)
    world.set(user("staff"), {"internal": False}, browser=False)
    assert tracker.claim(second)["reason"] == "caps"
    assert numbers(world, first)["sent"] == 1


def test_staff_is_in_no_ranking_and_in_no_sum_of_an_event(tracker: Tracker, new_tracker, world: World) -> None:
    staff = new_tracker()
    staff.identify("staff")
    staff.collect(*(staff.event("saved") for _ in range(9)))
    hire(world, "staff")
    tracker.collect(tracker.event("saved"))
    with world.services.database.snapshot() as connection:
        asked = (connection, world.site.id, world.services.names, "saved")
        assert [place.count for place in rankings.of_all_time(*asked, limit=10)] == [1]
        assert [place.count for place in rankings.since(*asked, world.clock() - HOUR, limit=10)] == [1]
        assert rankings.sums(*asked[:3], ["saved"]) == {"saved": rankings.Sum(1, 1)}


def test_the_devices_of_staff_are_staff(tracker: Tracker, world: World) -> None:
    message = create(world)
    tracker.view()
    tracker.claim(message)
    assert numbers(world, message)["sent"] == 1
    hire(world, "staff")
    tracker.identify("staff")
    tracker.view()
    assert numbers(world, message)["sent"] == 0


def test_a_browser_makes_nobody_internal(tracker: Tracker, world: World) -> None:
    message = create(world)
    tracker.identify("guest")
    tracker.view()
    answer = tracker.collect(
        {"type": "identify", "at": world.clock(), "attributes": {"internal": True, "custom_attributes": {"internal": True}}}
    )
    assert "attribute_protected" in {flag["code"] for flag in answer["flagged"]}
    tracker.claim(message)
    assert numbers(world, message)["sent"] == 1
