"""Pages with a service worker, and pages that Chromium renders before anybody asks for them."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.browser.tabs import LEAVE, fence, status, track, until, visit
from tests.support.pages import Page as Answer
from tests.support.pages import Pages

Numbers = Callable[[str, int], list[int]]

BEGIN = "addEventListener('install', () => skipWaiting()); addEventListener('activate', event => event.waitUntil(clients.claim()));"
HANDS_ON = "addEventListener('fetch', event => event.respondWith(fetch(event.request)))"
ANSWERS_ITSELF = """
    const offline = () => new Response('<!doctype html><title>You are offline</title>', {headers: {'Content-Type': 'text/html'}});
    const find = request => caches.match(request, {ignoreMethod: true});
    addEventListener('fetch', event => event.respondWith(find(event.request).then(found => found ?? offline())));
"""


@pytest.fixture
def under_worker(page: Page, secure_pages: Pages, secure_gateway: Gateway, tag: Callable[..., str]) -> Callable[[str], str]:
    """Opens a page that a service worker of this text controls; returns its address."""

    def open_page(worker: str) -> str:
        secure_pages.by_path["/worker.js"] = Answer(BEGIN + worker, content_type="text/javascript")
        shop = secure_pages.add("/", head=tag(address=secure_gateway.address))
        visit(page, shop)
        page.evaluate(
            """async script => {
            const cache = await caches.open('all');
            await cache.put('/', await fetch('/'));
            await cache.put(script, await fetch(script, {mode: 'no-cors'}));
            await navigator.serviceWorker.register('/worker.js');
        }""",
            f"{secure_gateway.address}/tracker.js",
        )
        page.wait_for_function("navigator.serviceWorker.controller")
        return shop

    return open_page


@pytest.mark.whole_browser
def test_events_tracked_right_before_leaving_arrive_through_a_worker_that_hands_requests_on(
    page: Page, secure_pages: Pages, under_worker: Callable[[str], str], numbers: Numbers
) -> None:
    shop = under_worker(HANDS_ON)
    elsewhere = secure_pages.url("/no-script", host="app.shop.example")
    for n in range(5):
        visit(page, shop)
        page.evaluate(LEAVE, ["through-worker", n, elsewhere])
        page.wait_for_url(elsewhere)
        assert numbers("through-worker", n + 1) == list(range(n + 1))


def test_what_a_worker_answers_from_its_cache_was_not_delivered(
    page: Page, secure_gateway: Gateway, under_worker: Callable[[str], str], stored: Stored, numbers: Numbers
) -> None:
    shop = under_worker(ANSWERS_ITSELF)
    visit(page, shop)
    secure_gateway.log.clear()
    track(page, "cached", 1)
    page.wait_for_function("leadlight('status').retry_at")
    visit(page, shop)
    page.wait_for_function("leadlight('status').retry_at")
    assert secure_gateway.log == []
    assert status(page)["sent"] == 0
    page.evaluate("navigator.serviceWorker.getRegistration().then(worker => worker.unregister())")
    page.goto("about:blank")
    visit(page, shop)
    fence(page)
    assert numbers("cached", 1) == [1]


@pytest.fixture
def prerender(pages: Pages, through: str, gateway: Gateway, unattended: Callable[[str], None]) -> Callable[[str], None]:
    """Lets Chromium render `/next` ahead, where leaving is feigned too, while `/` is shown; then goes to a path."""

    def open_pages(then: str) -> None:
        rules = '{"prerender": [{"source": "list", "urls": ["/next"], "eagerness": "immediate"}]}'
        go = f"fetch('{gateway.address}/held').then(() => {{ location.href = '{then}' }})"
        shown = f"document.addEventListener('prerenderingchange', () => fetch('{gateway.address}/shown'))"
        loaded = f"addEventListener('load', () => {{ dispatchEvent(new Event('pagehide')); fetch('{gateway.address}/loaded') }})"
        pages.add("/next", head=f"<script>{shown}; {loaded}</script>{through}")
        unattended(pages.add("/", head=f'<script type="speculationrules">{rules}</script><script>{go}</script>'))

    return open_pages


@pytest.mark.parametrize("then", ["/next", "/other"])
def test_a_page_rendered_ahead_is_one_view_once_it_is_shown_and_none_where_it_never_is(
    page: Page, pages: Pages, gateway: Gateway, through: str, stored: Stored, prerender: Callable[[str], None], then: str
) -> None:
    pages.add("/other", head=through)
    prerender(then)
    assert until(page, lambda: gateway.sent("/loaded"))
    gateway.hold.set()
    assert until(page, lambda: stored.events("page-view"))
    assert [view.path for view in stored.events("page-view")] == [then]
    paths = [sent.path for sent in gateway.log]
    assert paths.index("/loaded") < paths.index("/collect")
    assert ("/shown" in paths) == (then == "/next")
