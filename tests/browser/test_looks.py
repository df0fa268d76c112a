"""How messages look and what they are to people who do not see them as they are meant: every type and state, on one page."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, FloatRect, Locator, expect

from collector.values.colours import GROUNDS, contrast
from tests.browser.conftest import TIMEOUT_MS
from tests.browser.stage import MESSAGES, STATES, Stage, answered, error_of
from tests.support.pages import Pages
from tests.support.servers import Collector

Brander = Callable[[str | None], None]
SCHEMES: tuple[Any, ...] = ("light", "dark")
WIDE = {"width": 1280, "height": 800}
NARROW: tuple[Any, ...] = ({"width": 320, "height": 568}, {"width": 320, "height": 256})
"""The second is a window of 1280 by 1024 at 400 %."""
HOSTILE = "\u202e<b>Éva</b>\u200f"
ENDLESS = "ä" * 10_000
EXTREME = {
    "endless": {"title": ENDLESS[:150], "body": ENDLESS, "buttons": [{"label": ENDLESS[:60], "action": "dismiss"}] * 2},
    "endless-centre": {"body": f"`{ENDLESS[:500]}`\n\n```\n{ENDLESS}\n```", "position": "center"},
    "endless-banner": {"type": "banner", "title": ENDLESS[:150], "body": ENDLESS, "question": {"kind": "text"}},
    "endless-chat": {"type": "chat", "sender": ENDLESS[:60], "body": ENDLESS},
    "endless-choice": {"title": "Choose", "question": {"kind": "choice", "choices": [ENDLESS[:100], "Short"]}},
    "hostile": {
        "type": "chat",
        "sender": HOSTILE,
        "title": HOSTILE,
        "body": HOSTILE,
        "buttons": [{"label": HOSTILE, "action": "dismiss"}],
    },
}

MISPLACED = """card => {
    const wrong = [], {innerWidth, innerHeight} = window, root = card.getRootNode();
    const say = (what, element) => wrong.push(`${what}: ${element.localName}.${element.className} ${element.textContent.slice(0, 30)}`);
    const across = ({left, right}) => left < -.5 || right > innerWidth + .5;
    const box = card.getBoundingClientRect();
    if (across(box) || box.top < -.5 || box.bottom > innerHeight + .5) say('outside the window', card);
    if (document.documentElement.scrollWidth > innerWidth) say('the page scrolls sideways', card);
    for (const element of card.querySelectorAll('*')) {
        if (across(element.getBoundingClientRect())) say('outside the window', element);
        const inline = getComputedStyle(element).display == 'inline';
        if (!inline && element.closest('.scroll') && element.scrollWidth > element.clientWidth + 1) say('wider than its place', element);
    }
    const close = card.querySelector('.close'), cross = close.getBoundingClientRect();
    for (const part of card.querySelectorAll('.text *, label, .button')) for (const node of part.childNodes) {
        if (node.nodeType != 3) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        for (const {left, right, top, bottom} of range.getClientRects()) {
            if (left < cross.right && right > cross.left && top < cross.bottom && bottom > cross.top) say('under the cross', part);
        }
    }
    for (const target of card.querySelectorAll('a.button, button, textarea, input')) {
        const part = target.closest('label') || target;
        part.scrollIntoView({block: 'nearest'});
        const {x, y, width, height} = part.getBoundingClientRect();
        if (Math.min(width, height) < 24) say('smaller than 24 pixels', part);
        const hit = root.elementFromPoint(x + width / 2, y + height / 2);
        if (!part.contains(hit)) say('covered', part);
    }
    card.querySelector('.scroll').scrollTop = 0;
    return wrong;
}"""

TAMPERED = """brand => {
    const {json} = Response.prototype;
    window.restore = () => { Response.prototype.json = json };
    Response.prototype.json = async function () {
        const answer = await json.call(this);
        if (answer.message) answer.message.brand = brand;
        return answer;
    };
}"""
"""Puts something else in the place of the colours of what is claimed."""

SPACED = """.card * { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important }
.card p { margin-block-end: 2em !important }"""
"""What people set who need more air in a text: success criterion 1.4.12."""


@pytest.fixture(scope="module")
def stage(browser: Browser, shared_collector: Collector, site_server: Pages) -> Iterator[Stage]:
    address = shared_collector.url_as("collect.other")
    snippet = f'<script async src="{address}/tracker.js" data-site="{shared_collector.site_key}" data-automation="count"></script>'
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    made = Stage(context.new_page(), site_server, shared_collector.client, snippet, {**MESSAGES, **EXTREME}, address)
    yield made
    made.archive()
    context.close()


@pytest.fixture(autouse=True)
def as_ever(stage: Stage) -> Iterator[None]:
    """What a test emulates ends with it."""
    yield
    stage.page.set_viewport_size({"width": 1280, "height": 800})
    stage.page.emulate_media(color_scheme="light", reduced_motion="reduce", forced_colors="none")


@pytest.fixture
def branded(stage: Stage) -> Iterator[Brander]:
    """Sets the site's colour for one test; the collector knows it at once."""

    def choose(colour: str | None) -> None:
        answer = stage.client.api("PUT", "/auto_messages/looks", {"brand_color": colour})
        assert answer.status == 200, answer.text

    yield choose
    choose(None)


