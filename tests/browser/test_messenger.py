"""The message in the page: how it behaves towards people, keyboards, the page around it, and hostile content."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.gateway import Gateway
from tests.browser.messages import Message
from tests.browser.stored import Stored
from tests.browser.tabs import STUB, call, fence, push, ready, until, visit
from tests.support.pages import Pages

Make = Callable[..., Message]
PAGE = '<input id="field"><button id="page-button">A button of the page</button>'
ACTIVE = """() => {
    let active = document.activeElement;
    while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
    return active && (active.getAttribute('aria-label') || active.id || active.textContent || active.tagName);
}"""
IN_CARD = "() => document.activeElement?.localName == 'leadlight-message'"
BUTTONS = [{"label": "Tell me more", "action": "url", "url": "https://shop.example/more"}, {"label": "Not now", "action": "dismiss"}]


def card(page: Page) -> Locator:
    return page.locator("leadlight-message").get_by_role("dialog")


def shown(page: Page) -> Locator:
    found = card(page)
    expect(found).to_be_visible()
    return found


def gone(page: Page) -> None:
    expect(page.locator("leadlight-message")).to_have_count(0)


def numbers(page: Page, message: Message, **expected: int) -> None:
    """Wait for a message's numbers."""
    until(page, lambda: expected.items() <= message.stats().items())
    assert {name: message.stats()[name] for name in expected} == expected


