"""The lead's cookie: how wide, how long, and what takes its place where there is none."""

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.stored import Stored
from tests.browser.tabs import call, cookie, fence, lead, status, storage, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

DAY = 86_400


@pytest.fixture
def at(page: Page, collector: Collector) -> Callable[[str], str]:
    """Puts a page with the tracker at an origin where no server of ours is, and returns its address."""
    script = collector.client.get("/tracker.js").text
    tag = f'<script src="/tracker.js" data-site="{collector.site_key}" data-automation="count"></script>'

    def put(origin: str) -> str:
        page.route(f"{origin}/", lambda route: route.fulfill(content_type="text/html", body=tag))
        page.route(f"{origin}/tracker.js", lambda route: route.fulfill(content_type="text/javascript", body=script))
        page.route(f"{origin}/collect", lambda route: route.abort())
        return f"{origin}/"

    return put


def spied(page: Page) -> None:
    """Note what every page from now on writes into its cookies, in `window.written`, and what they are after each, in `window.seen`."""
    page.add_init_script("""
        window.written = [];
        window.seen = [];
        const {get, set} = Object.getOwnPropertyDescriptor(Document.prototype, 'cookie');
        Object.defineProperty(Document.prototype, 'cookie', {get, set(text) {
            set.call(this, text);
            written.push(text);
            seen.push(get.call(this));
        }});
    """)


def test_the_lead_is_one_cookie_of_the_sites_widest_domain_for_four_hundred_days(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str
) -> None:
    pages.add("/", head=snippet)
    visit(page, pages.url("/", host="app.shop.example"))
    (only,) = context.cookies()
    assert only["name"] == lead_cookie
    assert re.fullmatch(r"[\w-]{22}\.[\w-]{22}", only["value"])
    assert (only["domain"], only["path"], only["sameSite"], only["secure"]) == (".shop.example", "/", "Lax", False)
    assert abs(only["expires"] - time.time() - 400 * DAY) < 120


@pytest.mark.parametrize("host_only", [False, True])
def test_the_lead_is_renewed_without_a_moment_in_which_it_is_gone(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str, host_only: bool
) -> None:
    """A tab that begins in between would make somebody new of the visitor."""
    pages.add("/", head=snippet)
    visit(page, pages.url("/", host="app.shop.example"))
    kept = lead(page)
    if host_only:
        context.add_cookies([{**cookie(context, lead_cookie), "domain": "app.shop.example"}])
        context.clear_cookies(domain=".shop.example")
    spied(page)
    page.add_init_script("localStorage.clear()")
    visit(page, pages.url("/", host="app.shop.example"))
    written, seen = page.evaluate("[written, seen]")
    assert written
    assert all(f"{lead_cookie}={kept}" in text for text in seen)
    (only,) = context.cookies()
    assert (only["domain"], only["value"].partition(".")[0], len(only["value"])) == (".shop.example", kept, 45)
    assert abs(only["expires"] - time.time() - 400 * DAY) < 120


@pytest.mark.parametrize(
    ("calls", "host_only"),
    [
        pytest.param("leadlight('reset')", False, id="sign-out"),
        pytest.param("leadlight('identify', 'one'); leadlight('identify', 'two')", False, id="another user"),
        pytest.param("leadlight('reset')", True, id="sign-out where a lead was kept for this host alone too"),
    ],
)
def test_a_new_lead_takes_the_place_of_the_one_before_without_a_moment_between(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str, calls: str, host_only: bool
) -> None:
    """Another tab that looks in between would put the one before back, and sign nobody out."""
    spied(page)
    pages.add("/", head=snippet)
    visit(page, pages.url("/", host="app.shop.example"))
    if host_only:
        context.add_cookies([{**cookie(context, lead_cookie), "domain": "app.shop.example"}])
    before = lead(page)
    page.evaluate(f"() => {{ written.length = seen.length = 0; {calls} }}")
    page.wait_for_function("before => leadlight('status').lead != before", arg=before)
    written, seen = page.evaluate("[written, seen]")
    assert written
    assert all(lead_cookie in text for text in seen)
    (only,) = context.cookies()
    assert only["value"].partition(".")[0] == lead(page)


