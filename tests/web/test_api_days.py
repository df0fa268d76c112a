"""A date without a time is a day of the site: whoever sends it, `on` that day finds it, and people read that day."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from werkzeug.test import Client

from collector.web.browser import Responder
from tests.support.browserless import ENTRIES, Tracker
from tests.support.clock import FakeClock
from tests.web.test_api_support import Rest, serving

DAY = "2026-09-20"
BEGINS = {"America/Los_Angeles": 1_789_887_600, "Europe/Berlin": 1_789_855_200, "Pacific/Auckland": 1_789_819_200}
"""Unix seconds at which that day begins in a site's zone: west of Greenwich, east of it, far east of it."""


@pytest.fixture(params=BEGINS)
def rest(request: pytest.FixtureRequest, database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        world = running.world
        world.site = msgspec.structs.replace(world.site, time_zone=request.param)
        world.services.writer.run(world.site.id, lambda tx: world.services.sites.update(tx, world.site))
        world.services.sites.forget()
        yield running


def found(rest: Rest, query: dict[str, Any]) -> list[str]:
    answer = rest.post("/contacts/search", {"query": query})
    assert answer.status_code == 200, answer.text
    return sorted(one["external_id"] for one in answer.json["data"])


def begins(rest: Rest) -> int:
    return BEGINS[rest.world.site.time_zone]


@pytest.mark.parametrize("field", ["custom_attributes.renewal_at", "company.due_at", "signed_up_at"])
def test_a_day_in_an_attribute_is_a_day_of_the_site_from_rest_and_from_a_browser(rest: Rest, field: str) -> None:
    group, _, name = field.rpartition(".")
    set_to: Any = {group: {name: DAY}} if group else {name: DAY}
    rest.post("/contacts", {"external_id": "by-rest", **set_to})
    tracker = Tracker(rest.world, Client(ENTRIES["rsgi"](Responder(rest.world.services))))
    tracker.user = {"id": "by-page"}
    tracker.collect({"type": "identify", "at": rest.clock(), "attributes": set_to})
    for user_id in ("by-rest", "by-page"):
        contact = rest.get(f"/contacts/find_by_external_id/{user_id}").json
        assert (contact[group][name] if group == "custom_attributes" else contact.get(name, begins(rest))) == begins(rest)
    assert found(rest, {"field": field, "operator": "on", "value": DAY}) == ["by-page", "by-rest"]
    assert found(rest, {"field": field, "operator": "on", "value": "2026-09-19"}) == []


def test_a_day_in_metadata_is_a_day_of_the_site(rest: Rest) -> None:
    event = {"event_name": "booked", "metadata": {"arrival_date": DAY}, "created_at": rest.clock() // 1000}
    rest.post("/events/batch", {"events": [{**event, "user_id": "by-batch"}]})
    rest.post("/events", {**event, "user_id": "by-event", "create_contact": True})
    tracker = Tracker(rest.world, Client(ENTRIES["rsgi"](Responder(rest.world.services))))
    tracker.user = {"id": "by-page"}
    tracker.collect(tracker.event("booked", metadata={"arrival_date": DAY}))
    booked = {"event": "booked", "field": "count", "operator": ">", "value": 0}
    arrives = {"field": "metadata.arrival_date", "operator": "on", "value": DAY}
    assert found(rest, {**booked, "where": [arrives]}) == ["by-batch", "by-event", "by-page"]
    assert found(rest, {**booked, "where": [{**arrives, "operator": "=", "value": begins(rest)}]}) == ["by-batch", "by-event", "by-page"]


def test_a_day_that_instants_are_compared_with_is_the_same_instant(rest: Rest) -> None:
    rest.post("/contacts", {"external_id": "a", "custom_attributes": {"due_at": begins(rest)}})
    due = {"field": "custom_attributes.due_at", "value": DAY}
    for operator, holds in (("=", True), (">=", True), ("<=", True), (">", False), ("<", False), ("!=", False)):
        assert (found(rest, {**due, "operator": operator}) == ["a"]) is holds, operator
    assert found(rest, {**due, "operator": "IN", "value": [1, DAY]}) == ["a"]


def test_a_stored_query_means_the_same_instant_whatever_the_zone_is_later(rest: Rest) -> None:
    rest.post("/contacts", {"external_id": "a", "custom_attributes": {"due_at": begins(rest)}})
    query = {"field": "custom_attributes.due_at", "operator": "=", "value": DAY}
    made = rest.post("/segments", {"name": "Due", "query": query}).json
    world = rest.world
    world.services.writer.run(
        world.site.id, lambda tx: world.services.sites.update(tx, msgspec.structs.replace(world.site, time_zone="Asia/Tokyo"))
    )
    world.services.sites.forget()
    assert rest.get(f"/segments/{made['id']}").json["count"] == 1


def test_a_day_as_the_time_of_an_event_is_a_day_of_the_site_too(rest: Rest) -> None:
    rest.post("/events", {"event_name": "paid", "user_id": "a", "created_at": DAY, "create_contact": True})
    assert found(rest, {"event": "paid", "field": "last", "operator": "on", "value": DAY}) == ["a"]
    first = {"event_name": "read", "count": 2, "first": DAY, "last": DAY}
    rest.post("/events/summaries", {"user_id": "a", "event_summaries": [first]})
    assert found(rest, {"event": "read", "field": "first", "operator": "on", "value": DAY}) == ["a"]
