"""Imported totals: a base for what happened before, on which the counted events stand."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest

from collector.domain.imports import Seen, look
from collector.storage.database import Connection
from collector.web.api import summaries
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_api_support import Rest, lose, problem, serving

OLD = 1_600_000_000


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def base(name: str = "a", count: int = 10, first: int = OLD, last: int = OLD + 100) -> dict[str, Any]:
    return {"event_name": name, "count": count, "first": first, "last": last}


def summed(rest: Rest, *entries: dict[str, Any], **fields: Any) -> None:
    answer = rest.post("/events/summaries", {"user_id": "u-1", "event_summaries": list(entries), **fields})
    assert answer.status_code == 200, answer.text


def total(rest: Rest, name: str = "a") -> tuple[int, int, int]:
    """Count, first and last (unix seconds) of the user."""
    entries = rest.get("/events?type=user&user_id=u-1&summary=true").json["events"]
    entry = next(entry for entry in entries if entry["name"] == name)
    first, last = (round(datetime.fromisoformat(entry[key]).astimezone(UTC).timestamp()) for key in ("first", "last"))
    return entry["count"], first, last


def test_a_base_and_the_counted_events_add_up_in_either_order(rest: Rest) -> None:
    rest.contact(external_id="u-1")
    rest.event("a", user_id="u-1")
    summed(rest, base("a"), base("b", count=3))
    rest.event("a", user_id="u-1", metadata={"n": 2})
    rest.event("b", user_id="u-1")
    assert total(rest) == (12, OLD, rest.now)
    assert total(rest, "b") == (4, OLD, rest.now)


@pytest.fixture
def reads(rest: Rest) -> Iterator[list[bool]]:
    """The reads of the timeline meanwhile: whether everybody waited for each."""
    reads: list[bool] = []
    execute = Connection._execute

    def listening(self: Connection, sql: str, parameters: Any = ()) -> Any:
        reads.extend([rest.world.services.written.in_transaction()] if " FROM events " in sql else [])
        return execute(self, sql, parameters)

    with patch.object(Connection, "_execute", listening):
        yield reads


def test_what_somebody_did_is_read_once_whatever_the_number_of_names_and_only_where_it_tells(rest: Rest, reads: list[bool]) -> None:
    rest.contact(external_id="u-1")
    for name in ("a", "b"):
        rest.event(name, user_id="u-1")
    reads.clear()
    summed(rest, *(base(name) for name in "abcdef"))
    summed(rest, *(base(name) for name in "abcdef"))
    assert reads == [], "what they did stood in the totals"
    summed(rest, *(base(name, first=OLD + 50) for name in "abcdef"))
    assert reads == [False], "nobody waited"
    reads.clear()
    assert [total(rest, name) for name in "abcdef"] == [(11, OLD + 50, rest.now)] * 2 + [(10, OLD + 50, OLD + 100)] * 4
    summed(rest, *({"event_name": name, "count": 0} for name in "abcdef"))
    assert reads == [False]
    assert [total(rest, name) for name in "ab"] == [(1, rest.now, rest.now)] * 2


@pytest.mark.parametrize("times", [1, 100], ids=["once", "again and again"])
def test_what_happens_between_the_look_and_the_commit_counts(rest: Rest, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rest.contact(external_id="u-1")
    rest.event("a", user_id="u-1")
    summed(rest, base())
    happened = 0

    def looking(*asked: Any) -> Seen | None:
        nonlocal happened
        seen = look(*asked)
        if happened < times:
            happened += 1
            rest.event("a", user_id="u-1", created_at=rest.now - happened)
        return seen

    monkeypatch.setattr(summaries, "look", looking)
    summed(rest, {"event_name": "a", "count": 0})
    assert happened == min(times, summaries._LOOKS)
    assert total(rest) == (1 + happened, rest.now - happened, rest.now)


def test_a_base_is_set_not_added(rest: Rest) -> None:
    rest.contact(external_id="u-1")
    for _ in range(3):
        summed(rest, base())
    assert total(rest) == (10, OLD, OLD + 100)
    summed(rest, base(count=4, first=OLD + 50, last=OLD + 60))
    assert total(rest) == (4, OLD + 50, OLD + 60)


def test_what_was_before_the_deletion_is_refused_like_any_other_summary(rest: Rest) -> None:
    made = rest.contact(external_id="u-1")
    assert rest.send("DELETE", f"/contacts/{made['id']}").status_code == 200
    answer = rest.post("/events/summaries", {"user_id": "u-1", "event_summaries": [base()], "create_contact": True})
    assert problem(answer) == (422, "person_deleted", "event_summaries")


def test_where_a_failover_loses_a_name_no_base_is_lost_unsaid(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    rest.contact(external_id="u-1")
    lose(rest, monkeypatch)
    answer = rest.post("/events/summaries", {"user_id": "u-1", "event_summaries": [base()]})
    assert problem(answer) == (503, "overloaded", None)
    summed(rest, base())
    assert total(rest) == (10, OLD, OLD + 100)


def test_a_base_of_none_takes_it_away(rest: Rest) -> None:
    rest.contact(external_id="u-1")
    rest.event("a", user_id="u-1")
    summed(rest, base())
    summed(rest, {"event_name": "a", "count": 0})
    assert total(rest) == (1, rest.now, rest.now)


def test_a_persons_total_is_the_base_and_what_its_leads_did(rest: Rest) -> None:
    rest.world.send(lead(), rest.world.event("a"))
    rest.world.send(user("u-1"), rest.world.event("a"), lead=lead())
    summed(rest, base())
    assert total(rest) == (12, OLD, rest.now)
    own = "SELECT sum(own_count), sum(imported_count), sum(count) FROM totals"
    assert [tuple(map(int, row)) for row in rest.world.rows(own)] == [(12, 10, 12)]


def test_a_lead_that_signs_up_later_adds_to_it(rest: Rest) -> None:
    rest.contact(external_id="u-1")
    summed(rest, base())
    rest.world.send(lead(), rest.world.event("a"))
    rest.world.send(user("u-1"), rest.world.event("x"), lead=lead())
    assert total(rest) == (11, OLD, rest.now)


def test_one_object_is_taken_for_a_list_of_one(rest: Rest) -> None:
    rest.contact(external_id="u-1")
    assert rest.post("/events/summaries", {"user_id": "u-1", "event_summaries": base()}).status_code == 200
    assert total(rest)[0] == 10


def test_an_unknown_user_is_made_only_where_the_body_asks_for_it(rest: Rest) -> None:
    assert problem(rest.post("/events/summaries", {"user_id": "u-1", "event_summaries": [base()]})) == (404, "not_found", None)
    summed(rest, base(), create_contact=True)
    assert total(rest)[0] == 10


def test_a_name_stands_once(rest: Rest) -> None:
    rest.contact(external_id="u-1")
    answer = rest.post("/events/summaries", {"user_id": "u-1", "event_summaries": [base(), base()]})
    assert problem(answer) == (422, "field_invalid", "event_summaries[1].event_name")
