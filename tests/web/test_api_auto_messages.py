"""Auto messages by REST: made with defaults, given out again, with their numbers."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.values.clock import DAY
from tests.support.clock import FakeClock
from tests.support.world import user
from tests.web.test_api_support import Rest, problem, serving

SMALLEST = {"name": "Hello", "type": "popup", "content": {"body": "Hello **you**"}}


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def made(rest: Rest, **fields: Any) -> dict[str, Any]:
    answer = rest.post("/auto_messages", {**SMALLEST, **fields})
    assert answer.status_code == 201, answer.text
    message: dict[str, Any] = answer.json
    return message


def test_name_type_and_content_are_enough(rest: Rest) -> None:
    message = made(rest)
    assert message["id"]
    assert message["version"] == 1
    assert (message["state"], message["audience"], message["page"], message["trigger"]["type"]) == ("draft", None, None, "page")
    assert (message["frequency"]["type"], message["priority"], message["ignore_caps"]) == ("until_acted", 0, False)
    assert message["holdout_percent"] == 0


def test_a_message_is_given_out_as_it_was_answered(rest: Rest) -> None:
    message = made(rest, state="live", audience={"event": "created-report", "field": "count", "operator": ">", "value": 2})
    assert rest.get(f"/auto_messages/{message['id']}").json == message


def test_messages_are_listed_the_newest_first(rest: Rest) -> None:
    first, second = made(rest), made(rest)
    answer = rest.get("/auto_messages").json
    assert (answer["type"], answer["total_count"]) == ("list", 2)
    assert [message["id"] for message in answer["data"]] == [second["id"], first["id"]]


def test_a_new_message_has_met_nobody(rest: Rest) -> None:
    numbers = rest.get(f"/auto_messages/{made(rest)['id']}/stats").json
    for step in ("matched", "held_out", "sent", "seen", "clicked", "dismissed", "answered", "goal"):
        assert numbers[step] == 0
    assert numbers.keys() >= {"rates", "holdout", "lift"}


def test_a_live_message_is_known_at_once(rest: Rest) -> None:
    assert rest.world.services.auto_messages.live(rest.world.site.id).messages == []
    message = made(rest, state="live")
    assert [live.public_id for live in rest.world.services.auto_messages.live(rest.world.site.id).messages] == [message["id"]]


def test_an_unknown_message_is_404(rest: Rest) -> None:
    for message_id in ("0" * 24, "nothing", "%00"):
        assert problem(rest.get(f"/auto_messages/{message_id}")) == (404, "not_found", None)
        assert problem(rest.get(f"/auto_messages/{message_id}/stats")) == (404, "not_found", None)


def test_the_parts_that_are_given_are_changed(rest: Rest) -> None:
    message = made(rest, audience={"event": "cart", "field": "count", "operator": ">", "value": 0}, priority=3)
    changed = rest.put(f"/auto_messages/{message['id']}", {"name": "Other", "content": {"body": "Bye"}, "audience": None}).json
    assert (changed["name"], changed["content"]["body"], changed["audience"], changed["priority"]) == ("Other", "Bye", None, 3)
    assert rest.get(f"/auto_messages/{message['id']}").json == changed


def test_an_edit_of_a_draft_is_no_new_version(rest: Rest) -> None:
    message = made(rest)
    assert rest.put(f"/auto_messages/{message['id']}", {"priority": 1}).json["version"] == 1


def test_an_edit_of_what_was_live_is_a_new_version_and_the_old_one_is_kept(rest: Rest) -> None:
    message = made(rest, state="live")
    rest.clock.advance(DAY)
    changed = rest.put(f"/auto_messages/{message['id']}", {"content": {"body": "Hello **again**"}}).json
    assert changed["version"] == 2
    kept = rest.get(f"/auto_messages/{message['id']}/versions").json
    assert kept["data"] == [{**message, "until": rest.clock() // 1000}]


def test_a_change_of_the_state_alone_is_no_new_version(rest: Rest) -> None:
    message = made(rest, state="live")
    states = [rest.put(f"/auto_messages/{message['id']}", {"state": state}).json["state"] for state in ("paused", "live", "archived")]
    assert states == ["paused", "live", "archived"]
    assert rest.get(f"/auto_messages/{message['id']}").json["version"] == 1


def test_a_paused_message_is_not_offered_from_then_on(rest: Rest) -> None:
    message = made(rest, state="live")
    assert rest.world.services.auto_messages.live(rest.world.site.id).messages != []
    rest.put(f"/auto_messages/{message['id']}", {"state": "paused"})
    assert rest.world.services.auto_messages.live(rest.world.site.id).messages == []


def test_a_version_that_is_not_the_present_one_changes_nothing(rest: Rest) -> None:
    message = made(rest, state="live")
    assert rest.put(f"/auto_messages/{message['id']}", {"priority": 1, "version": 1}).status_code == 200
    assert problem(rest.put(f"/auto_messages/{message['id']}", {"priority": 2, "version": 1})) == (409, "conflict", "version")
    assert rest.get(f"/auto_messages/{message['id']}").json["priority"] == 1


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"content": {"body": ""}}, "content.body", "field_missing"),
        ({"trigger": {"type": "event"}}, "trigger.event", "field_missing"),
        ({"colour": "red"}, "colour", "field_unknown"),
        ({"version": "1"}, "version", "field_invalid"),
    ],
)
def test_a_bad_change_names_the_field_and_changes_nothing(rest: Rest, change: dict[str, Any], field: str, code: str) -> None:
    message = made(rest)
    assert problem(rest.put(f"/auto_messages/{message['id']}", change)) == (400, code, field)
    assert rest.get(f"/auto_messages/{message['id']}").json == message


def test_what_reached_nobody_can_be_deleted(rest: Rest) -> None:
    message = made(rest, state="live")
    answer = rest.send("DELETE", f"/auto_messages/{message['id']}")
    assert (answer.status_code, answer.json) == (200, {"id": message["id"], "deleted": True})
    assert problem(rest.get(f"/auto_messages/{message['id']}")) == (404, "not_found", None)
    assert rest.world.services.auto_messages.live(rest.world.site.id).messages == []


def test_what_reached_somebody_stays(rest: Rest) -> None:
    message = made(rest, state="live")
    world = rest.world
    person = world.send(user(), world.event()).person
    with world.services.written.write() as tx:
        number = tx.value("SELECT id FROM auto_messages")
        columns = ("site", "identity", "message", "n", "version", "arm", "nonce", "claimed_at")
        tx.insert("deliveries", columns, [(world.site.id, person, number, 1, 1, "shown", "a-nonce", world.clock())])
    assert problem(rest.send("DELETE", f"/auto_messages/{message['id']}")) == (409, "conflict", None)
    assert rest.get(f"/auto_messages/{message['id']}").json == message


@pytest.mark.parametrize(("method", "path"), [("PUT", ""), ("DELETE", ""), ("GET", "/versions")])
def test_another_sites_message_is_not_there(rest: Rest, method: str, path: str) -> None:
    message = made(rest)
    other = rest.other_site()
    answer = other.send(method, f"/auto_messages/{message['id']}{path}", "{}" if method == "PUT" else None)
    assert problem(answer) == (404, "not_found", None)
    assert rest.get(f"/auto_messages/{message['id']}").json == message
