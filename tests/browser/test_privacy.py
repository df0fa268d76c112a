"""docs/privacy.md lists every cookie, every key in storage and every field sent, and none that does not exist."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.gateway import Gateway
from tests.browser.people import user_hash
from tests.browser.rules import Rules
from tests.browser.tabs import HEARD, call, fence, heard, ready, status, until, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "privacy.md"
OPEN = {"metadata", "attributes", "items"}
"""Fields whose inside is the page's own, or told in a table of its own."""

# Names are noted when they are written: some cookies are gone at once.
SPY = """
    window.baked = new Set();
    const { get, set } = Object.getOwnPropertyDescriptor(Document.prototype, 'cookie');
    Object.defineProperty(Document.prototype, 'cookie', {
        get,
        set(value) { baked.add(value.split('=')[0]); set.call(this, value); },
    });
"""
NO_COOKIES = "Object.defineProperty(Document.prototype, 'cookie', { get: () => '', set() {} })"


def listed(heading: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    _, _, rest = DOCUMENT.read_text("utf-8").partition(f"\n## {heading}\n")
    names = set(re.findall(r"^\| `([^`]+)` \|", rest.partition("\n## ")[0], re.MULTILINE))
    assert names, f"no table below {heading}"
    return names


def fields(value: dict[str, Any], above: str = "") -> Iterator[str]:
    """The names of all fields, those inside of others with a point."""
    for name, inner in value.items():
        if isinstance(inner, dict) and name not in OPEN:
            yield from fields(inner, f"{above}{name}.")
        else:
            yield above + name


class Visit:
    """A visitor in one tab, and what was found of them: names of cookies and keys, with KEY and ID for what varies."""

    def __init__(self, page: Page, key: str) -> None:
        self.page = page
        self.key = key
        self.cookies: set[str] = set()
        self.local: set[str] = set()
        self.session: set[str] = set()

    def look(self) -> None:
        """Note what lies in the browser now."""
        found = self.page.evaluate("() => [[...(window.baked || [])], Object.keys(localStorage), Object.keys(sessionStorage)]")
        in_jar = [cookie["name"] for cookie in self.page.context.cookies()]
        for names, seen in zip((self.cookies, self.local, self.session), (found[0] + in_jar, *found[1:]), strict=True):
            names |= {re.sub(r"\.q\..*", ".q.ID", name.replace(self.key, "KEY")) for name in seen}


@pytest.fixture
def visitor(page: Page, collector: Collector) -> Visit:
    page.add_init_script(SPY)
    return Visit(page, collector.site_key)


def close(page: Page) -> None:
    """Dismiss the message that comes."""
    page.get_by_role("button", name="Close").click()
    expect(page.locator("leadlight-message")).to_have_count(0)


def polls(gateway: Gateway) -> list[Any]:
    """Return what open pages sent to ask whether something was done elsewhere."""
    return [sent.json for sent in gateway.sent("/collect") if not sent.json["items"]]


def live_a_whole_life(visitor: Visit, shop: str, collector: Collector, gateway: Gateway) -> None:
    """Do all that a visitor and a page can do; the site has the messages and the rule that the test makes."""
    page = visitor.page
    page.clock.install()
    visit(page, shop)
    call(page, "optIn", "2026-03")
    page.get_by_role("link", name="Write").click()
    close(page)
    visitor.look()

    # signed in, first by a hash and then, as somebody else, by a token
    call(page, "identify", "private-1", {"user_hash": user_hash(collector, "private-1"), "plan": "team"})
    fence(page)
    call(page, "track", "private-trigger", {"n": 1})
    page.get_by_role("textbox", name="Triggered").fill("Because")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("leadlight-message")).to_have_count(0)
    page.get_by_role("button", name="Buy").click()
    fence(page)
    page.clock.fast_forward(31_000)
    until(page, lambda: polls(gateway))
    visitor.look()
    call(page, "reset")
    token = jwt.encode({"user_id": "private-2", "exp": int(time.time()) + 600}, collector.identity_secret, algorithm="HS256")
    call(page, "identify", "private-2", {"jwt": token})
    fence(page)
    visitor.look()

    # the collector is away until the store is full
    gateway.fate = "busy"
    page.evaluate("() => { for (let n = 0; n < 100; n++) leadlight('track', 'private-many', {text: 'x'.repeat(8000)}) }")
    until(page, lambda: gateway.tries("private-many"))
    page.wait_for_function("leadlight('status').retry_at")
    visitor.look()
    gateway.fate = "pass"
    page.wait_for_function("!leadlight('status').queued")
    assert status(page)["dropped"] == 0
    visitor.look()

    call(page, "optOut")
    call(page, "track", "private-unheard")
    visitor.look()


