"""The whole story on the demo site: visits, an anonymous visitor who signs up and keeps the history, and messages meant for them."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect
from werkzeug.serving import WSGIRequestHandler, make_server

from demo_site import SiteConfig, create_app
from demo_site.messages import auto_messages
from tests.browser.tabs import call, fence, lead, ready, status, until
from tests.support.client import Client
from tests.support.postgres import new_database
from tests.support.processes import free_port
from tests.support.servers import Collector, Demo

PASSWORD = "a long password"


class Story:
    """A running demo site and REST of its collector."""

    def __init__(self, url: str, client: Client) -> None:
        self.url = url
        self.client = client
        self.messages = {one["name"]: one["id"] for one in self.get("/auto_messages")["data"]}

    def get(self, path: str) -> Any:
        answer = self.client.api("GET", path)
        assert answer.status == 200, answer.text
        return answer.json

    def person(self, page: Page) -> dict[str, Any]:
        """The contact of the user whom the page asserts."""
        found: dict[str, Any] = self.get(f"/contacts/find_by_external_id/{status(page)['user']}")
        return found

    def totals(self, page: Page) -> dict[str, int]:
        """The user's event totals."""
        summary = self.get(f"/events?type=user&user_id={status(page)['user']}&summary=true")
        return {one["name"]: one["count"] for one in summary["events"]}

    def events(self, page: Page, name: str) -> list[dict[str, Any]]:
        """The user's events of a name, the oldest first."""
        found = self.get(f"/events?type=user&user_id={status(page)['user']}&per_page=200")["events"]
        return [one for one in reversed(found) if one["event_name"] == name]

    def stats(self, name: str) -> dict[str, int]:
        """The numbers of a message."""
        found: dict[str, int] = self.get(f"/auto_messages/{self.messages[name]}/stats")
        return found


@pytest.fixture
def story(demo: Demo) -> Story:
    """The demo as it is started by hand."""
    kept = json.loads((demo.program.folder / "data" / "demo.json").read_text("utf-8"))
    return Story(demo.site_url, Client(demo.collector_url, kept["access_token"]))


