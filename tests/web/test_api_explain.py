"""POST /contacts/{id}/explain: why a query holds for somebody, and what would turn it."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.values.clock import DAY
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_api_support import Rest, problem, serving

REPORTS = {"event": "created-report", "field": "count", "operator": ">", "value": 2}


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def explained(rest: Rest, contact_id: str, query: Any) -> dict[str, Any]:
    answer = rest.post(f"/contacts/{contact_id}/explain", {"query": query})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json
    return made


def test_verdict_tree_and_nearest_change(rest: Rest) -> None:
    contact_id = rest.contact(external_id="u-1")["id"]
    rest.event(user_id="u-1", created_at=rest.now - 60)
    rest.event(user_id="u-1")
    assert explained(rest, contact_id, REPORTS) == {
        "matches": False,
        "in_words": "“created-report” happened 2 times, expected more than 2.",
        "tree": {
            **REPORTS,
            "holds": False,
            "expected": "more than 2",
            "actual": {"type": "count", "value": 2, "text": "2"},
            "in_words": "“created-report” happened 2 times, expected more than 2.",
        },
        "nearest_change": {
            "steps": [{"type": "event", "event": "created-report", "times": 1, "metadata": {}}],
            "at": rest.now + 1,
            "in_words": "one more “created-report”",
        },
        "why_no_change": None,
    }
    rest.event(user_id="u-1", created_at=rest.now - 1)
    assert explained(rest, contact_id, REPORTS)["matches"] is True


def test_the_change_that_is_named_turns_the_verdict(rest: Rest) -> None:
    world = rest.world
    pricing = [{"field": "metadata.path", "operator": "=", "value": "/pricing"}]
    query = {
        "operator": "AND",
        "value": [
            {"event": "page-view", "field": "count", "operator": ">", "value": 0, "where": pricing},
            {"event": "paid", "field": "last", "operator": "more_than_days_ago", "value": 5},
        ],
    }
    world.send(lead(), world.event("paid", at=world.clock() - 4 * DAY))
    contact_id = world.person(lead().key).contact_id
    change = explained(rest, contact_id, query)["nearest_change"]
    view, wait = change["steps"]
    assert (view["type"], view["metadata"]) == ("event", {"path": "/pricing"})
    assert change["in_words"].startswith("one view of /pricing, then waiting until ")
    world.send(lead(), world.event(view["event"], metadata='{"path": "/pricing"}'))
    assert explained(rest, contact_id, query)["matches"] is False
    rest.clock.now = round(wait["until"] * 1000)
    assert explained(rest, contact_id, query)["matches"] is True


def test_where_nothing_would_turn_it_the_answer_says_why(rest: Rest) -> None:
    contact_id = rest.contact(external_id="u-1")["id"]
    rest.event(user_id="u-1")
    answer = explained(rest, contact_id, {"event": "created-report", "field": "count", "operator": "=", "value": 0})
    assert answer["nearest_change"] is None
    assert answer["why_no_change"].startswith("This cannot be made to hold any more: “created-report” happened 1 time, expected 0;")


def test_a_segment_is_explained_by_its_own_rules(rest: Rest) -> None:
    contact_id = rest.contact(external_id="u-1")["id"]
    segment = rest.post("/segments", {"name": "Reporters", "query": REPORTS}).json["id"]
    answer = explained(rest, contact_id, {"field": "segment_id", "operator": "=", "value": segment})
    assert answer == explained(rest, contact_id, REPORTS)
    assert answer["tree"]["in_words"] == "“created-report” never happened, expected more than 2."
    assert answer["nearest_change"]["in_words"] == "3 “created-report”"


@pytest.mark.parametrize(("operator", "holds"), [("=", False), ("!=", True)])
def test_a_segment_that_there_is_not_says_so(rest: Rest, operator: str, holds: bool) -> None:
    contact_id = rest.contact(external_id="u-1")["id"]
    made = explained(rest, contact_id, {"field": "segment_id", "operator": operator, "value": "gone"})
    assert (made["matches"], made["in_words"]) == (holds, "There is no such segment, so nobody is in it.")
    assert made["nearest_change"] is None
    assert made["why_no_change"] == (
        f"This cannot {'stop holding' if holds else 'be made to hold'} any more: There is no such segment, so nobody is in it."
    )


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "field_missing", "query"),
        ({"query": REPORTS, "more": 1}, "field_unknown", "more"),
        ({"query": {"operator": "AND", "value": [{"field": "email", "operator": "is"}]}}, "query_invalid", "query.value[0].operator"),
    ],
)
def test_a_wrong_body_names_the_place(rest: Rest, body: Any, code: str, field: str) -> None:
    contact_id = rest.contact(external_id="u-1")["id"]
    assert problem(rest.post(f"/contacts/{contact_id}/explain", body)) == (400, code, field)


def test_nobody_and_merged_leads(rest: Rest) -> None:
    rest.world.send(lead(), rest.world.event())
    contact_id = rest.world.person(lead().key).contact_id
    rest.world.send(user(), rest.world.event(), lead=lead())
    assert rest.post(f"/contacts/{contact_id}/explain", {"query": REPORTS}).status_code == 410
    assert rest.post("/contacts/nobody/explain", {"query": REPORTS}).status_code == 404
    theirs = rest.world.person(user()).contact_id
    assert rest.other_site().post(f"/contacts/{theirs}/explain", {"query": REPORTS}).status_code == 404