def test_a_corner_card_is_a_named_dialog_that_takes_no_focus(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    new_message("/corner", title="In the corner", body="Text")
    visit(page, pages.add("/corner", head=snippet, body=PAGE))
    page.focus("#field")
    shown(page)
    expect(page.get_by_role("dialog", name="In the corner")).to_be_visible()
    assert page.evaluate(ACTIVE) == "field"
    page.click("#page-button")


def test_escape_in_a_corner_card_dismisses_it_and_gives_the_focus_back(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/corner-escape", title="In the corner", buttons=BUTTONS)
    visit(page, pages.add("/corner-escape", head=snippet, body=PAGE))
    page.focus("#field")
    shown(page).get_by_role("button", name="Not now").focus()
    page.keyboard.press("Escape")
    gone(page)
    assert page.evaluate(ACTIVE) == "field"
    numbers(page, message, sent=1, dismissed=1)


def test_a_centre_card_takes_the_focus_and_gives_it_back(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/center", title="In the centre", position="center", buttons=BUTTONS)
    visit(page, pages.add("/center", head=snippet, body=PAGE))
    page.focus("#field")
    assert shown(page).get_attribute("aria-modal") == "true"
    assert page.evaluate(IN_CARD)
    page.keyboard.press("Escape")
    gone(page)
    assert page.evaluate(ACTIVE) == "field"
    numbers(page, message, dismissed=1)


@pytest.mark.parametrize("key", ["Tab", "Shift+Tab"])
def test_tab_goes_round_inside_a_centre_card(page: Page, pages: Pages, snippet: str, new_message: Make, key: str) -> None:
    path = f"/trap-{key.lower().replace('+', '-')}"
    new_message(path, title="Trap", body="[A link](https://shop.example/a)", position="center", buttons=BUTTONS)
    visit(page, pages.add(path, head=snippet, body=PAGE))
    shown(page)
    met = []
    for _ in range(5):
        page.keyboard.press(key)
        met.append(page.evaluate(ACTIVE))
    stops = ["A link", "Tell me more", "Not now", "Close"]
    assert met[:4] == (stops if key == "Tab" else stops[::-1])
    assert met[4] == met[0]


def test_the_close_button_dismisses(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/close", title="Closable")
    visit(page, pages.add("/close", head=snippet))
    shown(page).get_by_role("button", name="Close").click()
    gone(page)
    numbers(page, message, dismissed=1, clicked=0)


def test_a_message_once_dismissed_never_comes_back(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/dismissed", title="Only once more")
    visit(page, pages.add("/dismissed", head=snippet))
    shown(page).get_by_role("button", name="Close").click()
    gone(page)
    fence(page)
    page.reload()
    ready(page)
    fence(page)
    gone(page)
    assert message.stats()["sent"] == 1


def test_links_say_noopener_and_a_click_is_counted_for_its_address(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/links", title="Links", body="Read [on](https://shop.example/on)", buttons=BUTTONS)
    visit(page, pages.add("/links", head=snippet))
    page.route("https://shop.example/**", lambda route: route.fulfill(body="elsewhere"))
    anchors = shown(page).get_by_role("link")
    assert [anchor.get_attribute("rel") for anchor in anchors.all()] == ["noopener", "noopener"]
    anchors.first.click()
    page.wait_for_url("https://shop.example/on")
    numbers(page, message, clicked=1)
    assert message.stats()["links"] == [{"link": "https://shop.example/on", "clicked": 1}]


def test_a_track_button_tracks_its_event(page: Page, pages: Pages, snippet: str, new_message: Make, stored: Stored) -> None:
    message = new_message("/track", title="Ask", buttons=[{"label": "Yes", "action": "track", "event": "said-yes"}])
    visit(page, pages.add("/track", head=snippet))
    shown(page).get_by_role("button", name="Yes").click()
    gone(page)
    fence(page)
    assert len(stored.events("said-yes")) == 1
    numbers(page, message, clicked=1)


def test_markup_in_content_and_values_is_text(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    hostile = '<img src=x onerror="window.hacked = 1"><b>bold</b>'
    new_message(
        None,
        title="<b>{{event.metadata.item}}</b>",
        body="<script>window.hacked = 1</script> {{event.metadata.item}}",
        buttons=[{"label": "<i>{{event.metadata.item}}</i>", "action": "dismiss"}],
        trigger={"type": "event", "event": "hostile-item"},
    )
    visit(page, pages.add("/", head=snippet))
    call(page, "track", "hostile-item", {"item": hostile})
    found = shown(page)
    assert found.get_by_role("heading").text_content() == f"<b>{hostile}</b>"
    assert found.get_by_role("button", name="bold").text_content() == f"<i>{hostile}</i>"
    assert "<script>window.hacked = 1</script>" in (found.text_content() or "")
    assert found.locator("img, b, i, script").count() == 0
    assert page.evaluate("window.hacked") is None


def test_an_answer_that_was_tampered_with_gets_no_script_into_the_page(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/tampered", title="Tampered")
    script = "javascript:window.hacked=1"
    tree = [
        {"tag": "a", "href": script, "children": ["a link"]},
        {"tag": "script", "children": ["window.hacked = 1"]},
        {"tag": "iframe", "src": script, "children": ["a frame"]},
        {"tag": "img", "src": script, "alt": "an image"},
        {
            "tag": "p",
            "onclick": "window.hacked = 1",
            "style": "position:fixed",
            "children": [7, None, {"tag": "strong", "children": "no list"}],
        },
    ]
    content = {"id": message.id, "delivery": "x" * 22, "type": "popup", "title": "Tampered", "body": tree, "image_url": script}
    content |= {"position": "corner", "buttons": [{"label": "A button", "action": "url", "url": script}]}
    page.route("**/claim", lambda route: route.fulfill(json={"message": content}, headers={"Access-Control-Allow-Origin": "*"}))
    visit(page, pages.add("/tampered", head=snippet))
    found = shown(page)
    assert found.locator("a, iframe, script, img, [onclick], [style]").count() == 0
    found.get_by_text("a link").click()
    assert page.evaluate("window.hacked") is None


def test_a_message_waits_while_the_page_has_a_modal_open(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/modal", title="Patient")
    body = "<dialog id=own>The page's own</dialog><script>own.showModal()</script>"
    with page.expect_response("**/messenger-*.js"):
        visit(page, pages.add("/modal", head=snippet, body=body))
    fence(page)
    gone(page)
    assert message.stats()["sent"] == 0
    page.evaluate("own.close()")
    shown(page)
    numbers(page, message, sent=1)


def test_a_modal_that_opens_later_is_never_covered(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    new_message("/later-modal", title="Stepping back")
    visit(page, pages.add("/later-modal", head=snippet, body="<dialog id=own>The page's own</dialog>"))
    shown(page)
    page.evaluate("own.showModal()")
    expect(card(page)).to_be_hidden()
    page.evaluate("own.close()")
    shown(page)


def test_navigation_inside_the_document_ends_the_message(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/here", title="Only here")
    visit(page, pages.add("/here", head=snippet))
    shown(page)
    push(page, "/there")
    gone(page)
    fence(page)
    gone(page)
    assert message.stats()["dismissed"] == 0


def test_a_page_rule_holds_on_a_route_of_a_single_page(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/app/plans", title="About plans")
    visit(page, pages.add("/app", head=snippet))
    fence(page)
    gone(page)
    push(page, "/app/plans")
    shown(page)
    numbers(page, message, sent=1)


def test_a_message_is_seen_after_a_second_in_a_visible_page_and_not_before(
    page: Page, pages: Pages, snippet: str, new_message: Make, stored: Stored
) -> None:
    """The page is hidden the moment the card appears; what counts begins when somebody looks again."""
    message = new_message("/seen", title="Look at me")
    page.add_init_script("""
        Object.defineProperty(document, 'hidden', {get: () => Boolean(window.away)});
        window.turn = away => { window.away = away; document.dispatchEvent(new Event('visibilitychange')) };
        addEventListener('DOMContentLoaded', () => new MutationObserver((changes, observer) => {
            if (!document.querySelector('leadlight-message')) return;
            observer.disconnect();
            turn(true);
        }).observe(document.documentElement, {childList: true}));
    """)
    visit(page, pages.add("/seen", head=snippet))
    shown(page)
    fence(page)
    numbers(page, message, sent=1, seen=0)
    looked = page.evaluate("() => { turn(false); return Date.now() }")
    numbers(page, message, seen=1)
    assert stored.delivery(message.id)["seen_at"] >= looked + 950


def test_a_second_tab_does_not_get_what_is_shown_once(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, new_message: Make
) -> None:
    message = new_message("/once", title="One tab", frequency={"type": "once"})
    visit(page, pages.add("/once", head=snippet))
    shown(page)
    other = context.new_page()
    visit(other, pages.url("/once"))
    fence(other)
    gone(other)
    shown(page)
    assert message.stats()["sent"] == 1


def test_a_swap_of_the_body_keeps_the_message(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    new_message("/swapped", title="Still here")
    visit(page, pages.add("/swapped", head=snippet))
    shown(page)
    page.evaluate("document.body.replaceWith(Object.assign(document.createElement('body'), {textContent: 'new'}))")
    shown(page)
    page.evaluate("document.documentElement.replaceChildren(document.createElement('head'), document.createElement('body'))")
    shown(page)


@pytest.mark.parametrize("position", ["corner", "center"])
def test_at_320_pixels_nothing_scrolls_sideways(
    new_context: Callable[..., BrowserContext], pages: Pages, snippet: str, new_message: Make, position: str
) -> None:
    words = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 2
    path = f"/narrow-{position}"
    body = f"{words}\n\n`{words}`\n\n```\n{words}\n```"
    new_message(path, title=words, body=body, position=position, buttons=[*BUTTONS, {"label": words, "action": "dismiss"}])
    page = new_context(viewport={"width": 320, "height": 480}).new_page()
    visit(page, pages.add(path, head='<meta name="viewport" content="width=device-width">' + snippet))
    box: Any = shown(page).bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 320
    assert box["height"] <= 480
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    scroll = card(page).locator(".scroll")
    assert scroll.evaluate("part => part.scrollWidth - part.clientWidth") == 0


def test_the_page_is_told_what_becomes_of_a_message(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/told", title="Told")
    listen = f"<script>{STUB} window.told = []; leadlight('onMessage', event => told.push([event.id, event.action]))</script>"
    visit(page, pages.add("/told", head=listen + snippet))
    shown(page)
    page.wait_for_function("told.length == 2")
    card(page).get_by_role("button", name="Close").click()
    assert page.evaluate("told") == [[message.id, action] for action in ("shown", "seen", "dismissed", "closed")]


def test_a_message_the_page_asks_for_is_shown(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message(None, title="Asked for", trigger={"type": "manual"})
    visit(page, pages.add("/", head=snippet))
    call(page, "showMessage", message.id)
    shown(page)
    numbers(page, message, sent=1)


def test_withdrawing_consent_ends_the_message(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    new_message("/withdrawn", title="Going")
    visit(page, pages.add("/withdrawn", head=snippet))
    shown(page)
    call(page, "optOut")
    gone(page)


def test_an_answer_to_a_claim_that_was_lost_costs_nothing(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, new_message: Make
) -> None:
    message = new_message("/lost-claim", title="Asked twice")
    gateway.path, gateway.fates = "/claim", ["cut"]
    visit(page, pages.add("/lost-claim", head=tag(address=gateway.address)))
    shown(page)
    nonces = [sent.json["nonce"] for sent in gateway.sent("/claim")]
    assert len(nonces) == 2
    assert len(set(nonces)) == 1
    numbers(page, message, sent=1)
