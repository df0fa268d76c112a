"""Auto messages by REST: made with defaults, given out again, with their numbers."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clock import FakeClock
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