def test_the_page_lists_what_whole_visits_leave_and_send_and_nothing_else(
    visitor: Visit,
    pages: Pages,
    tag: Callable[..., str],
    gateway: Gateway,
    collector: Collector,
    new_message: Callable[..., Any],
    rules: Rules,
    new_context: Callable[..., BrowserContext],
) -> None:
    rules.click("private-click", "button.buy")
    new_message("/private", title="Seen", body="[Write](mailto:shop@example.com)", frequency={"type": "once"})
    new_message("/private", title="Triggered", trigger={"type": "event", "event": "private-trigger"}, question={"kind": "text"})
    snippet = tag('data-consent="required"', gateway.address)
    shop = pages.add("/private", "<button class=buy>Buy</button>", head=snippet)
    live_a_whole_life(visitor, shop, collector, gateway)

    refusing = new_context().new_page()
    refusing.add_init_script(NO_COOKIES)
    without = Visit(refusing, collector.site_key)
    refusing.goto(shop)
    ready(refusing)
    call(refusing, "optIn")
    without.look()

    assert visitor.cookies == listed("Cookies")
    assert visitor.local | without.local == listed("localStorage")
    assert visitor.session | without.session == listed("sessionStorage")

    envelopes = [sent.json for sent in gateway.sent("/collect") if sent.json["items"]]
    claims = [sent.json for sent in gateway.sent("/claim")]
    items = [item for envelope in envelopes for item in envelope["items"]]
    around = listed("Sent with everything")
    assert {name for envelope in envelopes for name in fields(envelope)} == around
    assert {name for poll in polls(gateway) for name in fields(poll)} - around == listed("While a page stays open")
    assert {name for claim in claims for name in fields(claim)} - around == listed("Before a message is shown")
    for kind, heading in (("event", "An event, or a page view"), ("identify", "Attributes"), ("message", "What became of a message")):
        assert {name for item in items if item["type"] == kind for name in fields(item)} == listed(heading), heading
    assert {item["type"] for item in items} == {"event", "identify", "message"}
    assert {sent.headers["Cookie"] for sent in gateway.log} == {None}
    assert {"private-click", "private-many"} <= {item.get("name") for item in items}


def test_the_page_lists_what_is_sent_on_the_way_to_another_domain(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway
) -> None:
    head = tag('data-link-domains="shop.example pay.example"', gateway.address)
    there = pages.url("/private-paid", host="pay.example")
    pages.add("/private-paid", head=head)
    visit(page, pages.add("/private-leaving", f'<a href="{there}">Pay</a>', head=f"<script>{HEARD}</script>{head}"))
    call(page, "optIn")
    fence(page)
    heard(page, "/handover", page.get_by_role("link", name="Pay").hover)
    page.get_by_role("link", name="Pay").click()
    page.wait_for_url(there)
    ready(page)
    fence(page)
    sent = [one.json for path in ("/handover", "/handover/take") for one in gateway.sent(path)]
    assert len(sent) == 2
    assert {name for body in sent for name in fields(body)} - listed("Sent with everything") == listed(
        "On the way to another domain of the site"
    )
