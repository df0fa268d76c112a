"""Batches of events: each accepted, known already, or refused by itself, all in one commit."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from collector.values.ids import new_uuid7
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_api_support import Rest, problem, serving


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def item(name: str = "created-report", **fields: Any) -> dict[str, Any]:
    return {"event_name": name, **({} if fields.keys() & {"user_id", "email", "contact_id"} else {"user_id": "u-1"}), **fields}


def test_a_batch_makes_unknown_users_and_counts(rest: Rest) -> None:
    answer = rest.batch(item("a"), item("b"), item("a", user_id="u-2"), item("a", email="Bob@example.com"))
    assert answer == {"accepted": 4, "duplicates": 0, "refused": [], "flagged": []}
    assert rest.counts("user_id=u-1") == {"a": 1, "b": 1}
    assert rest.counts("user_id=u-2") == rest.counts("email=bob@example.com") == {"a": 1}
    assert rest.get("/contacts").json["total_count"] == 3


def test_a_batch_sent_again_is_all_duplicates(rest: Rest) -> None:
    events = [item(id=new_uuid7(rest.clock())), item(id="order-1", created_at=rest.now), item(created_at=rest.now)]
    assert rest.batch(*events)["accepted"] == 3
    rest.clock.advance(60_000)
    assert rest.batch(*events) == {"accepted": 0, "duplicates": 3, "refused": [], "flagged": []}
    assert rest.counts("user_id=u-1") == {"created-report": 3}


def test_an_event_twice_in_one_batch_counts_once(rest: Rest) -> None:
    assert rest.batch(item(), item()) == {"accepted": 1, "duplicates": 1, "refused": [], "flagged": []}


def test_single_and_batch_agree_on_what_is_the_same_event(rest: Rest) -> None:
    rest.contact(external_id="u-1")
    rest.event("a", user_id="u-1", metadata={"n": 1})
    rest.event("b", user_id="u-1", event_id="order-1")
    answer = rest.batch(item("a", created_at=rest.now, metadata={"n": 1}), item("b", id="order-1", created_at=rest.now))
    assert answer["duplicates"] == 2


def test_a_bad_event_never_costs_its_neighbours(rest: Rest) -> None:
    bad: list[tuple[Any, str, str | None]] = [
        ("text", "item_invalid", None),
        (None, "item_invalid", None),
        ([item()], "item_invalid", None),
        ({}, "field_missing", "event_name"),
        (item("x" * 121), "name_invalid", "event_name"),
        (item(nothing=1), "field_unknown", "nothing"),
        (item(event_id="x"), "field_unknown", "event_id"),
        (item(id="order-1"), "field_missing", "created_at"),
        (item(created_at=0), "too_old", "created_at"),
        (item(created_at=rest.now + 9_999), "in_future", "created_at"),
        (item(created_at="soon"), "time_invalid", "created_at"),
        (item(user_id="u-1", email="a@example.com"), "field_invalid", "email"),
        (item(contact_id="0" * 24), "person_unknown", "contact_id"),
        (item(metadata={f"k{n}": n for n in range(10_000)}), "metadata_too_many_keys", "metadata"),
        (item(metadata={"a": [1]}), "metadata_value_invalid", "metadata.a"),
        (item(metadata={"n": float("nan")}), "field_invalid", "metadata.n"),
    ]
    mixed: list[Any] = []
    for number, (event, _, _) in enumerate(bad):
        mixed += [event, item(f"good-{number}")]
    answer = rest.batch(*mixed)
    assert answer["accepted"] == len(bad)
    assert [(entry["index"], entry["code"], entry["field"]) for entry in answer["refused"]] == [
        (2 * number, code, field) for number, (_, code, field) in enumerate(bad)
    ]
    assert all(entry["message"] for entry in answer["refused"])
    assert len(rest.counts("user_id=u-1")) == len(bad)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('"metadata":{"a":1,"a":2}', "metadata.a"),
        ('"event_name":"b"', "event_name"),
        ('"metadata":{"a":1e999}', "metadata.a"),
        ('"metadata":{"a":%s}' % ("9" * 9_000), "metadata.a"),
        ('"metadata":{{"a":{}1{}}}'.format("[" * 600, "]" * 600), "metadata.a[0][0]"),
    ],
)
def test_what_json_should_not_hold_costs_its_own_event_only(rest: Rest, text: str, field: str) -> None:
    good = json.dumps(item())
    answer = rest.send("POST", "/events/batch", f'{{"events":[{good},{{"user_id":"u-2","event_name":"a",{text}}},{good}]}}')
    assert answer.status_code == 202
    assert answer.json["accepted"] == 1
    assert [(entry["index"], entry["code"], entry["field"]) for entry in answer.json["refused"]] == [(1, "field_invalid", field)]


def test_cut_and_replaced_values_are_flagged(rest: Rest) -> None:
    answer = rest.batch(
        item("a"), item("b", metadata={"long": "x" * 300, "odd": "a\0"}), item("c", metadata={"long": "x" * 300, "bad": [1]})
    )
    assert answer["flagged"] == [
        {"index": 1, "code": "string_cut", "field": "metadata.long"},
        {"index": 1, "code": "character_replaced", "field": "metadata.odd"},
    ]
    assert [entry["index"] for entry in answer["refused"]] == [2]


def test_unknown_people_are_refused_where_none_are_to_be_made(rest: Rest) -> None:
    rest.contact(external_id="u-1", email="ann@example.com")
    events = [item(user_id="u-1"), item(user_id="u-2"), item("b", email="ann@example.com"), item(email="bob@example.com")]
    answer = rest.batch(*events, create_contacts=False)
    assert answer["accepted"] == 2
    assert [(entry["index"], entry["code"], entry["field"]) for entry in answer["refused"]] == [
        (1, "person_unknown", "user_id"),
        (3, "person_unknown", "email"),
    ]
    assert rest.get("/contacts").json["total_count"] == 1


def test_a_contact_id_names_a_lead_or_a_user(rest: Rest) -> None:
    anonymous, known = rest.contact(role="lead"), rest.contact(external_id="u-1")
    merged = rest.world.send(lead(), rest.world.event()).contact_id
    rest.world.send(user("u-1"), rest.world.event(), lead=lead())
    answer = rest.batch(item("a", contact_id=anonymous["id"]), item("a", contact_id=known["id"]), item("b", contact_id=merged))
    assert answer["accepted"] == 3
    assert rest.counts(f"intercom_user_id={anonymous['id']}") == {"a": 1}
    assert rest.counts("user_id=u-1") == {"a": 1, "b": 1, "page-view": 2}


def test_a_thousand_events_are_one_batch_and_one_more_is_too_many(rest: Rest) -> None:
    events = [item("a", user_id=f"u-{number % 300}", metadata={"n": number}) for number in range(1_000)]
    assert rest.batch(*events)["accepted"] == 1_000
    assert rest.get("/contacts").json["total_count"] == 300
    assert problem(rest.post("/events/batch", {"events": [*events, item()]})) == (413, "too_many_items", "events")


def test_no_events_are_a_batch_too(rest: Rest) -> None:
    assert rest.batch() == {"accepted": 0, "duplicates": 0, "refused": [], "flagged": []}
