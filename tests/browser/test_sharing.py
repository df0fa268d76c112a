"""Tabs that share queue and lead, with Web Locks (https) and without (plain http): nothing lost or doubled, nobody waits for another."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.browser.tabs import call, fence, lead, status, track, until, visit
from tests.support.pages import Pages

Numbers = Callable[[str, int], list[int]]


@dataclass(frozen=True)
class Place:
    """A page with the tracker, and the network behind it."""

    shop: str
    gateway: Gateway
    locks: bool


@pytest.fixture(params=["without locks", "with locks"])
def place(request: pytest.FixtureRequest, tag: Callable[..., str]) -> Place:
    locks = request.param == "with locks"
    prefix = "secure_" if locks else ""
    pages, gateway = request.getfixturevalue(f"{prefix}pages"), request.getfixturevalue(f"{prefix}gateway")
    return Place(pages.add("/", head=tag(address=gateway.address)), gateway, locks)


@pytest.fixture
def tabs(context: BrowserContext, place: Place) -> list[Page]:
    """Three tabs of one visitor, all at rest."""
    found = [context.new_page() for _ in range(3)]
    for tab in found:
        visit(tab, place.shop)
    for tab in found:
        fence(tab)
    assert found[0].evaluate("!!navigator.locks") == place.locks
    return found


def test_three_tabs_with_stored_events_double_none(tabs: list[Page], place: Place, stored: Stored) -> None:
    place.gateway.fate = "drop"
    for start, tab in enumerate(tabs):
        track(tab, "three-tabs", *range(start, 21, 3))
    assert until(tabs[0], lambda: len(place.gateway.tries("three-tabs")) >= 3)
    place.gateway.fate = "pass"
    for tab in tabs:
        fence(tab)
    assert sorted(event.metadata["n"] for event in stored.events("three-tabs")) == list(range(21))


def test_three_tabs_opened_at_once_on_a_full_queue_send_each_event_in_order_and_none_twice(
    context: BrowserContext, page: Page, place: Place, stored: Stored
) -> None:
    visit(page, place.shop)
    fence(page)
    place.gateway.fate = "drop"
    track(page, "full-queue", *range(20))
    assert until(page, lambda: place.gateway.tries("full-queue"))
    context.clock.install()
    tabs = [page, context.new_page(), context.new_page()]
    for tab in tabs:
        tab.goto(place.shop)
    context.clock.fast_forward(11_000)
    place.gateway.fate = "pass"
    for tab in tabs:
        tab.reload()
    for tab in tabs:
        until(tab, lambda tab=tab: not status(tab)["queued"])
    assert [event.metadata["n"] for event in stored.events("full-queue")] == list(range(20))


def test_what_a_closed_tab_left_behind_is_sent_by_another_tab_a_little_later(
    context: BrowserContext, tabs: list[Page], place: Place, stored: Stored
) -> None:
    context.clock.install()
    closed, *alive = tabs
    for tab in tabs:
        visit(tab, place.shop)
        fence(tab)
    place.gateway.fate = "drop"
    track(closed, "orphan", 1)
    closed.wait_for_function("leadlight('status').retry_at")
    closed.close()
    place.gateway.fate = "pass"
    place.gateway.log.clear()
    for tab in alive:
        track(tab, "alive", 1)
    assert until(alive[0], lambda: len(stored.events("alive")) == 2)
    assert stored.events("orphan") == []
    context.clock.fast_forward(11_000)
    for tab in alive:
        tab.wait_for_function("!leadlight('status').queued")
    assert [event.metadata["n"] for event in stored.events("orphan")] == [1]
    if place.locks:
        assert len(place.gateway.tries("orphan")) == 1


def test_a_tab_whose_request_hangs_holds_up_no_other(tabs: list[Page], place: Place, stored: Stored) -> None:
    hanging, other, _ = tabs
    place.gateway.fates = ["hang"]
    track(hanging, "hangs", 1)
    assert until(hanging, lambda: place.gateway.tries("hangs"))
    track(other, "passes-by", 1)
    assert until(other, lambda: stored.events("passes-by"))
    assert stored.events("hangs") == []


def test_a_tab_that_copied_another_one_doubles_nothing(context: BrowserContext, tabs: list[Page], place: Place, stored: Stored) -> None:
    """A page opened by another one takes its sessionStorage along, and with it the name of the tab."""
    opener = tabs[0]
    place.gateway.fate = "drop"
    track(opener, "copied", 1)
    assert until(opener, lambda: place.gateway.tries("copied"))
    with context.expect_page() as opened:
        opener.evaluate("address => { open(address) }", place.shop)
    copy = opened.value
    copy.wait_for_function("window.leadlight?.v")
    place.gateway.fate = "pass"
    track(copy, "copied", 2)
    for tab in (opener, copy):
        tab.wait_for_function("!leadlight('status').queued")
    assert [event.metadata["n"] for event in stored.events("copied")] == [1, 2]


def test_a_tab_that_is_busy_does_not_undo_the_sign_outs_of_another(context: BrowserContext, page: Page, pages: Pages, snippet: str) -> None:
    visit(page, pages.add("/", head=snippet))
    other = context.new_page()
    visit(other, pages.url("/"))
    other.evaluate("() => { setInterval(() => leadlight('status')) }")
    for number in range(20):
        call(other, "identify", f"busy-{number}")
        page.wait_for_function("Object.keys(localStorage).every(key => !key.includes('.q.'))")
        before = lead(page)
        call(page, "reset")
        other.wait_for_function("!leadlight('status').user")
        assert lead(other) == lead(page) != before


def test_whoever_agrees_again_and_signs_in_stays_signed_in_whatever_other_tabs_are_open(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored
) -> None:
    visit(page, pages.add("/", head=snippet))
    other = context.new_page()
    visit(other, pages.url("/"))
    for number in range(8):
        call(page, "optOut")
        other.wait_for_function("leadlight('status').held == 'opted_out'")
        page.evaluate("who => { leadlight('optIn'); leadlight('identify', who) }", f"back-{number}")
        other.wait_for_function("!leadlight('status').held")
        track(page, "agreed-again", number)
        assert status(page)["user"] == f"back-{number}"
        assert lead(other) == lead(page)
    fence(page)
    owners = [event.owner for event in stored.events("agreed-again")]
    assert owners == [f"back-{event.metadata['n']}" for event in stored.events("agreed-again")]


def test_other_tabs_hear_of_a_permission_when_the_lead_is_there(page: Page, pages: Pages, snippet: str, lead_cookie: str) -> None:
    """A tab that heard of it before would make a lead of its own."""
    visit(page, pages.add("/", head=snippet))
    call(page, "optOut")
    other = page.context.new_page()
    other.goto(pages.add("/watching"))
    other.evaluate("""() => {
        window.seen = [];
        addEventListener('storage', () => seen.push(document.cookie));
    }""")
    page.evaluate("""() => {
        const {get, set} = Object.getOwnPropertyDescriptor(Document.prototype, 'cookie');
        window.seen = [];
        Object.defineProperty(Document.prototype, 'cookie', {get, set(text) { set.call(this, text); seen.push(get.call(this)) }});
        leadlight('optIn');
    }""")
    seen = page.evaluate("seen")
    assert any(f"{lead_cookie}_choice=in" in text for text in seen)
    assert all(f"{lead_cookie}=" in text for text in seen if f"{lead_cookie}_choice=in" in text)
    other.wait_for_function("seen.length")
    assert f"{lead_cookie}=" in other.evaluate("seen[0]")
