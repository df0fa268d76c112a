"""Nothing crosses from one site to another: what another site's token names is not there."""

from collections.abc import Iterator

import pytest

from tests.support.clock import FakeClock
from tests.web.test_api_support import Rest, problem, serving

MESSAGE = {"name": "Hello", "type": "popup", "content": {"body": "Hello"}}


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


@pytest.fixture
def other(rest: Rest) -> Rest:
    return rest.other_site()


def test_another_sites_contact_is_not_found(rest: Rest, other: Rest) -> None:
    theirs = other.contact(external_id="u-1", email="ann@example.com")
    for answer in (
        rest.get(f"/contacts/{theirs['id']}"),
        rest.put(f"/contacts/{theirs['id']}", {"name": "Mallory"}),
        rest.get("/contacts/find_by_external_id/u-1"),
        rest.event(id=theirs["id"]),
        rest.event(id=theirs["id"], create_contact=True),
        rest.event(user_id="u-1"),
        rest.event(email="ann@example.com"),
        rest.get(f"/events?type=user&intercom_user_id={theirs['id']}"),
        rest.get("/events?type=user&user_id=u-1"),
        rest.get("/events?type=user&email=ann@example.com&summary=true"),
        rest.post("/events/summaries", {"user_id": "u-1", "event_summaries": {"event_name": "a", "count": 1, "first": 1, "last": 2}}),
    ):
        assert problem(answer) == (404, "not_found", None)
    assert rest.get("/contacts?email=ann@example.com").json["data"] == rest.get("/contacts").json["data"] == []
    other.contact(external_id="u-2")
    cursor = other.get("/contacts?per_page=1").json["pages"]["next"]["starting_after"]
    assert problem(rest.get(f"/contacts?starting_after={cursor}")) == (400, "field_invalid", "starting_after")
    assert other.get(f"/contacts/{theirs['id']}").json == theirs
    assert other.events("user_id=u-1") == []


def test_a_batch_does_not_reach_another_sites_contact(rest: Rest, other: Rest) -> None:
    theirs = other.contact(external_id="u-1")
    answer = rest.batch({"event_name": "a", "contact_id": theirs["id"]}, {"event_name": "a", "user_id": "u-1"})
    assert [entry["code"] for entry in answer["refused"]] == ["person_unknown"]
    assert answer["accepted"] == 1
    assert other.counts("user_id=u-1") == {}


def test_another_sites_message_is_not_found(rest: Rest, other: Rest) -> None:
    theirs = other.post("/auto_messages", MESSAGE).json["id"]
    assert problem(rest.get(f"/auto_messages/{theirs}")) == (404, "not_found", None)
    assert problem(rest.get(f"/auto_messages/{theirs}/stats")) == (404, "not_found", None)
    assert rest.get("/auto_messages").json["data"] == []


def test_equal_ids_on_two_sites_are_two(rest: Rest, other: Rest) -> None:
    mine, theirs = rest.contact(external_id="u-1"), other.contact(external_id="u-1")
    assert mine["id"] != theirs["id"]
    for site in (rest, other):
        assert site.event(user_id="u-1", event_id="order-1").status_code == 202
        assert site.counts("user_id=u-1") == {"created-report": 1}
