"""The console in a browser: a segment from the question to the list, counted while one looks; a rule about clicks."""

import json
import re
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


@pytest.mark.parametrize("size", SIZES)
def test_a_rule_about_clicks_from_the_form_to_its_end(signed_in: Callable[[str], Page], collector: Collector, size: str) -> None:
    event = f"bought-{size}"
    page = signed_in(size)
    page.goto(f"{collector.console_url}/event-rules")
    page.get_by_role("link", name="Something is clicked").press("Enter")
    page.get_by_label("Name of the event").fill(event)
    page.get_by_label("CSS selector of what is clicked").fill("article[data-sku")
    page.get_by_label("Key").fill("sku")
    page.get_by_label("Attribute, if not the text").fill("data-sku")

    # A row more, and the keyboard is in it.
    page.get_by_role("button", name="One more key").press("Enter")
    expect(page.get_by_label("Key, row 2")).to_be_focused()
    page.keyboard.type("name")
    page.get_by_label("Selector within, if not the whole, row 2").fill("h2")
    page.get_by_text("Only on some pages").press("Enter")
    page.get_by_label("Value").fill("/shop")

    # Enter makes the rule, and does not ask for a row; what is wrong is said where it stands.
    page.get_by_label("Value").press("Enter")
    selector = page.get_by_label("CSS selector of what is clicked")
    expect(page.get_by_role("alert")).to_contain_text("At selector:")
    expect(selector).to_be_focused()
    expect(selector).to_have_accessible_description(re.compile("never closed"))
    expect(page.get_by_label("Value")).to_have_value("/shop")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    selector.fill("article[data-sku]")
    selector.press("Enter")
    expect(page.get_by_role("status")).to_have_text(f"{event} counts from now on.")
    row = page.get_by_role("row").filter(has_text=event)
    expect(row).to_contain_text("Clicks on article[data-sku]")
    expect(row).to_contain_text("name: the text of the first h2 in it")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")

    row.get_by_text("Stop…").press("Enter")
    row.get_by_role("button", name=f"Stop {event}").press("Enter")
    expect(row).to_contain_text("Stopped")
