"""Frameworks that render on the server and find in the browser that they would have rendered otherwise: the document is thrown away."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.intercom.speaking import bundle
from tests.browser.messages import Message
from tests.browser.stored import Stored
from tests.browser.tabs import fence, lead, ready, track
from tests.support.pages import Pages

# Before hydration the page says otherwise. `hydrate` is called by the test, so that it comes when the tracker and a message are there.
REACT = """
    import { createElement as e } from "react";
    import { hydrateRoot } from "react-dom/client";
    window.hydrate = () => hydrateRoot(document, e("html", null,
        e("head", null, e("title", null, "App")),
        e("body", null, e("h1", null, "Rendered in the browser"), e("script", {src: "/app.js"}))
    ), {onRecoverableError: () => { window.recovered = true }});
"""

# What React up to 18 comes to there, without React: another root element.
ANEW = """window.hydrate = () => {
    const html = document.createElement("html");
    html.innerHTML = "<head><title>App</title></head><body><h1>Rendered in the browser</h1></body>";
    document.documentElement.replaceWith(html);
    window.recovered = true;
}"""


@pytest.fixture(params=["react", "a new root element"])
def app(request: pytest.FixtureRequest, pages: Pages, snippet: str) -> str:
    """A page that such a framework rendered, otherwise than it will; its address."""
    pages.by_path["/app.js"] = bundle(REACT if request.param == "react" else ANEW)
    path = f"/hydrated-{request.param.replace(' ', '-')}"
    return pages.add(path, head="<title>App</title>" + snippet, body='<h1>Rendered on the server</h1><script src="/app.js"></script>')


def hydrate(page: Page) -> None:
    page.evaluate("hydrate()")
    page.wait_for_function("window.recovered")
    expect(page.get_by_role("heading", name="Rendered in the browser")).to_be_visible()


def card(page: Page) -> Any:
    return page.locator("leadlight-message").get_by_role("dialog")


def test_the_tracker_lives_on_and_counts_the_page_once(page: Page, app: str, stored: Stored) -> None:
    page.goto(app)
    ready(page)
    hydrate(page)
    track(page, "after-hydration", 1)
    fence(page)
    assert len(stored.views(lead(page))) == 1
    assert [event.owner for event in stored.events("after-hydration")][-1:] == [lead(page)]


@pytest.mark.parametrize("position", ["corner", "center"])
def test_a_message_that_was_open_is_there_again_and_works(page: Page, app: str, new_message: Callable[..., Message], position: str) -> None:
    new_message(app[app.index("/hydrated") :], title="Still here", position=position)
    page.goto(app)
    expect(card(page)).to_be_visible()
    hydrate(page)
    expect(card(page)).to_be_visible()
    expect(card(page)).to_have_accessible_name("Still here")
    if position == "center":
        assert page.evaluate("document.querySelector('leadlight-message').shadowRoot.querySelector('dialog').matches(':modal')")
    page.keyboard.press("Escape") if position == "center" else card(page).get_by_role("button").last.click()
    expect(card(page)).to_have_count(0)
