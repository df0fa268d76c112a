"""Changes over REST name no time: of two, what was committed last stands, whatever the clocks of the collectors that took them say."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.values.clock import DAY, HOUR, MINUTE
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_api_support import Rest, serving

PLAN = "custom_attributes.plan"
BEHIND = 50


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def plan(of: Rest, contact: str, value: Any) -> Any:
    """Set the plan and return what the answer says it is; asked for again, it is the same."""
    answer = of.put(f"/contacts/{contact}", {"custom_attributes": {"plan": value}})
    assert answer.status_code == 200
    assert of.get(f"/contacts/{contact}").json["custom_attributes"] == answer.json["custom_attributes"]
    return answer.json["custom_attributes"].get("plan")


@pytest.mark.parametrize("behind", [0, BEHIND, HOUR, 40 * DAY], ids=["at once", "a moment", "an hour", "a clock that was wrong"])
def test_a_change_stands_over_one_that_was_committed_before_by_a_clock_that_is_ahead(rest: Rest, behind: int) -> None:
    made = rest.contact(external_id="u-1", custom_attributes={"plan": "free"}, phone="1")
    rest.clock.advance(-behind)
    assert [plan(rest, made["id"], value) for value in ("pro", "a", None, "b", "a")] == ["pro", "a", None, "b", "a"]
    assert rest.get(f"/contacts/{made['id']}").json["phone"] == "1"


@pytest.mark.parametrize("value", ["pro", "enterprise", None])
def test_a_change_stands_over_what_an_event_of_up_to_an_hour_ahead_said(rest: Rest, value: str | None) -> None:
    rest.world.set(user(), {PLAN: "free"}, at=rest.clock() + HOUR, browser=False)
    contact = rest.world.person(user()).contact_id
    assert plan(rest, contact, value) == value
    rest.clock.advance(HOUR)
    rest.world.set(user(), {PLAN: "later"}, at=rest.clock() + 2, browser=False)
    assert rest.world.attributes(user())[PLAN] == "later"


def test_a_new_email_stands_over_one_of_an_hour_ahead(rest: Rest) -> None:
    made = rest.contact(email="old@example.com")
    rest.world.set(("email", "old@example.com"), {"email": "Old@example.com"}, at=rest.clock() + HOUR, browser=False)
    assert rest.put(f"/contacts/{made['id']}", {"email": "new@example.com"}).json["email"] == "new@example.com"
    assert rest.get(f"/contacts/{made['id']}").json["email"] == "new@example.com"
    assert rest.get("/contacts?email=old@example.com").json["total_count"] == 0


def test_what_names_its_time_keeps_its_order_beside_changes(rest: Rest) -> None:
    made = rest.contact(external_id="u-1")
    plan(rest, made["id"], "pro")
    rest.world.set(user(), {PLAN: "before"}, at=rest.clock() - MINUTE, browser=False)
    assert rest.world.attributes(user())[PLAN] == "pro"
    rest.world.set(user(), {PLAN: "after"}, at=rest.clock() + 1, browser=False)
    assert rest.world.attributes(user())[PLAN] == "after"


def test_a_clock_that_was_wrong_by_far_keeps_nothing_that_comes_after_from_counting(rest: Rest) -> None:
    rest.world.set(user(), {PLAN: "free"}, at=rest.clock() + 1_000 * DAY, browser=False)
    assert plan(rest, rest.world.person(user()).contact_id, "pro") == "pro"
    rest.world.set(user(), {PLAN: "after"}, at=rest.clock() + MINUTE, browser=False)
    assert rest.world.attributes(user())[PLAN] == "after"


@pytest.mark.parametrize("value", ["pro", None])
def test_a_change_stands_over_what_the_users_id_said_where_an_email_was_known_first(rest: Rest, value: str | None) -> None:
    made = rest.contact(email="ann@example.com")
    assert rest.put(f"/contacts/{made['id']}", {"external_id": "u-1"}).status_code == 200
    for said in ("free", None):
        rest.world.set(user(), {PLAN: said}, browser=False)
        assert plan(rest, made["id"], value) == value
        rest.clock.advance(1)


def test_what_was_unset_of_a_person_is_unset_though_its_visitor_said_it_by_a_clock_that_is_ahead(rest: Rest) -> None:
    rest.world.set(lead(), {PLAN: "trial"}, at=rest.clock() + BEHIND)
    rest.world.send(user(), lead=lead())
    contact = rest.world.person(user()).contact_id
    assert plan(rest, contact, None) is None
    rest.clock.advance(HOUR)
    rest.world.set(lead(), {PLAN: "adopted"})
    assert rest.world.attributes(user())[PLAN] == "adopted"


def test_once_parted_each_has_what_it_had(rest: Rest) -> None:
    rest.world.set(lead(), {PLAN: "trial"}, at=rest.clock() + HOUR, browser=False)
    rest.world.send(user(), lead=lead())
    assert plan(rest, rest.world.person(user()).contact_id, "pro") == "pro"
    (line,) = rest.get("/merges").json["data"]
    assert rest.post(f"/merges/{line['id']}/undo", {}).status_code == 200
    assert (rest.world.attributes(user())[PLAN], rest.world.attributes(lead().key)[PLAN]) == ("pro", "trial")
