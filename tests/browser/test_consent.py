"""Consent: until it is given nothing is kept and nothing is asked but for the script itself."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from tests.browser.gateway import Gateway
from tests.browser.messages import Message
from tests.browser.stored import Stored
from tests.browser.tabs import call, fence, lead, push, status, storage, until, visit, wait_for
from tests.support.pages import Pages
from tests.support.servers import Collector

GPC = "Object.defineProperty(navigator, 'globalPrivacyControl', {get: () => true})"
DNT = "Object.defineProperty(navigator, 'doNotTrack', {get: () => '1'})"


def left_traces(context: BrowserContext, page: Page, gateway: Gateway) -> list[str]:
    """Everything beside the script that shows in the browser or on the network, after the page did much of what pages do."""
    call(page, "track", "unasked", {"n": 1})
    call(page, "identify", "unasked-user", {"name": "Ada"})
    push(page, "/unasked")
    page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    call(page, "status")
    requests = [sent.path for sent in gateway.log if sent.path != "/tracker.js"]
    return [*requests, *(one["name"] for one in context.cookies()), *storage(page)]


@pytest.mark.parametrize(
    ("script", "attributes", "held"),
    [
        pytest.param(GPC, "", "gpc", id="gpc"),
        pytest.param(DNT, "", "dnt", id="dnt"),
        pytest.param("", 'data-consent="required"', "consent_required", id="required"),
        pytest.param("", 'data-consent="denied"', "consent_denied", id="denied"),
        pytest.param("", 'data-consent="false"', "consent_false", id="a no in the tag"),
        pytest.param("window.leadlightSettings = {consent: false}", "", "consent_false", id="a no in the settings"),
        pytest.param("", 'data-consent="Granted"', "consent_Granted", id="a word that is none of the three"),
    ],
)
def test_without_consent_there_is_no_request_no_cookie_and_no_storage(
    context: BrowserContext, page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, script: str, attributes: str, held: str
) -> None:
    page.add_init_script(script)
    visit(page, pages.add("/", head=tag(attributes, gateway.address)))
    assert left_traces(context, page, gateway) == []
    assert status(page)["held"] == held


# The visitor's choice, then the browser's signals, then the site's default; and which of them is said to hold back.
ORDER = [
    ("optIn", GPC + ";" + DNT, "denied", ""),
    ("optIn", "", "required", ""),
    ("optOut", "", "granted", "opted_out"),
    ("optOut", GPC, "denied", "opted_out"),
    (None, GPC + ";" + DNT, "granted", "gpc"),
    (None, GPC, "required", "gpc"),
    (None, DNT, "granted", "dnt"),
    (None, DNT, "denied", "dnt"),
    (None, "", "required", "consent_required"),
    (None, "", "denied", "consent_denied"),
    (None, "", "granted", ""),
]


@pytest.mark.parametrize(("choice", "signal", "default", "held"), ORDER)
def test_the_visitors_choice_counts_before_the_browsers_signal_and_that_before_the_sites_default(
    page: Page,
    pages: Pages,
    tag: Callable[..., str],
    gateway: Gateway,
    stored: Stored,
    choice: str | None,
    signal: str,
    default: str,
    held: str,
) -> None:
    page.add_init_script(signal)
    visit(page, pages.add("/order", head=tag(f'data-consent="{default}"', gateway.address)))
    if choice:
        call(page, choice)
        visit(page, pages.url("/order"))
    call(page, "track", "ordered")
    assert status(page)["held"] == held
    if held:
        assert gateway.sent() == []
    else:
        fence(page)
        assert [event.name for event in stored.events("ordered", lead=lead(page))] == ["ordered"]


@pytest.mark.parametrize("signal", [GPC, DNT])
def test_a_refusal_of_the_browser_is_outweighed_by_a_choice_made_later_in_the_same_page(
    page: Page, pages: Pages, snippet: str, stored: Stored, signal: str
) -> None:
    page.add_init_script(signal)
    visit(page, pages.add("/later", head=snippet))
    call(page, "track", "before-choice")
    call(page, "identify", "chose-later", {"name": "Ada"})
    call(page, "optIn")
    fence(page)
    assert [event.name for event in stored.events(lead=lead(page))] == ["before-choice"]
    assert sorted(event.name for event in stored.events(user="chose-later")) == ["fence", "page-view"]


def test_what_waited_for_consent_is_sent_once_it_is_given(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, stored: Stored
) -> None:
    visit(page, pages.add("/", head=tag('data-consent="required"', gateway.address)))
    call(page, "track", "before-consent", {"n": 1})
    assert gateway.sent() == []
    call(page, "optIn", "2026-03")
    fence(page)
    assert [event.name for event in stored.events(lead=lead(page))] == ["page-view", "before-consent", "fence"]


def test_what_waited_for_a_consent_that_never_came_is_gone_with_the_page(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, stored: Stored
) -> None:
    shop = pages.add("/", head=tag('data-consent="required"', gateway.address))
    visit(page, shop)
    call(page, "track", "never-allowed")
    visit(page, shop)
    call(page, "optIn")
    fence(page)
    assert stored.events("never-allowed") == []


def test_a_choice_made_once_holds_for_the_next_pages(page: Page, pages: Pages, tag: Callable[..., str], stored: Stored) -> None:
    shop = pages.add("/", head=tag('data-consent="required"'))
    visit(page, shop)
    call(page, "optIn")
    fence(page)
    visit(page, shop)
    assert not status(page)["held"]
    fence(page)
    assert len(stored.views(lead(page))) == 2


def test_an_opt_in_outweighs_the_signal_of_the_browser(
    new_context: Callable[..., BrowserContext], pages: Pages, tag: Callable[..., str], gateway: Gateway, stored: Stored
) -> None:
    context = new_context(extra_http_headers={"Sec-GPC": "1"})
    page = context.new_page()
    page.add_init_script(GPC)
    visit(page, pages.add("/", head=tag(address=gateway.address)))
    call(page, "optIn")
    fence(page)
    assert {(sent.headers["Sec-GPC"], sent.json["consent"]) for sent in gateway.sent()} == {("1", "granted")}
    assert len(stored.views(lead(page))) == 1


def test_a_signal_that_only_the_collector_sees_holds_in_the_page_as_well(
    new_context: Callable[..., BrowserContext], pages: Pages, snippet: str, stored: Stored
) -> None:
    """As from an extension that adds the header alone."""
    context = new_context(extra_http_headers={"Sec-GPC": "1"})
    page = context.new_page()
    visit(page, pages.add("/unseen-signal", head=snippet))
    page.wait_for_function("leadlight('status').held == 'gpc'")
    assert [one["code"] for one in status(page)["refused"]] == ["consent_withheld"]
    assert (context.cookies(), storage(page)) == ([], {})
    call(page, "track", "unseen-signal")
    assert (context.cookies(), storage(page)) == ([], {})
    assert stored.events("unseen-signal") == [view for view in stored.events("page-view") if view.path == "/unseen-signal"] == []
    call(page, "optIn")
    fence(page)
    assert [event.owner for event in stored.events("unseen-signal")] == [lead(page)]


def test_a_withdrawal_wipes_the_browser_down_to_its_marker(
    context: BrowserContext, page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, lead_cookie: str, stored: Stored
) -> None:
    shop = pages.add("/", head=tag(address=gateway.address))
    visit(page, shop)
    call(page, "identify", "withdrawn")
    fence(page)
    gateway.log.clear()
    call(page, "optOut")
    call(page, "track", "after-withdrawal")
    visit(page, shop)
    call(page, "track", "after-withdrawal")
    assert status(page)["held"] == "opted_out"
    assert status(page)["lead"] in (None, "")
    assert gateway.sent() == []
    assert [one["name"] for one in context.cookies()] == [f"{lead_cookie}_choice"]
    assert storage(page) == {f"{lead_cookie}_choice": "out"}


def test_a_withdrawal_in_one_tab_holds_in_the_others(
    context: BrowserContext, page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway
) -> None:
    visit(page, pages.add("/", head=tag(address=gateway.address)))
    other = context.new_page()
    visit(other, pages.url("/"))
    fence(page)
    fence(other)
    call(page, "optOut")
    other.wait_for_function("leadlight('status').held == 'opted_out'")
    gateway.log.clear()
    call(other, "track", "after-withdrawal-elsewhere")
    other.evaluate("window.dispatchEvent(new Event('pagehide'))")
    assert gateway.sent() == []


def test_a_message_whose_script_is_still_on_its_way_is_not_asked_for_after_a_withdrawal(
    page: Page, pages: Pages, through: str, gateway: Gateway, new_message: Callable[..., Message]
) -> None:
    message = new_message("/withdrawn-meanwhile", title="Too late")
    held: list[Route] = []
    page.route("**/messenger-*.js", lambda route: held.append(route))  # noqa: PLW0108 (it is inspected, and a method of a list cannot be)
    visit(page, pages.add("/withdrawn-meanwhile", head=through))
    assert until(page, lambda: held)
    call(page, "optOut")
    gateway.log.clear()
    held[0].continue_()
    page.unroute("**/messenger-*.js")
    page.evaluate("address => import(address)", held[0].request.url)
    page.evaluate("address => fetch(address, {mode: 'no-cors'})", f"{gateway.address}/tracker.js")
    assert [sent.path for sent in gateway.log if sent.method == "POST"] == []
    assert message.stats()["sent"] == 0


def test_a_withdrawal_outlives_a_browser_that_drops_the_cookies_of_scripts(
    context: BrowserContext, page: Page, pages: Pages, snippet: str
) -> None:
    """As Safari does seven days after they were written."""
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    call(page, "optOut")
    call(page, "optOut")
    context.clear_cookies()
    visit(page, shop)
    assert status(page)["held"] == "opted_out"


@pytest.mark.parametrize("again", [False, True], ids=["not seen here", "seen here"])
def test_a_consent_that_was_taken_back_on_a_sibling_host_does_not_come_back_with_the_end_of_its_cookie(
    context: BrowserContext, page: Page, pages: Pages, tag: Callable[..., str], again: bool
) -> None:
    pages.add("/", head=tag('data-consent="required"'))
    visit(page, pages.url("/"))
    call(page, "optIn")
    visit(page, pages.url("/", host="app.shop.example"))
    call(page, "optOut")
    if again:
        visit(page, pages.url("/"))
    context.clear_cookies()
    visit(page, pages.url("/"))
    assert status(page)["held"] == ("opted_out" if again else "consent_required")


def test_a_consent_given_after_a_withdrawal_holds(page: Page, pages: Pages, snippet: str) -> None:
    pages.add("/", head=snippet)
    visit(page, pages.url("/"))
    call(page, "optOut")
    visit(page, pages.url("/", host="app.shop.example"))
    call(page, "optIn")
    visit(page, pages.url("/"))
    visit(page, pages.url("/"))
    assert status(page)["held"] == ""


def test_two_tabs_that_wait_for_consent_are_one_visitor(
    context: BrowserContext, page: Page, pages: Pages, tag: Callable[..., str], stored: Stored
) -> None:
    shop = pages.add("/", head=tag('data-consent="required"'))
    other = context.new_page()
    for one in (page, other):
        visit(one, shop)
        call(one, "track", "waited-in-two-tabs")
    call(page, "optIn")
    wait_for(other, "() => Object.keys(localStorage).length")  # not by asking the tracker, which would look around for that alone
    fence(page)
    fence(other)
    assert lead(page) == lead(other)
    assert [event.owner for event in stored.events("waited-in-two-tabs")] == [lead(page)] * 2


@pytest.mark.whole_browser
def test_a_withdrawal_holds_in_a_page_that_comes_back_from_the_cache(
    context: BrowserContext, page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, lead_cookie: str
) -> None:
    mark = "<script>addEventListener('pageshow', event => { window.restored = event.persisted })</script>"
    script = tag(address=gateway.address)
    visit(page, pages.add("/before", head=mark + script))
    fence(page)
    visit(page, pages.add("/privacy", head=script))
    fence(page)
    call(page, "optOut")
    gateway.log.clear()
    page.evaluate("history.back()")
    page.wait_for_function("window.restored === true")
    call(page, "track", "after-withdrawal-before")
    page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    assert status(page)["held"] == "opted_out"
    assert gateway.sent() == []
    assert [one["name"] for one in context.cookies()] == [f"{lead_cookie}_choice"]
    assert storage(page) == {f"{lead_cookie}_choice": "out"}


def test_an_opt_in_outweighs_a_site_that_denies_by_default(page: Page, pages: Pages, tag: Callable[..., str], stored: Stored) -> None:
    shop = pages.add("/", head=tag('data-consent="denied"'))
    visit(page, shop)
    call(page, "optIn", "2026-03")
    visit(page, shop)
    fence(page)
    assert status(page)["choice"] == "in.2026-03"
    assert len(stored.views(lead(page))) == 2


def test_a_choice_holds_on_sibling_hosts(page: Page, pages: Pages, snippet: str) -> None:
    pages.add("/", head=snippet)
    visit(page, pages.url("/", host="app.shop.example"))
    call(page, "optOut")
    visit(page, pages.url("/"))
    assert status(page)["held"] == "opted_out"


def test_a_withdrawal_empties_what_waits_and_ends_the_messages_of_all_tabs(
    context: BrowserContext,
    page: Page,
    pages: Pages,
    through: str,
    gateway: Gateway,
    new_message: Callable[..., Message],
    stored: Stored,
    lead_cookie: str,
) -> None:
    new_message("/going", title="Going")
    visit(page, pages.add("/going", head=through))
    page.get_by_role("dialog").wait_for()
    other = context.new_page()
    visit(other, pages.add("/elsewhere", head=through))
    fence(other)
    gateway.fate = "drop"
    call(page, "track", "waiting-when-withdrawn")
    call(other, "track", "waiting-when-withdrawn")
    call(other, "optOut")
    page.get_by_role("dialog").wait_for(state="detached")
    wait_for(page, "() => leadlight('status').held == 'opted_out'")
    assert (status(page)["queued"], status(other)["queued"]) == (0, 0)
    assert storage(page) == storage(other) == {f"{lead_cookie}_choice": "out"}
    gateway.fate = "pass"
    call(page, "optIn")
    fence(page)
    fence(other)
    assert stored.events("waiting-when-withdrawn") == []


def test_who_opts_in_again_is_somebody_new(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/", head=snippet))
    fence(page)
    before = lead(page)
    call(page, "optOut")
    call(page, "optIn")
    fence(page)
    assert lead(page) != before
    assert [event.name for event in stored.events(lead=lead(page))][-1] == "fence"


def test_a_driven_browser_is_stored_nowhere_unless_the_site_counts_it(
    context: BrowserContext, page: Page, pages: Pages, gateway: Gateway, collector: Collector
) -> None:
    script = f'<script async src="{gateway.address}/tracker.js" data-site="{collector.site_key}"></script>'
    visit(page, pages.add("/", head=script))
    assert left_traces(context, page, gateway) == []
    assert status(page)["held"] == "automation"


@pytest.mark.parametrize("held", ["paused", "impersonated"])
def test_while_nothing_is_tracked_no_visit_is_written_down(page: Page, pages: Pages, snippet: str, held: str) -> None:
    visit(page, pages.add("/", head=f"<script>window.leadlightSettings = {{{held}: true}}</script>{snippet}"))
    call(page, "track", "unwritten")
    push(page, "/unwritten")
    call(page, "page")
    assert [key for key in storage(page) if "visit" in key] == []
