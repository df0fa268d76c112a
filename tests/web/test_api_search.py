"""POST /contacts/search: whom a query describes, in pages, with what the client wrote before."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.values.clock import DAY
from collector.web.api import lookup
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_api_support import Rest, problem, serving


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def found(rest: Rest, query: Any, **more: Any) -> list[str | None]:
    answer = rest.post("/contacts/search", {"query": query, **more})
    assert answer.status_code == 200, answer.text
    return [contact["external_id"] for contact in answer.json["data"]]


def users(rest: Rest, **plans: Any) -> None:
    for name, plan in plans.items():
        rest.contact(external_id=name, custom_attributes={} if plan is None else {"plan": plan})
        rest.clock.advance(1_000)


def test_everybody_a_rule_about_an_attribute_describes(rest: Rest) -> None:
    users(rest, a="pro", b="free", c=None)
    rule = {"field": "custom_attributes.plan", "value": "pro"}
    assert found(rest, {**rule, "operator": "="}) == ["a"]
    assert found(rest, {**rule, "operator": "!="}) == ["c", "b"]


def test_events_as_filters(rest: Rest) -> None:
    """Cart after the last checkout; more than two reports, the first more than five days ago; a feature never used."""
    world = rest.world
    old = world.clock() - 6 * DAY
    world.send(user("buyer"), world.event("added-to-cart", at=old), world.event("checked-out"))
    world.send(user("waiting"), world.event("checked-out", at=old), world.event("added-to-cart"))
    world.send(user("busy"), world.event("report", at=old), world.event("report"), world.event("report"))
    since = {"event": "added-to-cart", "field": "last", "operator": ">", "value": {"event": "checked-out", "field": "last"}}
    assert found(rest, since) == ["waiting"]
    busy = [
        {"event": "report", "field": "count", "operator": ">", "value": 2},
        {"event": "report", "field": "first", "operator": "more_than_days_ago", "value": 5},
    ]
    assert found(rest, {"operator": "AND", "value": busy}) == ["busy"]
    assert found(rest, {"event": "report", "field": "count", "operator": "=", "value": 0}) == ["waiting", "buyer"]


def test_what_a_client_wrote_is_found_at_once(rest: Rest) -> None:
    for number in range(5):
        rest.event(user_id="u-1", create_contact=True, created_at=rest.now - number)
        rule = {"event": "created-report", "field": "count", "operator": "=", "value": number + 1}
        assert found(rest, rule) == ["u-1"]


def test_a_merged_lead_is_not_found_any_more(rest: Rest) -> None:
    rest.world.send(lead(), rest.world.event("report"))
    rule = {"event": "report", "field": "count", "operator": ">=", "value": 1}
    assert found(rest, rule) == [None]
    rest.world.send(user(), rest.world.event("report"), lead=lead())
    assert found(rest, rule) == ["u-1"]


def test_pages_follow_each_other_without_gap_or_repeat(rest: Rest) -> None:
    users(rest, a=1, b="x", c=None, d=2, e="Y", f=1)
    sort = {"field": "custom_attributes.plan", "order": "ascending"}
    seen: list[str] = []
    cursor = None
    for page in range(1, 4):
        answer = rest.post("/contacts/search", {"pagination": {"per_page": 2, "starting_after": cursor}, "sort": sort}).json
        seen += [contact["external_id"] for contact in answer["data"]]
        assert (answer["total_count"], answer["pages"]["page"], answer["pages"]["total_pages"]) == (6, page, 3)
        cursor = (answer["pages"]["next"] or {}).get("starting_after")
    assert cursor is None
    assert seen == ["a", "f", "d", "b", "e", "c"]


def test_falling_order_keeps_the_unknown_last(rest: Rest) -> None:
    users(rest, a=1, b=None, c=3)
    assert found(rest, None, sort={"field": "custom_attributes.plan", "order": "descending"}) == ["c", "a", "b"]
    assert found(rest, None, sort={"field": "created_at", "order": "ascending"}) == ["a", "b", "c"]


def test_without_a_query_everybody_is_found(rest: Rest) -> None:
    users(rest, a=1, b=2)
    assert found(rest, None) == ["b", "a"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": {"field": "nothing", "operator": "=", "value": 1}}, "query.field"),
        ({"query": {"operator": "AND", "value": [{"field": "email", "operator": "is", "value": 1}]}}, "query.value[0].operator"),
        ({"query": {"event": "a", "field": "count", "operator": ">", "value": 1, "within_days": 91}}, "query.within_days"),
        ({"query": None, "pagination": {"per_page": 0}}, "pagination.per_page"),
        ({"query": None, "pagination": {"starting_after": "abc"}}, "pagination.starting_after"),
        ({"query": None, "pagination": {"page": 2}}, "pagination.page"),
        ({"query": None, "sort": {"field": "nothing"}}, "sort.field"),
        ({"query": None, "sort": {"field": "name", "order": "up"}}, "sort.order"),
        ({"query": None, "sort": []}, "sort"),
        ({"filter": 1}, "filter"),
    ],
)
def test_a_wrong_search_names_the_place(rest: Rest, body: Any, field: str) -> None:
    status, _, named = problem(rest.post("/contacts/search", body))
    assert (status, named) == (400, field)


def test_nothing_of_another_site_is_found(rest: Rest) -> None:
    users(rest, a=1)
    assert rest.other_site().post("/contacts/search", {"query": None}).json["data"] == []


def test_a_cursor_of_another_site_is_none(rest: Rest) -> None:
    users(rest, a=1, b=2)
    cursor = rest.post("/contacts/search", {"pagination": {"per_page": 1}}).json["pages"]["next"]["starting_after"]
    answer = rest.other_site().post("/contacts/search", {"pagination": {"starting_after": cursor}})
    assert problem(answer) == (400, "field_invalid", "pagination.starting_after")


def test_the_largest_and_deepest_queries_are_answered_wherever_they_are_asked(rest: Rest) -> None:
    contact_id = rest.contact(external_id="u-1", custom_attributes={"plan": "pro"})["id"]
    deep: dict[str, Any] = {"field": "custom_attributes.plan", "operator": "=", "value": "pro"}
    for _ in range(198):
        deep = {"operator": "NOT", "value": [deep]}
    wide = {
        "operator": "AND",
        "value": [{"event": f"event {number}", "field": "count", "operator": "=", "value": 0} for number in range(199)],
    }
    for number, query in enumerate((deep, wide)):
        assert found(rest, query) == ["u-1"]
        assert rest.post(f"/contacts/{contact_id}/explain", {"query": query}).json["matches"] is True
        segment = rest.post("/segments", {"name": f"Segment {number}", "query": query}).json["id"]
        assert rest.get(f"/segments/{segment}").json["count"] == 1
        assert found(rest, {"field": "segment_id", "operator": "=", "value": segment}) == ["u-1"]
        assert rest.get(f"/contacts/{contact_id}/segments").json["data"][number]["id"] == segment
        message = {"name": "Hello", "type": "popup", "state": "live", "content": {"title": "Hi", "body": "There"}, "audience": query}
        assert rest.post("/auto_messages", message).status_code == 201


SENT: list[tuple[Any, Any]] = [
    (2**53, 2**53),
    (2**53 + 1, 2**53 + 1),
    (10**30, 10**30),
    (-(10**400), -(10**400)),
    (0.1, 0.1),
    (1e300, 1e300),
    ("9007199254740993", "9007199254740993"),
    (True, True),
    (False, False),
    ("", ""),
    ("Straße", "Straße"),
    ("Cafe\u0301", "Cafe\u0301"),
    ("😀 \U00010400", "😀 \U00010400"),
    ("a\x00b", "a\ufffdb"),
    ("a\ud800b", "a\ufffdb"),
    (' "quoted" \\ and\nbroken\t\u2028', ' "quoted" \\ and\nbroken\t\u2028'),
]


def test_a_value_sent_over_rest_is_found_by_equality_as_attribute_and_as_metadata(rest: Rest) -> None:
    for number, (sent, _) in enumerate(SENT):
        rest.contact(external_id=f"u-{number}", custom_attributes={"x": sent})
        assert rest.event("paid", user_id=f"u-{number}", metadata={"x": sent}).status_code == 202
    for number, (_, stored) in enumerate(SENT):
        same = {f"u-{place}" for place, (_, other) in enumerate(SENT) if type(other) is type(stored) and other == stored}
        assert f"u-{number}" in same
        for operator, value in (("=", stored), ("IN", [stored])):
            assert set(found(rest, {"field": "custom_attributes.x", "operator": operator, "value": value})) == same, stored
            where = [{"field": "metadata.x", "operator": operator, "value": value}]
            paid = {"event": "paid", "field": "count", "operator": "=", "value": 1, "where": where}
            assert set(found(rest, paid)) == same, stored


@pytest.mark.parametrize(("text", "at"), [("a\x00", "query.value"), ("a\ud800", "query.value")])
def test_a_text_that_cannot_be_stored_is_refused_in_a_query(rest: Rest, text: str, at: str) -> None:
    for operator in ("=", "~", "^", "$"):
        answer = rest.post("/contacts/search", {"query": {"field": "name", "operator": operator, "value": text}})
        assert problem(answer) == (400, "query_invalid", at)


def test_a_search_by_metadata_is_answered_although_people_merge_all_the_while(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    """At last it is read in a moment that stands still."""
    monkeypatch.setattr(lookup, "_ATTEMPTS", 0)
    rest.world.send(user("a"), rest.world.event("paid", metadata='{"x":1}'))
    rest.world.send(user("b"), rest.world.event("paid", metadata='{"x":2}'))
    where = [{"field": "metadata.x", "operator": "=", "value": 2}]
    assert found(rest, {"event": "paid", "field": "count", "operator": "=", "value": 1, "where": where}) == ["b"]
