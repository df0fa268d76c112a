"""Page views: what is one, what is none, and what of an address leaves the page."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored, StoredEvent
from tests.browser.tabs import call, cookie, fence, lead, push, ready, status, until, visit
from tests.support.pages import Pages
from tests.support.servers import Collector


def views(page: Page, stored: Stored) -> list[StoredEvent]:
    """All page views of the visitor once everything has arrived."""
    fence(page)
    return stored.views(lead(page))


def paths(page: Page, stored: Stored) -> list[str]:
    return [view.path for view in views(page, stored)]


def test_each_document_load_is_one_view(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/first", head=snippet))
    visit(page, pages.add("/second", head=snippet))
    page.reload()
    ready(page)
    found = views(page, stored)
    assert [view.path for view in found] == ["/first", "/second", "/second"]
    assert len({view.id for view in found}) == 3
    assert found[0].metadata == {"url": pages.url("/first"), "path": "/first", "title": "/first"}


def test_the_id_of_a_view_is_the_view_that_status_names(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/", head=snippet))
    assert [view.id for view in views(page, stored)] == [status(page)["view"]]


def test_push_state_to_another_address_is_a_view_that_came_from_the_one_before(
    page: Page, pages: Pages, snippet: str, stored: Stored
) -> None:
    visit(page, pages.add("/list", head=snippet))
    push(page, "/item")
    found = views(page, stored)
    assert [view.path for view in found] == ["/list", "/item"]
    assert found[1].metadata["referrer"] == pages.url("/list")


def test_push_state_to_the_address_already_shown_is_none(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/list", head=snippet))
    push(page, "/list")
    push(page, "/item")
    push(page, "/item")
    assert paths(page, stored) == ["/list", "/item"]


def test_replace_state_is_a_view_only_where_the_address_changes(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/list", head=snippet))
    page.evaluate("history.replaceState({scroll: 200}, '')")
    page.evaluate("history.replaceState({}, '', '/other')")
    assert paths(page, stored) == ["/list", "/other"]


def test_a_router_that_pushes_and_replaces_in_one_task_shows_one_page(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/list", head=snippet))
    page.evaluate(
        "() => { history.pushState({}, '', '/item'); history.replaceState({scroll: 0}, ''); history.replaceState({}, '', '/item') }"
    )
    assert paths(page, stored) == ["/list", "/item"]


def test_what_is_tracked_right_after_a_push_belongs_to_the_new_view(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/list", head=snippet))
    page.evaluate("() => { history.pushState({}, '', '/item'); leadlight('track', 'opened-item') }")
    fence(page)
    (event,) = stored.events("opened-item")
    assert event.page["url"] == pages.url("/item")
    assert [view.path for view in stored.views(lead(page))] == ["/list", "/item"]


def test_going_back_inside_a_document_is_a_view(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/list", head=snippet))
    push(page, "/item")
    page.evaluate("history.back()")
    page.wait_for_url("**/list")
    assert paths(page, stored) == ["/list", "/item", "/list"]


def test_a_router_that_kept_the_original_push_state_is_heard(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    keep = "<script>window.original = history.pushState.bind(history)</script>"
    visit(page, pages.add("/list", head=keep + snippet))
    page.evaluate("original({}, '', '/item')")
    assert paths(page, stored) == ["/list", "/item"]


def test_a_call_of_page_is_a_view_of_the_same_address(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/list", head=snippet))
    call(page, "page")
    assert paths(page, stored) == ["/list", "/list"]


def test_only_listed_query_parameters_leave_the_page(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, stored: Stored
) -> None:
    pages.add("/", head=tag('data-query="tab"', gateway.address))
    visit(page, pages.url("/?utm_source=news&email=a%40b.example&gclid=G1&tab=2&token=hidden&ref=x#access_token=hidden"))
    (view,) = views(page, stored)
    assert view.metadata["url"] == pages.url("/?utm_source=news&gclid=G1&tab=2&ref=x")
    assert all(b"hidden" not in sent.body and b"b.example" not in sent.body for sent in gateway.log)


def test_a_parameter_that_stays_in_the_page_makes_no_view(page: Page, pages: Pages, tag: Callable[..., str], stored: Stored) -> None:
    visit(page, pages.add("/", head=tag('data-query="tab"')))
    push(page, "/?sort=price")
    push(page, "/?sort=price&tab=2")
    assert [view.metadata["url"] for view in views(page, stored)] == [pages.url("/"), pages.url("/?tab=2")]


def test_the_hash_makes_a_view_only_where_the_site_asks(
    page: Page, pages: Pages, snippet: str, tag: Callable[..., str], stored: Stored
) -> None:
    visit(page, pages.add("/plain", head=snippet))
    push(page, "#/route")
    assert [view.metadata["url"] for view in views(page, stored)] == [pages.url("/plain")]
    visit(page, pages.add("/hashes", head=tag("data-hash")))
    push(page, "#/route?token=hidden")
    assert [view.metadata["url"] for view in views(page, stored)[1:]] == [pages.url("/hashes"), pages.url("/hashes#/route")]


def test_the_canonical_address_is_the_pages_where_the_site_goes_by_it(
    page: Page, pages: Pages, snippet: str, tag: Callable[..., str], stored: Stored
) -> None:
    link = '<link rel="canonical" href="/product?utm_source=own&amp;variant=hidden">'
    pages.add("/plain", head=link + snippet)
    pages.add("/product/red", head=link + tag("data-canonical"))
    visit(page, pages.url("/plain"))
    visit(page, pages.url("/product/red"))
    assert [view.metadata["url"] for view in views(page, stored)] == [pages.url("/plain"), pages.url("/product?utm_source=own")]


@pytest.mark.parametrize(
    "link",
    [
        pytest.param('<link rel="canonical" href="https://other.example/product">', id="of another host"),
        pytest.param('<link rel="canonical">', id="without an address"),
        pytest.param("", id="missing"),
    ],
)
def test_a_canonical_address_that_is_not_the_pages_own_does_not_count(
    page: Page, pages: Pages, tag: Callable[..., str], stored: Stored, link: str
) -> None:
    visit(page, pages.add("/product/red", head=link + tag("data-canonical")))
    assert [view.metadata["url"] for view in views(page, stored)] == [pages.url("/product/red")]


def test_the_canonical_address_is_read_when_the_router_has_set_it(
    page: Page, pages: Pages, tag: Callable[..., str], stored: Stored
) -> None:
    visit(page, pages.add("/list", head='<link rel="canonical" href="/list">' + tag("data-canonical")))
    page.evaluate("() => { history.pushState({}, '', '/item/red'); document.querySelector('link').href = '/item' }")
    assert paths(page, stored) == ["/list", "/item"]


def test_the_referrer_goes_through_the_same_filter(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    pages.add("/from", body='<a href="/to">on</a>')
    pages.add("/to", head=snippet)
    page.goto(pages.url("/from?utm_source=news&token=hidden#part"))
    page.click("a")
    ready(page)
    (view,) = views(page, stored)
    assert view.metadata["referrer"] == pages.url("/from?utm_source=news")


def test_where_a_visit_came_from_stays_with_it_over_the_pages_of_the_site(
    page: Page, pages: Pages, snippet: str, collector: Collector
) -> None:
    outside = pages.url("/found", host="app.shop.example")
    pages.add("/found", body=f'<a href="{pages.url("/landing")}" referrerpolicy="no-referrer-when-downgrade">found</a>')
    pages.add("/landing", head=snippet, body='<a href="/next">on</a>')
    pages.add("/next", head=snippet)
    page.goto(outside)
    page.click("a")
    ready(page)
    page.click("a")
    page.wait_for_url("**/next")
    ready(page)
    push(page, "/route")
    call(page, "identify", "came-from-outside")
    fence(page)
    found = collector.client.api("GET", "/contacts/find_by_external_id/came-from-outside").json
    assert (found["referrer"], found["first_referrer"]) == (outside, outside)


def test_a_prerender_never_shown_is_no_view_and_one_that_is_shown_is_one(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, stored: Stored
) -> None:
    page.add_init_script("""
        Object.defineProperty(document, 'prerendering', {get: () => !window.activated});
        Object.defineProperty(document, 'hidden', {get: () => !window.activated});
    """)
    page.goto(pages.add("/", head=tag(address=gateway.address)))
    assert [sent.path for sent in gateway.log] == ["/tracker.js"]
    assert page.context.cookies() == []
    page.evaluate("() => { window.activated = true; document.dispatchEvent(new Event('prerenderingchange')) }")
    assert paths(page, stored) == ["/"]


def test_a_tab_opened_in_the_background_is_a_view_once_it_is_looked_at(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => !window.looked})")
    visit(page, pages.add("/", head=snippet))
    assert paths(page, stored) == []
    page.evaluate("() => { window.looked = true; document.dispatchEvent(new Event('visibilitychange')) }")
    assert paths(page, stored) == ["/"]


def test_a_frame_is_no_view_unless_asked(page: Page, pages: Pages, snippet: str, tag: Callable[..., str], stored: Stored) -> None:
    pages.add("/inner", head=snippet)
    pages.add("/counted", head=tag("data-frames"))
    visit(page, pages.add("/", head=snippet, body='<iframe src="/inner"></iframe><iframe src="/counted"></iframe>'))
    inner, counted = (page.frame(url=f"**/{name}") for name in ("inner", "counted"))
    assert inner is not None
    assert counted is not None
    for frame in (inner, counted):
        frame.wait_for_function("window.leadlight?.v")
    assert inner.evaluate("leadlight('status').held") == "frame"
    counted.evaluate("leadlight('track', 'inside')")
    call(page, "track", "outside")
    assert until(page, lambda: stored.events("inside") and stored.events("outside") and len(stored.views(lead(page))) >= 2)
    assert sorted(view.path for view in stored.views(lead(page))) == ["/", "/counted"]


def test_the_title_is_the_one_shown_half_a_second_after_the_view_began(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    late = "<script>setTimeout(() => { document.title = 'Set by the app' }, 50)</script>"
    visit(page, pages.add("/", head=snippet + late))
    fence(page)
    page.evaluate("document.title = '(3) new messages'")
    assert [view.metadata["title"] for view in views(page, stored)] == ["Set by the app"]


def test_the_title_of_a_page_left_sooner_is_the_last_one_it_had(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored, lead_cookie: str
) -> None:
    page.add_init_script("window.leaving = address => { document.title = 'On the way out'; location.href = address }")
    away = pages.add("/away")
    page.goto(pages.add("/", head=snippet + f"<script>addEventListener('load', () => leaving('{away}'))</script>"), wait_until="commit")
    page.wait_for_url(away)
    who = cookie(context, lead_cookie)["value"].partition(".")[0]
    assert [view.metadata["title"] for view in until(page, lambda: stored.views(who))] == ["On the way out"]


def test_the_site_may_stand_in_the_address_of_the_script(page: Page, pages: Pages, collector: Collector, stored: Stored) -> None:
    source = f"{collector.url_as('collect.other')}/tracker.js?site={collector.site_key}"
    settings = "<script>window.leadlightSettings = {automation: 'count'}</script>"
    visit(page, pages.add("/", head=f'{settings}<script async src="{source}"></script>'))
    assert paths(page, stored) == ["/"]


def test_a_script_that_a_loader_made_anew_finds_its_options(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    """A module has no currentScript, like scripts that consent tools and Rocket Loader bring later."""
    visit(page, pages.add("/", head=snippet.replace("<script", '<script type="module" crossorigin')))
    assert paths(page, stored) == ["/"]


def test_calls_made_before_the_script_arrives_are_kept_in_order(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    stub = (
        "<script>window.leadlight = window.leadlight || function () { (leadlight.q = leadlight.q || []).push(arguments) };"
        "leadlight('track', 'early', {n: 1}); leadlight('identify', 'stub-user'); leadlight('track', 'early', {n: 2})</script>"
    )
    visit(page, pages.add("/", head=stub + snippet))
    fence(page)
    assert [(event.kind, event.metadata) for event in stored.events("early")] == [("lead", {"n": 1}), ("user", {"n": 2})]
