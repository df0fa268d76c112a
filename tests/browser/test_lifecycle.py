"""What becomes of a message while it is on show, and the test of one on the real page that counts nowhere."""

import html
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from collector.domain import trials
from tests.browser.messages import Message
from tests.browser.stored import Stored
from tests.browser.tabs import call, fence, push, status, until, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

Make = Callable[..., Message]
BUTTONS = [{"label": "Note it", "action": "track", "event": "noted"}, {"label": "Not now", "action": "dismiss"}]

MODAL_AT_THE_CLAIM = """const real = fetch; window.fetch = (...given) => {
    if (String(given[0]).endsWith('/claim')) document.querySelector('dialog').showModal();
    return real(...given);
}"""


def shown(page: Page) -> Locator:
    found = page.locator("leadlight-message").get_by_role("dialog")
    expect(found).to_be_visible()
    return found


def gone(page: Page) -> None:
    expect(page.locator("leadlight-message")).to_have_count(0)


def put(collector: Collector, path: str, **fields: Any) -> None:
    answer = collector.client.api("PUT", f"/auto_messages/{path}", fields)
    assert answer.status == 200, answer.text


@contextmanager
def all_paused(collector: Collector) -> Iterator[None]:
    put(collector, "paused", paused=True)
    try:
        yield
    finally:
        put(collector, "paused", paused=False)


# Withdrawn


@pytest.mark.parametrize("position", ["corner", "center"])
def test_a_message_that_is_paused_closes_at_the_next_contact(
    page: Page, pages: Pages, snippet: str, new_message: Make, collector: Collector, position: str
) -> None:
    path = f"/withdrawn-{position}"
    message = new_message(path, title="For now", position=position, buttons=BUTTONS)
    told = "window.told = []; leadlight('onMessage', ({action}) => told.push(action))"
    visit(page, pages.add(path, head=snippet))
    page.evaluate(told)
    shown(page)
    until(page, lambda: message.stats()["seen"] == 1)
    put(collector, message.id, state="paused")
    call(page, "track", "next-contact")
    gone(page)
    assert page.evaluate("told.at(-1)") == "closed"
    fence(page)
    assert message.stats().items() >= {"sent": 1, "seen": 1, "dismissed": 0, "clicked": 0}.items()


def test_a_message_that_is_live_stays(page: Page, pages: Pages, snippet: str, new_message: Make, collector: Collector) -> None:
    other = new_message("/elsewhere", title="Other")
    new_message("/stays", title="Stays")
    visit(page, pages.add("/stays", head=snippet))
    shown(page)
    put(collector, other.id, state="paused")
    fence(page)
    shown(page)


def test_all_close_once_all_are_paused(page: Page, pages: Pages, snippet: str, new_message: Make, collector: Collector) -> None:
    message = new_message("/all-paused", title="For now")
    visit(page, pages.add("/all-paused", head=snippet))
    shown(page)
    until(page, lambda: message.stats()["seen"] == 1)
    with all_paused(collector):
        call(page, "track", "next-contact")
        gone(page)
        fence(page)
        page.reload()
        fence(page)
        gone(page)
        assert message.stats()["sent"] == 1


def test_a_message_that_waits_behind_a_modal_does_not_come_once_it_is_paused(
    page: Page, pages: Pages, snippet: str, new_message: Make, collector: Collector
) -> None:
    message = new_message("/behind", title="Behind")
    head = f"<script>{MODAL_AT_THE_CLAIM}</script>{snippet}"
    visit(page, pages.add("/behind", head=head, body="<dialog>Of the page</dialog>"))
    until(page, lambda: message.stats()["sent"] == 1)
    put(collector, message.id, state="paused")
    fence(page)
    page.evaluate("document.querySelector('dialog').close()")
    fence(page)
    gone(page)


# Tested on the page


@pytest.fixture
def link(new_context: Callable[..., BrowserContext], collector: Collector) -> Callable[[str, Message], str]:
    """Has the console make a test link."""
    own = {"Sec-Fetch-Site": "same-origin"}  # as the pages of the console have it
    console = new_context(base_url=collector.console_url + "/", extra_http_headers=own).request
    console.post("sign-in", form={"email": collector.console_email, "password": collector.console_password})

    def make(address: str, message: Message) -> str:
        page = console.post(f"messages/{message.id}/test", form={"page": address})
        assert page.ok, page.text()
        found = re.search(f'href="([^"]*{trials.PARAMETER}[^"]*)"', page.text())
        assert found
        return html.unescape(found[1])

    return make


def test_a_draft_shows_on_the_page_that_its_link_opens(
    page: Page, pages: Pages, snippet: str, new_message: Make, link: Callable[[str, Message], str]
) -> None:
    message = new_message("/nowhere", title="Hi {{first_name}}", state="draft", buttons=BUTTONS)
    visit(page, link(pages.add("/tested", head=snippet), message))
    card = shown(page)
    expect(card).to_contain_text("Test, counted nowhere")
    expect(card.get_by_role("heading")).to_have_text("Hi first name")


def test_a_test_counts_nowhere(
    page: Page, pages: Pages, snippet: str, new_message: Make, link: Callable[[str, Message], str], stored: Stored
) -> None:
    message = new_message("/tested-uncounted", title="Tested", buttons=BUTTONS, frequency={"type": "once"})
    address = pages.add("/tested-uncounted", head=snippet)
    for button in ("Note it", "Not now"):
        visit(page, link(address, message))
        shown(page).get_by_role("button", name=button).click()
        gone(page)
        call(page, "track", "in-the-test")
        until(page, lambda: not status(page)["queued"])
    assert {entry["code"] for entry in status(page)["refused"]} == {"test"}
    assert message.stats().items() >= {"matched": 0, "sent": 0, "seen": 0, "clicked": 0, "dismissed": 0}.items()
    assert stored.events("noted") == stored.events("in-the-test") == []
    visit(page, address)
    expect(shown(page)).not_to_contain_text("counted nowhere")
    until(page, lambda: message.stats()["sent"] == 1)


def test_the_next_view_ends_the_test(
    page: Page, pages: Pages, snippet: str, new_message: Make, link: Callable[[str, Message], str], stored: Stored
) -> None:
    message = new_message("/nowhere", title="Tested", state="draft")
    visit(page, link(pages.add("/tested-once", head=snippet), message))
    shown(page)
    push(page, "/tested-next")
    gone(page)
    fence(page, refusals=True)
    (view,) = [event for event in stored.events("page-view") if event.metadata["path"] == "/tested-next"]
    assert trials.PARAMETER not in str(view.metadata)


def test_without_consent_a_test_shows_nothing(
    page: Page, pages: Pages, tag: Callable[..., str], new_message: Make, link: Callable[[str, Message], str]
) -> None:
    message = new_message("/nowhere", title="Tested", state="draft")
    visit(page, link(pages.add("/tested-consent", head=tag('data-consent="required"')), message))
    assert status(page)["held"] == "consent_required"
    gone(page)
    call(page, "optIn")
    shown(page)
