"""Intercom's calls about messages."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.gateway import Gateway
from tests.browser.intercom.speaking import say
from tests.browser.tabs import fence, push, until


def test_hidden_notifications_wait_and_one_on_show_goes(
    boot: Callable[..., Page], gateway: Gateway, new_message: Callable[..., Any]
) -> None:
    message = new_message("/quiet", title="Not now")
    page = boot("/quiet", hide_notifications=True)
    (messenger,) = until(page, lambda: [sent.path for sent in gateway.log if sent.path.startswith("/messenger-")])
    # Once the messenger is at work it would have claimed before what is tracked now.
    page.evaluate("address => import(address).then(() => {})", gateway.address + messenger)
    fence(page)
    assert gateway.sent("/claim") == []
    card = page.get_by_role("dialog")
    say(page, "hideNotifications", False)
    card.wait_for()
    say(page, "hideNotifications", True)
    expect(card).to_have_count(0)
    assert message.stats()["dismissed"] == 0


def test_on_show_and_on_hide_follow_the_message(boot: Callable[..., Page], new_message: Callable[..., Any]) -> None:
    new_message("/follow", title="Hello")
    page = boot("/follow", hide_notifications=True)
    page.evaluate("() => { window.told = []; for (const on of ['onShow', 'onHide']) Intercom(on, () => told.push(on)) }")
    say(page, "hideNotifications", False)
    page.get_by_role("dialog").wait_for()
    assert page.evaluate("told") == ["onShow"]
    page.get_by_role("button", name="Close").click()
    assert page.evaluate("told") == ["onShow", "onHide"]


def test_an_email_that_was_answered_is_told(boot: Callable[..., Page], new_message: Callable[..., Any]) -> None:
    for path, kind in (("/reason", "text"), ("/address", "email")):
        new_message(path, title="Tell us", question={"kind": kind})
    page = boot("/reason")
    page.evaluate("() => { window.told = 0; Intercom('onUserEmailSupplied', () => { told++ }) }")
    field, send = page.get_by_role("textbox", name="Tell us"), page.get_by_role("button", name="Send")
    field.fill("Because")
    send.click()
    expect(field).to_have_count(0)
    assert page.evaluate("told") == 0
    push(page, "/address")
    field.fill("reader@example.com")
    send.click()
    expect(field).to_have_count(0)
    assert page.evaluate("told") == 1
