"""Test links: their message shows in the page that they open, draft or not, and nothing that happens there is stored."""

from typing import Any

import pytest

from collector.domain import trials
from collector.domain.trials import Trial
from collector.values.clock import HOUR
from tests.ingest.test_messages import create, numbers, verified
from tests.support.browserless import Tracker
from tests.support.world import World

PAGE = "https://shop.example/pricing?plan=pro#top"
TABLES = ("identities", "events", "totals", "visits", "deliveries", "attributes")


def opened(world: World, message: str, contact: str | None = None, page: str = PAGE) -> str:
    """Return the address that a test link opens."""
    return trials.link(world.services.keyring, world.site, page, Trial(message, contact), world.clock())


def stored(world: World) -> dict[str, int]:
    with world.services.database.read() as connection:
        return {table: connection.value(f"SELECT count(*) FROM {table}") for table in TABLES}


def addresses(world: World) -> list[str]:
    """Return every address that was stored with an event."""
    with world.services.database.read() as connection:
        return [f"{page} {metadata}" for page, metadata in connection.rows("SELECT page, metadata FROM events ORDER BY at, id")]


def tried(tracker: Tracker, message: str) -> Any:
    """Look at the page as the messenger does, and return the answer to its claim."""
    answer = tracker.collect(tracker.event())
    assert answer["messages"] == [{"id": message, "trigger": "test"}]
    return tracker.claim(message)


@pytest.fixture
def draft(world: World) -> str:
    return create(
        world, state="draft", content={"title": "Hi {{first_name}}", "body": "{{event.metadata.item}} and {{plan | fallback: 'none'}}"}
    )


def test_a_link_is_the_page_with_one_more_parameter(world: World, draft: str) -> None:
    link = opened(world, draft)
    assert link.startswith("https://shop.example/pricing?plan=pro&utm_leadlight_test=")
    assert link.endswith("#top")
    assert trials.without(link) == PAGE
    assert trials.without(opened(world, draft, page="https://shop.example/")) == "https://shop.example/"


def test_a_draft_shows_with_examples_for_its_variables(tracker: Tracker, world: World, draft: str) -> None:
    tracker.url = opened(world, draft)
    shown = tried(tracker, draft)["message"]
    assert shown["test"] is True
    assert shown["title"] == "Hi first name"
    assert shown["body"] == [{"tag": "p", "children": ["item and plan"]}]


def test_the_values_of_a_person_who_was_chosen_are_filled_in(tracker: Tracker, world: World, draft: str) -> None:
    tracker.identify("u-1", **verified(world, "u-1"))
    tracker.collect({"type": "identify", "at": world.clock(), "attributes": {"name": "Somebody Else", "plan": "pro"}})
    with world.services.database.read() as connection:
        contact = connection.value("SELECT public_id FROM identities WHERE value = 'u-1'")
    tracker.user = None
    tracker.url = opened(world, draft, contact)
    shown = tried(tracker, draft)["message"]
    assert (shown["title"], shown["body"][0]["children"]) == ("Hi Somebody", ["item and pro"])


def test_what_the_chosen_person_lacks_is_said(tracker: Tracker, world: World, draft: str) -> None:
    tracker.identify("u-1")
    tracker.view()
    with world.services.database.read() as connection:
        contact = connection.value("SELECT public_id FROM identities WHERE value = 'u-1'")
    tracker.url = opened(world, draft, contact)
    assert tried(tracker, draft) == {"message": None, "reason": "content"}
    tracker.url = opened(world, draft, "0" * 24)
    assert tried(tracker, draft) == {"message": None, "reason": "test"}


def test_nothing_is_stored(tracker: Tracker, world: World) -> None:
    message = create(world, holdout_percent=100, audience={"event": "never", "field": "count", "operator": ">", "value": 0})
    before = stored(world)
    tracker.url = opened(world, message)
    assert tried(tracker, message)["message"]
    answer = tracker.collect(tracker.event("button"), tracker.event())
    assert [entry["code"] for entry in answer["refused"]] == ["test", "test"]
    assert stored(world) == before
    assert numbers(world, message)["matched"] == 0


def test_what_the_page_says_of_the_visitor_is_stored_all_the_same(tracker: Tracker, world: World, draft: str) -> None:
    tracker.url = opened(world, draft)
    answer = tracker.collect(tracker.event(), {"type": "identify", "at": world.clock(), "attributes": {"plan": "pro"}})
    assert [entry["code"] for entry in answer["refused"]] == ["test"]
    assert answer["accepted"] == 1
    found = stored(world)
    assert (found["identities"], found["events"]) == (1, 0)


