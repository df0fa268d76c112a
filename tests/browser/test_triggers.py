"""What opens a message beside a page: seconds, scrolling and leaving, which the browser watches for, and events of any side."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.gateway import Gateway, Sent
from tests.browser.messages import Message
from tests.browser.people import user_hash
from tests.browser.tabs import call, fence, push, ready, until, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

Make = Callable[..., Message]

TALL = "<div style='height: 5000px'>A long page</div>"
MINUTE = 60_000
OUT = """type => document.documentElement.dispatchEvent(new PointerEvent('pointerout', {bubbles: true, pointerType: type, clientY: -1}))"""


def card(page: Page) -> Locator:
    return page.locator("leadlight-message").get_by_role("dialog")


def visit_armed(page: Page, url: str) -> None:
    """Open a page whose messages wait for something, and return once the messenger is there."""
    with page.expect_response("**/messenger-*.js") as response:
        visit(page, url)
    response.value.finished()
    fence(page)


def unclaimed(page: Page, message: Message) -> None:
    """Nothing was claimed so far, although there was time to: an event tracked now has arrived."""
    fence(page)
    assert message.stats()["sent"] == 0


def scroll_to(page: Page, part: float) -> None:
    """Scroll to a part of the way to the end."""
    page.evaluate("part => scrollTo(0, part * (document.documentElement.scrollHeight - innerHeight))", part)


def polls(gateway: Gateway) -> list[Sent]:
    return [sent for sent in gateway.sent() if sent.json["items"] == []]


def pay(collector: Collector, user_id: str, **metadata: Any) -> None:
    """Say by REST that somebody paid."""
    answer = collector.client.api("POST", "/events", {"event_name": "paid", "user_id": user_id, "metadata": metadata})
    assert answer.status == 202, answer.text


def test_a_message_comes_so_many_seconds_after_the_view_began(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/seconds", title="After a while", trigger={"type": "time", "seconds": 100})
    page.clock.install()
    visit_armed(page, pages.add("/seconds", head=snippet))
    page.clock.fast_forward(MINUTE)
    unclaimed(page, message)
    page.clock.fast_forward(MINUTE)
    expect(card(page)).to_be_visible()
    assert message.stats()["sent"] == 1


def test_the_next_view_disarms_the_seconds_of_the_last(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/first-view", title="Too late", trigger={"type": "time", "seconds": 100})
    page.clock.install()
    visit_armed(page, pages.add("/first-view", head=snippet))
    push(page, "/second-view")
    fence(page)
    page.clock.fast_forward(3 * MINUTE)
    unclaimed(page, message)


def test_a_reload_begins_to_count_the_seconds_anew(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/reload", title="After a while", trigger={"type": "time", "seconds": 100})
    page.clock.install()
    visit_armed(page, pages.add("/reload", head=snippet))
    page.clock.fast_forward(MINUTE)
    page.reload()
    ready(page)
    fence(page)
    page.clock.fast_forward(MINUTE)
    unclaimed(page, message)
    page.clock.fast_forward(MINUTE)
    expect(card(page)).to_be_visible()


def test_what_happens_behind_a_modal_of_the_page_opens_its_message_after_it(
    page: Page, pages: Pages, snippet: str, new_message: Make
) -> None:
    message = new_message("/behind", title="Patient", trigger={"type": "time", "seconds": 100})
    page.clock.install()
    visit_armed(page, pages.add("/behind", head=snippet, body="<dialog id=own>The page's own</dialog>"))
    page.evaluate("own.showModal()")
    page.clock.fast_forward(2 * MINUTE)
    unclaimed(page, message)
    page.evaluate("own.close()")
    expect(card(page)).to_be_visible()


def test_a_message_comes_once_the_page_is_scrolled_so_far(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/scroll", title="Half-way", trigger={"type": "scroll", "percent": 50})
    visit_armed(page, pages.add("/scroll", head=snippet, body=TALL))
    scroll_to(page, 0.4)
    unclaimed(page, message)
    scroll_to(page, 0.5)
    expect(card(page)).to_be_visible()
    assert message.stats()["sent"] == 1


def test_the_end_of_a_page_is_its_whole_depth(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    new_message("/scroll-end", title="The end", trigger={"type": "scroll", "percent": 100})
    visit_armed(page, pages.add("/scroll-end", head=snippet, body=TALL))
    page.mouse.move(200, 200)
    page.mouse.wheel(0, 10_000)
    expect(card(page)).to_be_visible()


def test_scrolled_before_the_messenger_came_is_scrolled(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    new_message("/scroll-early", title="Half-way", trigger={"type": "scroll", "percent": 50})
    visit(page, pages.add("/scroll-early", head=snippet, body=f"{TALL}<script>scrollTo(0, 4000)</script>"))
    expect(card(page)).to_be_visible()


def test_what_scrolls_in_place_of_the_page_counts_and_a_small_box_in_it_does_not(
    page: Page, pages: Pages, snippet: str, new_message: Make
) -> None:
    message = new_message("/scroll-inside", title="Half-way", trigger={"type": "scroll", "percent": 50})
    box = "<div id={id} style='overflow: auto; height: {height}'>{content}</div>"
    small = box.format(id="small", height="100px", content=TALL)
    visit_armed(page, pages.add("/scroll-inside", head=snippet, body=box.format(id="main", height="90vh", content=small + TALL)))
    page.evaluate("small.scrollTo(0, 5000)")
    unclaimed(page, message)
    page.evaluate("main.scrollTo(0, 3000)")
    expect(card(page)).to_be_visible()


def test_a_message_comes_when_the_mouse_leaves_over_the_top(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    message = new_message("/leaving", title="Before you go", trigger={"type": "exit_intent"})
    visit_armed(page, pages.add("/leaving", head=snippet, body=TALL))
    page.mouse.move(300, 300)
    page.mouse.move(300, 5)
    page.mouse.move(-5, 300)
    unclaimed(page, message)
    page.mouse.move(300, 300)
    page.mouse.move(300, -5)
    expect(card(page)).to_be_visible()
    assert message.stats()["sent"] == 1


def test_a_finger_never_leaves(new_context: Callable[..., BrowserContext], pages: Pages, snippet: str, new_message: Make) -> None:
    page = new_context(has_touch=True).new_page()
    message = new_message("/finger", title="Before you go", trigger={"type": "exit_intent"})
    visit_armed(page, pages.add("/finger", head=snippet, body=TALL))
    page.touchscreen.tap(200, 1)
    page.evaluate(OUT, "touch")
    unclaimed(page, message)
    page.evaluate(OUT, "mouse")
    expect(card(page)).to_be_visible()


def test_of_what_happens_at_once_the_best_comes_and_one_at_a_time(page: Page, pages: Pages, snippet: str, new_message: Make) -> None:
    low = new_message("/at-once", title="Second", trigger={"type": "scroll", "percent": 20}, priority=1)
    new_message("/at-once", title="First", trigger={"type": "scroll", "percent": 40}, priority=2)
    visit_armed(page, pages.add("/at-once", head=snippet, body=TALL))
    scroll_to(page, 0.5)
    expect(card(page)).to_have_accessible_name("First")
    assert low.stats()["sent"] == 0
    card(page).get_by_role("button", name="Close").click()
    expect(card(page)).to_have_accessible_name("Second")


def test_an_open_page_shows_what_rest_reports_within_half_a_minute(
    page: Page, pages: Pages, through: str, gateway: Gateway, new_message: Make, collector: Collector
) -> None:
    message = new_message("/open", title="Thank you", body="For {{event.metadata.plan}}.", trigger={"type": "event", "event": "paid"})
    page.clock.install()
    address = pages.add("/open", head=through)
    visit(page, address)
    call(page, "identify", "payer", {"user_hash": user_hash(collector, "payer")})
    fence(page)
    pay(collector, "payer", plan="team")
    assert polls(gateway) == []
    assert until(page, lambda: page.clock.fast_forward(31_000) or polls(gateway))
    expect(card(page)).to_contain_text("For team.")
    assert message.stats()["sent"] == 1


def test_a_page_that_nobody_looks_at_does_not_ask(page: Page, pages: Pages, through: str, gateway: Gateway, new_message: Make) -> None:
    new_message("/hidden", title="Thank you", trigger={"type": "event", "event": "paid"})
    page.clock.install()
    visit_armed(page, pages.add("/hidden", head=through))
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
    page.clock.fast_forward(31_000)
    page.clock.fast_forward(31_000)
    fence(page)
    assert polls(gateway) == []
    page.evaluate("delete document.hidden")
    page.clock.fast_forward(31_000)
    assert until(page, lambda: len(polls(gateway)) == 1)


def test_a_page_stops_asking_once_the_message_is_paused(
    page: Page, pages: Pages, through: str, gateway: Gateway, new_message: Make, collector: Collector
) -> None:
    message = new_message("/paused", title="Thank you", trigger={"type": "event", "event": "paid"})
    page.clock.install()
    visit_armed(page, pages.add("/paused", head=through))
    with page.expect_response(lambda response: response.request.post_data_json.get("items") == []) as first:
        page.clock.fast_forward(31_000)
    first.value.finished()
    fence(page)  # by then the answer was heard, and the next time is set
    assert collector.client.api("PUT", f"/auto_messages/{message.id}", {"state": "paused"}).status == 200
    with page.expect_response(lambda response: response.request.post_data_json.get("items") == []) as last:
        page.clock.fast_forward(31_000)
    last.value.finished()
    fence(page)
    page.clock.fast_forward(31_000)
    page.clock.fast_forward(31_000)
    fence(page)
    assert len(polls(gateway)) == 2


def test_an_event_that_a_modal_held_up_opens_its_message_in_the_next_view(
    page: Page, pages: Pages, snippet: str, new_message: Make
) -> None:
    message = new_message("/held", title="Patient", trigger={"type": "event", "event": "held-up"})
    address = pages.add("/held", head=snippet, body="<dialog id=own>The page's own</dialog>")
    visit(page, address)
    page.evaluate("own.showModal()")
    call(page, "track", "held-up")
    unclaimed(page, message)
    visit(page, address)
    expect(card(page)).to_be_visible()
    assert message.stats()["sent"] == 1


def test_two_hundred_messages_that_cannot_concern_a_page_cost_it_nothing(
    page: Page, pages: Pages, through: str, gateway: Gateway, new_message: Make
) -> None:
    triggers: list[dict[str, Any]] = [
        {"type": "page"},
        {"type": "time", "seconds": 5},
        {"type": "scroll", "percent": 10},
        {"type": "exit_intent"},
        {"type": "event", "event": "did-it-elsewhere"},
        {"type": "manual"},
    ]
    for number in range(200):
        kind = ("popup", "banner", "chat")[number % 3]
        sender = {"sender": "The shop"} if kind == "chat" else {}
        new_message("/quite-elsewhere", type=kind, title="Not here", body="Hello.", trigger=triggers[number % len(triggers)], **sender)
    evaluated: list[str] = []
    devtools = page.context.new_cdp_session(page)
    devtools.on("Debugger.scriptParsed", lambda script: evaluated.append(script["url"]))
    devtools.send("Debugger.enable")
    page.clock.install()
    address = pages.add("/left-alone", head=through)
    with page.expect_response("**/collect") as view:
        visit(page, address)
    assert view.value.json().keys() == {"accepted", "duplicates", "refused", "flagged", "time"}
    call(page, "track", "did-something")
    fence(page)
    page.clock.fast_forward(31_000)
    page.clock.fast_forward(31_000)
    fence(page)
    assert {sent.path.partition("?")[0] for sent in gateway.log} == {"/tracker.js", "/collect"}
    assert polls(gateway) == []
    assert [url for url in evaluated if url.startswith(gateway.address)] == [f"{gateway.address}/tracker.js"]