def test_where_cookies_are_refused_too_a_new_lead_takes_the_place_of_the_one_before(
    page: Page, pages: Pages, snippet: str, lead_cookie: str
) -> None:
    page.add_init_script("Object.defineProperty(Document.prototype, 'cookie', {get: () => '', set: () => {}})")
    shop = pages.add("/", head=snippet)
    other = page.context.new_page()
    other.goto(pages.add("/watching"))
    other.evaluate("() => { window.heard = []; addEventListener('storage', ({key, newValue}) => heard.push([key, newValue])) }")
    visit(page, shop)
    call(page, "reset")
    other.wait_for_function("heard.some(([key]) => key.endsWith('.reset'))")
    values = other.evaluate("key => heard.filter(one => one[0] == key).map(one => one[1])", lead_cookie)
    assert len(values) == 2
    assert None not in values


def test_sibling_hosts_share_the_lead(page: Page, pages: Pages, snippet: str) -> None:
    pages.add("/", head=snippet)
    visit(page, pages.url("/", host="app.shop.example"))
    first = lead(page)
    visit(page, pages.url("/"))
    assert lead(page) == first


def test_the_lead_belongs_to_this_host_alone_where_the_site_asks(
    context: BrowserContext, page: Page, pages: Pages, tag: Callable[..., str]
) -> None:
    pages.add("/", head=tag('data-cookie-domain="none"'))
    visit(page, pages.url("/", host="app.shop.example"))
    assert [one["domain"] for one in context.cookies()] == ["app.shop.example"]


def test_localhost_takes_a_cookie_without_a_domain(context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    pages.add("/", head=snippet)
    visit(page, pages.url("/", host="localhost"))
    fence(page)
    assert [one["domain"] for one in context.cookies()] == ["localhost"]
    assert len(stored.views(lead(page))) == 1


def pass_days(context: BrowserContext, page: Page, lead_cookie: str, days: int) -> None:
    """Let so many days pass as the cookie counts them, in which nobody came."""
    kept = cookie(context, lead_cookie)
    context.add_cookies([{**kept, "expires": kept["expires"] - days * DAY}])
    page.evaluate("() => { for (const key in localStorage) if (key.endsWith('whovisit')) delete localStorage[key] }")


def test_each_visit_gives_the_cookie_its_full_life_again(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str
) -> None:
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    fence(page)  # what is told when the page is left would go on with the visit
    before = cookie(context, lead_cookie)
    pass_days(context, page, lead_cookie, 399)
    visit(page, shop)
    after = cookie(context, lead_cookie)
    assert after["value"] == before["value"]
    assert after["expires"] - time.time() > 399 * DAY


def test_whoever_comes_back_within_a_year_is_the_same_for_years(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str
) -> None:
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    first = lead(page)
    for days in (7, 7, 30, 90, 180, 365, 7, 390):
        fence(page)
        page.goto(pages.add("/bare"))  # of the same site, so that the page before has said goodbye
        pass_days(context, page, lead_cookie, days)
        visit(page, shop)
        assert lead(page) == first
    assert cookie(context, lead_cookie)["value"].startswith(first)


def test_a_browser_whose_cookies_were_cleared_is_somebody_new(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str
) -> None:
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    first = lead(page)
    # To a page of the same site, so that the first one has said goodbye before this one is there, and writes no cookie any more.
    page.goto(pages.add("/bare"))
    context.clear_cookies()
    visit(page, shop)
    assert lead(page) != first


def test_a_cookie_that_is_no_lead_is_replaced(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored, lead_cookie: str
) -> None:
    forged = {"name": lead_cookie, "value": "../../etc/passwd", "domain": ".shop.example", "path": "/"}
    context.add_cookies([forged])
    visit(page, pages.add("/", head=snippet))
    fence(page)
    assert re.fullmatch(r"[\w-]{22}", lead(page))
    assert len(stored.views(lead(page))) == 1
    assert [one["value"].partition(".")[0] for one in context.cookies()] == [lead(page)]


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        pytest.param("www.shop.example.co.uk", ".example.co.uk", id="public suffix of two labels"),
        pytest.param("a.github.io", ".a.github.io", id="suffix that tenants share"),
        pytest.param("127.0.0.1", "127.0.0.1", id="address"),
        pytest.param("[::1]", "[::1]", id="IPv6 address"),
    ],
)
def test_the_cookie_is_as_wide_as_the_browser_allows(
    context: BrowserContext, page: Page, at: Callable[[str], str], lead_cookie: str, host: str, domain: str
) -> None:
    address = at(f"http://{host}")
    visit(page, address)
    assert [(one["name"], one["domain"]) for one in context.cookies()] == [(lead_cookie, domain)]
    first = lead(page)
    visit(page, address)
    assert lead(page) == first