def styles(element: Locator, *names: str) -> list[str]:
    found: list[str] = element.evaluate("(element, names) => names.map(name => getComputedStyle(element)[name])", list(names))
    return found


def colour(element: Locator, name: str) -> str:
    """A computed colour as `#rrggbb`."""
    (written,) = styles(element, name)
    return hexadecimal(written)


def hexadecimal(written: str) -> str:
    """`rgb(…)`, or `rgba(…)` without what shines through, as `#rrggbb`."""
    return "#" + "".join(f"{round(float(part)):02x}" for part in re.findall(r"[\d.]+", written)[:3])


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(stage: Stage, state: str) -> None:
    name, act = STATES[state]
    card = stage.show(name)
    act(card)
    for direction in ("ltr", "rtl"):
        turn(card, direction)
        for scheme in SCHEMES:
            stage.page.emulate_media(color_scheme=scheme)
            assert stage.complaints() == [], (direction, scheme)


@pytest.mark.parametrize("state", [*STATES, *EXTREME])
def test_everything_has_its_place_wherever_it_is_shown(stage: Stage, state: str) -> None:
    name, act = STATES.get(state, (state, None))
    card = stage.show(name)
    if act:
        act(card)
    for direction in ("ltr", "rtl"):
        turn(card, direction)
        for size in (WIDE, *NARROW):
            stage.page.set_viewport_size(size)
            assert card.evaluate(MISPLACED) == [], (direction, size)


def turn(card: Locator, direction: str) -> None:
    card.evaluate("(card, direction) => { card.dir = direction }", direction)


def test_a_card_goes_the_way_of_the_page(stage: Stage) -> None:
    assert [stage.show("corner", direction).get_attribute("dir") for direction in ("ltr", "rtl")] == ["ltr", "rtl"]


@pytest.mark.parametrize("name", MESSAGES)
def test_letters_of_twice_the_size_and_more_air_break_nothing(stage: Stage, name: str) -> None:
    card = stage.show(name)
    card.evaluate(
        """(card, spaced) => {
            const sheet = new CSSStyleSheet();
            const sizes = [...card.querySelectorAll('*')].map(one => [one, parseFloat(getComputedStyle(one).fontSize)]);
            sheet.replaceSync(spaced);
            const root = card.getRootNode();
            root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
            for (const [element, size] of sizes) element.style.fontSize = `${2 * size}px`;
        }""",
        SPACED,
    )
    for size in (WIDE, *NARROW[:1]):
        stage.page.set_viewport_size(size)
        assert card.evaluate(MISPLACED) == [], size


def test_hostile_names_stay_text_and_turn_nothing_around_them(stage: Stage) -> None:
    card = stage.show("hostile")
    assert card.locator("b").count() == 0
    assert card.locator(".sender bdi").inner_text() == HOSTILE
    assert card.get_by_role("heading").inner_text() == HOSTILE
    cross, sender = box(card.get_by_role("button", name="Close")), box(card.locator(".sender"))
    assert cross["x"] > sender["x"]


