"""The end of a page, however it comes: what was tracked is sent on the way out, and proves nothing until an answer said so."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from playwright.sync_api import BrowserContext, Error, Page

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.browser.tabs import LEAVE, fence, lead, ready, track, until, visit
from tests.support.pages import Pages

pytestmark = pytest.mark.whole_browser

Numbers = Callable[[str, int], list[int]]

COUNT_BEACONS = """
    window.beacons = [];
    const { sendBeacon } = navigator;
    Navigator.prototype.sendBeacon = function (...given) { beacons.push(given[1]); return sendBeacon.apply(this, given) };
"""
WATCH_FETCH = """
    window.kept = [];
    const { fetch: original } = window;
    window.fetch = (address, options) => { kept.push(!!options?.keepalive); return original(address, options) };
"""
HIDE = "() => { Object.defineProperty(document, 'hidden', {value: true}); document.dispatchEvent(new Event('visibilitychange')) }"


def test_a_tab_closed_right_after_an_event_loses_nothing(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=snippet))
    tab = context.new_page()
    visit(tab, pages.url("/"))
    track(tab, "closing", 1)
    tab.close()
    assert numbers("closing", 1) == [1]


def test_a_browser_closed_right_after_an_event_loses_nothing(
    new_context: Callable[..., BrowserContext], page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    """And has no time to ask the collector whether it may send."""
    context = new_context()
    tab = context.new_page()
    visit(tab, pages.add("/", head=through))
    track(tab, "closing-all", 1)
    context.close()
    assert numbers("closing-all", 1) == [1]
    assert {sent.method for sent in gateway.log} == {"GET", "POST"}


def test_twenty_events_of_which_each_leaves_its_page_in_the_same_task_are_twenty(
    page: Page, pages: Pages, snippet: str, numbers: Numbers
) -> None:
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    for number in range(20):
        with page.expect_navigation():
            page.evaluate(LEAVE, ["end of a funnel", number, f"{shop}?step={number}"])
        ready(page)
    assert numbers("end of a funnel", 20) == list(range(20))


def test_a_tab_that_dies_without_a_word_loses_nothing(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored, numbers: Numbers
) -> None:
    """Old Safari ends pages so, and so does a full memory: no event of leaving is ever fired."""
    context.clock.install()
    shop = pages.add("/", head=snippet)
    tab = context.new_page()
    visit(tab, shop)
    fence(tab)
    track(tab, "dying", 1)
    with tab.expect_event("crash"), suppress(Error):
        tab.goto("chrome://crash")
    tab.close()
    assert stored.events("dying") == []
    visit(page, shop)
    context.clock.fast_forward(11_000)
    assert numbers("dying", 1) == [1]


def test_what_went_out_with_the_page_is_sent_again_by_the_next_and_absorbed(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    shop = pages.add("/", head=through)
    visit(page, shop)
    page.evaluate(LEAVE, ["beacon", 1, shop])
    assert until(page, lambda: len(gateway.tries("beacon")) >= 2)
    ready(page)
    fence(page)
    assert numbers("beacon", 1) == [1]


def test_a_beacon_that_a_policy_swallows_proves_nothing(page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers) -> None:
    shut = pages.add("/shut", head=through, headers={"Content-Security-Policy": "connect-src 'none'"})
    visit(page, shut)
    page.evaluate(LEAVE, ["swallowed", 1, pages.add("/", head=through)])
    page.wait_for_url(pages.url("/"))
    ready(page)
    fence(page)
    assert len(gateway.tries("swallowed")) == 1
    assert numbers("swallowed", 1) == [1]


def test_a_tab_that_is_hidden_and_then_left_says_it_once(page: Page, pages: Pages, snippet: str, numbers: Numbers) -> None:
    page.add_init_script(COUNT_BEACONS)
    visit(page, pages.add("/", head=snippet))
    fence(page)
    page.evaluate(f"""() => {{
        leadlight('track', 'hidden', {{n: 1}});
        ({HIDE})();
        dispatchEvent(new Event('pagehide'));
    }}""")
    assert len(page.evaluate("beacons")) == 1
    fence(page)
    assert numbers("hidden", 1) == [1]


def test_a_tab_that_is_only_hidden_has_sent_everything(page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers) -> None:
    """All that Safari on a telephone tells before it ends a page."""
    page.add_init_script(COUNT_BEACONS)
    visit(page, pages.add("/", head=through))
    fence(page)
    page.evaluate(f"() => {{ leadlight('track', 'only-hidden', {{n: 1}}); ({HIDE})() }}")
    assert len(page.evaluate("beacons")) == 1
    assert numbers("only-hidden", 1) == [1]


def test_an_exit_sends_at_most_sixteen_kilobytes_the_newest_events_first(page: Page, pages: Pages, snippet: str, numbers: Numbers) -> None:
    page.add_init_script(COUNT_BEACONS)
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    page.evaluate("""() => {
        for (let n = 0; n < 12; n++) {
            if (n % 4 == 2) leadlight('identify', 'sender-' + n);
            leadlight('track', 'exit', {n, text: 'ž'.repeat(1500)});
        }
        history.pushState({}, '', '/last-view');
        dispatchEvent(new Event('pagehide'));
    }""")
    sizes = page.evaluate("beacons.map(text => new Blob([text]).size)")
    sent = page.evaluate("beacons.flatMap(text => JSON.parse(text).items.flatMap(({metadata}) => metadata?.n ?? []))")
    assert len(sizes) > 1
    assert 8_000 < sum(sizes) <= 16_384
    assert sorted(sent) == list(range(12 - len(sent), 12))
    visit(page, shop)
    fence(page)
    assert numbers("exit", 12) == list(range(12))


def test_page_views_go_last_at_an_exit(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    page.add_init_script(COUNT_BEACONS)
    visit(page, pages.add("/", head=snippet))
    page.evaluate("""() => {
        for (let n = 0; n < 40; n++) {
            leadlight('track', 'rather', {n});
            history.pushState({}, '', '/' + n);
        }
        dispatchEvent(new Event('pagehide'));
    }""")
    items = page.evaluate("beacons.flatMap(text => JSON.parse(text).items.map(({name}) => name))")
    assert items.count("rather") > 25
    assert items.count("page-view") < 10
    fence(page)
    assert len(stored.events("rather")) == 40
    assert len(stored.views(lead(page))) == 41


def test_only_small_requests_ask_to_outlive_the_page(page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers) -> None:
    page.add_init_script(WATCH_FETCH)
    visit(page, pages.add("/", head=through))
    track(page, "small", 1)
    fence(page)
    assert set(page.evaluate("kept.splice(0)")) == {True}
    page.evaluate("() => { for (let n = 0; n < 30; n++) leadlight('track', 'large', {n, text: 'x'.repeat(1000)}) }")
    assert numbers("large", 30) == list(range(30))
    assert page.evaluate("kept.splice(0)")[0] is False


def test_an_allowance_that_the_page_itself_has_used_up_stops_nothing(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    visit(page, pages.add("/", head=through))
    fence(page)
    endless = f"{gateway.address}/endless"
    page.evaluate("address => { fetch(address, {method: 'POST', body: 'x'.repeat(65_500), keepalive: true}).catch(() => {}) }", endless)
    assert until(page, lambda: gateway.sent("/endless"))
    track(page, "used-up", 1)
    assert numbers("used-up", 1) == [1]


def test_a_frame_that_is_taken_away_right_after_an_event_loses_nothing(
    page: Page, pages: Pages, snippet: str, tag: Callable[..., str], numbers: Numbers
) -> None:
    pages.add("/framed", head=tag("data-frames"))
    visit(page, pages.add("/", head=snippet, body='<iframe src="/framed"></iframe>'))
    frame = page.frame(url="**/framed")
    assert frame is not None
    frame.wait_for_function("window.leadlight?.v")
    page.evaluate("() => { frames[0].leadlight('track', 'taken-away', {n: 1}); document.querySelector('iframe').remove() }")
    fence(page)
    assert numbers("taken-away", 1) == [1]


def test_what_waits_outlives_its_pages_in_the_order_of_tracking(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    shop = pages.add("/", head=through)
    visit(page, shop)
    fence(page)
    gateway.fate = "drop"
    for n in range(3):
        track(page, "outlives", n)
        visit(page, shop)
    gateway.fate = "pass"
    visit(page, shop)
    fence(page)
    assert numbers("outlives", 3) == [0, 1, 2]
    assert [item["metadata"]["n"] for item in gateway.tries("outlives")[-1].json["items"] if item["name"] == "outlives"] == [0, 1, 2]
