"""The console in a browser: a segment from the question to the list, counted while one looks."""

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import TIMEOUT_MS
from tests.support.servers import Collector

SIZES = {"wide": (1200, 800), "narrow": (320, 700)}


@pytest.fixture
def signed_in(new_context: Callable[..., BrowserContext], collector: Collector) -> Callable[[str], Page]:
    """Opens the console in a window of a size, signed in."""

    def open_one(size: str) -> Page:
        width, height = SIZES[size]
        page = new_context(viewport={"width": width, "height": height}).new_page()
        page.goto(collector.console_url)
        page.get_by_label("Email").fill(collector.console_email)
        page.get_by_label("Password").fill(collector.console_password)
        page.keyboard.press("Enter")
        page.wait_for_url("**/console/people")
        return page

    return open_one


@pytest.mark.parametrize("size", SIZES)
def test_a_segment_from_the_question_to_its_end(signed_in: Callable[[str], Page], collector: Collector, size: str) -> None:
    event, name = f"walked-{size}", f"Walkers, {size}"

    def happen(user_id: str) -> None:
        collector.client.api("POST", "/events", {"event_name": event, "user_id": user_id, "create_contact": True})

    happen(f"{size}-1")
    page = signed_in(size)
    query = json.dumps({"event": event, "field": "count", "operator": ">", "value": 0})
    page.goto(f"{collector.console_url}/people?query={quote(query)}")
    page.get_by_role("link", name="Save this query as a segment").click()
    expect(page.get_by_label("Query, as JSON")).to_have_value(query)

    # What is wrong is said where it stands, and the keyboard is there already.
    page.get_by_label("Query, as JSON").fill(query.replace('">"', '"is"'))
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("At query.operator:")
    expect(page.get_by_label("Query, as JSON")).to_be_focused()
    expect(page.get_by_label("Name")).to_have_value(name)
    page.get_by_label("Query, as JSON").fill(query)
    page.get_by_label("Name").press("Enter")
    expect(page.get_by_role("status").filter(has_text="Saved.")).to_be_visible()

    # The list counts by itself, and says so where it cannot.
    page.get_by_role("navigation", name="Console").get_by_role("link", name="Segments").click()
    row = page.get_by_role("row").filter(has_text=name)
    count, late = row.locator("[data-count]"), page.get_by_text("Not up to date")
    expect(count).to_have_text("1")
    expect(late).to_be_hidden()
    before = page.locator("[data-counted-at]").get_attribute("datetime")
    happen(f"{size}-2")
    expect(count).to_have_text("2", timeout=TIMEOUT_MS)
    assert page.locator("[data-counted-at]").get_attribute("datetime") != before
    page.context.set_offline(True)
    expect(late).to_be_visible(timeout=TIMEOUT_MS)
    page.context.set_offline(False)
    expect(late).to_be_hidden(timeout=TIMEOUT_MS)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")

    # Its people, another name, and its end: by the keyboard alone.
    row.get_by_role("link", name=f"Show people of {name}").press("Enter")
    expect(page.get_by_text(f"People of the segment {name}")).to_be_visible()
    expect(page.get_by_role("link", name=f"{size}-2")).to_be_visible()
    page.get_by_role("link", name=name, exact=True).press("Enter")
    page.get_by_label("Name").fill(f"{name}, renamed")
    page.get_by_label("Name").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{name}, renamed")
    page.get_by_text("Delete this segment").press("Enter")
    page.get_by_role("button", name="Delete the segment").press("Enter")
    expect(page.get_by_role("status")).to_have_text("The segment was deleted.")
    expect(page.get_by_text(f"{name}, renamed")).to_be_hidden()