def test_a_domain_that_the_site_names_is_taken_without_trial(
    context: BrowserContext, page: Page, pages: Pages, tag: Callable[..., str], lead_cookie: str
) -> None:
    spied(page)
    pages.add("/", head=tag('data-cookie-domain="app.shop.example"'))
    visit(page, pages.url("/", host="app.shop.example"))
    assert [one["domain"] for one in context.cookies()] == [".app.shop.example"]
    assert {text.partition("=")[0] for text in page.evaluate("written")} == {lead_cookie}


def test_a_domain_may_also_stand_in_the_settings(context: BrowserContext, page: Page, pages: Pages, snippet: str) -> None:
    settings = "<script>window.leadlightSettings = {cookie_domain: 'none'}</script>"
    pages.add("/", head=settings + snippet)
    visit(page, pages.url("/", host="app.shop.example"))
    assert [one["domain"] for one in context.cookies()] == ["app.shop.example"]


def test_a_cookie_for_this_host_alone_is_written_without_a_probe(
    page: Page, pages: Pages, tag: Callable[..., str], lead_cookie: str
) -> None:
    spied(page)
    pages.add("/", head=tag('data-cookie-domain="none"'))
    visit(page, pages.url("/", host="app.shop.example"))
    written = page.evaluate("written")
    assert {text.partition("=")[0] for text in written} == {lead_cookie}
    assert not [text for text in written if "domain" in text]


def test_the_trial_of_domains_leaves_nothing_behind(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str
) -> None:
    spied(page)
    pages.add("/", head=snippet)
    visit(page, pages.url("/", host="app.shop.example"))
    assert any("domain=.shop.example" in text or "domain=shop.example" in text for text in page.evaluate("written"))
    assert [one["name"] for one in context.cookies()] == [lead_cookie]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('data-cookie-domain="none"', ""),
        ("", 'data-cookie-domain="none"'),
        ('data-cookie-domain="none"', 'data-cookie-domain=".Shop.example"'),
    ],
    ids=["wider", "narrower", "with a point and a capital letter"],
)
def test_where_the_site_asks_for_another_domain_sign_outs_and_withdrawals_hold(
    context: BrowserContext, page: Page, pages: Pages, tag: Callable[..., str], stored: Stored, before: str, after: str
) -> None:
    pages.add("/", head=tag(before))
    visit(page, pages.url("/", host="app.shop.example"))
    call(page, "optIn", "v1")
    call(page, "identify", "before-the-change")
    fence(page)
    first = lead(page)
    pages.add("/", head=tag(after))
    visit(page, pages.url("/", host="app.shop.example"))
    call(page, "reset")
    visit(page, pages.url("/", host="app.shop.example"))
    assert lead(page) != first
    call(page, "optOut")
    call(page, "track", "after-the-withdrawal")
    visit(page, pages.url("/", host="app.shop.example"))
    assert status(page)["held"] == "opted_out"
    assert [one["value"] for one in context.cookies()] == ["out"]
    assert stored.events("after-the-withdrawal") == []


def test_where_the_site_asks_for_a_domain_that_no_cookie_is_for_sign_outs_and_withdrawals_hold(
    page: Page, pages: Pages, tag: Callable[..., str]
) -> None:
    shop = pages.add("/", head=tag())
    visit(page, shop)
    call(page, "optIn", "v1")
    first = lead(page)
    pages.add("/", head=tag('data-cookie-domain="other.example"'))
    visit(page, shop)
    call(page, "reset")
    visit(page, shop)
    assert lead(page) != first
    call(page, "optOut")
    assert status(page)["held"] == "opted_out"
    visit(page, shop)
    assert status(page)["held"] == "opted_out"


def test_before_consent_no_cookie_is_written_not_even_for_a_moment(page: Page, pages: Pages, tag: Callable[..., str]) -> None:
    spied(page)
    visit(page, pages.add("/", head=tag('data-consent="required"')))
    call(page, "track", "waits")
    assert page.evaluate("written") == []


@pytest.mark.parametrize("value", ["Symbol()", "Object.create(null)", "null", "7"])
def test_a_page_whose_cookies_are_no_text_is_tracked(page: Page, pages: Pages, snippet: str, stored: Stored, value: str) -> None:
    page.add_init_script(f"Object.defineProperty(Document.prototype, 'cookie', {{get() {{ return {value} }}, set() {{}}}})")
    visit(page, pages.add("/", head=snippet))
    call(page, "track", f"no text {value}")
    fence(page)
    assert [event.owner for event in stored.events(f"no text {value}")] == [lead(page)]