def box(element: Locator) -> FloatRect:
    found = element.bounding_box()
    assert found
    return found


def test_a_code_is_read_from_left_to_right_on_every_page(stage: Stage) -> None:
    assert styles(stage.show("words", "rtl").locator("pre"), "direction", "textAlign") == ["ltr", "left"]


def test_headings_of_a_body_are_one_level_below_the_title(stage: Stage) -> None:
    assert [heading.evaluate("one => one.localName") for heading in stage.show("words").get_by_role("heading").all()] == ["h2"]


def test_a_tall_text_that_leads_nowhere_is_scrolled_by_the_keyboard_alone(stage: Stage) -> None:
    stage.page.set_viewport_size(NARROW[0])
    scroll = stage.show("tall").locator(".scroll")
    stage.page.focus("#field")
    stage.page.keyboard.press("Tab")
    stage.page.keyboard.press("End")
    stage.page.wait_for_function("() => document.querySelector('leadlight-message').shadowRoot.activeElement?.scrollTop > 0")
    assert scroll.evaluate("part => part == part.getRootNode().activeElement")


BESIDE = ["corner", "picture", "email", "choice", "banner", "banner-below", "banner-eleven", "chat"]
"""What lies beside the page, so that the keyboard goes on to it from the page's last stop."""


@pytest.mark.parametrize("name", BESIDE)
def test_what_lies_beside_the_page_is_reached_and_closed_by_the_keyboard_alone(stage: Stage, name: str) -> None:
    page, card = stage.page, stage.show(name)
    page.focus("#field")
    stops = card.locator("a, button, textarea, input:not([type=radio])").count() + min(card.get_by_role("radio").count(), 1)
    for _ in range(stops):
        page.keyboard.press("Tab")
        assert card.evaluate("card => card.contains(card.getRootNode().activeElement)")
    assert card.get_by_role("button", name="Close").evaluate("close => close == close.getRootNode().activeElement")
    page.keyboard.press("Enter")
    expect(card).to_have_count(0)
    expect(page.locator("#field")).to_be_focused()


@pytest.mark.parametrize("name", BESIDE)
def test_escape_closes_what_the_keyboard_is_in_and_nothing_else(stage: Stage, name: str) -> None:
    page, card = stage.page, stage.show(name)
    page.focus("#field")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(card).to_be_visible()
    page.keyboard.press("Escape")
    expect(card).to_have_count(0)
    expect(page.locator("#field")).to_be_focused()


@pytest.mark.parametrize("name", ["corner", "centre", "banner", "chat"])
def test_nothing_moves_for_whoever_wants_it_so(stage: Stage, name: str) -> None:
    still = ["none", "0s"]
    card = stage.show(name)
    assert styles(card, "animationName", "transitionDuration") == still
    assert styles(card.locator(".close"), "transitionDuration") == ["0s"]
    stage.page.emulate_media(reduced_motion="no-preference")
    assert styles(card, "animationName") == ["in"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["corner", "centre", "banner", "chat"])
def test_a_card_follows_the_scheme_of_the_system(stage: Stage, name: str, scheme: Any) -> None:
    stage.page.emulate_media(color_scheme=scheme)
    card = stage.show(name)
    assert colour(card, "backgroundColor") == GROUNDS[scheme][0]
    assert contrast(colour(card, "color"), GROUNDS[scheme][0]) > 7


def test_forced_colours_show_edges_and_what_is_chosen(stage: Stage) -> None:
    stage.page.emulate_media(forced_colors="active")
    card = stage.show("rating")
    card.get_by_role("radio").nth(2).check()
    labels = card.locator("label span")
    assert colour(labels.nth(2), "backgroundColor") != colour(labels.nth(1), "backgroundColor")
    for part in (card, card.locator(".close"), card.locator(".button"), labels.nth(1)):
        assert contrast(colour(part, "borderTopColor"), colour(card, "backgroundColor")) >= 3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_numbers_of_a_rating_can_be_read_chosen_or_not(stage: Stage, scheme: Any) -> None:
    stage.page.emulate_media(color_scheme=scheme)
    card = stage.show("eleven")
    card.get_by_role("radio").nth(10).check()
    for number, ground in ((0, GROUNDS[scheme][0]), (10, colour(card.locator("label span").nth(10), "backgroundColor"))):
        assert contrast(colour(card.locator("label span").nth(number), "color"), ground) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["corner", "email", "rating", "chat", "banner"])
