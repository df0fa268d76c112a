"""Delivery: what was tracked arrives, now or later, and once, whatever the network and the browser do."""

from collections.abc import Callable
from itertools import pairwise

from playwright.sync_api import BrowserContext, Page

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.browser.tabs import SECONDS, fence, ready, status, track, until, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

LEAVE = "([name, n, address]) => { leadlight('track', name, {n}); location.href = address }"
Numbers = Callable[[str, int], list[int]]

TEN_KILOBYTES = "Object.fromEntries([...Array(10).keys()].map(key => ['key_' + key, 'x'.repeat(1000)]))"


def test_an_event_tracked_right_before_leaving_arrives(page: Page, pages: Pages, snippet: str, numbers: Numbers) -> None:
    shop = pages.add("/", head=snippet)
    elsewhere = pages.url("/no-script", host="app.shop.example")
    for n in range(5):
        visit(page, shop)
        page.evaluate(LEAVE, ["last-word", n, elsewhere])
        page.wait_for_url(elsewhere)
    assert numbers("last-word", 5) == [0, 1, 2, 3, 4]


def test_an_event_tracked_before_the_page_has_loaded_arrives_when_it_is_left(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    endless = f'<img alt="" src="{gateway.address}/endless">'
    shop = pages.add("/", head=through, body=endless)
    elsewhere = pages.url("/no-script", host="app.shop.example")
    for n in range(5):
        page.goto(shop, wait_until="commit")
        ready(page)
        assert page.evaluate("document.readyState") != "complete"
        page.evaluate(LEAVE, ["still-loading", n, elsewhere])
        page.wait_for_url(elsewhere)
    assert numbers("still-loading", 5) == [0, 1, 2, 3, 4]


def test_a_tab_closed_right_after_an_event_loses_nothing(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=snippet))
    tab = context.new_page()
    visit(tab, pages.url("/"))
    track(tab, "closing", 1)
    tab.close()
    assert numbers("closing", 1) == [1]


def test_twelve_events_of_ten_kilobytes_arrive_though_the_page_is_left_at_once(
    page: Page, pages: Pages, snippet: str, numbers: Numbers
) -> None:
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    page.evaluate(
        f"""address => {{
            for (let n = 0; n < 12; n++) leadlight('track', 'heavy', {{n, ...{TEN_KILOBYTES}}});
            location.href = address;
        }}""",
        pages.url("/no-script", host="app.shop.example"),
    )
    page.wait_for_url("**/no-script")
    visit(page, shop)
    fence(page)
    assert numbers("heavy", 12) == list(range(12))


def test_one_event_of_a_hundred_kilobytes_arrives(page: Page, pages: Pages, through: str, gateway: Gateway, stored: Stored) -> None:
    visit(page, pages.add("/", head=through))
    page.evaluate("leadlight('track', 'huge', Object.fromEntries([...Array(13).keys()].map(key => ['key_' + key, 'ž'.repeat(8000)])))")
    fence(page)
    assert len(gateway.tries("huge")[0].body) > 100_000
    assert [len(event.metadata) for event in stored.events("huge")] == [13]


def test_what_was_tracked_while_the_collector_was_down_arrives_once_with_its_own_time(
    page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=snippet))
    fence(page)
    collector.stop()
    with page.expect_event("requestfailed"):
        track(page, "while-down", 1, 2, 3)
    tracked = page.evaluate("Date.now()")
    collector.start()
    assert numbers("while-down", 3) == [1, 2, 3]
    fence(page)
    assert all(abs(event.at - tracked) < 1_000 + tracked - event.tracked_at for event in stored.events("while-down"))
    assert numbers("while-down", 3) == [1, 2, 3]


def test_what_could_not_be_sent_is_sent_by_the_next_page(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fate = "drop"
    track(page, "next-page", 1, 2)
    assert until(page, lambda: gateway.tries("next-page"))
    page.goto(pages.add("/away"))
    gateway.fate = "pass"
    visit(page, pages.url("/"))
    fence(page)
    assert numbers("next-page", 2) == [1, 2]


def test_a_lost_answer_leaves_one_copy(page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers) -> None:
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fates = ["cut", "cut"]
    track(page, "answer-lost", 1, 2)
    fence(page)
    assert len(gateway.tries("answer-lost")) >= 2
    assert numbers("answer-lost", 2) == [1, 2]


def test_a_busy_collector_is_left_alone_as_long_as_it_asks_and_then_gets_all_once(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fates = ["busy", "busy"]
    track(page, "busy", 1, 2, 3)
    fence(page)
    assert numbers("busy", 3) == [1, 2, 3]
    tries = gateway.tries("busy")
    assert len(tries) == 3
    assert all(later.at - sooner.at >= 0.95 for sooner, later in pairwise(tries))


def test_the_next_page_also_waits_as_long_as_a_busy_collector_asked(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fates = ["busy"]
    track(page, "busy-twice", 1)
    assert until(page, lambda: gateway.tries("busy-twice"))
    until(page, lambda: status(page)["retry_at"])
    gateway.log.clear()
    due = status(page)["retry_at"]
    page.reload()
    ready(page)
    assert status(page)["retry_at"] == due
    assert numbers("busy-twice", 1) == [1]


def test_a_failing_collector_is_asked_again_with_growing_pauses(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fates = ["fail", "drop"]
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


def test_three_tabs_with_stored_events_double_none(
    context: BrowserContext, page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=through))
    tabs = [page, context.new_page(), context.new_page()]
    for tab in tabs[1:]:
        visit(tab, pages.url("/"))
    for tab in tabs:
        fence(tab)
    gateway.fate = "drop"
    for start, tab in enumerate(tabs):
        track(tab, "three-tabs", *range(start, 21, 3))
    assert until(page, lambda: len(gateway.tries("three-tabs")) >= 3)
    gateway.fate = "pass"
    for tab in tabs:
        fence(tab)
    assert sorted(numbers("three-tabs", 21)) == list(range(21))


def test_what_a_closed_tab_left_behind_is_sent_by_another_tab_a_little_later(
    context: BrowserContext, page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    context.clock.install()
    visit(page, pages.add("/", head=through))
    other = context.new_page()
    visit(other, pages.url("/"))
    fence(other)
    gateway.fate = "drop"
    track(other, "orphan", 1)
    assert until(page, lambda: gateway.tries("orphan"))
    other.close()
    gateway.fate = "pass"
    track(page, "alive", 1)
    assert numbers("alive", 1) == [1]
    context.clock.fast_forward(11_000)
    assert numbers("orphan", 1) == [1]


def test_the_answer_of_a_hotel_portal_counts_as_none(page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers) -> None:
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fates = ["portal"]
    track(page, "portal", 1)
    fence(page)
    assert numbers("portal", 1) == [1]


def test_an_answer_that_is_no_json_harms_neither_its_events_nor_the_next(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fates = ["garble"]
    track(page, "garbled", 1)
    assert until(page, lambda: gateway.tries("garbled"))
    track(page, "garbled", 2)
    fence(page)
    assert numbers("garbled", 2) == [1, 2]


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


def test_a_blocked_script_stops_nothing_of_the_page(page: Page, pages: Pages, snippet: str) -> None:
    stub = "<script>window.leadlight = window.leadlight || function () { (leadlight.q = leadlight.q || []).push(arguments) }</script>"
    page.route("**/tracker.js", lambda route: route.abort())
    page.goto(pages.add("/", head=stub + snippet, body="<a href=\"/next\" onclick=\"leadlight('track', 'click')\">next</a>"))
    pages.add("/next")
    page.click("a")
    page.wait_for_url("**/next", timeout=SECONDS * 1_000)
