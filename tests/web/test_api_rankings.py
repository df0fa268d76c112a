"""Who did something most often, ever and lately: the same numbers as queries give, on both engines."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.domain import rankings
from collector.values.clock import DAY
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_api_support import Rest, problem, serving


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def did(rest: Rest, name: str, *days: int, event: str = "saved") -> None:
    """Have a user do something so many days ago."""
    for number, ago in enumerate(days):
        rest.world.send(user(name), rest.world.event(event, at=rest.clock() - ago * DAY - number))


def top(rest: Rest, query: str = "") -> list[tuple[str, int]]:
    answer = rest.get(f"/events/top?event_name=saved{query}")
    assert answer.status_code == 200, answer.text
    return [(one["contact"]["external_id"], one["count"]) for one in answer.json["data"]]


def test_who_did_it_most_often_comes_first(rest: Rest) -> None:
    did(rest, "a", 1)
    did(rest, "b", 1, 2, 3)
    did(rest, "c", 1, 2)
    did(rest, "d", 1, event="other")
    assert top(rest) == [("b", 3), ("c", 2), ("a", 1)]


def test_of_equals_who_did_it_last_comes_first(rest: Rest) -> None:
    did(rest, "a", 5, 9)
    did(rest, "b", 2, 9)
    did(rest, "c", 3, 9)
    assert [name for name, _ in top(rest)] == [name for name, _ in top(rest, "&within_days=30")] == ["b", "c", "a"]


def test_an_entry_says_how_often_first_and_last(rest: Rest) -> None:
    did(rest, "a", 2, 1)
    (one,) = rest.get("/events/top?event_name=saved").json["data"]
    summary = rest.get("/events?type=user&summary=true&user_id=a").json["events"][0]
    assert {name: one[name] for name in ("count", "first", "last")} == {name: summary[name] for name in ("count", "first", "last")}
    assert one["contact"]["type"] == "contact"


def test_a_window_counts_what_lies_in_it(rest: Rest) -> None:
    did(rest, "once_busy", *[20] * 5, 3)
    did(rest, "busy", 1, 2)
    did(rest, "gone", 8, 9, 10)
    assert top(rest) == [("once_busy", 6), ("gone", 3), ("busy", 2)]
    assert top(rest, "&within_days=7") == [("busy", 2), ("once_busy", 1)]


def test_a_window_agrees_with_the_query_of_the_same_days(rest: Rest) -> None:
    did(rest, "edge", 7)  # exactly 7 days: the window has just closed
    did(rest, "inside", 7)
    rest.world.send(user("inside"), rest.world.event("saved", at=rest.clock() - 7 * DAY + 1))
    query = {"event": "saved", "field": "count", "operator": ">", "value": 0, "within_days": 7}
    found = rest.post("/contacts/search", {"query": query}).json["data"]
    assert top(rest, "&within_days=7") == [("inside", 1)]
    assert [one["external_id"] for one in found] == ["inside"]


def test_what_a_visitor_did_counts_for_the_user_it_became(rest: Rest) -> None:
    for name in ("phone", "laptop"):
        rest.world.send(lead(name), rest.world.event("saved"), rest.world.event("saved"))
        rest.world.send(user("a"), rest.world.event("saved"), lead=lead(name))
    did(rest, "b", 1, 2)
    assert top(rest) == top(rest, "&within_days=7") == [("a", 6), ("b", 2)]


@pytest.mark.parametrize(("limit", "expected"), [(1, ["tied"]), (2, ["tied", "new"]), (5, ["tied", "new", "middle", "little", "old"])])
def test_counting_lately_ends_only_where_nobody_can_follow(
    rest: Rest, monkeypatch: pytest.MonkeyPatch, limit: int, expected: list[str]
) -> None:
    monkeypatch.setattr(rankings, "_CHUNK", 1)  # after each person it is asked whether others can follow
    did(rest, "old", *[30] * 9, 1)
    did(rest, "middle", *[30] * 3, 1, 1)
    did(rest, "new", 1, 1, 1)
    did(rest, "tied", 0, 1, 1)
    did(rest, "little", 1)
    world, after = rest.world, rest.clock() - 7 * DAY
    with world.services.database.snapshot() as connection:
        found = rankings.since(connection, world.site.id, world.services.names, "saved", after, limit=limit)
    assert [place.person for place in found] == [world.person(user(name)).id for name in expected]


def test_where_a_few_do_most_few_are_read(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rankings, "_CHUNK", 1)
    did(rest, "busy", 1, 1, 1)
    did(rest, "little", 1)
    world, read = rest.world, []
    counted = rankings._counted

    def spy(connection: Any, site: int, number: int, after_ms: int, people: Any) -> Any:
        read.extend(people)
        return counted(connection, site, number, after_ms, people)

    monkeypatch.setattr(rankings, "_counted", spy)
    with world.services.database.snapshot() as connection:
        rankings.since(connection, world.site.id, world.services.names, "saved", rest.clock() - 7 * DAY, limit=1)
    assert read == [world.person(user("busy")).id]


def test_imported_counts_count_for_all_time_and_for_no_window(rest: Rest) -> None:
    did(rest, "a", 1)
    rest.contact(external_id="b")
    summary = {"event_name": "saved", "count": 40, "first": rest.now - 90, "last": rest.now - 60}
    assert rest.post("/events/summaries", {"user_id": "b", "event_summaries": [summary]}).status_code == 200
    assert top(rest) == [("b", 40), ("a", 1)]
    assert top(rest, "&within_days=7") == [("a", 1)]


def test_pages(rest: Rest) -> None:
    for number, name in enumerate("abcde"):
        did(rest, name, *[1] * (5 - number))
    for window in ("", "&within_days=7"):
        first = rest.get(f"/events/top?event_name=saved&per_page=2{window}").json["pages"]
        assert first == {"type": "pages", "page": 1, "per_page": 2, "next": {"page": 2, "per_page": 2}}
        assert top(rest, f"&per_page=2&page=2{window}") == [("c", 3), ("d", 2)]
        last = rest.get(f"/events/top?event_name=saved&per_page=2&page=3{window}").json
        assert ([one["count"] for one in last["data"]], last["pages"]["next"]) == ([1], None)
        assert top(rest, f"&per_page=2&page=9{window}") == []


def test_the_window_is_no_longer_than_the_timeline(rest: Rest) -> None:
    did(rest, "a", 1)
    assert top(rest, "&within_days=90") == [("a", 1)]
    assert problem(rest.get("/events/top?event_name=saved&within_days=91")) == (400, "field_invalid", "within_days")


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("", "field_missing", "event_name"),
        ("event_name=", "field_missing", "event_name"),
        (f"event_name={'x' * 121}", "name_invalid", "event_name"),
        ("event_name=%00", "field_invalid", "event_name"),
        ("event_name=saved&within_days=0", "field_invalid", "within_days"),
        ("event_name=saved&within_days=x", "field_invalid", "within_days"),
        ("event_name=saved&page=0", "field_invalid", "page"),
        ("event_name=saved&per_page=151", "field_invalid", "per_page"),
    ],
)
def test_a_wrong_question_names_the_place(rest: Rest, query: str, code: str, field: str) -> None:
    assert problem(rest.get(f"/events/top?{query}")) == (400, code, field)


def test_an_event_that_nobody_did(rest: Rest) -> None:
    assert top(rest) == top(rest, "&within_days=7") == []


def test_what_others_sites_people_did_is_not_told(rest: Rest) -> None:
    did(rest, "a", 1)
    other: Any = rest.other_site()
    assert top(other) == top(other, "&within_days=7") == []
