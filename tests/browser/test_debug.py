"""What the tracker tells who asks: `leadlight("status")`, and the console where debugging is on."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page

from tests.browser.gateway import Gateway
from tests.browser.tabs import call, fence, status, until, visit, wait_for
from tests.support.pages import Pages

ON = {
    "address": ("?leadlight_debug=1", "", ""),
    "setting": ("", "<script>window.leadlightSettings = {debug: true}</script>", ""),
    "attribute": ("", "", "data-debug"),
}


@pytest.fixture
def said(page: Page) -> Callable[[], list[list[Any]]]:
    """Reads what our scripts wrote to the console of the page, word for word."""
    heard: list[ConsoleMessage] = []
    page.on("console", lambda message: heard.append(message))  # noqa: PLW0108 (playwright marks its handlers, which a method of a list cannot bear)

    def read() -> list[list[Any]]:
        words = [[argument.json_value() for argument in message.args] for message in heard]
        return [one[1:] for one in words if one[:1] == ["leadlight"]]

    return read


def debugged(pages: Pages, tag: Callable[..., str], gateway: Gateway, how: str, attributes: str = "") -> str:
    query, before, attribute = ON[how]
    return pages.add("/", head=before + tag(f"{attribute} {attributes}", gateway.address)) + query


@pytest.mark.parametrize("how", ON)
def test_debugging_says_what_was_sent_and_how_it_was_answered(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, said: Callable[[], list[list[Any]]], how: str
) -> None:
    visit(page, debugged(pages, tag, gateway, how))
    call(page, "track", "told", {"n": 1})
    fence(page)
    tracked = [words[1] for words in said() if len(words) == 2 and isinstance(words[1], dict) and words[1].get("name") == "told"]
    assert [item["metadata"] for item in tracked] == [{"n": 1}]
    answered = [words[1]["accepted"] for words in said() if words[0] == 202]
    assert sum(answered) == status(page)["sent"]


@pytest.mark.parametrize("how", ON)
def test_debugging_says_what_was_refused_here_and_there_and_why(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, said: Callable[[], list[list[Any]]], how: str
) -> None:
    visit(page, debugged(pages, tag, gateway, how))
    call(page, "track", "x" * 121)
    call(page, "track", "told", {"a.b": 1})
    fence(page, refusals=True)
    assert [words[:2] for words in said() if words[0] in ("name_invalid", "metadata_key_invalid")] == [
        ["name_invalid", "name"],
        ["metadata_key_invalid", "metadata.a.b"],
    ]
    assert status(page)["refused"] == [
        {"code": "name_invalid", "field": "name"},
        {"code": "metadata_key_invalid", "field": "metadata.a.b"},
    ]


@pytest.mark.parametrize("how", ON)
def test_debugging_says_what_is_held_back_and_why(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, said: Callable[[], list[list[Any]]], how: str
) -> None:
    visit(page, debugged(pages, tag, gateway, how, 'data-consent="required"'))
    call(page, "track", "told")
    held = [words for words in said() if len(words) == 2 and isinstance(words[1], dict) and words[1].get("name") == "told"]
    assert [words[0] for words in held] == ["consent_required"]
    assert status(page)["held"] == "consent_required"
    wait_for(page, "() => leadlight('status').queued == 2")  # the view too, once it has its title
    assert gateway.sent() == []


def test_without_debugging_the_console_stays_empty(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, said: Callable[[], list[list[Any]]]
) -> None:
    gateway.fates = [500, "garble"]
    visit(page, pages.add("/", head=tag(address=gateway.address)))
    call(page, "track", "")
    call(page, "noSuchMethod")
    page.evaluate("() => leadlight('track', 'told', {get broken() { throw new Error('no') }})")
    assert until(page, lambda: len(gateway.sent()) >= 2)
    assert said() == []


def test_status_says_what_waits_for_the_network_and_until_when(page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway) -> None:
    visit(page, pages.add("/", head=tag(address=gateway.address)))
    fence(page)
    before = status(page)
    assert (before["queued"], before["retry_at"], before["held"]) == (0, 0, "")
    gateway.fate = 500
    call(page, "track", "waiting")
    page.wait_for_function("leadlight('status').retry_at")
    now = status(page)
    assert (now["queued"], now["sent"]) == (1, before["sent"])
    assert abs(now["retry_at"] / 1000 - time.time()) < 60
    gateway.fate = "pass"
    fence(page)
    after = status(page)
    assert (after["queued"], after["retry_at"], after["sent"]) == (0, 0, before["sent"] + 2)


def test_status_says_why_a_page_without_a_site_sends_nothing(page: Page, pages: Pages, gateway: Gateway) -> None:
    visit(page, pages.add("/", head=f'<script async src="{gateway.address}/tracker.js"></script>'))
    call(page, "track", "nowhere")
    assert status(page)["held"] == "site_missing"
    assert [sent.path for sent in gateway.log] == ["/tracker.js"]
