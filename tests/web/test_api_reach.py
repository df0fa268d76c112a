"""Before a message goes live, REST says how many it is for and who could not be shown it."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.domain import people
from collector.domain.content import MissingValue, render
from tests.support.clock import FakeClock
from tests.web.test_api_support import Rest, serving

OF_EVENT = {"body": "You left {{event.metadata.item}}"}


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def made(rest: Rest, **fields: Any) -> dict[str, Any]:
    answer = rest.post("/auto_messages", {"name": "Hello", "type": "popup", **fields})
    assert answer.status_code == 201, answer.text
    message: dict[str, Any] = answer.json
    return message


def reach(rest: Rest, message: dict[str, Any]) -> Any:
    answer = rest.get(f"/auto_messages/{message['id']}/reach")
    assert answer.status_code == 200, answer.text
    return answer.json


def test_a_draft_tells_how_many_it_is_for_and_who_lacks_what_it_needs(rest: Rest) -> None:
    for number in range(3):
        rest.contact(role="user", external_id=f"u-{number}", custom_attributes={"plan": "pro" if number else "free"})
    audience = {"field": "custom_attributes.plan", "operator": "=", "value": "pro"}
    message = made(rest, audience=audience, content={"body": 'Hi {{first_name}}, on {{plan | fallback: "no plan"}}'})
    assert reach(rest, message) == {"people": 2, "without": 2, "lacking": {"first_name": 2}, "of_event": [], "impossible": False}


PEOPLE = (
    {"name": "Ada Example", "phone": "1"},
    {"name": "Ada"},
    {"name": ""},
    {"custom_attributes": {"first_name": "Ada", "last_name": "Example", "phone": "2", "user_id": "x"}},
    {"name": "", "custom_attributes": {"first_name": "Ada", "phone": ""}},
    {"name": "Ada Example", "custom_attributes": {"last_name": "", "phone": "3"}},
    {"phone": "", "custom_attributes": {"phone": "4"}},
    {},
)


@pytest.mark.parametrize("path", ["name", "first_name", "last_name", "phone", "user_id", "email", "never_heard_of"])
def test_those_who_are_counted_as_lacking_it_are_those_who_cannot_be_shown_it(rest: Rest, path: str) -> None:
    message = made(rest, content={"body": f"Hello {{{{{path}}}}}"})
    contacts = [rest.contact(role="user", external_id=f"u-{number}", **fields)["id"] for number, fields in enumerate(PEOPLE)]
    services, site = rest.world.services, rest.world.site
    lacking = 0
    with services.database.read() as connection:
        definition = services.auto_messages.get(connection, site.id, message["id"]).definition
        for contact in contacts:
            person, _ = people.by_contact_id(connection, site.id, contact)
            known = people.values(connection, site.id, services.names, person, rest.clock())
            try:
                render(definition, known, None, site.zone)
            except MissingValue:
                lacking += 1
    assert reach(rest, message)["without"] == lacking


def test_what_the_event_has_to_bring_is_named(rest: Rest) -> None:
    message = made(rest, content=OF_EVENT, trigger={"type": "event", "event": "cart-left"})
    told = reach(rest, message)
    assert (told["of_event"], told["impossible"]) == (["event.metadata.item"], False)
    assert "warnings" not in message


def test_what_nobody_could_be_shown_is_said_when_it_is_made_and_changed_and_asked_for(rest: Rest) -> None:
    message = made(rest, state="live", content=OF_EVENT)
    assert [(one["code"], one["field"]) for one in message["warnings"]] == [("content_impossible", "content")]
    assert reach(rest, message)["impossible"]
    again = rest.put(f"/auto_messages/{message['id']}", message)
    assert (again.status_code, again.json["warnings"]) == (200, message["warnings"])
    mended = rest.put(f"/auto_messages/{message['id']}", {"content": {"body": '{{event.metadata.item | fallback: "it"}}'}})
    assert (mended.status_code, "warnings" in mended.json) == (200, False)


@pytest.mark.parametrize(
    ("schedule", "over"),
    [  # it is Mon 21 Sep 2026, 16:13 in the site's zone
        ({"ends_at": "2026-09-21T16:13:00"}, True),
        ({"ends_at": "2026-09-21T16:30:00"}, False),
        ({"starts_at": "2026-09-22T09:00:00", "ends_at": "2026-09-23T09:00:00"}, False),
        ({"hours": [{"days": ["sun"], "from": "09:00", "to": "10:00"}], "ends_at": "2026-09-27T09:00:00"}, True),
        ({"hours": [{"days": ["sun"], "from": "09:00", "to": "10:00"}], "ends_at": "2026-09-27T09:00:01"}, False),
        ({"hours": [{"days": ["sun"], "from": "09:00", "to": "10:00"}]}, False),
    ],
)
def test_what_is_over_is_shown_to_nobody(rest: Rest, schedule: dict[str, Any], over: bool) -> None:
    message = made(rest, schedule=schedule, content={"body": "Hello"})
    told = [(one["code"], one["field"]) for one in message.get("warnings", [])]
    assert told == ([("schedule_over", "schedule")] if over else [])
    assert reach(rest, message)["impossible"] is over
    assert ("warnings" in rest.put(f"/auto_messages/{message['id']}", {"priority": 1}).json) is over


def test_another_site_knows_nothing_of_it(rest: Rest) -> None:
    assert rest.get("/auto_messages/nobody-knows/reach").status_code == 404
