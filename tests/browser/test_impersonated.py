"""Staff that looks at the site as a customer: nothing of it is tracked, nothing is shown, nothing of the customer's is used up."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.gateway import Gateway
from tests.browser.messages import Message
from tests.browser.stored import Stored
from tests.browser.tabs import STUB, call, cookie, fence, lead, push, status, storage, visit
from tests.support.pages import Pages

# How a page says it; the calls are made before the script is there, as snippets make them.
SAID = {
    "attribute of the user": ("", f"{STUB} leadlight('identify', USER, {{impersonated: true, plan: 'staff'}})"),
    "attribute with the user id": ("", f"{STUB} leadlight('identify', {{user_id: USER, impersonated: true}})"),
    "option of the tag": ("data-impersonated", f"{STUB} leadlight('identify', USER, {{plan: 'staff'}})"),
    "setting": ("", f"window.leadlightSettings = {{impersonated: true}}; {STUB} leadlight('identify', USER)"),
}


@pytest.fixture(params=SAID)
def page_as(request: pytest.FixtureRequest, pages: Pages, tag: Callable[..., str], gateway: Gateway) -> Callable[[str, str], str]:
    """Makes the page of a path as staff sees it that looks at it as a user."""
    attributes, script = SAID[request.param]

    def make(path: str, user: str) -> str:
        return pages.add(path, head=f"<script>{script.replace('USER', repr(user))}</script>" + tag(attributes, gateway.address))

    return make


def test_nothing_is_tracked(page: Page, page_as: Callable[[str, str], str], gateway: Gateway, stored: Stored) -> None:
    visit(page, page_as("/seen-as", "customer-1"))
    call(page, "track", "done-as-customer")
    push(page, "/seen-as/next")
    page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    found = status(page)
    assert (found["held"], found["queued"]) == ("impersonated", 0)
    visit(page, page_as("/seen-as", "customer-1"))
    assert [sent.path for sent in gateway.log if sent.path != "/tracker.js"] == []
    assert stored.events("done-as-customer") == []
    assert not any("customer-1" in text for text in storage(page).values())


def test_nothing_is_shown_and_the_customer_still_gets_the_message(
    page: Page,
    page_as: Callable[[str, str], str],
    pages: Pages,
    snippet: str,
    gateway: Gateway,
    new_context: Callable[..., BrowserContext],
    new_message: Callable[..., Message],
) -> None:
    path = "/message-as"
    message = new_message(path, title="Once in a life", frequency={"type": "once"})
    visit(page, page_as(path, "customer-2"))
    call(page, "showMessage", message.id)
    page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    assert {sent.path for sent in gateway.log} == {"/tracker.js"}
    assert message.stats()["matched"] == 0
    customer = new_context().new_page()
    customer.goto(pages.add(path, head=f"<script>{STUB} leadlight('identify', 'customer-2')</script>{snippet}"))
    customer.get_by_role("dialog").wait_for()


def test_a_message_that_is_open_goes(page: Page, pages: Pages, snippet: str, new_message: Callable[..., Message]) -> None:
    new_message("/open-as", title="Going")
    visit(page, pages.add("/open-as", head=snippet))
    page.get_by_role("dialog").wait_for()
    call(page, "identify", "customer-3", {"impersonated": True})
    page.get_by_role("dialog").wait_for(state="detached")


def test_who_withdraws_meanwhile_has_withdrawn(context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str) -> None:
    visit(page, pages.add("/withdrawn-as", head=snippet))
    fence(page)
    call(page, "identify", "customer-6", {"impersonated": True})
    call(page, "optOut")
    assert status(page)["held"] == "opted_out"
    assert cookie(context, lead_cookie) is None
    assert storage(page) == {f"{lead_cookie}_choice": "out"}


def test_the_visitors_own_is_tracked_before_and_on_the_next_page_as_if_nothing_had_been(
    page: Page, pages: Pages, snippet: str, stored: Stored
) -> None:
    visit(page, pages.add("/own", head=snippet))
    call(page, "identify", "staff-1")
    call(page, "track", "own")
    fence(page)
    who = lead(page)
    call(page, "identify", "customer-4", {"impersonated": True})
    call(page, "track", "as-customer")
    visit(page, pages.url("/own"))
    call(page, "identify", "staff-1")
    call(page, "track", "own")
    fence(page)
    assert lead(page) == who
    assert [event.name for event in stored.events(user="staff-1")].count("own") == 2
    assert stored.events("as-customer") == []
    assert stored.events(user="customer-4") == []


def test_nothing_of_the_pages_own_is_copied_when_it_ends(page: Page, pages: Pages, snippet: str) -> None:
    visit(page, pages.add("/ends", head=snippet))
    fence(page)
    own = "a-key-of-the-page-that-is-longer-than-any-beginning-of-ours"
    page.evaluate("key => { localStorage[key] = 'own' }", own)
    call(page, "identify", "customer-7", {"impersonated": True})
    call(page, "identify", "staff-3")
    fence(page)
    assert [key for key, value in storage(page).items() if value == "own"] == [own]


def test_whoever_is_identified_next_without_it_is_tracked_again(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/back", head=snippet))
    fence(page)
    call(page, "identify", "customer-5", {"impersonated": True})
    call(page, "track", "as-customer-5")
    call(page, "identify", None, {"plan": "pro"})
    assert status(page)["held"] == "impersonated"
    call(page, "identify", "staff-2")
    fence(page)
    assert [event.name for event in stored.events(user="staff-2")] == ["fence"]
    assert stored.events("as-customer-5") == []
