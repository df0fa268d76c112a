"""Segments: saved queries, counted, asked for by searches and by messages."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.domain.delivery import Moment, decide, load_recipient
from tests.support.clock import FakeClock
from tests.web.test_api_support import Rest, problem, serving

PRO = {"field": "custom_attributes.plan", "operator": "=", "value": "pro"}


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        running.contact(external_id="a", custom_attributes={"plan": "pro"})
        running.contact(external_id="b")
        yield running


def made(rest: Rest, name: str = "Pro", query: Any = None) -> dict[str, Any]:
    answer = rest.post("/segments", {"name": name, "query": query or PRO})
    assert answer.status_code == 201, answer.text
    return answer.json


def found(rest: Rest, operator: str, value: Any = None) -> list[str]:
    rule = {"field": "segment_id", "operator": operator, **({} if value is None else {"value": value})}
    answer = rest.post("/contacts/search", {"query": rule})
    assert answer.status_code == 200, answer.text
    return sorted(contact["external_id"] for contact in answer.json["data"])


def test_a_segment_is_given_out_with_its_count(rest: Rest) -> None:
    segment = made(rest)
    assert (segment["type"], segment["name"], segment["query"]) == ("segment", "Pro", PRO)
    assert rest.get(f"/segments/{segment['id']}").json == {**segment, "count": 1}
    assert rest.get("/segments").json == {"type": "segment.list", "segments": [segment]}
    assert rest.get("/segments?include_count=true").json["segments"][0]["count"] == 1


def test_the_count_follows_what_people_do(rest: Rest) -> None:
    segment = made(rest)
    rest.contact(external_id="c", custom_attributes={"plan": "pro"})
    assert rest.get(f"/segments/{segment['id']}").json["count"] == 2


def test_a_search_asks_for_a_segment(rest: Rest) -> None:
    segment = made(rest)["id"]
    assert found(rest, "=", segment) == ["a"]
    assert found(rest, "!=", segment) == ["b"]
    assert found(rest, "IN", [segment, "unknown"]) == ["a"]
    assert found(rest, "NIN", [segment]) == ["b"]
    assert found(rest, "has_any_value") == ["a"]
    assert found(rest, "is_unknown") == ["b"]
    assert found(rest, "=", "unknown") == []


def test_a_changed_segment_means_its_new_query(rest: Rest) -> None:
    segment = made(rest)["id"]
    changed = rest.put(f"/segments/{segment}", {"query": {**PRO, "operator": "!="}}).json
    assert changed["query"]["operator"] == "!="
    assert found(rest, "=", segment) == ["b"]


def test_a_contact_names_its_segments(rest: Rest) -> None:
    segment = made(rest)
    of = {name: rest.get(f"/contacts/find_by_external_id/{name}").json["id"] for name in "ab"}
    assert rest.get(f"/contacts/{of['a']}/segments").json == {"type": "list", "data": [segment]}
    assert rest.get(f"/contacts/{of['b']}/segments").json["data"] == []


def test_a_message_for_a_segment_follows_the_segment(rest: Rest) -> None:
    segment = made(rest)["id"]
    rule = {"field": "segment_id", "operator": "=", "value": segment}
    body = {"name": "For pros", "type": "popup", "state": "live", "content": {"body": "Hello"}, "audience": rule}
    message = rest.post("/auto_messages", body).json
    assert message["audience"] == rule
    assert shown(rest, message["id"]) == ["a"]
    rest.put(f"/segments/{segment}", {"query": {**PRO, "operator": "!="}})
    assert shown(rest, message["id"]) == ["b"]


@pytest.mark.parametrize("operator", ["=", "!=", "IN", "NIN"])
def test_a_message_for_or_against_a_segment_that_there_is_not_is_refused(rest: Rest, operator: str) -> None:
    value = [made(rest)["id"], "unknown"] if operator in {"IN", "NIN"} else "unknown"
    rule = {"field": "segment_id", "operator": operator, "value": value}
    body = {"name": "Whoever", "type": "popup", "content": {"body": "Hello"}, "audience": {"operator": "AND", "value": [PRO, rule]}}
    answer = rest.post("/auto_messages", body)
    assert problem(answer) == (400, "query_invalid", "audience.value[1].value" + ("[1]" if isinstance(value, list) else ""))
    assert "unknown" in answer.json["errors"][0]["message"]
    assert rest.get("/auto_messages").json["total_count"] == 0


@pytest.mark.parametrize("field", ["audience", "goal.query"])
def test_neither_a_goal_nor_a_change_may_ask_for_a_segment_that_there_is_not(rest: Rest, field: str) -> None:
    rule = {"field": "segment_id", "operator": "=", "value": "unknown"}
    asks = {"audience": rule} if field == "audience" else {"goal": {"query": rule, "days": 7}}
    body = {"name": "Whoever", "type": "popup", "content": {"body": "Hello"}}
    assert problem(rest.post("/auto_messages", {**body, **asks})) == (400, "query_invalid", f"{field}.value")
    message = rest.post("/auto_messages", body).json
    assert problem(rest.put(f"/auto_messages/{message['id']}", asks)) == (400, "query_invalid", f"{field}.value")
    assert rest.get(f"/auto_messages/{message['id']}").json == message


def test_an_archived_message_whose_segment_is_gone_stays_archived(rest: Rest) -> None:
    segment = made(rest)["id"]
    rule = {"field": "segment_id", "operator": "!=", "value": segment}
    message = rest.post("/auto_messages", {"name": "Old", "type": "popup", "content": {"body": "Hello"}, "audience": rule}).json["id"]
    rest.put(f"/auto_messages/{message}", {"state": "archived"})
    rest.send("DELETE", f"/segments/{segment}")
    assert rest.put(f"/auto_messages/{message}", {"name": "Older"}).json["name"] == "Older"
    assert problem(rest.put(f"/auto_messages/{message}", {"state": "live"})) == (400, "query_invalid", "audience.value")


def shown(rest: Rest, message_id: str) -> list[str]:
    """Whose audience the message's is."""
    services, site = rest.world.services, rest.world.site
    names = []
    with services.database.read() as connection:
        message = services.auto_messages.get(connection, site.id, message_id)
        assert message is not None
        for name in ("a", "b"):
            person = rest.world.person(("user", name))
            recipient = load_recipient(connection, site, services.names, person, message.needs, rest.clock(), services.settings.retention)
            moment = Moment(now=rest.clock(), page_url="https://shop.example/", asserted=True, event=None, view=None)
            if all(verdict.holds for verdict in decide(site, message, recipient, moment).verdicts if verdict.rule == "audience"):
                names.append(name)
    return names


