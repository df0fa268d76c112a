"""The message in the page: shown, seen, answered by mouse and keyboard, and the focus given back."""

from collections.abc import Callable

import pytest

from tests.browser.messages import Message
from tests.browser.stored import Stored
from tests.engines.browsers import Engine
from tests.engines.tab import Tab, until

Shop = Callable[..., str]
Make = Callable[..., Message]
PAGE = '<input id="field"><button id="page-button">A button of the page</button>'
CARD = "document.querySelector('leadlight-message')?.shadowRoot.querySelector('[role=dialog]')"
NO_CARD = "() => !document.querySelector('leadlight-message')"
ACTIVE = """() => {
    let active = document.activeElement;
    while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
    return active && (active.getAttribute('aria-label') || active.id || active.textContent || active.tagName);
}"""
BUTTONS = [{"label": "Tell me more", "action": "track", "event": "asked-for-more"}, {"label": "Not now", "action": "dismiss"}]


def button(label: str) -> str:
    """Return a function of the page's that finds a button of the card."""
    return f"() => [...{CARD}.querySelectorAll('button')].find(one => [one.textContent, one.ariaLabel].includes('{label}'))"


def numbers(message: Message, **expected: int) -> None:
    """Wait for a message's numbers."""
    until(lambda: expected.items() <= message.stats().items())
    assert {name: message.stats()[name] for name in expected} == expected


def test_a_card_that_is_shown_and_looked_at_is_seen(tab: Tab, shop: Shop, new_message: Make, maker: Engine) -> None:
    path = f"/seen-{maker.name}"
    message = new_message(path, title="In the corner", body="**Bold** text")
    tab.visit(shop(path, PAGE))
    tab.run("() => document.querySelector('#field').focus()")
    tab.wait_for(f"() => {CARD}?.textContent.includes('Bold text')")
    assert tab.run(ACTIVE) == "field"
    numbers(message, sent=1, seen=1, clicked=0, dismissed=0)


def test_a_button_that_is_clicked_is_counted_and_tracks_its_event(
    tab: Tab, shop: Shop, new_message: Make, stored: Stored, maker: Engine
) -> None:
    path = f"/clicked-{maker.name}"
    message = new_message(path, title="In the corner", buttons=BUTTONS)
    tab.visit(shop(path, PAGE))
    tab.wait_for(f"() => {CARD}")
    tab.click(button("Tell me more"))
    tab.wait_for(NO_CARD)
    tab.fence()
    numbers(message, sent=1, clicked=1, dismissed=0)
    assert len(stored.events("asked-for-more", lead=tab.lead)) == 1


@pytest.mark.parametrize("position", ["corner", "center"])
def test_escape_dismisses_a_card_and_gives_the_focus_back(tab: Tab, shop: Shop, new_message: Make, maker: Engine, position: str) -> None:
    path = f"/escape-{position}-{maker.name}"
    message = new_message(path, title="Escape", position=position, buttons=BUTTONS)
    tab.visit(shop(path, PAGE))
    tab.run("() => document.querySelector('#field').focus()")
    tab.wait_for(f"() => {CARD}")
    if position == "corner":
        tab.run(f"() => ({button('Not now')})().focus()")
    assert tab.run("() => document.activeElement.localName") == "leadlight-message"
    tab.press("Escape")
    tab.wait_for(NO_CARD)
    assert tab.run(ACTIVE) == "field"
    numbers(message, sent=1, dismissed=1)


def test_tab_goes_round_inside_a_card_in_the_centre(tab: Tab, shop: Shop, new_message: Make, maker: Engine) -> None:
    path = f"/round-{maker.name}"
    new_message(path, title="Round", body="[A link](https://shop.example/a)", position="center", buttons=BUTTONS)
    tab.visit(shop(path, PAGE))
    tab.wait_for(f"() => {CARD}?.open")
    met = []
    for _ in range(5):
        tab.press("Tab")
        met.append(tab.run(ACTIVE))
    assert met == ["A link", "Tell me more", "Not now", "Close", "A link"]


def test_enter_on_a_button_is_a_click(tab: Tab, shop: Shop, new_message: Make, maker: Engine) -> None:
    path = f"/enter-{maker.name}"
    message = new_message(path, title="Enter", position="center", buttons=BUTTONS)
    tab.visit(shop(path, PAGE))
    tab.wait_for(f"() => {CARD}?.open")
    tab.press("Tab")
    tab.press("Enter")
    tab.wait_for(NO_CARD)
    numbers(message, clicked=1, dismissed=0)


def test_a_card_in_the_centre_keeps_the_page_behind_it_from_the_focus(tab: Tab, shop: Shop, new_message: Make, maker: Engine) -> None:
    path = f"/modal-{maker.name}"
    new_message(path, title="Above all", position="center", buttons=BUTTONS)
    tab.visit(shop(path, PAGE))
    tab.wait_for(f"() => {CARD}?.open")
    assert tab.run("() => { document.querySelector('#field').focus(); return document.activeElement.id }") == ""


def test_an_event_opens_its_message_with_what_the_event_says(tab: Tab, shop: Shop, new_message: Make, maker: Engine) -> None:
    path, event = f"/event-{maker.name}", f"put-aside-{maker.name}"
    message = new_message(path, title="Still want {{event.metadata.item}}?", trigger={"type": "event", "event": event})
    tab.visit(shop(path, PAGE))
    tab.fence()
    assert tab.run(NO_CARD)
    tab.call("track", event, {"item": "a green lamp"})
    tab.wait_for(f"() => {CARD}?.textContent.includes('Still want a green lamp?')")
    numbers(message, sent=1)


def test_a_message_once_dismissed_does_not_come_back(tab: Tab, shop: Shop, new_message: Make, maker: Engine) -> None:
    path = f"/once-{maker.name}"
    message = new_message(path, title="Once")
    tab.visit(shop(path))
    tab.wait_for(f"() => {CARD}")
    tab.click(button("Close"))
    tab.wait_for(NO_CARD)
    tab.fence()
    tab.visit(shop(path))
    tab.fence()
    assert tab.run(NO_CARD)
    numbers(message, sent=1, dismissed=1)