def test_a_cookie_on_https_is_secure(context: BrowserContext, page: Page, at: Callable[[str], str]) -> None:
    visit(page, at("https://shop.example"))
    (only,) = context.cookies()
    assert (only["secure"], only["sameSite"], only["domain"]) == (True, "Lax", ".shop.example")


def test_where_cookies_are_refused_the_lead_lies_in_storage(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored
) -> None:
    page.add_init_script("Object.defineProperty(Document.prototype, 'cookie', {get: () => '', set: () => {}})")
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    first = lead(page)
    visit(page, shop)
    fence(page)
    assert lead(page) == first
    assert len(stored.views(first)) == 2
    call(page, "reset")
    assert first not in "".join(storage(page).values())
    assert lead(page) != first


def test_where_cookies_are_refused_a_withdrawal_is_remembered_in_storage(page: Page, pages: Pages, snippet: str, lead_cookie: str) -> None:
    page.add_init_script("Object.defineProperty(Document.prototype, 'cookie', {get: () => '', set: () => {}})")
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    call(page, "optOut")
    visit(page, shop)
    assert status(page)["held"] == "opted_out"
    assert storage(page) == {f"{lead_cookie}_choice": "out"}


def test_where_neither_cookies_nor_storage_last_each_page_is_somebody_new(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    page.add_init_script("""
        const refuse = { get() { throw new DOMException('no', 'SecurityError') }, set() { throw new DOMException('no', 'SecurityError') } };
        for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, refuse);
        Object.defineProperty(Document.prototype, 'cookie', refuse);
    """)
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    fence(page)
    first = lead(page)
    call(page, "identify", "no-storage-user")
    call(page, "track", "without-storage")
    fence(page)
    assert [event.owner for event in stored.events("without-storage")] == ["no-storage-user"]
    call(page, "reset")
    assert status(page)["user"] is None
    assert lead(page) != first
    visit(page, shop)
    fence(page)
    assert len(stored.views(first)) == 1
    assert len(stored.views(lead(page))) == 1


def test_a_cookie_that_a_sibling_host_set_for_a_path_of_ours_makes_no_new_visitor(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str
) -> None:
    visit(page, pages.add("/account", head=snippet))
    fence(page)
    known = lead(page)
    context.add_cookies([{"name": lead_cookie, "value": "nonsense", "domain": ".shop.example", "path": "/account"}])
    for _ in range(2):
        visit(page, pages.url("/account"))
        assert page.evaluate("document.cookie").count(lead_cookie) == 2
        assert lead(page) == known


def test_a_lead_that_was_refused_is_not_taken_up_again_where_its_cookie_cannot_be_removed(
    context: BrowserContext, new_context: Callable[..., BrowserContext], pages: Pages, snippet: str, lead_cookie: str, stored: Stored
) -> None:
    owner = new_context()
    theirs = owner.new_page()
    visit(theirs, pages.add("/account", head=snippet))
    fence(theirs)
    forged = str(cookie(owner, lead_cookie)["value"]).partition(".")[0] + "." + "A" * 22
    page = context.new_page()
    context.add_cookies([{"name": lead_cookie, "value": forged, "domain": ".shop.example", "path": "/account"}])
    visit(page, pages.url("/account"))
    page.wait_for_function("leadlight('status').refused.some(({code}) => code == 'lead_secret_invalid')")
    page.wait_for_function("!leadlight('status').queued")
    call(page, "track", "beside-a-forged-cookie")
    fence(page)
    assert [event.owner for event in stored.events("beside-a-forged-cookie")] == [lead(page)]
    assert lead(page) != lead(theirs)


def test_after_a_sign_out_a_cookie_of_another_path_does_not_bring_the_old_lead_back(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str
) -> None:
    visit(page, pages.add("/account", head=snippet))
    before = lead(page)
    context.add_cookies([{**cookie(context, lead_cookie), "path": "/account"}])
    call(page, "reset")
    after = lead(page)
    assert after != before
    assert lead(page) == after


def test_the_next_page_of_a_visit_writes_no_cookie(page: Page, pages: Pages, snippet: str) -> None:
    shop = pages.add("/", head=snippet)
    spied(page)
    visit(page, shop)
    fence(page)
    assert len(page.evaluate("written")) == 1, "what is new is its own trial"
    visit(page, shop)
    fence(page)
    assert page.evaluate("written") == []