def test_a_segment_that_a_message_asks_for_stays(rest: Rest) -> None:
    segment = made(rest)["id"]
    rule = {"operator": "NOT", "value": [{"field": "segment_id", "operator": "IN", "value": [segment]}]}
    rest.post("/auto_messages", {"name": "Others", "type": "popup", "content": {"body": "Hello"}, "audience": rule})
    answer = rest.send("DELETE", f"/segments/{segment}")
    assert problem(answer)[:2] == (409, "conflict")
    assert "Others" in answer.json["errors"][0]["message"]


def test_a_deleted_segment_is_gone(rest: Rest) -> None:
    segment = made(rest)["id"]
    assert rest.send("DELETE", f"/segments/{segment}").json == {"type": "segment", "id": segment, "deleted": True}
    assert rest.get(f"/segments/{segment}").status_code == 404
    assert rest.send("DELETE", f"/segments/{segment}").status_code == 404


def test_a_name_is_taken_once(rest: Rest) -> None:
    made(rest)
    other = made(rest, "Other")["id"]
    assert problem(rest.post("/segments", {"name": " Pro ", "query": PRO})) == (409, "conflict", "name")
    assert problem(rest.put(f"/segments/{other}", {"name": "Pro"})) == (409, "conflict", "name")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x"}, "query"),
        ({"query": PRO}, "name"),
        ({"name": "", "query": PRO}, "name"),
        ({"name": "x" * 256, "query": PRO}, "name"),
        ({"name": "x", "query": {"field": "email", "operator": "=", "value": 1, "more": 1}}, "query"),
        ({"name": "x", "query": {"field": "segment_id", "operator": "=", "value": "y"}}, "query"),
        ({"name": "x", "query": {"field": "segment_id", "operator": "~", "value": "y"}}, "query.operator"),
        ({"name": "x", "query": PRO, "color": 1}, "color"),
    ],
)
def test_a_wrong_segment_names_the_place(rest: Rest, body: Any, field: str) -> None:
    answer = problem(rest.post("/segments", body))
    assert (answer[0], answer[2]) == (400, field)


def test_a_segment_of_another_site_is_none(rest: Rest) -> None:
    segment = made(rest)["id"]
    other = rest.other_site()
    assert other.get(f"/segments/{segment}").status_code == 404
    assert other.put(f"/segments/{segment}", {"name": "x"}).status_code == 404
    assert other.send("DELETE", f"/segments/{segment}").status_code == 404
    assert other.get("/segments").json["segments"] == []