def test_where_the_keyboard_is_can_be_seen(stage: Stage, name: str, scheme: Any) -> None:
    stage.page.emulate_media(color_scheme=scheme)
    card = stage.show(name)
    ringed = "one => one.type == 'radio' ? one.nextElementSibling : one"
    for stop in card.locator("a, button, textarea, input").all():
        stop.focus()
        stage.page.keyboard.press("Shift")  # what comes by a script is shown as what came by the keyboard before it
        look = stop.evaluate_handle(ringed)
        width, line, ring = look.evaluate(
            "one => { const s = getComputedStyle(one); return [s.outlineWidth, s.outlineStyle, s.outlineColor] }"
        )
        assert (width, line) == ("2px", "solid")
        assert contrast(hexadecimal(ring), GROUNDS[scheme][0]) >= 3


def test_an_error_stands_beside_its_field_in_a_banner_too(stage: Stage) -> None:
    card = stage.show("banner-email")
    error_of(card)
    field, said = box(card.get_by_role("textbox")), box(card.get_by_role("alert"))
    assert said["x"] == field["x"]
    assert said["y"] >= field["y"] + field["height"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("colour_chosen", ["#1f4fd1", "#ffd400", "#ffffff", "#0b1021"])
def test_a_brand_colours_what_is_pressed_and_stays_visible(stage: Stage, branded: Brander, colour_chosen: str, scheme: Any) -> None:
    paper = GROUNDS[scheme][0]
    branded(colour_chosen)
    stage.page.emulate_media(color_scheme=scheme)
    card = stage.show("corner")
    button, link = card.locator(".first"), card.locator(".body a")
    assert colour(button, "backgroundColor") == colour_chosen
    assert contrast(colour(button, "color"), colour_chosen) >= 4.5
    assert contrast(colour(button, "borderTopColor"), paper) >= 3
    assert contrast(colour(link, "color"), paper) >= 4.5
    stage.page.keyboard.press("Shift")
    button.focus()
    assert contrast(colour(button, "outlineColor"), paper) >= 3
    assert stage.complaints() == []


def test_a_brand_colours_choices_ratings_and_chats(stage: Stage, branded: Brander) -> None:
    branded("#7a1fa2")
    card = stage.show("rating")
    card.get_by_role("radio").first.check()
    assert colour(card.locator("label span").first, "backgroundColor") == "#7a1fa2"
    assert colour(stage.show("choice").get_by_role("radio").first, "accentColor") == "#7a1fa2"
    card = stage.show("chat")
    assert colour(card.locator(".avatar"), "backgroundColor") == "#7a1fa2"
    answered(card)
    assert (colour(card.locator(".reply"), "backgroundColor"), colour(card.locator(".reply"), "color")) == ("#7a1fa2", "#ffffff")


def test_what_is_no_colour_gets_into_no_sheet(stage: Stage, branded: Brander) -> None:
    branded("#7a1fa2")
    hostile = {
        "fill": "url(https://shop.example/fetched)",
        "on": "#fff;}*{display:none",
        "light": {"accent": "red}", "link": "#12345"},
        "dark": None,
    }

    plain = styles(stage.show("corner").locator(".first"), "backgroundColor", "color")
    stage.page.evaluate(TAMPERED, hostile)
    assert styles(stage.show("picture").locator(".first"), "backgroundColor", "color") != plain
    assert stage.card.evaluate("card => card.getRootNode().adoptedStyleSheets[1].cssRules[0].cssText") == ".card { --ring: var(--accent); }"
    stage.page.evaluate("() => restore()")
