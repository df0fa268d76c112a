"""What a query that is kept names has to be there, and with its segments it stays bounded; both are said with the place."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.domain import deliveries, segments
from collector.domain.deliveries import Delivery
from collector.values.ids import new_uuid7
from tests.support.clock import FakeClock
from tests.support.world import user
from tests.web.test_api_support import Rest, problem, serving

LARGE = {"operator": "OR", "value": [{"field": "name", "operator": "=", "value": "a"}] * 99}
ANYBODY = {"field": "name", "operator": "has_any_value"}


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def message(rest: Rest, name: str = "Hello", **fields: Any) -> str:
    answer = rest.post("/auto_messages", {"name": name, "type": "popup", "content": {"body": "Hello"}, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json["id"])


def segment(rest: Rest, name: str, query: Any) -> str:
    answer = rest.post("/segments", {"name": name, "query": query})
    assert answer.status_code == 201, answer.text
    return str(answer.json["id"])


def seen(message_id: str) -> dict[str, Any]:
    return {"message": message_id, "field": "seen", "operator": "is_unknown"}


# Messages


PLACES = {
    "rule": (lambda one: {"operator": "AND", "value": [ANYBODY, seen(one)]}, "value[1].message"),
    "measure": (
        lambda one: {"event": "paid", "field": "last", "operator": ">", "value": {"message": one, "field": "seen"}},
        "value.message",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_message_that_there_is_not_is_refused_in_audiences_goals_and_segments(rest: Rest, place: str) -> None:
    make, path = PLACES[place]
    known, query = message(rest), make("unknown")
    new = {"name": "Whoever", "type": "popup", "content": {"body": "Hello"}}
    for field, body in (("audience", {"audience": query}), ("goal.query", {"goal": {"query": query, "days": 7}})):
        assert problem(rest.post("/auto_messages", {**new, **body})) == (400, "query_invalid", f"{field}.{path}")
        assert problem(rest.put(f"/auto_messages/{known}", body)) == (400, "query_invalid", f"{field}.{path}")
    assert problem(rest.post("/segments", {"name": "Whoever", "query": query})) == (400, "query_invalid", f"query.{path}")
    there = segment(rest, "There", make(known))
    assert problem(rest.put(f"/segments/{there}", {"query": query})) == (400, "query_invalid", f"query.{path}")


def test_a_message_may_ask_for_itself(rest: Rest) -> None:
    one = message(rest)
    assert rest.put(f"/auto_messages/{one}", {"audience": seen(one)}).status_code == 200
    assert rest.send("DELETE", f"/auto_messages/{one}").status_code == 200


def test_a_message_of_another_site_is_none(rest: Rest) -> None:
    other = rest.other_site()
    assert problem(other.post("/segments", {"name": "x", "query": seen(message(rest))})) == (400, "query_invalid", "query.message")


def test_a_message_that_others_ask_for_is_not_deleted(rest: Rest) -> None:
    asked, among = message(rest), message(rest)
    segment(rest, "Those who", seen(among))
    asking = message(rest, "Those", audience=seen(asked))
    for one, name in ((asked, "“Those”"), (among, "“Those who”")):
        answer = rest.send("DELETE", f"/auto_messages/{one}")
        assert problem(answer)[:2] == (409, "conflict")
        assert name in answer.json["errors"][0]["message"]
    rest.put(f"/auto_messages/{asking}", {"state": "archived"})
    assert rest.send("DELETE", f"/auto_messages/{asked}").status_code == 200
    assert problem(rest.put(f"/auto_messages/{asking}", {"state": "live"})) == (400, "query_invalid", "audience.message")


def test_what_was_done_with_a_message_holds_when_it_is_archived(rest: Rest) -> None:
    rest.contact(external_id="a")
    rest.contact(external_id="b")
    one = message(rest)
    world, services = rest.world, rest.world.services
    with services.database.read() as connection:
        found = services.auto_messages.get(connection, world.site.id, one)
    assert found is not None
    row = Delivery(world.person(user("a")).id, found.id, 1, 1, deliveries.SHOWN, new_uuid7(0), 0, None, None, 1, None, None, None, None)
    services.writer.run(world.site.id, lambda tx: deliveries.insert(tx, world.site.id, row))
    rest.put(f"/auto_messages/{one}", {"state": "archived"})
    asked = segment(rest, "Not yet", seen(one))
    assert rest.get(f"/segments/{asked}").json["count"] == 1


# Segments in queries


def test_a_search_that_is_too_large_with_its_segments_is_refused(rest: Rest) -> None:
    large = {"field": "segment_id", "operator": "=", "value": segment(rest, "Large", LARGE)}
    answer = rest.post("/contacts/search", {"query": {"operator": "OR", "value": [large] * 150}})
    assert problem(answer) == (400, "query_invalid", "query")
    assert f"allowed are {segments.MOST_NODES:,}" in answer.json["errors"][0]["message"]
    contact = rest.contact(external_id="a")["id"]
    answer = rest.post(f"/contacts/{contact}/explain", {"query": {"operator": "OR", "value": [large] * 150}})
    assert problem(answer) == (400, "query_invalid", "query")


def test_a_message_that_is_too_large_with_its_segments_is_refused(rest: Rest) -> None:
    large = {"field": "segment_id", "operator": "=", "value": segment(rest, "Large", LARGE)}
    ten = {"operator": "AND", "value": [large] * 10}
    new = {"name": "x", "type": "popup", "content": {"body": "Hello"}}
    assert problem(rest.post("/auto_messages", {**new, "audience": ten})) == (400, "query_invalid", "audience")
    assert problem(rest.post("/auto_messages", {**new, "goal": {"query": ten, "days": 1}})) == (400, "query_invalid", "goal.query")


def test_neither_an_edited_nor_a_new_segment_makes_a_message_too_large(rest: Rest) -> None:
    small = segment(rest, "Small", ANYBODY)
    named = {"field": "segment_id", "operator": "=", "value": small}
    message(rest, "Everywhere", audience={"operator": "OR", "value": [named] * 10})
    answer = rest.put(f"/segments/{small}", {"query": LARGE})
    assert problem(answer) == (400, "query_invalid", "query")
    assert "“Everywhere”" in answer.json["errors"][0]["message"]
    assert rest.get(f"/segments/{small}").json["query"] == ANYBODY
    in_any = {"field": "segment_id", "operator": "has_any_value"}
    message(rest, "In any", audience={"operator": "OR", "value": [in_any] * 10})
    answer = rest.post("/segments", {"name": "Large", "query": LARGE})
    assert problem(answer) == (400, "query_invalid", "query")
    assert "“In any”" in answer.json["errors"][0]["message"]


def test_a_message_that_became_too_large_all_the_same_is_shown_to_nobody_and_silences_no_other(rest: Rest) -> None:
    small = segment(rest, "Small", ANYBODY)
    not_in = {"operator": "NOT", "value": [{"field": "segment_id", "operator": "=", "value": small}] * 10}
    ids = [message(rest, "Everywhere", state="live", audience=not_in), message(rest, "Other", state="live")]
    world, services = rest.world, rest.world.services
    large = segments.clean_query(LARGE, 90)
    services.writer.run(world.site.id, lambda tx: segments.update(tx, world.site.id, small, None, large, lambda tx, site: [], 0))
    services.auto_messages.forget(world.site.id)
    live = services.auto_messages.live(world.site.id)
    assert [one.public_id for one in live.messages] == ids
    assert live.messages[0].holds is not None
    assert not live.messages[0].holds({}, 0, world.site.zone)
    assert rest.get(f"/auto_messages/{ids[0]}").json["audience"] == not_in
