"""A guest in somebody else's page: nothing thrown, nothing left behind, nothing sent that was not allowed."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.browser.tabs import call, fence, lead, status, until, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

# What a page may pass, and what of it is stored. The event is kept in any case.
HOSTILE: dict[str, tuple[str, dict[str, Any]]] = {
    "bigint": ("{value: 12345678901234567890n}", {"value": "12345678901234567890"}),
    "lone surrogate": ("{value: 'a\\ud800b'}", {"value": "a\ufffdb"}),
    "text beyond Latin 1": ("{value: 'M\u016fj \u017e \\u2028 \U0001f600 \u05e9'}", {"value": "M\u016fj \u017e \u2028 \U0001f600 \u05e9"}),
    "error": ("{value: new TypeError('broken')}", {"value": "TypeError: broken"}),
    "address": ("{value: new URL('https://shop.example/a?b=c')}", {"value": "https://shop.example/a?b=c"}),
    "huge text": ("{value: 'x'.repeat(5_000_000)}", {"value": "x" * 255}),
    "symbol": ("{value: Symbol('s'), kept: 1}", {"kept": 1}),
    "function": ("{value: () => 1, kept: 1}", {"kept": 1}),
    "undefined": ("{value: undefined, kept: 1}", {"kept": 1}),
    "no number": ("{value: NaN, more: -Infinity, kept: 1}", {"kept": 1}),
    "invalid date": ("{value: new Date(NaN), kept: 1}", {"kept": 1}),
    "cycle": ("(() => { const found = {kept: 1}; found.self = found; return found })()", {"kept": 1}),
    "throwing getter": ("{get value() { throw new Error('no') }, kept: 1}", {"kept": 1}),
    "throwing getter inside": ("{value: {get x() { throw new Error('no') }}, kept: 1}", {"kept": 1}),
    "throwing conversion": ("{value: {toString() { throw 1 }, toJSON() { throw 1 }, valueOf() { throw 1 }}, kept: 1}", {"kept": 1}),
    "element": ("{value: document.body, kept: 1}", {"kept": 1}),
    "revoked proxy": (
        "{value: (() => { const {proxy, revoke} = Proxy.revocable({}, {}); revoke(); return proxy })(), kept: 1}",
        {"kept": 1},
    ),
    "revoked proxy alone": ("(() => { const {proxy, revoke} = Proxy.revocable({}, {}); revoke(); return proxy })()", {}),
    "element alone": ("document.body", {}),
    "no object": ("'text'", {}),
    "nothing": ("null", {}),
}


@pytest.fixture(scope="module")
def open_page(browser: Browser, shared_collector: Collector, site_server: Pages) -> Iterator[Page]:
    """A page that stays open for all hostile values: each has to leave it unharmed."""
    source = f"{shared_collector.url_as('collect.other')}/tracker.js"
    script = f'<script async src="{source}" data-site="{shared_collector.site_key}" data-automation="count"></script>'
    with browser.new_context() as context:
        page = context.new_page()
        visit(page, site_server.add("/hostile", head=script))
        fence(page)
        yield page


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_event_is_kept_whatever_its_metadata_hold(open_page: Page, kind: str, stored: Stored) -> None:
    metadata, expected = HOSTILE[kind]
    name = f"hostile {kind}"
    open_page.evaluate(f"() => {{ leadlight('track', '{name}', {metadata}) }}")
    call(open_page, "track", f"{name}, next", {"unharmed": True})
    open_page.wait_for_function("!leadlight('status').queued")
    assert [event.metadata for event in stored.events(f"{name}, next")] == [{"unharmed": True}]
    assert [event.metadata for event in stored.events(name)] == [expected], status(open_page)["refused"][-1:]


@pytest.mark.parametrize("name", ["''", "'   '", "'x'.repeat(121)", "'a\\0b'", "'a\\ud800'", "null", "{}", "7", "Symbol('s')", "undefined"])
def test_a_bad_name_is_refused_with_a_reason_and_throws_nothing(open_page: Page, name: str) -> None:
    open_page.evaluate(f"() => {{ leadlight('track', {name}) }}")
    assert status(open_page)["refused"][-1] == {"code": "name_invalid", "field": "name"}
    assert status(open_page)["queued"] == 0


@pytest.mark.parametrize("given", ["", "'noSuchMethod', 1", "Symbol('s')", "null", "'identify', {}", "'identify', NaN", "'onMessage', 7"])
def test_a_senseless_call_throws_nothing(open_page: Page, given: str) -> None:
    open_page.evaluate(f"() => {{ leadlight({given}) }}")


def test_a_strict_policy_with_trusted_types_is_kept_by_tracker_and_messenger(
    page: Page, pages: Pages, tag: Callable[..., str], collector: Collector, stored: Stored, new_message: Callable[..., Any]
) -> None:
    new_message("/strict", title="Under a strict policy", body="**Bold**, [a link](https://shop.example/) and `code`")
    origin = collector.url_as("collect.other")
    policy = (
        f"default-src 'none'; script-src 'nonce-n0nce'; connect-src {origin}; style-src 'none'; img-src 'none'; base-uri 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    watch = (
        "<script nonce=n0nce>window.broken = []; addEventListener('securitypolicyviolation', "
        "({violatedDirective, blockedURI}) => broken.push(violatedDirective + ' ' + blockedURI))</script>"
    )
    visit(
        page,
        pages.add(
            "/strict", head='<link rel="icon" href="data:,">' + watch + tag("nonce=n0nce"), headers={"Content-Security-Policy": policy}
        ),
    )
    card = page.get_by_role("dialog")
    card.wait_for()
    assert card.evaluate("card => getComputedStyle(card).position") == "fixed"
    fence(page)
    assert len(stored.views(lead(page))) == 1
    assert [one for one in page.evaluate("broken") if not one.startswith("img-src data")] == []


def test_no_listener_bars_the_back_forward_cache(page: Page, pages: Pages, snippet: str) -> None:
    page.add_init_script("""
        window.heard = new Set();
        const original = EventTarget.prototype.addEventListener;
        EventTarget.prototype.addEventListener = function (type, ...rest) { heard.add(type); return original.call(this, type, ...rest) };
    """)
    visit(page, pages.add("/", head=snippet))
    fence(page)
    heard = set(page.evaluate("[...heard]"))
    assert "pagehide" in heard
    assert heard & {"unload", "beforeunload"} == set()
    assert page.evaluate("[onunload, onbeforeunload]") == [None, None]


def test_the_only_global_is_leadlight(page: Page, pages: Pages, snippet: str, new_message: Callable[..., Any]) -> None:
    new_message("/globals", title="Hello")
    spy = "<script>window.before = Object.getOwnPropertyNames(window).concat('before')</script>"
    visit(page, pages.add("/globals", head=spy + snippet))
    page.get_by_role("dialog").wait_for()
    assert page.evaluate("Object.getOwnPropertyNames(window).filter(name => !before.includes(name))") == ["leadlight"]


TAMPERING = {
    "toJSON of lists and texts before": (
        "before",
        "Array.prototype.toJSON = String.prototype.toJSON = Object.prototype.toJSON = () => 'prototype'",
    ),
    "enumerable property on every object before": ("before", "Object.prototype.extra = 1; Array.prototype.extra = () => 1"),
    "JSON replaced after": ("after", "JSON.stringify = () => 'broken'; JSON.parse = () => { throw new Error('broken') }"),
    "fetch replaced after": ("after", "window.fetch = () => { throw new Error('broken') }"),
    "Promise replaced after": ("after", "window.Promise = class { constructor() { throw new Error('broken') } }"),
    "history frozen before": ("before", "Object.freeze(history)"),
    "locks and channels gone before": ("before", "delete Navigator.prototype.locks; delete window.BroadcastChannel"),
}


@pytest.mark.parametrize("kind", TAMPERING)
def test_a_page_that_changes_the_language_is_tracked(page: Page, pages: Pages, snippet: str, kind: str, stored: Stored) -> None:
    when, script = TAMPERING[kind]
    visit(page, pages.add("/", head=(f"<script>{script}</script>" if when == "before" else "") + snippet))
    who = page.evaluate("leadlight('status').lead")
    if when == "after":
        page.evaluate(f"() => {{ {script} }}")
    page.evaluate("() => { leadlight('track', 'tampered', {list: 'a', n: 1}) }")
    until(page, lambda: stored.events("tampered", lead=who))
    assert [event.metadata for event in stored.events("tampered", lead=who)] == [{"list": "a", "n": 1}]
    assert [view.path for view in stored.views(who)] == ["/"]


def test_a_browser_whose_clock_was_never_set_is_tracked_with_the_collectors_time(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored
) -> None:
    context.clock.set_fixed_time(0)
    visit(page, pages.add("/", head=snippet))
    fence(page)
    for n in (1, 2, 3):
        call(page, "track", "clock-unset", {"n": n})
    fence(page)
    found = stored.events("clock-unset")
    assert [event.metadata["n"] for event in found] == [1, 2, 3]
    assert all(abs(event.at / 1000 - time.time()) < 60 for event in found)


def test_requests_are_plain_text_and_need_no_preflight(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, new_message: Callable[..., Any]
) -> None:
    new_message("/wire", title="Hello")
    visit(page, pages.add("/wire", head=tag(address=gateway.address)))
    page.get_by_role("dialog").wait_for()
    fence(page)
    posts = [sent for sent in gateway.log if sent.method != "GET"]
    assert {(sent.method, sent.headers["Content-Type"]) for sent in posts} == {("POST", "text/plain;charset=UTF-8")}
    assert {sent.path for sent in posts} == {"/collect", "/claim"}


def test_a_page_without_messages_never_loads_the_messenger(page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway) -> None:
    visit(page, pages.add("/", head=tag(address=gateway.address)))
    fence(page)
    assert {sent.path for sent in gateway.log} == {"/tracker.js", "/collect"}
