"""Banner, chat and questions in the page: roles and names, the keyboard alone, what is answered and what is said to be wrong."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.messages import Message
from tests.browser.stored import Stored, StoredEvent
from tests.browser.tabs import STUB, fence, until, visit
from tests.browser.test_messenger import ACTIVE, IN_CARD, PAGE, gone, numbers
from tests.support.pages import Pages

Make = Callable[..., Message]
WORDS = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 2
CHOICES = ["Easy", "<b>Hard</b>", "Neither"]


def asking(new_message: Make, path: str, kind: str, **fields: Any) -> Message:
    """A message with a question; `asks` holds more of the question."""
    return new_message(path, question={"kind": kind, **fields.pop("asks", {})}, **{"title": "Tell us", **fields})


def shown(page: Page, role: Any = "dialog", name: str = "Tell us") -> Locator:
    found = page.get_by_role(role, name=name, exact=True)
    expect(found).to_be_visible()
    return found


def answers(page: Page, stored: Stored, message: Message) -> list[Any]:
    """Wait until a message was answered, and return the answers in the events that came of it."""

    def events() -> list[StoredEvent]:
        return [event for event in stored.events("message-answered") if event.metadata["message"] == message.id]

    until(page, lambda: bool(events()))
    fence(page)
    return [event.metadata["answer"] for event in events()]


def valid(field: Locator) -> bool:
    return field.get_attribute("aria-invalid") != "true"


def test_a_banner_is_a_named_region_that_takes_no_focus(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/banner", type="banner", title="New prices", body="From Monday on.")
    visit(page, pages.add("/banner", head=snippet, body=PAGE))
    page.focus("#field")
    banner = shown(page, "region", "New prices")
    assert page.evaluate(ACTIVE) == "field"
    assert page.evaluate("document.querySelector('leadlight-message').shadowRoot.querySelector('[aria-live]').ariaLive") == "polite"
    banner.get_by_role("button", name="Close").click()
    gone(page)
    numbers(page, message, sent=1, dismissed=1)


@pytest.mark.parametrize("position", ["top", "bottom"])
def test_a_banner_spans_the_page_at_its_edge(
    new_context: Callable[..., BrowserContext], pages: Pages, snippet: str, new_message: Make, position: str
) -> None:
    new_message(f"/{position}", type="banner", position=position, title="New prices")
    page = new_context(reduced_motion="reduce").new_page()
    visit(page, pages.add(f"/{position}", head=snippet))
    box: Any = shown(page, "region", "New prices").bounding_box()
    assert (box["x"], box["width"]) == (0, page.evaluate("innerWidth"))
    assert box["y"] == (0 if position == "top" else page.evaluate("innerHeight") - box["height"])


def test_a_chat_names_its_sender_and_shows_the_one_reply(page: Page, pages: Pages, snippet: str, new_message: Make, stored: Stored) -> None:
    message = new_message("/chat", type="chat", sender="Support <i>team</i>", body="Can we help?")
    visit(page, pages.add("/chat", head=snippet, body=PAGE))
    page.focus("#field")
    chat = shown(page, name="Support <i>team</i>")
    assert page.evaluate(ACTIVE) == "field"
    chat.get_by_role("textbox", name="Can we help?").fill("<b>Yes</b>\nplease")
    chat.get_by_role("button", name="Send").click()
    expect(chat.get_by_text("<b>Yes</b> please")).to_be_visible()
    expect(chat.get_by_role("textbox")).to_have_count(0)
    assert page.evaluate(ACTIVE) == "Close"
    assert answers(page, stored, message) == ["<b>Yes</b>\nplease"]
    page.keyboard.press("Escape")
    gone(page)
    assert page.evaluate(ACTIVE) == "field"
    fence(page)
    numbers(page, message, answered=1, dismissed=0)


def test_an_email_is_answered_by_the_keyboard_alone(page: Page, pages: Pages, snippet: str, new_message: Make, stored: Stored) -> None:
    message = asking(new_message, "/email", "email", body="We write once a month.", position="center", asks={"attribute": "email"})
    visit(page, pages.add("/email", head=snippet, body=PAGE))
    page.focus("#field")
    card = shown(page)
    assert page.evaluate(IN_CARD)
    page.keyboard.press("Tab")
    field = card.get_by_role("textbox", name="Tell us", exact=True)
    expect(field).to_be_focused()
    page.keyboard.type("reader@example.com")
    page.keyboard.press("Enter")
    gone(page)
    assert page.evaluate(ACTIVE) == "field"
    assert answers(page, stored, message) == ["reader@example.com"]
    numbers(page, message, sent=1, seen=1, answered=1, clicked=0, dismissed=0)


@pytest.mark.parametrize("wrong", ["", "reader", "reader@"])
def test_what_is_no_email_is_said_and_nothing_is_sent(page: Page, pages: Pages, snippet: str, new_message: Make, wrong: str) -> None:
    path = f"/wrong-{wrong or 'nothing'}"
    message = asking(new_message, path, "email", buttons=[{"label": "Sign up", "action": "answer"}])
    visit(page, pages.add(path, head=snippet))
    card = shown(page)
    field = card.get_by_role("textbox")
    field.fill(wrong)
    assert valid(field)
    card.get_by_role("button", name="Sign up").click()
    alert = card.get_by_role("alert")
    expect(alert).to_have_text(field.evaluate("field => field.validationMessage"))
    expect(field).to_be_focused()
    expect(field).to_have_accessible_description(alert.inner_text())
    assert not valid(field)
    field.press_sequentially("x")
    expect(alert).to_be_empty()
    assert valid(field)
    fence(page)
    assert message.stats()["answered"] == 0


def test_blanks_are_no_answer(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = asking(new_message, "/blank", "text")
    visit(page, pages.add("/blank", head=snippet))
    card = shown(page)
    card.get_by_role("textbox").fill("  \n ")
    card.get_by_role("button", name="Send").click()
    expect(card.get_by_role("alert")).not_to_be_empty()
    fence(page)
    assert message.stats()["answered"] == 0


def test_a_choice_is_made_by_the_keyboard_alone(page: Page, pages: Pages, snippet: str, new_message: Make, stored: Stored) -> None:
    message = asking(new_message, "/choice", "choice", asks={"choices": CHOICES})
    visit(page, pages.add("/choice", head=snippet))
    group = shown(page).get_by_role("radiogroup", name="Tell us")
    radios = group.get_by_role("radio")
    assert [radio.evaluate("radio => radio.labels[0].textContent") for radio in radios.all()] == CHOICES
    radios.first.focus()
    page.keyboard.press("ArrowDown")
    expect(group.get_by_role("radio", name="<b>Hard</b>")).to_be_checked()
    page.keyboard.press("Enter")
    gone(page)
    assert answers(page, stored, message) == ["<b>Hard</b>"]


@pytest.mark.parametrize(("scale", "labels"), [("1-5", range(1, 6)), ("0-10", range(11))])
def test_a_rating_has_a_radio_button_for_each_number(
    page: Page, pages: Pages, snippet: str, new_message: Make, stored: Stored, scale: str, labels: range
) -> None:
    message = asking(new_message, f"/rating-{scale}", "rating", asks={"scale": scale})
    visit(page, pages.add(f"/rating-{scale}", head=snippet))
    card = shown(page)
    group = card.get_by_role("radiogroup", name="Tell us")
    assert [label.inner_text() for label in group.locator("label").all()] == [str(number) for number in labels]
    card.get_by_role("button", name="Send").click()
    expect(card.get_by_role("alert")).not_to_be_empty()
    group.get_by_role("radio", name=str(labels[-1]), exact=True).check()
    expect(card.get_by_role("alert")).to_be_empty()
    card.get_by_role("button", name="Send").click()
    gone(page)
    assert answers(page, stored, message) == [labels[-1]]


@pytest.mark.parametrize("chosen", [False, True])
def test_tab_goes_round_inside_a_centre_card_that_asks(page: Page, pages: Pages, snippet: str, new_message: Make, chosen: bool) -> None:
    path = f"/trap-{chosen}"
    asking(new_message, path, "rating", position="center", buttons=[{"label": "Not now", "action": "dismiss"}])
    visit(page, pages.add(path, head=snippet, body=PAGE))
    card = shown(page)
    if chosen:
        card.get_by_role("radio", name="3", exact=True).check()
    card.get_by_role("button", name="Close").focus()
    where = """() => { const {activeElement: a} = document.activeElement.shadowRoot; return a.value || a.textContent || a.ariaLabel }"""
    met = []
    for key in ("Tab", "Tab", "Tab", "Tab", "Shift+Tab", "Shift+Tab", "Shift+Tab", "Shift+Tab"):
        page.keyboard.press(key)
        met.append(page.evaluate(where))
    forwards = ["3" if chosen else "1", "Send", "Not now", "Close"]
    backwards = ["Not now", "Send", "3" if chosen else "1", "Close"]
    assert met == [*forwards, *backwards]


def test_what_is_typed_is_no_shortcut_of_the_page(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    asking(new_message, "/shortcut", "text")
    visit(page, pages.add("/shortcut", head=snippet))
    page.evaluate("() => { window.keys = ''; for (const type of ['keydown', 'keypress', 'keyup']) onkeydown = e => { keys += e.key } }")
    shown(page).get_by_role("textbox").press_sequentially("stop")
    page.keyboard.press("Escape")
    gone(page)
    page.keyboard.press("x")
    assert page.evaluate("keys") == "x"


def test_hostile_words_are_text_and_ten_thousand_signs_are_cut(
    page: Page, pages: Pages, snippet: str, new_message: Make, stored: Stored
) -> None:
    message = new_message("/hostile", type="chat", sender="<b>Éva</b>", body="Say something")
    visit(page, pages.add("/hostile", head=snippet))
    chat = shown(page, name="<b>Éva</b>")
    chat.get_by_role("textbox").evaluate("(field, text) => { field.value = text }", "javascript:alert(1)<img src=x onerror=hacked=1>" * 250)
    chat.get_by_role("button", name="Send").click()
    assert answers(page, stored, message)[0].startswith("javascript:alert(1)<img")
    assert chat.locator("img, b, a").count() == 0
    assert page.evaluate("window.hacked") is None


def test_the_page_is_told_of_an_answer_once_but_not_what_it_is(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = asking(new_message, "/told-answer", "email")
    listen = f"<script>{STUB} window.told = []; leadlight('onMessage', event => told.push(event))</script>"
    visit(page, pages.add("/told-answer", head=listen + snippet))
    card = shown(page)
    page.wait_for_function("told.length == 2")
    card.get_by_role("textbox").fill("reader@example.com")
    card.locator("form").evaluate("form => { form.requestSubmit(); form.requestSubmit() }")
    gone(page)
    assert page.evaluate("told.slice(2)") == [
        {"id": message.id, "action": "answered", "question": "email"},
        {"id": message.id, "action": "closed"},
    ]


def test_an_answer_on_the_way_out_arrives(page: Page, pages: Pages, snippet: str, new_message: Make, stored: Stored) -> None:
    message = asking(new_message, "/leaving", "text")
    visit(page, pages.add("/leaving", head=snippet))
    shown(page).get_by_role("textbox").fill("Bye")
    page.evaluate("""() => {
        document.querySelector('leadlight-message').shadowRoot.querySelector('form').requestSubmit();
        location.href = '/elsewhere';
    }""")
    page.wait_for_url("**/elsewhere")
    visit(page, pages.add("/elsewhere", head=snippet))
    assert answers(page, stored, message) == ["Bye"]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("banner-top", {"type": "banner", "question": {"kind": "email"}}),
        ("banner-bottom", {"type": "banner", "position": "bottom", "question": {"kind": "rating", "scale": "0-10"}}),
        ("chat", {"type": "chat", "sender": WORDS}),
        ("choice", {"question": {"kind": "choice", "choices": [WORDS[:100], "b"]}}),
        ("rating", {"question": {"kind": "rating", "scale": "0-10"}}),
        ("center", {"position": "center", "question": {"kind": "rating", "scale": "0-10"}}),
    ],
)
@pytest.mark.parametrize("direction", ["ltr", "rtl"])
def test_at_320_pixels_nothing_scrolls_sideways(
    new_context: Callable[..., BrowserContext], pages: Pages, snippet: str, new_message: Make, name: str, fields: Any, direction: str
) -> None:
    path = f"/narrow-{name}-{direction}"
    new_message(path, title="Tell us", body=WORDS, **fields)
    page = new_context(viewport={"width": 320, "height": 480}, reduced_motion="reduce").new_page()
    head = f"<meta name=viewport content='width=device-width'><style>body{{direction:{direction}}}</style>{snippet}"
    visit(page, pages.add(path, head=head))
    card = shown(page, "region" if name.startswith("banner") else "dialog")
    box: Any = card.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 320
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= 480
    assert card.evaluate("card => card.dir") == direction
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert card.locator(".scroll").evaluate("part => part.scrollWidth - part.clientWidth") == 0
    pressed = "all => all.map(one => (one.labels?.[0] ?? one).getBoundingClientRect()).map(({width, height}) => Math.min(width, height))"
    assert min(card.locator("button, input, textarea").evaluate_all(pressed)) >= 24


def test_an_answer_brings_up_in_the_same_page_what_asks_for_it(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = asking(new_message, "/then", "text")
    new_message("/then", title="Thank you", audience={"message": message.id, "field": "answered", "operator": "has_any_value"})
    visit(page, pages.add("/then", head=snippet))
    card = shown(page)
    card.get_by_role("textbox").fill("Because")
    card.get_by_role("button", name="Send").click()
    shown(page, name="Thank you")
    expect(page.get_by_role("dialog")).to_have_count(1)
