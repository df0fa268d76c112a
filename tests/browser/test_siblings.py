"""Pages open at once that share cookies and nothing else: of sibling hosts, and of one host whose storage takes nothing more."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.gateway import Gateway
from tests.browser.messages import Message
from tests.browser.people import contact, counts
from tests.browser.stored import Stored
from tests.browser.tabs import call, cookie, fence, lead, status, storage, until, visit, wait_for
from tests.support.pages import Pages
from tests.support.servers import Collector

FULL = """
    Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') };
    Object.defineProperty(window, 'localStorage', {value: new Proxy({}, {
        set() { throw new DOMException('full', 'QuotaExceededError') }, deleteProperty: () => true})});
"""

LATER = "() => new Promise(done => setTimeout(done, 1_000))"
"""After what the tracker had put off until a second later: timers of one length go off in order."""


@dataclass(frozen=True)
class Tabs:
    """Two tabs of one visitor, both at rest."""

    here: Page
    there: Page
    siblings: bool


@pytest.fixture(params=["sibling hosts", "storage is full"])
def tabs(request: pytest.FixtureRequest, context: BrowserContext, pages: Pages, through: str) -> Tabs:
    siblings = request.param == "sibling hosts"
    if not siblings:
        context.add_init_script(FULL)
    pages.add("/", head=through)
    here, there = context.new_page(), context.new_page()
    visit(here, pages.url("/"))
    fence(here)
    visit(there, pages.url("/", host="app.shop.example") if siblings else pages.url("/"))
    fence(there)
    assert lead(here) == lead(there)
    return Tabs(here, there, siblings)


def test_a_withdrawal_there_holds_here_from_the_next_thing_that_happens(
    context: BrowserContext, tabs: Tabs, gateway: Gateway, lead_cookie: str
) -> None:
    marker = {f"{lead_cookie}_choice": "out"}
    call(tabs.there, "optOut")
    gateway.log.clear()
    call(tabs.here, "track", "after-withdrawal-there")
    tabs.here.evaluate("history.pushState({}, '', '/next')")
    tabs.here.evaluate("window.dispatchEvent(new Event('pagehide'))")
    assert status(tabs.here)["held"] == "opted_out"
    assert status(tabs.here)["queued"] == 0
    assert gateway.sent() == []
    assert cookie(context, lead_cookie) is None
    assert storage(tabs.here) == (marker if tabs.siblings else {})


def test_what_waits_here_is_not_sent_after_a_withdrawal_there(tabs: Tabs, gateway: Gateway, stored: Stored) -> None:
    gateway.fate = "drop"
    call(tabs.here, "track", "waits-here")
    tabs.here.wait_for_function("leadlight('status').retry_at")
    call(tabs.there, "optOut")
    gateway.fate = "pass"
    tabs.here.evaluate("window.dispatchEvent(new Event('online'))")
    tabs.here.wait_for_function("leadlight('status').held == 'opted_out'")
    call(tabs.there, "optIn")
    fence(tabs.here)
    fence(tabs.there)
    assert stored.events("waits-here") == []


def test_a_permission_given_there_holds_here(tabs: Tabs, stored: Stored) -> None:
    call(tabs.there, "optOut")
    assert status(tabs.here)["held"] == "opted_out"
    call(tabs.there, "optIn")
    call(tabs.here, "track", "permitted-there")
    fence(tabs.here)
    assert [event.owner for event in stored.events("permitted-there")] == [lead(tabs.there)]


def test_who_signed_out_there_is_not_spoken_for_here(tabs: Tabs, collector: Collector, stored: Stored) -> None:
    call(tabs.here, "identify", "signed-out-there")
    fence(tabs.here)
    call(tabs.there, "reset")
    call(tabs.here, "track", "by-the-next-visitor")
    call(tabs.there, "track", "by-the-next-visitor")
    fence(tabs.here)
    fence(tabs.there)
    assert status(tabs.here)["user"] is None
    assert {event.owner for event in stored.events("by-the-next-visitor")} == {lead(tabs.there)}
    assert "by-the-next-visitor" not in counts(collector, "signed-out-there")


def test_the_next_user_is_another_person_on_both(tabs: Tabs, collector: Collector, stored: Stored) -> None:
    call(tabs.here, "identify", "first-on-both")
    fence(tabs.here)
    call(tabs.there, "reset")
    call(tabs.there, "identify", "next-on-both")
    fence(tabs.there)
    call(tabs.here, "track", "still-open")
    fence(tabs.here)
    call(tabs.here, "identify", "next-on-both")
    call(tabs.here, "track", "signed-in-again")
    fence(tabs.here)
    assert "still-open" not in counts(collector, "first-on-both")
    assert [event.owner for event in stored.events("signed-in-again")] == ["next-on-both"]


def test_the_visit_of_whoever_signed_out_there_is_not_gone_on_with_here(tabs: Tabs, stored: Stored) -> None:
    call(tabs.here, "track", "in-the-first-visit")
    fence(tabs.here)
    call(tabs.there, "reset")
    tabs.here.evaluate("history.pushState({}, '', '/after-sign-out')")
    fence(tabs.here)
    (before,) = stored.events("in-the-first-visit")
    (after,) = [view for view in stored.events("page-view") if view.path == "/after-sign-out"]
    assert after.visit != before.visit
    assert after.owner == lead(tabs.there) != before.owner


@pytest.mark.parametrize("tabs", ["sibling hosts"], indirect=True)
@pytest.mark.parametrize("happens", ["a view", "an exit", "an answer", "a claim"])
def test_a_withdrawal_there_is_noticed_by_whatever_happens_here_first(
    tabs: Tabs, gateway: Gateway, happens: str, new_message: Callable[..., Message], lead_cookie: str
) -> None:
    here = tabs.here
    if happens == "an answer":
        gateway.fates = ["wait"]
        call(here, "track", "under-way")
        assert until(here, lambda: gateway.tries("under-way"))
    if happens == "a claim":
        new_message("/claimed", title="Too late", trigger={"type": "time", "seconds": 2})
        here.evaluate("history.pushState({}, '', '/claimed')")
        fence(here)
    call(tabs.there, "optOut")
    gateway.log.clear()
    if happens == "a view":
        here.evaluate("history.pushState({}, '', '/viewed')")
    elif happens == "an exit":
        here.evaluate("window.dispatchEvent(new Event('pagehide'))")
    elif happens == "an answer":
        gateway.hold.set()
    # Asked by status, the tracker would look around for that alone.
    wait_for(here, "marker => Object.keys(localStorage) == marker", f"{lead_cookie}_choice")
    assert gateway.sent() == []
    assert here.locator("leadlight-message").count() == 0


@pytest.mark.parametrize("undone", [False, True], ids=["another user", "an undone merge"])
def test_a_new_lead_that_is_no_sign_out_leaves_the_user_signed_in_here(
    tabs: Tabs, collector: Collector, stored: Stored, undone: bool, request: pytest.FixtureRequest
) -> None:
    name = f"stays-{len(request.node.name)}-{undone}"
    first, then = (f"{name}-first", f"{name}-then")
    if undone:
        then = first
    call(tabs.here, "identify", first)
    fence(tabs.here)
    if undone:
        person = contact(collector, first)["id"]
        merges = collector.client.api("GET", f"/merges?contact_id={person}").json["data"]
        assert collector.client.api("POST", f"/merges/{merges[0]['id']}/undo", {}).status == 200
    before = lead(tabs.here)
    call(tabs.there, "identify", then)
    call(tabs.here, "identify", then)
    fence(tabs.there)
    fence(tabs.here)
    assert lead(tabs.here) != before
    for tab in (tabs.here, tabs.there):
        call(tab, "track", f"{name}-event")
        fence(tab)
    assert [status(tab)["user"] for tab in (tabs.here, tabs.there)] == [then, then]
    assert [event.owner for event in stored.events(f"{name}-event")] == [then, then]


def test_a_lead_made_anew_because_the_cookies_were_cleared_signs_nobody_out(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored
) -> None:
    """As two tabs that are restored at once make two, of which one stays."""
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    call(page, "identify", "still-signed-in")
    fence(page)
    before = lead(page)
    context.clear_cookies()
    other = context.new_page()
    visit(other, shop)
    fence(other)
    call(page, "track", "after-the-cookies-were-cleared")
    fence(page)
    assert lead(page) == lead(other) != before
    assert [event.owner for event in stored.events("after-the-cookies-were-cleared")] == ["still-signed-in"]


def test_a_page_that_empties_its_storage_speaks_for_the_same_user(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    call(page, "identify", "was-here-first")
    fence(page)
    visit(page, shop)
    page.evaluate("() => { leadlight('identify', 'signed-in-since'); localStorage.clear(); document.cookie = 'sid=1' }")
    call(page, "track", "after-the-storage-was-emptied")
    fence(page)
    assert [event.owner for event in stored.events("after-the-storage-was-emptied")] == ["signed-in-since"]


def test_a_sign_out_is_heard_by_the_other_tabs_of_a_page_that_empties_its_storage(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, new_message: Callable[..., Message]
) -> None:
    new_message("/emptied", title="For whoever was here")
    visit(page, pages.add("/emptied", head=snippet))
    expect(page.locator("leadlight-message").get_by_role("dialog")).to_be_visible()
    other = context.new_page()
    visit(other, pages.add("/elsewhere", head=snippet))
    other.evaluate("() => { localStorage.clear(); leadlight('reset') }")
    expect(page.locator("leadlight-message").get_by_role("dialog")).to_have_count(0)


def test_who_signs_in_right_after_a_sign_out_there_is_signed_in(tabs: Tabs, stored: Stored) -> None:
    call(tabs.here, "identify", "here-before")
    fence(tabs.here)
    call(tabs.there, "reset")
    call(tabs.here, "identify", "here-after")
    call(tabs.here, "track", "said-at-once")
    fence(tabs.here)
    assert [event.owner for event in stored.events("said-at-once")] == ["here-after"]
    assert status(tabs.here)["user"] == "here-after"


@pytest.mark.parametrize("tabs", ["sibling hosts"], indirect=True)
@pytest.mark.parametrize("who", ["signed-in-before", "somebody-else"])
def test_who_signs_in_right_after_a_sign_out_there_keeps_the_session(tabs: Tabs, lead_cookie: str, who: str) -> None:
    call(tabs.here, "identify", "signed-in-before")
    fence(tabs.here)
    call(tabs.there, "reset")
    call(tabs.here, "identify", who)
    fence(tabs.here)
    tabs.here.evaluate(LATER)
    call(tabs.here, "track", "once-more")
    fence(tabs.here)
    kept = json.loads(storage(tabs.here)[f"{lead_cookie}.who"])
    assert (kept["id"], kept["lead"].partition(".")[0], bool(kept["token"])) == (who, lead(tabs.here), True)


@pytest.mark.parametrize("tabs", ["sibling hosts"], indirect=True)
@pytest.mark.parametrize("heard", [True, False], ids=["answered", "the collector is away"])
def test_the_session_of_whoever_signed_out_there_is_not_kept_here(tabs: Tabs, lead_cookie: str, gateway: Gateway, heard: bool) -> None:
    gateway.fate = "pass" if heard else "drop"
    call(tabs.here, "identify", "signed-out-elsewhere")
    if heard:
        fence(tabs.here)
    call(tabs.there, "reset")
    call(tabs.here, "track", "next")
    tabs.here.evaluate(LATER)
    assert f"{lead_cookie}.who" not in storage(tabs.here)


def test_a_message_of_whoever_signed_out_there_ends_when_something_happens_here(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, new_message: Callable[..., Message]
) -> None:
    new_message("/sibling-message", title="For whoever was here")
    visit(page, pages.add("/sibling-message", head=snippet))
    expect(page.locator("leadlight-message").get_by_role("dialog")).to_be_visible()
    other = context.new_page()
    pages.add("/elsewhere", head=snippet)
    visit(other, pages.url("/elsewhere", host="app.shop.example"))
    call(other, "reset")
    call(page, "track", "anything")
    expect(page.locator("leadlight-message").get_by_role("dialog")).to_have_count(0)


def test_a_session_that_ends_here_leaves_the_user_signed_in_there(
    context: BrowserContext, pages: Pages, snippet: str, stored: Stored
) -> None:
    pages.add("/", head=snippet)
    here, there = context.new_page(), context.new_page()
    visit(here, pages.url("/"))
    call(here, "identify", "signed-in-there")
    fence(here)
    before = lead(here)
    context.clock.install()
    visit(there, pages.url("/", host="app.shop.example"))
    call(there, "identify", "signed-in-there")
    fence(there)
    context.clock.fast_forward(8 * 86_400_000)
    visit(here, pages.url("/"))
    fence(here)
    assert lead(here) != before
    call(there, "track", "after-the-end-here")
    fence(there)
    assert lead(there) == lead(here)
    assert [event.owner for event in stored.events("after-the-end-here")] == ["signed-in-there"]


def test_the_session_of_a_lead_that_is_gone_ends_nobody_elses(context: BrowserContext, pages: Pages, snippet: str) -> None:
    """The other host's storage still holds the session of whoever signed out; its end is not that of the visitor who came after."""
    pages.add("/", head=snippet)
    here, there = context.new_page(), context.new_page()
    visit(here, pages.url("/"))
    call(here, "identify", "long-gone")
    fence(here)
    visit(there, pages.url("/", host="app.shop.example"))
    call(there, "reset")
    fence(there)
    context.clock.install()
    context.clock.fast_forward(8 * 86_400_000)
    visit(here, pages.url("/"))
    fence(here)
    assert lead(here) == lead(there)
