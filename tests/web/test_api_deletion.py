"""DELETE /contacts/{id}: a person is gone whole, and nobody else."""

from collections.abc import Iterator

import pytest

from collector.values.clock import DAY, HOUR, MINUTE
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_api_support import Rest, problem, serving

TABLES = ("identities", "totals", "attributes", "visits", "deliveries", "delivery_links", "merges", "events", "deletions")


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def stored(rest: Rest) -> dict[str, int]:
    """How many rows of people each table holds."""
    return {table: int(rest.world.rows(f"SELECT count(*) FROM {table}")[0][0]) for table in TABLES}


def delete(rest: Rest, contact_id: str) -> tuple[int, object]:
    answer = rest.send("DELETE", f"/contacts/{contact_id}")
    return answer.status_code, answer.json


def test_a_deleted_contact_is_said_as_intercom_says_it(rest: Rest) -> None:
    known, anonymous = rest.contact(external_id="u-1", email="ann@example.com"), rest.contact(role="lead")
    assert delete(rest, known["id"]) == (200, {"type": "contact", "id": known["id"], "external_id": "u-1", "deleted": True})
    assert delete(rest, anonymous["id"]) == (200, {"type": "contact", "id": anonymous["id"], "external_id": None, "deleted": True})


def test_a_deleted_contact_is_found_nowhere(rest: Rest) -> None:
    made = rest.contact(external_id="u-1", email="ann@example.com")
    rest.event(user_id="u-1")
    delete(rest, made["id"])
    for path in (
        f"/contacts/{made['id']}",
        f"/contacts/{made['id']}/export",
        "/contacts/find_by_external_id/u-1",
        "/events?type=user&user_id=u-1",
        "/events?type=user&email=ann@example.com",
        f"/events?type=user&intercom_user_id={made['id']}&summary=true",
    ):
        assert problem(rest.get(path)) == (404, "not_found", None), path
    assert rest.get("/contacts").json["total_count"] == rest.get("/contacts?email=ann@example.com").json["total_count"] == 0


def test_a_contact_is_deleted_once(rest: Rest) -> None:
    made = rest.contact(external_id="u-1")
    assert delete(rest, made["id"])[0] == 200
    assert problem(rest.send("DELETE", f"/contacts/{made['id']}")) == (404, "not_found", None)


@pytest.mark.parametrize("contact_id", ["0" * 24, "nobody", "%00", "u-1"])
def test_who_is_not_there_is_not_deleted(rest: Rest, contact_id: str) -> None:
    rest.contact(external_id="u-1")
    before = stored(rest)
    assert problem(rest.send("DELETE", f"/contacts/{contact_id}")) == (404, "not_found", None)
    assert stored(rest) == before


def test_every_identity_goes_and_everybody_else_stays(rest: Rest) -> None:
    world = rest.world
    world.send(lead("other"), world.event(visit="01920000-0000-7000-8000-000000000009"))
    rest.contact(external_id="u-2", email="ann@example.com")
    rest.event(user_id="u-2")
    others = stored(rest)
    for name in ("lead-1", "lead-2"):
        world.send(lead(name), world.event(visit="01920000-0000-7000-8000-000000000001"))
        world.send(user("u-1"), world.event("signed-up"), lead=lead(name))
    world.set(user("u-1"), {"email": "ann@example.com"}, lead=lead("lead-1"))
    world.send(user("u-2"), world.event(), lead=lead("lead-1"))
    assert stored(rest)["merges"] == 3, "two merges and a claim refused to u-2"
    others["totals"] += 1  # u-2's own page view of just now
    others["events"] += 1
    assert delete(rest, world.person(user("u-1")).contact_id)[0] == 200
    assert stored(rest) == others
    assert rest.counts("user_id=u-2") == {"created-report": 1, "page-view": 1}


def test_a_merged_lead_is_not_deleted_and_says_where_it_is_now(rest: Rest) -> None:
    anonymous = rest.world.send(lead(), rest.world.event()).contact_id
    signed_in = rest.world.send(user("u-1"), rest.world.event(), lead=lead()).contact_id
    before = stored(rest)
    answer = rest.send("DELETE", f"/contacts/{anonymous}")
    assert problem(answer) == (410, "contact_merged", None)
    assert answer.headers["Link"] == f'</api/contacts/{signed_in}>; rel="canonical"'
    assert stored(rest) == before


def test_what_happened_before_the_deletion_does_not_bring_the_person_back(rest: Rest) -> None:
    made = rest.contact(external_id="u-1")
    rest.event(user_id="u-1", event_id="order-1")
    rest.clock.advance(DAY)
    delete(rest, made["id"])
    rest.clock.advance(HOUR)
    late = rest.event(user_id="u-1", created_at=rest.now - 2 * HOUR // 1000, create_contact=True)
    assert problem(late)[:2] == (422, "person_deleted")
    batch = rest.batch({"event_name": "a", "user_id": "u-1", "created_at": rest.now - DAY // 1000})
    assert [entry["code"] for entry in batch["refused"]] == ["person_deleted"]


def test_a_deleted_person_may_come_anew_and_is_somebody_else(rest: Rest) -> None:
    made = rest.contact(external_id="u-1", name="Ann")
    rest.event(user_id="u-1")
    delete(rest, made["id"])
    rest.clock.advance(MINUTE)
    again = rest.contact(external_id="u-1")
    assert again["id"] != made["id"]
    assert again["name"] is None
    assert rest.event("came-back", user_id="u-1").status_code == 202
    assert rest.counts("user_id=u-1") == {"came-back": 1}


def test_another_sites_contact_is_not_there(rest: Rest) -> None:
    other = rest.other_site()
    theirs = other.contact(external_id="u-1")
    assert problem(rest.send("DELETE", f"/contacts/{theirs['id']}")) == (404, "not_found", None)
    assert other.get(f"/contacts/{theirs['id']}").json == theirs


def test_of_two_sites_that_know_the_same_user_one_forgets(rest: Rest) -> None:
    other = rest.other_site()
    mine, theirs = rest.contact(external_id="u-1"), other.contact(external_id="u-1")
    for site in (rest, other):
        site.event(user_id="u-1")
    assert delete(rest, mine["id"])[0] == 200
    assert other.get(f"/contacts/{theirs['id']}").json["external_id"] == "u-1"
    assert other.counts("user_id=u-1") == {"created-report": 1}


def test_while_nothing_can_be_written_nobody_is_deleted_and_the_answer_says_when_to_come_again(rest: Rest) -> None:
    made = rest.contact(external_id="u-1")
    rest.world.services.writer.close()
    answer = rest.send("DELETE", f"/contacts/{made['id']}")
    assert problem(answer) == (503, "overloaded", None)
    assert int(answer.headers["Retry-After"]) > 0
    assert rest.get(f"/contacts/{made['id']}").status_code == 200
