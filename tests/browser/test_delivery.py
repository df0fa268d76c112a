"""Delivery: what was tracked arrives, now or later, and once, whatever the network and the browser do."""

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.browser.tabs import SECONDS, fence, lead, status, track, until, visit
from tests.support.pages import Pages

Numbers = Callable[[str, int], list[int]]


def test_a_failing_collector_is_asked_again_with_growing_pauses(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fates = [500, "drop"]
    track(page, "failing", 1)
    assert numbers("failing", 1) == [1]
    tries = gateway.tries("failing")
    assert len(tries) <= 4  # Chromium itself may repeat a request on a connection that was cut
    assert tries[1].at - tries[0].at >= 0.45


def test_what_was_tracked_offline_arrives_when_the_network_is_back(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=snippet))
    fence(page)
    context.set_offline(True)
    with page.expect_event("requestfailed"):
        track(page, "offline", 1, 2)
    context.set_offline(False)
    fence(page)
    assert numbers("offline", 2) == [1, 2]


def test_a_collector_that_hangs_holds_neither_the_page_nor_what_comes_after(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fates = ["hang"]
    track(page, "hanging", 1)
    assert until(page, lambda: gateway.tries("hanging"))
    visit(page, pages.url("/"))
    fence(page)
    assert numbers("hanging", 1) == [1]


def test_events_of_one_sender_arrive_in_the_order_they_were_tracked(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=through))
    for n in range(0, 600, 100):
        track(page, "ordered", *range(n, n + 100))
    fence(page)
    assert [item["metadata"]["n"] for sent in gateway.tries("ordered") for item in sent.json["items"] if item["name"] == "ordered"] == list(
        range(600)
    )
    assert numbers("ordered", 600) == list(range(600))


def test_an_address_of_twelve_kilobytes_costs_neither_its_view_nor_an_event(
    page: Page, pages: Pages, snippet: str, stored: Stored, numbers: Numbers
) -> None:
    pages.add("/", head=snippet)
    visit(page, pages.url("/?ref=" + "x" * 12_000))
    track(page, "long address", 1)
    fence(page)
    assert numbers("long address", 1) == [1]
    assert [view.path for view in stored.views(lead(page))] == ["/"]


def test_a_blocked_script_stops_nothing_of_the_page(page: Page, pages: Pages, snippet: str) -> None:
    stub = "<script>window.leadlight = window.leadlight || function () { (leadlight.q = leadlight.q || []).push(arguments) }</script>"
    page.route("**/tracker.js", lambda route: route.abort())
    page.goto(pages.add("/", head=stub + snippet, body="<a href=\"/next\" onclick=\"leadlight('track', 'click')\">next</a>"))
    pages.add("/next")
    page.click("a")
    page.wait_for_url("**/next", timeout=SECONDS * 1_000)


def test_a_gateway_that_asks_for_a_password_for_a_moment_loses_nothing(
    page: Page, pages: Pages, through: str, gateway: Gateway, stored: Stored
) -> None:
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fates = [401, 407]
    track(page, "behind-a-login", 1)
    assert until(page, lambda: stored.events("behind-a-login"))
    assert until(page, lambda: status(page)["queued"] == 0)  # once the page has the answer
