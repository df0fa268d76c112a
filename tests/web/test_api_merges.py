"""Merging on request, the journal, and undoing."""

from collections.abc import Iterator

import pytest

from tests.support.clock import FakeClock
from tests.web.test_api_support import Rest, serving


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


@pytest.fixture
def pair(rest: Rest) -> Iterator[tuple[str, str]]:
    """A lead and a user, each with an event."""
    lead = rest.contact(role="lead")["id"]
    user = rest.contact(external_id="u-1")["id"]
    for contact in (lead, user):
        assert rest.event("created-report", id=contact).status_code == 202
    yield lead, user


def test_a_merge_gives_out_the_user_and_the_lead_is_gone_to_it(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    answer = rest.post("/contacts/merge", {"from": lead, "into": user})
    assert (answer.status_code, answer.json["id"]) == (200, user)
    moved = rest.get(f"/contacts/{lead}")
    assert moved.status_code == 410
    assert moved.headers["Link"].endswith(f'/api/contacts/{user}>; rel="canonical"')


def test_the_journal_says_who_and_why(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    rest.post("/contacts/merge", {"from": lead, "into": user})
    journal = rest.get("/merges").json
    assert journal["total_count"] == 1
    (entry,) = journal["data"]
    assert {key: entry[key] for key in ("from", "into", "by", "reason", "verified", "undone_at")} == {
        "from": lead,
        "into": user,
        "by": "rest",
        "reason": "contacts_merge",
        "verified": True,
        "undone_at": None,
    }


def test_an_undone_merge_leaves_two_contacts(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    rest.post("/contacts/merge", {"from": lead, "into": user})
    merge = rest.get("/merges").json["data"][0]["id"]
    undone = rest.post(f"/merges/{merge}/undo", {})
    assert undone.status_code == 200
    assert undone.json["undone_at"] is not None
    assert rest.post(f"/merges/{merge}/undo", {}).json == undone.json
    for contact in pair:
        summary = rest.get(f"/events?type=user&intercom_user_id={contact}&summary=true").json
        assert [event["count"] for event in summary["events"]] == [1]


def test_asked_for_again_a_pair_merges_although_it_was_undone(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    rest.post("/contacts/merge", {"from": lead, "into": user})
    rest.post(f"/merges/{rest.get('/merges').json['data'][0]['id']}/undo", {})
    assert rest.post("/contacts/merge", {"from": lead, "into": user}).status_code == 200
    assert rest.get(f"/contacts/{lead}").status_code == 410


def test_what_cannot_merge_is_said(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    other = rest.contact(external_id="u-2")["id"]
    assert rest.post("/contacts/merge", {"from": user, "into": other}).json["errors"][0]["code"] == "merge_invalid"
    assert rest.post("/contacts/merge", {"from": lead, "into": lead}).json["errors"][0]["code"] == "merge_invalid"
    assert rest.post("/contacts/merge", {"from": lead}).json["errors"][0]["field"] == "into"
    assert rest.post("/contacts/merge", {"from": lead, "into": "nobody"}).status_code == 404
    rest.post("/contacts/merge", {"from": lead, "into": user})
    assert rest.post("/contacts/merge", {"from": lead, "into": other}).json["errors"][0]["code"] == "merge_invalid"


def test_a_merged_lead_is_no_user_to_merge_into(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    rest.post("/contacts/merge", {"from": lead, "into": user})
    another = rest.contact(role="lead")["id"]
    assert rest.post("/contacts/merge", {"from": another, "into": lead}).json["errors"][0]["code"] == "merge_invalid"
    assert rest.get(f"/contacts/{another}").status_code == 200


def test_another_site_sees_and_undoes_nothing(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    rest.post("/contacts/merge", {"from": lead, "into": user})
    merge = rest.get("/merges").json["data"][0]["id"]
    stranger = rest.other_site()
    assert stranger.get("/merges").json["data"] == []
    assert stranger.post(f"/merges/{merge}/undo", {}).status_code == 404
    assert stranger.post("/contacts/merge", {"from": lead, "into": user}).status_code == 404
