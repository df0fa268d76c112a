"""Eleven situations in which trackers lose, double or break something. Each is tried five times, and each try has to be right."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.browser.tabs import LEAVE, call, fence, lead, push, ready, track, until, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

pytestmark = pytest.mark.whole_browser

TRIES = range(5)
Numbers = Callable[[str, int], list[int]]

HEAVY = """([name, address]) => {
    const tenKilobytes = Object.fromEntries([...Array(10).keys()].map(key => ['key_' + key, 'x'.repeat(1000)]));
    for (let n = 0; n < 12; n++) leadlight('track', name, {n, ...tenKilobytes});
    location.href = address;
}"""
HUGE = "name => { leadlight('track', name, Object.fromEntries([...Array(13).keys()].map(key => ['key_' + key, 'ž'.repeat(8000)]))) }"
HOSTILE = """name => {
    const metadata = {kept: 1, big: 12345678901234567890n, get broken() { throw new Error('no') }};
    metadata.self = metadata;
    leadlight('track', name, metadata);
    leadlight('track', name, {next: 1});
}"""


@pytest.fixture
def elsewhere(pages: Pages) -> str:
    """A page of another host without the script."""
    return pages.url("/no-script", host="app.shop.example")


@pytest.fixture(scope="module")
def forgetful(launch_browser: Callable[..., Browser]) -> Browser:
    """A browser without back-forward cache: on its way there a page still does what it had planned, and no exit is put to the test."""
    return launch_browser(("--disable-features=BackForwardCache",))


@pytest.fixture
def leaver(forgetful: Browser, new_context: Callable[..., BrowserContext]) -> Page:
    """A tab whose pages end when they are left."""
    return new_context(forgetful).new_page()


@pytest.fixture
def arrived(leaver: Page, stored: Stored) -> Numbers:
    """Waits for that many events of a name and returns the numbers they carry."""

    def read(name: str, count: int) -> list[int]:
        until(leaver, lambda: len(stored.events(name)) >= count)
        return [event.metadata["n"] for event in stored.events(name)]

    return read


@pytest.fixture
def visitors(new_context: Callable[..., BrowserContext]) -> list[Page]:
    """Tabs of as many visitors as there are tries, so that what they wait for passes at the same time."""
    return [new_context().new_page() for _ in TRIES]


def test_an_event_tracked_right_before_leaving_to_a_page_without_the_script_arrives(
    leaver: Page, pages: Pages, snippet: str, elsewhere: str, arrived: Numbers
) -> None:
    shop = pages.add("/", head=snippet)
    for n in TRIES:
        visit(leaver, shop)
        leaver.evaluate(LEAVE, ["last-word", n, elsewhere])
        leaver.wait_for_url(elsewhere)
        assert arrived("last-word", n + 1) == list(range(n + 1))


def test_an_event_tracked_before_the_page_has_loaded_arrives_when_it_is_left_at_once(
    leaver: Page, pages: Pages, through: str, gateway: Gateway, elsewhere: str, arrived: Numbers
) -> None:
    shop = pages.add("/", head=through, body=f'<img alt="" src="{gateway.address}/endless">')
    for n in TRIES:
        leaver.goto(shop, wait_until="commit")
        ready(leaver)
        assert leaver.evaluate("document.readyState") != "complete"
        leaver.evaluate(LEAVE, ["still-loading", n, elsewhere])
        leaver.wait_for_url(elsewhere)
        assert arrived("still-loading", n + 1) == list(range(n + 1))


def test_twelve_events_of_ten_kilobytes_arrive_though_the_page_is_left_at_once(
    leaver: Page, pages: Pages, snippet: str, elsewhere: str, arrived: Numbers
) -> None:
    shop = pages.add("/", head=snippet)
    for n in TRIES:
        visit(leaver, shop)
        leaver.evaluate(HEAVY, [f"heavy-{n}", elsewhere])
        leaver.wait_for_url(elsewhere)
        visit(leaver, shop)
        fence(leaver)
        assert arrived(f"heavy-{n}", 12) == list(range(12))


def test_one_event_of_a_hundred_kilobytes_arrives(page: Page, pages: Pages, through: str, gateway: Gateway, stored: Stored) -> None:
    visit(page, pages.add("/", head=through))
    for n in TRIES:
        page.evaluate(HUGE, f"huge-{n}")
        fence(page)
        assert len(gateway.tries(f"huge-{n}")[0].body) > 100_000
        assert [len(event.metadata) for event in stored.events(f"huge-{n}")] == [13]


def test_what_was_tracked_while_the_collector_was_down_arrives_once_after_a_reload_with_its_own_time(
    visitors: list[Page], pages: Pages, snippet: str, collector: Collector, stored: Stored
) -> None:
    shop = pages.add("/", head=snippet)
    for page in visitors:
        visit(page, shop)
        fence(page)
    failed = [0 for _ in visitors]
    for n, page in enumerate(visitors):
        page.on("requestfailed", lambda _, n=n: failed.__setitem__(n, failed[n] + 1))
    collector.stop()
    for page in visitors:
        track(page, "while-down", 1, 2, 3)
    tracked = [page.evaluate("Date.now()") for page in visitors]
    assert until(visitors[0], lambda: min(failed) >= 2)
    collector.start()
    for page, at in zip(visitors, tracked, strict=True):
        visit(page, shop)
        fence(page)
        found = stored.events("while-down", lead=lead(page))
        assert [event.metadata["n"] for event in found] == [1, 2, 3]
        assert all(abs(event.at - event.tracked_at) < 1_000 and event.tracked_at <= at for event in found)


def test_an_answer_lost_on_the_way_leaves_one_copy(
    visitors: list[Page], pages: Pages, through: str, gateway: Gateway, stored: Stored
) -> None:
    shop = pages.add("/", head=through)
    for page in visitors:
        visit(page, shop)
        fence(page)
    gateway.fate = "cut"
    for n, page in enumerate(visitors):
        track(page, f"answer-lost-{n}", 1, 2)
    for n, page in enumerate(visitors):
        assert until(page, lambda n=n: len(gateway.tries(f"answer-lost-{n}")) >= 2)
    gateway.fate = "pass"
    for n, page in enumerate(visitors):
        fence(page)
        assert [event.metadata["n"] for event in stored.events(f"answer-lost-{n}")] == [1, 2]


def test_a_busy_collector_gets_all_once_and_is_left_alone_as_long_as_it_asks(
    visitors: list[Page], pages: Pages, through: str, gateway: Gateway, stored: Stored
) -> None:
    shop = pages.add("/", head=through)
    for page in visitors:
        visit(page, shop)
        fence(page)
    gateway.fates = ["busy"] * 2 * len(visitors)
    for n, page in enumerate(visitors):
        track(page, f"busy-{n}", 1, 2, 3)
    for n, page in enumerate(visitors):
        fence(page)
        assert [event.metadata["n"] for event in stored.events(f"busy-{n}")] == [1, 2, 3]
    tries = [gateway.tries(f"busy-{n}") for n in TRIES]
    assert sum(map(len, tries)) == 3 * len(visitors)
    assert all(later.at - sooner.at >= 0.95 for one in tries for sooner, later in pairwise(one))


def test_the_snippet_pasted_twice_is_one_view(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    shop = pages.add("/", head=snippet + snippet, body=snippet)
    for n in TRIES:
        visit(page, shop)
        call(page, "track", "pasted-twice")
        push(page, "/next")
        fence(page)
        assert [view.path for view in stored.views(lead(page))] == ["/", "/next"] * (n + 1)
        assert len(stored.events("pasted-twice")) == n + 1


def test_each_return_from_the_back_forward_cache_is_a_new_view_with_a_new_id(
    page: Page, pages: Pages, snippet: str, stored: Stored
) -> None:
    mark = "<script>addEventListener('pageshow', event => { window.restored = event.persisted })</script>"
    visit(page, pages.add("/first", head=mark + snippet))
    pages.add("/second")
    fence(page)
    seen = [call(page, "status")["view"]]
    for _ in TRIES:
        page.evaluate("() => { window.restored = false }")
        page.goto(pages.url("/second"))
        page.evaluate("history.back()")
        page.wait_for_function("window.restored === true")
        seen.append(call(page, "status")["view"])
        fence(page)
        assert [view.id for view in stored.views(lead(page))] == seen
    assert len(set(seen)) == len(seen)


def test_storage_and_cookies_that_throw_stop_nothing(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    page.add_init_script("""
        const refuse = { get() { throw new DOMException('no', 'SecurityError') }, set() { throw new DOMException('no', 'SecurityError') } };
        for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, refuse);
        Object.defineProperty(Document.prototype, 'cookie', refuse);
    """)
    shop = pages.add("/", head=snippet)
    for _ in TRIES:
        visit(page, shop)
        call(page, "track", "refused-storage")
        fence(page)
        assert [event.name for event in stored.events(lead=lead(page))] == ["page-view", "refused-storage", "fence"]


def test_a_cycle_a_bigint_and_a_throwing_getter_cost_neither_their_event_nor_the_next(
    page: Page, pages: Pages, snippet: str, stored: Stored
) -> None:
    visit(page, pages.add("/", head=snippet))
    for n in TRIES:
        page.evaluate(HOSTILE, f"hostile-{n}")
        fence(page)
        assert [event.metadata for event in stored.events(f"hostile-{n}")] == [{"kept": 1, "big": "12345678901234567890"}, {"next": 1}]
