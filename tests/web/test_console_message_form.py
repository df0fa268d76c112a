"""A message in the console: made of a form or of JSON, edited, with the API's errors where they belong."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from collector.domain.auto_messages import AutoMessage
from collector.values.clock import HOUR
from tests.support.clock import FakeClock
from tests.web.test_console_support import Console, Parsed, console

CONTENT = {"title": "Still comparing?", "body": "Ask **us**.", "buttons": [{"label": "Close", "action": "dismiss"}]}
CART = {"event": "cart", "field": "count", "operator": ">", "value": 0}


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


def filled(on: Console, path: str) -> dict[str, str]:
    """Return what stands in the form of a page."""
    return Form(on.page(path)).fields


class Form(Parsed):
    """A page with what stands in its fields."""

    def __init__(self, html: str) -> None:
        self.fields: dict[str, str] = {}
        self._open: str | None = None
        self._select = ""
        super().__init__(html)
        self.fields = {name: text.removeprefix("\n") for name, text in self.fields.items()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        given = {name: value or "" for name, value in attrs}
        if tag == "textarea":
            self._open = given["name"]
            self.fields[given["name"]] = ""
        elif tag == "select":
            self._select = given["name"]
        elif tag == "option" and "selected" in given:
            self.fields[self._select] = given["value"]
        elif tag == "input" and (given.get("type") != "checkbox" or "checked" in given):
            self.fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._open = None

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if self._open is not None:
            self.fields[self._open] += data


def stored(on: Console) -> list[AutoMessage]:
    with on.services.database.read() as connection:
        return on.services.auto_messages.all(connection, on.site.id)


def fields(**given: Any) -> dict[str, str]:
    """Return a form that makes a message."""
    whole = {"name": "Ask us", "type": "popup", "content": CONTENT, **given}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in whole.items()}


# Made


def test_a_message_is_made_as_a_draft(on: Console) -> None:
    answer = on.post(
        "/messages/new", fields(audience=CART, frequency={"type": "once"}, priority="3", holdout_percent="12.5", ignore_caps="true")
    )
    (made,) = stored(on)
    assert (answer.status_code, urlsplit(answer.headers["Location"]).path) == (303, f"/console/messages/{made.public_id}")
    document = made.as_json()
    assert document.items() >= {"name": "Ask us", "state": "draft", "audience": CART, "priority": 3, "holdout_percent": 12.5}.items()
    assert document["ignore_caps"] is True
    assert document["frequency"]["type"] == "once"
    assert (document["page"], document["goal"]) == (None, None)


def test_the_form_begins_with_the_least_that_a_message_has(on: Console) -> None:
    begun = filled(on, "/messages/new")
    assert begun["type"] == "popup"
    assert begun["audience"] == begun["goal"] == ""
    content = {**json.loads(begun["content"]), "body": "Hello"}
    assert on.post("/messages/new", {**begun, "name": "Ask us", "content": json.dumps(content)}).status_code == 303


def test_the_form_is_filled_in_from_a_whole_definition(on: Console) -> None:
    source = on.message(name="Whole", audience=CART, goal={"query": CART, "days": 3}, priority=7).as_json()
    answer = on.post("/messages/new", {"do": "fill", "document": json.dumps(source)})
    assert answer.status_code == 200
    assert len(stored(on)) == 1
    on.post("/messages/new", Form(answer.text).fields)
    copy = stored(on)[0].as_json()
    assert copy == {**source, "id": copy["id"], "state": "draft"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ('{"name": 1 2}', "At line 1, column 12 : This is no JSON"),
        ("[]", "A definition is a JSON object."),
        ('{"colour": "red"}', "A message has no part of this name: colour."),
    ],
)
def test_what_is_no_definition_is_not_filled_in(on: Console, document: str, said: str) -> None:
    answer = on.post("/messages/new", {"do": "fill", "document": document})
    assert answer.status_code == 400
    assert said in Parsed(answer.text).text
    assert Form(answer.text).fields["document"] == document


# Edited


def test_the_form_of_a_message_says_what_it_is_and_saving_it_changes_nothing(on: Console) -> None:
    message = on.message(audience=CART, goal={"query": CART, "days": 3}, ignore_caps=True, schedule={"starts_at": 1790000000})
    path = f"/messages/{message.public_id}/edit"
    before = filled(on, path)
    assert json.loads(before["audience"]) == CART
    assert on.post(path, before).status_code == 303
    (after,) = stored(on)
    assert (after.as_json(), after.version) == (message.as_json(), 1)


def test_an_edit_of_a_live_message_is_a_new_version_and_keeps_it_live(on: Console) -> None:
    message = on.message(name="Ask us")
    path = f"/messages/{message.public_id}/edit"
    assert "as version 2" in Parsed(on.page(path)).text
    answer = on.post(path, {**filled(on, path), "name": "Ask them", "content": json.dumps(CONTENT)})
    assert answer.status_code == 303
    (after,) = stored(on)
    assert (after.definition.name, after.definition.state, after.version) == ("Ask them", "live", 2)
    assert on.services.auto_messages.live(on.site.id).messages[0].version == 2


@pytest.mark.parametrize(
    ("given", "at", "said"),
    [
        ({"name": ""}, "name", "At name : It is required."),
        ({"type": "tooltip"}, "type", "At type :"),
        ({"content": {**CONTENT, "buttons": [{"label": "x", "action": "url"}]}}, "content", "At content.buttons[0].url : A button"),
        ({"content": '{"body": }'}, "content", "At line 1, column 10 : This is no JSON"),
        ({"audience": {**CART, "operator": "is"}}, "audience", "At audience.operator :"),
        ({"audience": {"field": "segment_id", "operator": "=", "value": "none"}}, "audience", "At audience.value : There is no segment"),
        ({"page": {"field": "colour"}}, "page", "At page.field :"),
        ({"trigger": {"type": "event"}}, "trigger", "At trigger.event :"),
        ({"frequency": {"type": "once", "max": 3}}, "frequency", "At frequency.max : It goes with the type every_time only."),
        ({"schedule": {"starts_at": 2, "ends_at": 1}}, "schedule", "At schedule.ends_at : The end lies before the start."),
        ({"goal": {"query": CART}}, "goal", "At goal.days : A goal has a number of days."),
        ({"priority": "high"}, "priority", "At priority :"),
        ({"holdout_percent": "101"}, "holdout_percent", "At holdout_percent :"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_lost(on: Console, given: dict[str, Any], at: str, said: str) -> None:
    message = on.message()
    for path in ("/messages/new", f"/messages/{message.public_id}/edit"):
        sent = {**filled(on, path), **fields(**given)}
        answer = on.post(path, sent)
        assert answer.status_code == 400
        assert said in Parsed(answer.text).text
        assert answer.text.count(f'id="{at}-problem"') >= 1
        assert answer.text.count('aria-invalid="true"') == answer.text.count("autofocus") == 1
        assert Form(answer.text).fields.items() >= {name: text for name, text in sent.items() if name != "type"}.items()
    assert [one.as_json() for one in stored(on)] == [message.as_json()]


def test_all_that_is_wrong_is_said_at_once(on: Console) -> None:
    answer = on.post("/messages/new", fields(name="", priority="high", trigger={"type": "event"}))
    text = Parsed(answer.text).text
    assert all(f"At {place} :" in text for place in ("name", "trigger.event", "priority"))


def test_what_somebody_else_changed_meanwhile_is_not_overwritten_unawares(on: Console) -> None:
    message = on.message()
    path = f"/messages/{message.public_id}/edit"
    mine, theirs = filled(on, path), filled(on, path)
    on.post(path, {**theirs, "name": "Theirs"})
    on.clock.advance(HOUR)
    answer = on.post(path, {**mine, "name": "Mine"})
    assert answer.status_code == 409
    assert "Nothing was saved: somebody changed this message" in Parsed(answer.text).text
    assert stored(on)[0].definition.name == "Theirs"
    assert on.post(path, Form(answer.text).fields).status_code == 303
    assert stored(on)[0].definition.name == "Mine"


def test_another_page_can_change_nothing(on: Console) -> None:
    message = on.message()
    for path in ("/messages/new", f"/messages/{message.public_id}/edit"):
        assert on.post(path, fields(), headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert [one.as_json() for one in stored(on)] == [message.as_json()]


def test_another_sites_message_is_not_there(on: Console) -> None:
    theirs = on.message(on.world.new_site("Other", "https://other.example"))
    path = f"/messages/{theirs.public_id}/edit"
    assert on.get(path).status_code == on.post(path, fields()).status_code == 404


def test_what_is_written_stays_text(on: Console) -> None:
    hostile = "</textarea><script>alert(1)</script>"
    message = on.message(name=hostile, content={"body": hostile})
    page = on.page(f"/messages/{message.public_id}/edit")
    assert "<script>alert" not in page
    assert json.loads(Form(page).fields["content"])["body"] == hostile
