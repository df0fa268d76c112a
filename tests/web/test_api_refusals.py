"""What is refused, with which code, at which field; and nothing of it is written."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ENGINES
from tests.web.test_api_support import Rest, problem, serving_once

OLD = 1_600_000_000
MESSAGE = {"name": "Hello", "type": "popup", "content": {"body": "Hello **you**"}}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def rest(engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rest]:
    """One collector for all of these, since nothing here is written; it knows one user."""
    with serving_once(engine, request, tmp_path_factory) as running:
        running.contact(external_id="u-1", email="ann@example.com")
        yield running


def base(name: str = "a", count: int = 10, first: int = OLD, last: int = OLD + 100) -> dict[str, Any]:
    return {"event_name": name, "count": count, "first": first, "last": last}


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"event_name": None}, "field_missing", "event_name"),
        ({"event_name": "  "}, "name_invalid", "event_name"),
        ({"event_name": "x" * 121}, "name_invalid", "event_name"),
        ({"event_name": "a\0"}, "name_invalid", "event_name"),
        ({"event_name": "a\ud800"}, "name_invalid", "event_name"),
        ({"event_name": 5}, "name_invalid", "event_name"),
        ({"user_id": None}, "field_missing", "user_id"),
        ({"email": "ann@example.com"}, "field_invalid", "email"),
        ({"id": "0" * 24}, "field_invalid", "user_id"),
        ({"user_id": ""}, "user_id_invalid", "user_id"),
        ({"user_id": {"a": 1}}, "user_id_invalid", "user_id"),
        ({"user_id": None, "id": 5}, "field_invalid", "id"),
        ({"user_id": None, "id": "a\0"}, "field_invalid", "id"),
        ({"user_id": None, "email": "none"}, "attribute_invalid", "email"),
        ({"event_id": ""}, "id_invalid", "event_id"),
        ({"event_id": "x" * 129}, "id_invalid", "event_id"),
        ({"event_id": "a\0"}, "id_invalid", "event_id"),
        ({"event_id": 5}, "id_invalid", "event_id"),
        ({"created_at": 0}, "too_old", "created_at"),
        ({"created_at": -1}, "time_invalid", "created_at"),
        ({"created_at": 253_402_300_799}, "in_future", "created_at"),
        ({"created_at": 10**40}, "time_invalid", "created_at"),
        ({"created_at": 1_790_000_000_000}, "time_invalid", "created_at"),
        ({"created_at": "yesterday"}, "time_invalid", "created_at"),
        ({"created_at": True}, "time_invalid", "created_at"),
        ({"created_at": [1]}, "time_invalid", "created_at"),
        ({"create_contact": "yes"}, "field_invalid", "create_contact"),
        ({"metadata": [1]}, "metadata_invalid", "metadata"),
        ({"metadata": {f"k{n}": n for n in range(21)}}, "metadata_too_many_keys", "metadata"),
        ({"metadata": {f"k{n}": n for n in range(10_000)}}, "metadata_too_many_keys", "metadata"),
        ({"metadata": {"a.b": 1}}, "metadata_key_invalid", "metadata.a.b"),
        ({"metadata": {"A": 1, "a": 2}}, "metadata_key_repeated", "metadata.a"),
        ({"metadata": {"a": {"b": {"c": 1}}}}, "metadata_value_invalid", "metadata.a"),
        ({"metadata": {"paid_at": 1_790_000_000_000}}, "time_invalid", "metadata.paid_at"),
        ({"nothing": 1}, "field_unknown", "nothing"),
        ({"contact_id": "x"}, "field_unknown", "contact_id"),
    ],
)
def test_a_refused_event_is_422_and_names_the_field(rest: Rest, fields: dict[str, Any], code: str, field: str) -> None:
    assert problem(rest.event(**{"user_id": "u-1", **fields})) == (422, code, field)
    assert rest.counts("user_id=u-1") == {}


@pytest.mark.parametrize("who", [{"user_id": "nobody"}, {"email": "nobody@example.com"}, {"id": "0" * 24}, {"id": "nobody"}])
def test_an_unknown_person_is_404_and_not_made(rest: Rest, who: dict[str, str]) -> None:
    answer = rest.event(**who)
    assert problem(answer) == (404, "not_found", None)
    assert answer.json["errors"][0]["message"] == "User Not Found"
    assert rest.get("/contacts").json["total_count"] == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("user_id=nobody", (404, "not_found", None)),
        ("email=nobody@example.com", (404, "not_found", None)),
        (f"intercom_user_id={'0' * 24}", (404, "not_found", None)),
        ("", (400, "field_missing", "user_id")),
        ("user_id=u-1&email=ann@example.com", (400, "field_invalid", "email")),
        ("user_id=%00", (400, "field_invalid", "user_id")),
        ("user_id=", (400, "user_id_invalid", "user_id")),
        ("email=x", (400, "attribute_invalid", "email")),
        ("user_id=u-1&per_page=0", (400, "field_invalid", "per_page")),
        ("user_id=u-1&per_page=1001", (400, "field_invalid", "per_page")),
        ("user_id=u-1&before=-1", (400, "field_invalid", "before")),
        ("user_id=u-1&before=999999999999999999", (400, "field_invalid", "before")),
        ("user_id=u-1&since=soon", (400, "field_invalid", "since")),
        ("user_id=u-1&before=1&before_id=x", (400, "field_invalid", "before_id")),
        ("user_id=u-1&summary=perhaps", (400, "field_invalid", "summary")),
        ("type=company&user_id=u-1", (400, "field_invalid", "type")),
    ],
)
def test_a_wrong_question_is_refused(rest: Rest, query: str, expected: tuple[int, str, str | None]) -> None:
    assert problem(rest.get(f"/events?{query}")) == expected


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ("[]", "body_invalid", None),
        ("null", "body_invalid", None),
        ("{}", "field_missing", "events"),
        ('{"events":{}}', "field_invalid", "events"),
        ('{"events":null}', "field_invalid", "events"),
        ('{"events":[],"site":"x"}', "field_unknown", "site"),
        ('{"events":[],"events":[]}', "field_invalid", "events"),
        ('{"events":[],"create_contacts":1}', "field_invalid", "create_contacts"),
        ('{"events":[', "body_invalid", None),
    ],
)
def test_a_wrong_envelope_is_refused_as_a_whole(rest: Rest, body: str, code: str, field: str | None) -> None:
    assert problem(rest.send("POST", "/events/batch", body)) == (400, code, field)


@pytest.mark.parametrize(
    ("query", "field"),
    [("per_page=0", "per_page"), ("per_page=151", "per_page"), ("per_page=x", "per_page"), ("page=0", "page"), ("page=-1", "page"),
     ("starting_after=x", "starting_after"), (f"starting_after=2-{'0' * 24}", "starting_after"), ("email=%00", "email")],
)  # fmt: skip
def test_a_wrong_page_is_refused(rest: Rest, query: str, field: str) -> None:
    assert problem(rest.get(f"/contacts?{query}")) == (400, "field_invalid", field)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"external_id": ""}, "user_id_invalid", "external_id"),
        ({"external_id": "x" * 256}, "user_id_invalid", "external_id"),
        ({"external_id": "a\0"}, "user_id_invalid", "external_id"),
        ({"external_id": "a\ud800"}, "user_id_invalid", "external_id"),
        ({"external_id": ["a"]}, "user_id_invalid", "external_id"),
        ({"external_id": "a", "email": "no address"}, "attribute_invalid", "email"),
        ({"external_id": "a", "role": "admin"}, "field_invalid", "role"),
        ({"external_id": "a", "role": ["user"]}, "field_invalid", "role"),
        ({"external_id": "a", "nothing": 1}, "field_unknown", "nothing"),
        ({"external_id": "a", "created_at": 1}, "attribute_protected", "created_at"),
        ({"external_id": "a", "last_seen_at": 1}, "attribute_protected", "last_seen_at"),
        ({"external_id": "a", "signed_up_at": "yesterday"}, "time_invalid", "signed_up_at"),
        ({"external_id": "a", "custom_attributes": {"a.b": 1}}, "attribute_invalid", "custom_attributes.a.b"),
        ({"external_id": "a", "custom_attributes": {"a": {"b": 1}}}, "attribute_invalid", "custom_attributes.a"),
        ({"external_id": "a", "custom_attributes": [1]}, "attribute_invalid", "custom_attributes"),
    ],
)
def test_a_wrong_field_is_refused_by_name_and_nothing_is_written(rest: Rest, body: dict[str, object], code: str, field: str) -> None:
    assert problem(rest.post("/contacts", body)) == (400, code, field)
    assert rest.get("/contacts").json["total_count"] == 1


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"event_name": ""}, "name_invalid", "event_name"),
        ({"count": -1}, "field_invalid", "count"),
        ({"count": 1.5}, "field_invalid", "count"),
        ({"count": True}, "field_invalid", "count"),
        ({"count": 10**30}, "field_invalid", "count"),
        ({"first": None}, "time_invalid", "first"),
        ({"first": -1}, "time_invalid", "first"),
        ({"last": OLD - 1}, "time_invalid", "last"),
        ({"last": 253_402_300_799}, "in_future", "last"),
        ({"nothing": 1}, "field_unknown", "nothing"),
    ],
)
def test_a_wrong_entry_is_refused_and_none_is_set(rest: Rest, change: dict[str, Any], code: str, field: str) -> None:
    answer = rest.post("/events/summaries", {"user_id": "u-1", "event_summaries": [base("b"), {**base(), **change}]})
    assert problem(answer) == (422, code, f"event_summaries[1].{field}")
    assert rest.counts("user_id=u-1") == {}


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"name": None}, "field_missing", "name"),
        ({"type": "tour"}, "field_invalid", "type"),
        ({"nothing": 1}, "field_unknown", "nothing"),
        ({"content": []}, "field_invalid", "content"),
        ({"audience": {"field": "email", "operator": "is", "value": 1}}, "query_invalid", "audience.operator"),
    ],
)
def test_a_wrong_definition_names_the_place(rest: Rest, fields: dict[str, Any], code: str, field: str) -> None:
    answer = rest.post("/auto_messages", {**MESSAGE, **fields})
    assert answer.status_code == 400
    assert (code, field) in [(error["code"], error["field"]) for error in answer.json["errors"]]
    assert rest.get("/auto_messages").json["data"] == []
