"""Storage that is forbidden, full or overflowing: tracking goes on, and the page's own storage is spared."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from collector.domain import losses
from collector.storage.database import Database
from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.browser.tabs import call, fence, lead, status, track, until, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

Numbers = Callable[[str, int], list[int]]


@pytest.fixture
def reported(collector: Collector) -> Iterator[Callable[[], int]]:
    """Reads how many items the browsers of the site reported as given up."""
    database = Database(collector.database_url)

    def read() -> int:
        with database.read() as connection:
            site = connection.value("SELECT id FROM sites WHERE site_key = ?", (collector.site_key,))
            found = losses.of_site(connection, site)
        return found.items if found else 0

    yield read
    database.close()


def test_a_sandboxed_page_without_storage_and_cookies_is_tracked(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/", head=snippet, headers={"Content-Security-Policy": "sandbox allow-scripts"}))
    assert page.evaluate("() => { try { return !localStorage } catch (error) { return error.name } }") == "SecurityError"
    call(page, "track", "sandboxed")
    fence(page)
    who = lead(page)
    assert [event.name for event in stored.events(lead=who)] == ["page-view", "sandboxed", "fence"]


def test_a_sandboxed_frame_is_tracked_where_frames_are_asked_for(page: Page, pages: Pages, tag: Callable[..., str], stored: Stored) -> None:
    pages.add("/framed", head=tag("data-frames"))
    page.goto(pages.add("/", body='<iframe sandbox="allow-scripts" src="/framed"></iframe>'))
    frame = page.frame(url="**/framed")
    assert frame is not None
    frame.wait_for_function("window.leadlight?.v")
    frame.evaluate("leadlight('track', 'sandboxed-frame')")
    assert until(page, lambda: stored.events("sandboxed-frame"))
    frame.wait_for_function("!leadlight('status').queued")
    (event,) = stored.events("sandboxed-frame")
    assert [found.path for found in stored.views(event.owner)] == ["/framed"]


def test_a_full_storage_neither_throws_nor_loses(page: Page, pages: Pages, snippet: str, stored: Stored, numbers: Numbers) -> None:
    page.goto(pages.add("/fill"))
    page.evaluate("""() => {
        for (let size = 1 << 22; size; size >>= 1) {
            try { for (;;) localStorage['fill' + Object.keys(localStorage).length] = 'x'.repeat(size) } catch { /* full */ }
        }
    }""")
    visit(page, pages.add("/", head=snippet))
    track(page, "full", 1, 2, 3)
    fence(page)
    assert numbers("full", 3) == [1, 2, 3]
    assert len(stored.views(lead(page))) == 1


def test_a_page_that_empties_its_storage_loses_nothing_that_waits(page: Page, pages: Pages, snippet: str, numbers: Numbers) -> None:
    """As many a site does when somebody signs out, and right before it leads elsewhere."""
    visit(page, pages.add("/", head=snippet))
    fence(page)
    empty = "localStorage.clear(); sessionStorage.clear();"
    page.evaluate(f"() => {{ leadlight('track', 'emptied', {{n: 1}}); {empty} }}")
    assert numbers("emptied", 1) == [1]
    elsewhere = pages.url("/no-script", host="app.shop.example")
    page.evaluate(f"address => {{ leadlight('track', 'emptied', {{n: 2}}); {empty} location.href = address }}", elsewhere)
    page.wait_for_url(elsewhere)
    assert numbers("emptied", 2) == [1, 2]


def test_the_store_is_bounded_gives_up_views_first_and_says_how_many_were_lost(
    page: Page, pages: Pages, through: str, gateway: Gateway, stored: Stored, reported: Callable[[], int]
) -> None:
    before = reported()
    visit(page, pages.add("/", head=through))
    fence(page)
    who = lead(page)
    gateway.fate = "drop"
    page.evaluate("() => { for (let n = 0; n < 20; n++) history.pushState({}, '', '/' + n) }")
    page.wait_for_function("leadlight('status').queued == 20")
    page.evaluate("() => { for (let n = 0; n < 2000; n++) leadlight('track', 'overflow', {n, text: 'x'.repeat(300)}) }")
    assert page.evaluate("() => { localStorage.mine = 'y'.repeat(1e6); return Object.entries(localStorage).join('').length }") < 2_000_000
    lost = status(page)["dropped"]
    assert lost > 0
    gateway.fate = "pass"
    gateway.log.clear()
    fence(page)
    assert max(sent.json.get("dropped", 0) for sent in gateway.sent()) == lost
    assert status(page)["dropped"] == 0
    kept = [event.metadata["n"] for event in stored.events("overflow")]
    assert kept == list(range(2000 - len(kept), 2000))
    assert until(page, lambda: reported() == before + lost)
    assert [view.path for view in stored.views(who)] == ["/"]
    assert len(kept) + lost == 2020


def test_tabs_bound_the_store_together(context: BrowserContext, pages: Pages, through: str, gateway: Gateway) -> None:
    """A collector that stays away must not fill the site's own storage, however many tabs of it are open."""
    address = pages.add("/", head=through)
    gateway.fate = "drop"
    tabs = [context.new_page() for _ in range(8)]
    for tab in tabs:
        visit(tab, address)
        track(tab, "first", 1)
    for _ in range(5):
        for tab in tabs:
            tab.evaluate("() => { for (let n = 0; n < 100; n++) leadlight('track', 'flood', {n, text: 'x'.repeat(300)}) }")
    kept = tabs[0].evaluate("() => Object.values(localStorage).join('').length")
    assert 540_000 < kept < 600_000 + 7 * 60_000
