"""Single events: sent, found again, listed and summed up as with Intercom."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from collector.domain import pruning
from collector.storage.database import Connection
from collector.values.ids import new_uuid7
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_api_support import Rest, problem, serving

DAY = 86_400


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


@pytest.fixture
def ann(rest: Rest) -> dict[str, Any]:
    """A user with external id and email."""
    return rest.contact(external_id="u-1", email="ann@example.com")


def test_an_event_is_accepted_with_an_empty_body(rest: Rest, ann: dict[str, Any]) -> None:
    answer = rest.event(user_id="u-1", metadata={"plan": "pro"})
    assert (answer.status_code, answer.data, answer.content_type) == (202, b"", None)
    assert rest.counts("user_id=u-1") == {"created-report": 1}


def test_a_person_is_named_by_contact_id_external_id_or_email(rest: Rest, ann: dict[str, Any]) -> None:
    for name, who in (("a", {"id": ann["id"]}), ("b", {"user_id": "u-1"}), ("c", {"email": "ANN@example.com"})):
        assert rest.event(name, **who).status_code == 202
    for query in (f"intercom_user_id={ann['id']}", "user_id=u-1", "email=Ann@example.com"):
        assert rest.counts(query) == {"a": 1, "b": 1, "c": 1}


def test_a_lead_is_named_by_its_contact_id(rest: Rest) -> None:
    made = rest.contact(role="lead")
    assert rest.event(id=made["id"]).status_code == 202
    (event,) = rest.events(f"intercom_user_id={made['id']}")
    assert (event["intercom_user_id"], event["user_id"]) == (made["id"], None)


def test_a_merged_leads_late_events_go_to_the_user(rest: Rest) -> None:
    anonymous = rest.world.send(lead(), rest.world.event()).contact_id
    rest.world.send(user("u-1"), rest.world.event(), lead=lead())
    assert rest.event("late", id=anonymous).status_code == 202
    assert rest.counts("user_id=u-1")["late"] == 1


def test_a_person_is_made_where_the_body_asks_for_it(rest: Rest) -> None:
    assert rest.event(user_id="u-1", create_contact=True).status_code == 202
    assert rest.event(email="Bob@example.com", create_contact=True).status_code == 202
    assert rest.event(email="bob@example.com").status_code == 202
    assert rest.counts("user_id=u-1") == rest.counts("email=bob@example.com") == {"created-report": 1}
    (bob,) = rest.get("/contacts?email=bob@example.com").json["data"]
    assert (bob["role"], bob["email"], bob["external_id"]) == ("user", "Bob@example.com", None)


def test_a_contact_id_is_never_made(rest: Rest) -> None:
    assert problem(rest.event(id="0" * 24, create_contact=True)) == (404, "not_found", None)


def test_the_sites_setting_makes_unknown_people_unless_the_body_says_no(rest: Rest) -> None:
    site = rest.world.site
    changed = msgspec.structs.replace(site, settings=msgspec.structs.replace(site.settings, create_contacts=True))
    rest.world.services.writer.run(site.id, lambda tx: rest.world.services.sites.update(tx, changed))
    rest.world.services.sites.forget()
    assert rest.event(user_id="u-1").status_code == 202
    assert rest.event(user_id="u-2", create_contact=False).status_code == 404


def test_equal_events_without_an_id_are_one(rest: Rest, ann: dict[str, Any]) -> None:
    for metadata in ({"a": 1, "b": "x"}, {"b": "x", "a": 1}):
        assert rest.event(user_id="u-1", metadata=metadata).status_code == 202
    assert rest.event(email="ann@example.com", metadata={"a": 1, "b": "x"}).status_code == 202
    assert rest.counts("user_id=u-1") == {"created-report": 1}


def test_events_that_differ_in_anything_are_several(rest: Rest, ann: dict[str, Any]) -> None:
    rest.contact(external_id="u-2")
    rest.event("a", user_id="u-1")
    rest.event("a", user_id="u-1", metadata={"n": 1})
    rest.event("a", user_id="u-1", metadata={"n": 2})
    rest.event("a", user_id="u-1", created_at=rest.now - 1)
    rest.event("b", user_id="u-1")
    rest.event("a", user_id="u-2")
    assert rest.counts("user_id=u-1") == {"a": 4, "b": 1}
    assert rest.counts("user_id=u-2") == {"a": 1}


def test_the_same_event_before_and_after_a_merge_is_one(rest: Rest) -> None:
    anonymous = rest.world.send(lead(), rest.world.event()).contact_id
    rest.event("paid", id=anonymous)
    rest.world.send(user("u-1"), rest.world.event(), lead=lead())
    rest.event("paid", id=anonymous)
    assert rest.counts("user_id=u-1")["paid"] == 1


def test_an_event_with_an_id_is_counted_once_whatever_else_it_says(rest: Rest, ann: dict[str, Any]) -> None:
    for own in (new_uuid7(rest.clock()), "order-1", "x" * 128, "ü"):
        for metadata in ({"n": 1}, {"n": 2}):
            assert rest.event(user_id="u-1", event_id=own, metadata=metadata).status_code == 202
    assert rest.counts("user_id=u-1") == {"created-report": 4}
    assert {event["metadata"]["n"] for event in rest.events("user_id=u-1")} == {1}


def test_a_uuid7_needs_no_time_and_is_the_events_id(rest: Rest, ann: dict[str, Any]) -> None:
    own = new_uuid7(rest.clock())
    for _ in range(2):
        assert rest.post("/events", {"event_name": "a", "user_id": "u-1", "event_id": own}).status_code == 202
        rest.clock.advance(5_000)
    assert [event["id"] for event in rest.events("user_id=u-1")] == [own]


def test_a_uuid7_that_is_older_than_the_timeline_needs_a_time_since_nobody_knows_whether_it_was_counted(
    rest: Rest, ann: dict[str, Any]
) -> None:
    own = new_uuid7(rest.clock())
    event = {"event_name": "a", "user_id": "u-1", "event_id": own}
    assert rest.post("/events", event).status_code == 202
    services, retention = rest.world.services, rest.world.services.settings.retention
    rest.clock.advance(2 * retention)
    for _ in pruning.prune(services.written, services.slices, services.written.transact, rest.clock(), retention):
        pass
    assert problem(rest.post("/events", event)) == (422, "too_old", "event_id")
    assert rest.world.counts(user("u-1")) == {"a": 1}
    event["created_at"] = rest.now
    assert rest.post("/events", event).status_code == 202


def test_a_uuid7_that_lies_ahead_needs_a_time_too(rest: Rest, ann: dict[str, Any]) -> None:
    event = {"event_name": "a", "user_id": "u-1", "event_id": new_uuid7(rest.clock() + 2 * 3_600_000)}
    assert problem(rest.post("/events", event)) == (422, "in_future", "event_id")
    for _ in range(2):
        assert rest.post("/events", {**event, "created_at": rest.now}).status_code == 202
    assert rest.world.counts(user("u-1")) == {"a": 1}


def test_any_other_id_needs_its_time(rest: Rest, ann: dict[str, Any]) -> None:
    answer = rest.post("/events", {"event_name": "a", "user_id": "u-1", "event_id": "order-1"})
    assert problem(answer) == (422, "field_missing", "created_at")


def test_an_event_without_a_time_happens_now(rest: Rest, ann: dict[str, Any]) -> None:
    assert rest.post("/events", {"event_name": "a", "user_id": "u-1"}).status_code == 202
    assert rest.events("user_id=u-1")[0]["created_at"] == rest.now


def test_the_timeline_bounds_the_past_and_an_hour_the_future(rest: Rest, ann: dict[str, Any]) -> None:
    assert rest.event("a", user_id="u-1", created_at=rest.now - 90 * DAY + 1).status_code == 202
    assert rest.event("b", user_id="u-1", created_at=rest.now + 3_600).status_code == 202
    assert problem(rest.event(user_id="u-1", created_at=rest.now - 90 * DAY - 1)) == (422, "too_old", "created_at")
    assert problem(rest.event(user_id="u-1", created_at=rest.now + 3_601)) == (422, "in_future", "created_at")


def test_text_that_cannot_be_stored_is_replaced_and_the_event_kept(rest: Rest, ann: dict[str, Any]) -> None:
    assert rest.event(user_id="u-1", metadata={"a": "x\0y\ud800", "b": "z" * 300}).status_code == 202
    assert rest.events("user_id=u-1")[0]["metadata"] == {"a": "x\ufffdy\ufffd", "b": "z" * 255}


def test_an_event_is_listed_in_intercoms_shape(rest: Rest, ann: dict[str, Any]) -> None:
    metadata = {
        "plan": "pro",
        "price": {"amount": 4900, "currency": "eur"},
        "big": 2**70,
        "link": {"url": "https://a.example", "value": "A"},
    }
    rest.event(user_id="u-1", metadata=metadata)
    (event,) = rest.events("user_id=u-1")
    assert {key: value for key, value in event.items() if key != "id"} == {
        "type": "event",
        "event_name": "created-report",
        "created_at": rest.now,
        "user_id": "u-1",
        "email": "ann@example.com",
        "intercom_user_id": ann["id"],
        "metadata": metadata,
    }


def test_events_are_listed_page_by_page_each_once_though_they_share_a_second(rest: Rest, ann: dict[str, Any]) -> None:
    for number in range(25):
        rest.event(user_id="u-1", created_at=rest.now - number // 10, metadata={"n": number})
    path, seen = "/events?type=user&user_id=u-1&per_page=4", []
    while path:
        answer = rest.get(path).json
        assert answer["type"] == "event.list"
        assert len(answer["events"]) <= 4
        seen += answer["events"]
        following = answer["pages"]["next"]
        if following is not None:
            parts = urlsplit(following)
            assert (parts.scheme, parts.netloc, parts.path) == ("http", "localhost", "/api/events")
        path = following and f"/events?{urlsplit(following).query}"
    times = [event["created_at"] for event in seen]
    assert times == sorted(times, reverse=True)
    assert sorted(event["metadata"]["n"] for event in seen) == list(range(25))


def test_a_page_reads_no_more_than_it_gives_out_though_all_share_a_second(
    rest: Rest, ann: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        rest.event("viewed", user_id="u-1", metadata={"n": number})
    read: list[int] = []
    rows = Connection.rows

    def spy(self: Connection, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        found = rows(self, sql, parameters)
        if " FROM events " in sql:
            read.append(len(found))
        return found

    monkeypatch.setattr(Connection, "rows", spy)
    following, pages = "/api/events?type=user&user_id=u-1&per_page=4", 0
    while following:
        link = urlsplit(following)
        following = rest.get(f"/events?{link.query}").json["pages"]["next"]
        pages += 1
    assert pages == 8
    assert max(read) == 5


def test_before_and_since_are_exclusive_milliseconds(rest: Rest, ann: dict[str, Any]) -> None:
    for age in (1, 2, 3):
        rest.event(f"e{age}", user_id="u-1", created_at=rest.now - age)
    between = f"user_id=u-1&before={rest.clock() - 1_000}&since={rest.clock() - 3_000}"
    assert [event["event_name"] for event in rest.events(between)] == ["e2"]


def test_what_came_since_a_page_is_behind_its_link(rest: Rest, ann: dict[str, Any]) -> None:
    rest.event("a", user_id="u-1")
    link = urlsplit(rest.get("/events?type=user&user_id=u-1").json["pages"]["since"]).query
    assert rest.get(f"/events?{link}").json["events"] == []
    rest.clock.advance(1_000)
    rest.event("b", user_id="u-1")
    assert [event["event_name"] for event in rest.get(f"/events?{link}").json["events"]] == ["b"]


def test_links_lead_to_the_public_address_where_one_is_set(database_url: str, clock: FakeClock) -> None:
    with serving(database_url, clock, public_url="https://example.com/ll/") as rest:
        rest.event(user_id="u-1", create_contact=True)
        link = rest.get("/events?type=user&user_id=u-1").json["pages"]["since"]
    assert link.startswith("https://example.com/ll/api/events?type=user&user_id=u-1&since=")


def test_fifteen_events_are_a_page(rest: Rest, ann: dict[str, Any]) -> None:
    for number in range(16):
        rest.event(f"e{number}", user_id="u-1")
    assert len(rest.events("user_id=u-1")) == 15
    assert len(rest.events("user_id=u-1&per_page=16")) == 16


def test_the_list_ends_at_the_retention_and_the_summary_does_not(rest: Rest, ann: dict[str, Any]) -> None:
    rest.event(user_id="u-1")
    rest.clock.advance(90 * DAY * 1000 + 1)
    assert rest.events("user_id=u-1") == []
    assert rest.counts("user_id=u-1") == {"created-report": 1}


def test_a_summary_has_intercoms_shape(rest: Rest, ann: dict[str, Any]) -> None:
    rest.event("a", user_id="u-1", created_at=rest.now - 60)
    rest.event("a", user_id="u-1")
    iso = [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000+00:00") for at in (rest.now - 60, rest.now)]
    assert rest.get("/events?type=user&user_id=u-1&summary=true").json == {
        "type": "event.summary",
        "user_id": "u-1",
        "email": "ann@example.com",
        "intercom_user_id": ann["id"],
        "events": [{"name": "a", "first": iso[0], "last": iso[1], "count": 2, "description": None}],
    }


def test_a_merged_leads_events_are_the_users(rest: Rest) -> None:
    anonymous = rest.world.send(lead(), rest.world.event()).contact_id
    signed_in = rest.world.send(user("u-1"), rest.world.event(), lead=lead()).contact_id
    answer = rest.get(f"/events?type=user&intercom_user_id={anonymous}")
    assert problem(answer) == (410, "contact_merged", None)
    assert answer.headers["Link"] == f'</api/contacts/{signed_in}>; rel="canonical"'
    assert rest.counts("user_id=u-1") == {"page-view": 2}
