"""What is done to auto messages as a whole, by REST: one is duplicated, all are paused."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.domain import trials
from collector.domain.trials import Trial
from collector.values.clock import HOUR
from tests.support.clock import FakeClock
from tests.web.test_api_support import Rest, problem, serving

WHOLE = {
    "name": "Hello",
    "type": "popup",
    "state": "live",
    "content": {
        "title": "Hi {{first_name | fallback: 'you'}}",
        "body": "Hello **you**",
        "buttons": [{"label": "No", "action": "dismiss"}],
    },
    "audience": {"event": "cart", "field": "count", "operator": ">", "value": 0},
    "page": {"field": "path", "operator": "is", "value": "/pricing"},
    "frequency": {"type": "once"},
    "priority": 3,
    "schedule": {"starts_at": 1790000000, "hours": [{"days": ["mon"], "from": "09:00", "to": "17:00"}]},
    "goal": {"query": {"event": "paid", "field": "count", "operator": ">", "value": 0}, "days": 3},
    "holdout_percent": 10,
}


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def made(rest: Rest, **fields: Any) -> dict[str, Any]:
    answer = rest.post("/auto_messages", {**WHOLE, **fields})
    assert answer.status_code == 201, answer.text
    message: dict[str, Any] = answer.json
    return message


def duplicated(rest: Rest, message: dict[str, Any]) -> dict[str, Any]:
    answer = rest.send("POST", f"/auto_messages/{message['id']}/duplicate")
    assert answer.status_code == 201, answer.text
    copy: dict[str, Any] = answer.json
    return copy


# Duplicate


def test_a_duplicate_is_a_draft_that_is_equal_in_all_else(rest: Rest) -> None:
    message = made(rest)
    copy = duplicated(rest, message)
    assert copy["id"] != message["id"]
    assert copy == {**message, "id": copy["id"], "name": "Hello (copy)", "state": "draft", "version": 1}
    assert rest.get(f"/auto_messages/{copy['id']}").json == copy
    assert rest.get(f"/auto_messages/{message['id']}").json == message


def test_a_duplicate_of_the_longest_name_still_has_one(rest: Rest) -> None:
    copy = duplicated(rest, made(rest, name="x" * 120))
    assert copy["name"] == "x" * 113 + " (copy)"


def test_a_duplicate_begins_without_versions(rest: Rest) -> None:
    message = made(rest)
    rest.put(f"/auto_messages/{message['id']}", {"priority": 1})
    assert rest.get(f"/auto_messages/{duplicated(rest, message)['id']}/versions").json["data"] == []


def test_what_is_not_there_cannot_be_duplicated(rest: Rest) -> None:
    message = made(rest)
    for client, message_id in ((rest, "0" * 24), (rest, "%00"), (rest.other_site(), message["id"])):
        assert problem(client.send("POST", f"/auto_messages/{message_id}/duplicate")) == (404, "not_found", None)


def test_what_one_site_gives_out_another_takes(rest: Rest) -> None:
    message, other = made(rest), rest.other_site()
    copy = other.post("/auto_messages", {**rest.get(f"/auto_messages/{message['id']}").json, "state": "draft"}).json
    assert copy == {**message, "id": copy["id"], "state": "draft"}


# Tested on a page


def test_a_test_link_opens_a_page_of_the_site_for_an_hour(rest: Rest) -> None:
    message, contact = made(rest, state="draft"), rest.contact(external_id="u-1")["id"]
    for chosen in ({}, {"contact_id": contact}):
        answer = rest.post(f"/auto_messages/{message['id']}/test_link", {"page": "https://shop.example/pricing?a=b", **chosen}).json
        assert answer["url"].startswith("https://shop.example/pricing?a=b&")
        assert answer["expires_at"] == (rest.clock() + HOUR) // 1000
        found = trials.find(rest.world.services.keyring, rest.world.site, answer["url"], rest.clock())
        assert found == Trial(message["id"], chosen.get("contact_id"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ("field_missing", "page")),
        ({"page": 1}, ("field_invalid", "page")),
        ({"page": "/pricing"}, ("field_invalid", "page")),
        ({"page": "https://elsewhere.example/"}, ("field_invalid", "page")),
        ({"page": "https://shop.example/", "contact_id": "none"}, ("person_unknown", "contact_id")),
        ({"page": "https://shop.example/", "contact_id": 1}, ("person_unknown", "contact_id")),
    ],
)
def test_a_link_that_would_show_nothing_is_not_given_out(rest: Rest, body: Any, expected: tuple[str, str]) -> None:
    assert problem(rest.post(f"/auto_messages/{made(rest)['id']}/test_link", body)) == (400, *expected)


def test_another_sites_message_has_no_link(rest: Rest) -> None:
    answer = rest.other_site().post(f"/auto_messages/{made(rest)['id']}/test_link", {"page": "https://other.example/"})
    assert problem(answer) == (404, "not_found", None)


# All paused


def test_all_messages_of_a_site_are_paused_and_go_on(rest: Rest) -> None:
    assert rest.get("/auto_messages/paused").json == {"paused": False}
    for wanted in (True, True, False):
        assert rest.put("/auto_messages/paused", {"paused": wanted}).json == {"paused": wanted}
        assert rest.get("/auto_messages/paused").json == {"paused": wanted}
        site = rest.world.services.sites.by_key(rest.world.site.key)
        assert site is not None
        assert site.settings.messages_paused is wanted


def test_pausing_leaves_the_other_settings_and_the_other_sites_alone(rest: Rest) -> None:
    other = rest.other_site()
    before = rest.world.services.sites.all()
    rest.put("/auto_messages/paused", {"paused": True})
    assert other.get("/auto_messages/paused").json == {"paused": False}
    rest.put("/auto_messages/paused", {"paused": False})
    assert rest.world.services.sites.all() == before


def test_pausing_all_keeps_the_state_of_each(rest: Rest) -> None:
    message = made(rest)
    rest.put("/auto_messages/paused", {"paused": True})
    assert rest.get(f"/auto_messages/{message['id']}").json["state"] == "live"


@pytest.mark.parametrize(("body", "code"), [({}, "field_missing"), ({"paused": 1}, "field_invalid"), ({"paused": None}, "field_invalid")])
def test_pausing_takes_true_or_false(rest: Rest, body: Any, code: str) -> None:
    assert problem(rest.put("/auto_messages/paused", body)) == (400, code, "paused")
    assert rest.get("/auto_messages/paused").json == {"paused": False}


# The colour


def test_a_colour_is_set_with_what_becomes_of_it_and_taken_back(rest: Rest) -> None:
    assert rest.get("/auto_messages/looks").json == {"brand_color": None, "brand": None}
    pale = {
        "fill": "#ffd400",
        "on": "#000000",
        "light": {"accent": "#a68a00", "link": "#856e00"},
        "dark": {"accent": "#ffd400", "link": "#ffd400"},
    }
    for colour, brand in (("#FFD400", pale), (None, None)):
        expected = {"brand_color": colour and colour.lower(), "brand": brand}
        assert rest.put("/auto_messages/looks", {"brand_color": colour}).json == expected
        assert rest.get("/auto_messages/looks").json == expected


def test_a_colour_belongs_to_its_site_and_changes_no_other_setting(rest: Rest) -> None:
    other = rest.other_site()
    rest.put("/auto_messages/paused", {"paused": True})
    rest.put("/auto_messages/looks", {"brand_color": "#123456"})
    assert rest.get("/auto_messages/paused").json == {"paused": True}
    assert other.get("/auto_messages/looks").json == {"brand_color": None, "brand": None}


@pytest.mark.parametrize(
    ("body", "code"), [({}, "field_missing"), ({"brand_color": "red"}, "field_invalid"), ({"brand_color": 7}, "field_invalid")]
)
def test_what_is_no_colour_is_refused(rest: Rest, body: Any, code: str) -> None:
    assert problem(rest.put("/auto_messages/looks", body)) == (400, code, "brand_color")
    assert rest.get("/auto_messages/looks").json["brand_color"] is None
