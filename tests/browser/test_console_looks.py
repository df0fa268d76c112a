"""The console's pages as assistive technology and small windows meet them: axe-core finds nothing, nothing scrolls sideways."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import TIMEOUT_MS
from tests.browser.messages import Message
from tests.browser.stage import AXE
from tests.support.servers import Collector

SCHEMES: tuple[Any, ...] = ("light", "dark")
WIDTHS = (1280, 375, 320)
PLACES = {
    "people": "/people",
    "a query": "/people?query=%7B%22field%22%3A%22role%22%2C%22operator%22%3A%22%3D%22%2C%22value%22%3A%22user%22%7D",
    "a query that is wrong": "/people?query=%7B%22field%22%3A1%7D",
    "a profile": "/people/CONTACT",
    "segments": "/segments",
    "a new segment": "/segments/new",
    "events": "/events",
    "rules": "/event-rules",
    "messages": "/messages",
    "a new message": "/messages/new",
    "a message, its numbers and answers": "/messages/MESSAGE",
    "its form": "/messages/MESSAGE/edit",
    "all its answers": "/messages/MESSAGE/answers",
    "its test": "/messages/MESSAGE/test",
    "going live": "/messages/MESSAGE/live",
    "the pause": "/messages/pause",
    "the colour": "/messages/looks",
    "installing": "/install",
}
FIND = """async () => {
    const {violations} = await axe.run(document, {rules: {'target-size': {enabled: true}}, resultTypes: ['violations']});
    return violations.flatMap(({id, nodes}) => nodes.map(({target, failureSummary}) => `${id}: ${target} ${failureSummary}`));
}"""

Opening = Callable[[str], Page]


@pytest.fixture(scope="module")
def opened(browser: Browser, shared_collector: Collector) -> Iterator[Opening]:
    """Opens a place of the console, signed in; there is somebody with events and attributes, and a message with a question."""
    client = shared_collector.client
    event = {
        "event_name": "looked-at",
        "user_id": "looks-1",
        "create_contact": True,
        "metadata": {"price": {"amount": 1250, "currency": "eur"}},
    }
    assert client.api("POST", "/events", event).status == 202
    contact = client.api("GET", "/contacts/find_by_external_id/looks-1").json["id"]
    client.api("PUT", f"/contacts/{contact}", {"name": "Éva <b>Example</b>", "custom_attributes": {"plan": "x" * 200}})
    content = {"title": "Hello {{first_name}}", "body": "A *message*.", "question": {"kind": "rating"}}
    audience = {"event": "looked-at", "field": "count", "operator": ">", "value": 0}
    message = Message(client, {"name": "y" * 90, "type": "popup", "state": "paused", "content": content, "audience": audience})
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(shared_collector.console_url)
    page.get_by_label("Email").fill(shared_collector.console_email)
    page.get_by_label("Password").fill(shared_collector.console_password)
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/people")

    def go(place: str) -> Page:
        page.set_viewport_size({"width": 1280, "height": 800})
        path = PLACES[place].replace("CONTACT", contact).replace("MESSAGE", message.id)
        answer = page.goto(shared_collector.console_url.rstrip("/") + path)
        assert answer
        assert answer.status == 200, place
        return page

    yield go
    message.archive()
    page.context.close()


@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing_and_nothing_scrolls_sideways(opened: Opening, place: str) -> None:
    page = opened(place)
    page.evaluate(AXE.read_text("utf-8"))
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(FIND) == [], scheme
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