class Quiet(WSGIRequestHandler):
    def log(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def story_on_postgresql(url: str, folder: Path) -> Iterator[Story]:
    """The same site and messages in front of a collector that keeps everything in PostgreSQL."""
    port = free_port()
    address = f"http://localhost:{port}"
    with ExitStack() as stack:
        collector = Collector(folder, stack.enter_context(new_database(url)), origins=[address], site="Plainsheet")
        stack.callback(collector.kill)
        for message in auto_messages(address):
            assert collector.client.api("POST", "/auto_messages", message).status == 201
        config = SiteConfig(
            collector=collector.url,
            site_key=collector.site_key,
            identity_secret=collector.identity_secret,
            access_token=collector.access_token,
            tracker_options={"automation": "count"},
        )
        server = make_server("127.0.0.1", port, create_app(config), threaded=True, request_handler=Quiet)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        stack.callback(server.server_close)
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield Story(address, collector.client)


def go(page: Page, story: Story, path: str) -> None:
    page.goto(story.url + path)
    ready(page)


def card(page: Page, title: str) -> Locator:
    found = page.get_by_role("dialog", name=title)
    expect(found).to_be_visible()
    return found


def sign_up(page: Page, story: Story, name: str = "Ada Lovelace") -> None:
    """Make an account and land on its reports."""
    go(page, story, "/sign-up")
    page.fill("#sign-up-name", name)
    page.fill("#sign-up-email", f"{uuid4().hex[:12]}@example.com")
    page.fill("#sign-up-password", PASSWORD)
    page.click("#sign-up-submit")
    page.wait_for_url("**/app")
    ready(page)


def create_report(page: Page, story: Story) -> None:
    go(page, story, "/app/reports/new")
    page.fill("#report-title", "First answers, minutes")
    page.select_option("#report-source", "support")
    page.click("#report-submit")
    page.wait_for_selector("#report-name")
    ready(page)


def test_the_fourth_view_of_pricing_brings_the_message_in_that_very_view(page: Page, story: Story) -> None:
    before = story.stats("Pricing, again")
    for _ in range(3):
        go(page, story, "/pricing")
        fence(page)
        expect(page.locator("leadlight-message")).to_have_count(0)
    go(page, story, "/pricing")
    view = status(page)["view"]
    found = card(page, "Still comparing plans?")
    assert status(page)["view"] == view
    assert until(page, lambda: story.stats("Pricing, again")["seen"] == before["seen"] + 1)
    found.get_by_role("link", name="Choose Team").click()
    page.wait_for_url("**/sign-up?plan=team")
    assert until(page, lambda: story.stats("Pricing, again")["clicked"] == before["clicked"] + 1)
    after = story.stats("Pricing, again")
    assert after["sent"] == before["sent"] + 1
    assert after["dismissed"] == before["dismissed"]


def test_a_cart_without_checkout_is_remembered_until_the_checkout(
    page: Page, story: Story, new_context: Callable[..., BrowserContext]
) -> None:
    for visitor, checks_out in ((page, False), (new_context().new_page(), True)):
        go(visitor, story, "/shop/chart-stencil")
        visitor.fill("#quantity", "2")
        visitor.click("#add-chart-stencil button")
        visitor.wait_for_url("**/cart")
        ready(visitor)
        if checks_out:
            visitor.click("#cart-checkout")
            visitor.fill("#checkout-name", "Ada")
            visitor.fill("#checkout-email", "ada@example.com")
            visitor.click("#checkout-submit")
            visitor.wait_for_url("**/order")
            ready(visitor)
            fence(visitor)
        go(visitor, story, "/shop")
        if checks_out:
            fence(visitor)
            expect(visitor.locator("leadlight-message")).to_have_count(0)
        else:
            card(visitor, "Your cart is still here")


def test_a_form_that_was_refused_is_answered_in_the_same_page_with_what_was_wrong(page: Page, story: Story) -> None:
    go(page, story, "/contact")
    page.fill("#contact-name", "Ada")
    page.click("#contact-submit")
    page.wait_for_selector("#contact-errors")
    found = card(page, "Shall we take it from here?")
    expect(found).to_contain_text("Please enter an email address")
    before = story.stats("Help after a form error")["dismissed"]
    found.get_by_role("button", name="I will try again").click()
    assert until(page, lambda: story.stats("Help after a form error")["dismissed"] == before + 1)


def test_a_download_of_the_whitepaper_is_answered_once(page: Page, story: Story) -> None:
    go(page, story, "/whitepaper")
    with page.expect_download():
        page.click("#whitepaper-download")
    found = card(page, "A good read on the way to a good report")
    expect(found).to_contain_text("The report people read has 6 pages")
    found.get_by_role("button", name="Later").click()
    expect(page.locator("leadlight-message")).to_have_count(0)
    with page.expect_download():
        page.click("#whitepaper-download")
    fence(page)
    expect(page.locator("leadlight-message")).to_have_count(0)


def test_who_signs_up_keeps_the_history_as_one_person(page: Page, story: Story) -> None:
    go(page, story, "/pricing")
    fence(page)
    go(page, story, "/whitepaper")
    with page.expect_download():
        page.click("#whitepaper-download")
    fence(page)
    people = story.get("/contacts")["total_count"]
    visitor = lead(page)
    sign_up(page, story)
    fence(page)
    assert lead(page) == visitor
    person = story.person(page)
    assert (person["role"], person["name"], person["verified"]) == ("user", "Ada Lovelace", True)
    assert person["custom_attributes"]["plan"] == "Free"
    assert story.get("/contacts")["total_count"] == people
    totals = story.totals(page)
    assert (totals["downloaded-whitepaper"], totals["signed-up"], totals["page-view"]) == (1, 1, 4)
    paths = [one["metadata"]["path"] for one in story.events(page, "page-view")]
    assert paths == ["/pricing", "/whitepaper", "/sign-up", "/app"]


def test_an_upgrade_is_thanked_for_with_the_name_of_the_plan(page: Page, story: Story) -> None:
    sign_up(page, story, "Grace Hopper")
    go(page, story, "/app/plan?plan=business")
    page.click("#upgrade-submit")
    found = card(page, "You are on Business")
    expect(found).to_contain_text("Thank you, Grace. Business is active now, the invoice over EUR 79.00 is on its way")
    found.get_by_role("button", name="Close", exact=True).last.click()
    fence(page)
    assert until(page, lambda: story.totals(page).get("invoice-paid")) == 1
    assert story.totals(page)["upgraded-plan"] == 1
    (event,) = story.events(page, "upgraded-plan")
    assert event["metadata"]["price"] == {"amount": 7900, "currency": "eur"}


def test_a_feature_never_used_is_pointed_out_until_it_is_used(page: Page, story: Story, new_context: Callable[..., BrowserContext]) -> None:
    sign_up(page, story)
    fence(page)
    expect(page.locator("leadlight-message")).to_have_count(0)
    create_report(page, story)
    go(page, story, "/app")
    card(page, "Take your report along")
    other = new_context().new_page()
    sign_up(other, story)
    create_report(other, story)
    with other.expect_download():
        other.click("#report-export")
    fence(other)
    go(other, story, "/app")
    fence(other)
    expect(other.locator("leadlight-message")).to_have_count(0)


def test_after_sign_out_somebody_new_sits_there_and_nothing_of_the_user_is_left(context: BrowserContext, page: Page, story: Story) -> None:
    sign_up(page, story, "Very Private")
    create_report(page, story)
    fence(page)
    before, user, totals = lead(page), status(page)["user"], story.totals(page)
    page.click("#sign-out")
    page.wait_for_url(story.url + "/")
    page.wait_for_function("before => window.leadlight?.v && leadlight('status').lead != before", arg=before)
    go(page, story, "/pricing")
    call(page, "track", "as somebody new")
    fence(page)
    assert status(page)["user"] is None
    summary = story.get(f"/events?type=user&user_id={user}&summary=true")["events"]
    assert {one["name"]: one["count"] for one in summary} == totals
    left = json.dumps([context.cookies(), page.evaluate("() => ({...localStorage})")])
    assert user not in left
    assert before not in left
    assert "Very Private" not in left


@pytest.mark.parametrize("engine", ["postgresql"])
def test_the_whole_story_holds_on_postgresql(page: Page, engine: str, postgres_url: str, tmp_path: Path) -> None:
    with story_on_postgresql(postgres_url, tmp_path / "collector") as story:
        for _ in range(4):
            go(page, story, "/pricing")
            fence(page)
        card(page, "Still comparing plans?").get_by_role("button", name="Just looking").click()
        assert until(page, lambda: story.stats("Pricing, again")["dismissed"] == 1)
        visitor = lead(page)
        sign_up(page, story)
        fence(page)
        assert story.totals(page)["page-view"] == 6
        assert story.get("/contacts")["total_count"] == 1
        go(page, story, "/app/plan?plan=team")
        page.click("#upgrade-submit")
        expect(card(page, "You are on Team")).to_contain_text("Thank you, Ada")
        assert until(page, lambda: story.stats("Thanks for the upgrade")["seen"] == 1)
        page.keyboard.press("Escape")
        page.click("#sign-out")
        page.wait_for_url(story.url + "/")
        page.wait_for_function("before => window.leadlight?.v && leadlight('status').lead != before", arg=visitor)
        fence(page)
        assert story.get("/contacts")["total_count"] == 2
