"""A tracker that lay in a cache for months meets today's collector, messenger and rules: `trackers/` holds some as they were served."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.rules import Rules
from tests.browser.stored import Stored
from tests.browser.tabs import call, fence, lead, until, visit
from tests.support.pages import Pages

OLD = sorted((Path(__file__).parent / "trackers").glob("*.js"))


@pytest.fixture(params=OLD, ids=lambda path: path.stem)
def cached(request: pytest.FixtureRequest, page: Page) -> Page:
    """A tab that has an old tracker in its cache."""
    page.route("**/tracker.js", lambda route: route.fulfill(path=request.param, content_type="text/javascript"))
    return page


def test_its_views_events_and_users_are_stored(cached: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(cached, pages.add("/cached", head=snippet))
    call(cached, "track", "from-the-cache", {"n": 1})
    fence(cached)
    call(cached, "identify", "cached-user", {"plan": "team"})
    fence(cached)
    assert [event.name for event in stored.events(lead=lead(cached))] == ["page-view", "from-the-cache", "fence"]
    assert [event.name for event in stored.events(user="cached-user")] == ["fence"]


def test_it_shows_messages_with_todays_messenger(
    cached: Page, pages: Pages, snippet: str, new_message: Callable[..., Any], rules: Rules
) -> None:
    rules.click("rule-unknown-to-old-trackers", "button")  # what an answer holds beside messages is passed over
    message = new_message("/cached-message", title="From another time")
    visit(cached, pages.add("/cached-message", head=snippet))
    cached.get_by_role("button", name="Close").click()
    expect(cached.locator("leadlight-message")).to_have_count(0)
    until(cached, lambda: message.stats()["dismissed"] == 1)
    assert {name: message.stats()[name] for name in ("sent", "dismissed")} == {"sent": 1, "dismissed": 1}


def test_it_shows_messages_when_what_they_wait_for_happens(
    cached: Page, pages: Pages, snippet: str, new_message: Callable[..., Any]
) -> None:
    message = new_message("/cached-scroll", title="Far enough", trigger={"type": "scroll", "percent": 50})
    new_message("/cached-scroll", title="From elsewhere", trigger={"type": "event", "event": "unheard-of"})
    visit(cached, pages.add("/cached-scroll", head=snippet, body="<div style='height: 5000px'>A long page</div>"))
    fence(cached)
    assert message.stats()["sent"] == 0
    cached.evaluate("scrollTo(0, 4000)")
    expect(cached.get_by_role("dialog", name="Far enough")).to_be_visible()
    assert message.stats()["sent"] == 1