def test_what_comes_to_blanks_shows_in_no_test_either(tracker: Tracker, world: World) -> None:
    message = create(world, state="draft", content={"body": '{{first_name | fallback: ""}}'})
    tracker.view()
    with world.services.database.read() as connection:
        contact = connection.value("SELECT public_id FROM identities WHERE kind = 'lead'")
    tracker.url = opened(world, message, contact)
    assert tried(tracker, message) == {"message": None, "reason": "content"}


def test_a_test_uses_nothing_up(tracker: Tracker, world: World) -> None:
    message = create(world, frequency={"type": "once"})
    tracker.url = opened(world, message)
    assert tried(tracker, message)["message"]
    assert tried(tracker, message)["message"]
    tracker.view("/")
    assert tracker.claim(message)["message"]


def test_a_paused_site_and_a_closed_schedule_do_not_hinder_a_test(tracker: Tracker, world: World) -> None:
    message = create(world, schedule={"ends_at": 1}, state="archived")
    world.services.writer.run(world.site.id, lambda tx: world.services.sites.change(tx, world.site.id, messages_paused=True))
    world.services.sites.forget()
    tracker.url = opened(world, message)
    assert tried(tracker, message)["message"]


def test_a_test_has_the_sites_colour(tracker: Tracker, world: World, draft: str) -> None:
    world.services.writer.run(world.site.id, lambda tx: world.services.sites.change(tx, world.site.id, brand_color="#1f4fd1"))
    world.services.sites.forget()
    tracker.url = opened(world, draft)
    assert tried(tracker, draft)["message"]["brand"]["fill"] == "#1f4fd1"


def test_no_other_message_shows_in_the_page(tracker: Tracker, world: World, draft: str) -> None:
    other = create(world)
    tracker.url = opened(world, draft)
    tried(tracker, draft)
    assert tracker.claim(other) == {"message": None, "reason": "test"}
    assert numbers(world, other)["sent"] == 0


def test_only_a_view_brings_the_message_up(tracker: Tracker, world: World, draft: str) -> None:
    tracker.url = opened(world, draft)
    assert "messages" not in tracker.collect(tracker.event("click"))


def test_what_happened_elsewhere_is_stored_as_ever(tracker: Tracker, world: World, draft: str) -> None:
    before = tracker.event("earlier")
    tracker.url = opened(world, draft)
    answer = tracker.collect(before, tracker.event())
    assert (answer["accepted"], [entry["index"] for entry in answer["refused"]]) == (1, [1])
    assert answer["messages"] == [{"id": draft, "trigger": "test"}]
    assert stored(world)["events"] == 1


def test_after_an_hour_the_page_is_a_page_and_the_link_leaves_nothing_in_it(tracker: Tracker, world: World, draft: str) -> None:
    tracker.url = opened(world, draft)
    world.clock.advance(HOUR)
    assert "messages" not in tracker.collect(tracker.event())
    assert tracker.claim(draft) == {"message": None, "reason": "state"}
    (page,) = addresses(world)
    assert PAGE in page
    assert trials.PARAMETER not in page


@pytest.mark.parametrize("token", ["", "x", "WyJ4IixudWxsLDld.x", "%00"])
def test_a_forged_link_opens_nothing(tracker: Tracker, world: World, draft: str, token: str) -> None:
    tracker.url = f"{PAGE.partition('#')[0]}&{trials.PARAMETER}={token}"
    assert "messages" not in tracker.collect(tracker.event())
    assert tracker.claim(draft) == {"message": None, "reason": "state"}
    assert trials.PARAMETER not in addresses(world)[0]


def test_another_sites_link_opens_nothing(tracker: Tracker, world: World, draft: str) -> None:
    other = world.new_site("Other", "https://other.example")
    tracker.url = trials.link(world.services.keyring, other, PAGE, Trial(draft, None), world.clock())
    assert "messages" not in tracker.collect(tracker.event())


def test_the_next_page_forgets_the_link_too(tracker: Tracker, world: World, draft: str) -> None:
    link = opened(world, draft)
    item = tracker.event()
    item["page"]["referrer"] = link
    assert tracker.collect(item)["accepted"] == 1
    assert trials.PARAMETER not in addresses(world)[0]
