"""A guest in somebody else's page: nothing thrown, nothing left behind, nothing sent that was not allowed."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.browser.tabs import call, cookie, fence, status, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

# What a page may pass, and what of it is stored. The event is kept in any case.
HOSTILE: dict[str, tuple[str, dict[str, Any]]] = {
    "bigint": ("{value: 12345678901234567890n}", {"value": "12345678901234567890"}),
    "lone surrogate": ("{value: 'a\\ud800b'}", {"value": "a\ufffdb"}),
    "text beyond Latin 1": ("{value: 'M\u016fj \u017e \\u2028 \U0001f600 \u05e9'}", {"value": "M\u016fj \u017e \u2028 \U0001f600 \u05e9"}),
    "error": ("{value: new TypeError('broken')}", {"value": "TypeError: broken"}),
    "exception of the browser": ("{value: new DOMException('gone', 'AbortError')}", {"value": "AbortError: gone"}),
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
    "no object with a toJSON that throws": ("{value: {toJSON() { throw new Error('no') }}, kept: 1}", {"kept": 1}),
    "object with a toJSON that lies": (
        "{value: {toJSON: () => 'lie', url: 'https://a.example/', value: 'true'}}",
        {"value": {"url": "https://a.example/", "value": "true"}},
    ),
    "toJSON that lies, alone": ("{toJSON: () => ({lie: 1}), kept: 1}", {"kept": 1}),
    "proxy that throws": (
        "{value: new Proxy({}, {ownKeys() { throw 1 }, get() { throw 1 }, getPrototypeOf() { throw 1 }}), kept: 1}",
        {"kept": 1},
    ),
    "proxy that throws, alone": ("new Proxy({}, {ownKeys() { throw 1 }, get() { throw 1 }})", {}),
    "proxy without end": ("{value: endless(), kept: 1}", {"kept": 1}),
    "minus zero": ("{value: -0}", {"value": 0}),
    "NUL": ("{value: 'a\\0b'}", {"value": "a\ufffdb"}),
    "map, set, buffer, regular expression, promise": (
        "{a: new Map([[1, 2]]), b: new Set([1]), c: new ArrayBuffer(9), d: /x/, e: Promise.resolve(1), f: new WeakMap(), kept: 1}",
        {"kept": 1},
    ),
    "boxed values": ("{value: Object(5n), more: Object(Symbol('s')), kept: 1}", {"value": "5", "kept": 1}),
    "frozen": ("Object.freeze({value: 'ice'})", {"value": "ice"}),
    "no prototype": ("Object.assign(Object.create(null), {value: 'bare'})", {"value": "bare"}),
    "inherited": ("Object.create({value: 'inherited'})", {}),
    "names of the language": (
        'JSON.parse(\'{"__proto__": "a", "constructor": "b", "prototype": "c", "hasOwnProperty": "d", "toString": "e"}\')',
        {"__proto__": "a", "constructor": "b", "prototype": "c", "hasOwnProperty": "d", "toString": "e"},
    ),
    "list": ("{value: ['a', 'b'], kept: 1}", {"kept": 1}),
    "list alone": ("['a', 'b']", {}),
    "huge list": ("{value: Array(1_000_000).fill('x'), kept: 1}", {"kept": 1}),
    "deep object": ("{value: {a: {b: {c: 1}}}, kept: 1}", {"kept": 1}),
    "window": ("{value: window, kept: 1}", {"kept": 1}),
    "event of the page": ("{value: new Event('click'), kept: 1}", {"kept": 1}),
    "typed array": ("{value: new Uint8Array(3), kept: 1}", {"kept": 1}),
    "text in an object": ("{value: new String('boxed'), kept: 1}", {"value": "boxed", "kept": 1}),
    "map and set": ("{value: new Map([[1, 2]]), other: new Set([1]), kept: 1}", {"kept": 1}),
    "revoked proxy alone": ("(() => { const {proxy, revoke} = Proxy.revocable({}, {}); revoke(); return proxy })()", {}),
    "element alone": ("document.body", {}),
    "no object": ("'text'", {}),
    "nothing": ("null", {}),
}


ENDLESS = """
    const made = { enumerable: true, configurable: true, value: 1 };
    window.endless = () => new Proxy({}, {
        ownKeys: () => ['a'], getOwnPropertyDescriptor: () => made, get: (at, key) => key == 'a' ? endless() : undefined});
"""


@pytest.fixture(scope="module")
def open_page(browser: Browser, shared_collector: Collector, site_server: Pages) -> Iterator[Page]:
    """A page that stays open for all hostile values: each has to leave it unharmed."""
    source = f"{shared_collector.url_as('collect.other')}/tracker.js"
    script = f'<script async src="{source}" data-site="{shared_collector.site_key}" data-automation="count"></script>'
    uncaught: list[str] = []
    with browser.new_context() as context:
        context.on("weberror", lambda error: uncaught.append(str(error.error)))
        page = context.new_page()
        page.add_init_script(ENDLESS)
        visit(page, site_server.add("/hostile", head=script))
        fence(page)
        yield page
    assert uncaught == []


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_event_is_kept_whatever_its_metadata_hold(open_page: Page, kind: str, stored: Stored) -> None:
    metadata, expected = HOSTILE[kind]
    name = f"hostile {kind}"
    open_page.evaluate(f"() => {{ leadlight('track', '{name}', {metadata}) }}")
    call(open_page, "track", f"{name}, next", {"unharmed": True})
    open_page.wait_for_function("!leadlight('status').queued")
    assert [event.metadata for event in stored.events(f"{name}, next")] == [{"unharmed": True}]
    assert [event.metadata for event in stored.events(name)] == [expected], status(open_page)["refused"][-1:]


@pytest.mark.parametrize(
    "graph",
    [
        "const all = {}; for (let n = 0; n < 3_000; n++) add(all, n, () => all); return all",
        "const one = {}, other = {}; for (let n = 0; n < 3_000; n++) { add(one, n, () => other); add(other, n, () => one) } return one",
        "const leaf = {}; for (let n = 0; n < 3_000; n++) add(leaf, n, () => 1); return Array(3_000).fill(leaf)",
    ],
    ids=["leads to itself", "lead to each other", "shared"],
)
def test_a_web_of_objects_costs_the_page_no_more_than_a_huge_text(open_page: Page, graph: str) -> None:
    read = open_page.evaluate(f"""() => {{
        let read = 0;
        const add = (to, n, get) => Object.defineProperty(to, 'k' + n, {{enumerable: true, get: () => (read++, get())}});
        const value = (() => {{ {graph} }})();
        leadlight('track', 'web of objects', {{value}});
        return read;
    }}""")
    assert 0 < read < 60_000


@pytest.mark.parametrize("metadata", ["window", "Object.fromEntries(Array(100_000).fill(0).map((zero, n) => ['k' + n, n]))"])
def test_too_many_keys_are_refused_with_a_reason_and_cost_nothing_else(open_page: Page, metadata: str, stored: Stored) -> None:
    open_page.evaluate(f"() => {{ leadlight('track', 'too many', {metadata}); leadlight('track', 'beside') }}")
    open_page.wait_for_function("!leadlight('status').queued")
    assert status(open_page)["refused"][-1]["code"] == "metadata_too_many_keys"
    assert [event.name for event in stored.events() if event.name in ("too many", "beside")] == ["beside"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_person_is_identified_whatever_the_attributes_hold(open_page: Page, kind: str, stored: Stored) -> None:
    attributes, _ = HOSTILE[kind]
    user = f"hostile {kind}"
    open_page.evaluate(f"() => {{ leadlight('reset'); leadlight('identify', '{user}', {attributes}) }}")
    fence(open_page, refusals=True)
    assert [event.name for event in stored.events("fence", user=user)] == ["fence"]


@pytest.mark.parametrize("name", ["''", "'   '", "'x'.repeat(121)", "'a\\0b'", "'a\\ud800'", "null", "{}", "7", "Symbol('s')", "undefined"])
def test_a_bad_name_is_refused_with_a_reason_and_throws_nothing(open_page: Page, name: str) -> None:
    open_page.evaluate(f"() => {{ leadlight('track', {name}) }}")
    assert status(open_page)["refused"][-1] == {"code": "name_invalid", "field": "name"}
    assert status(open_page)["queued"] == 0


@pytest.mark.parametrize("given", ["", "'noSuchMethod', 1", "Symbol('s')", "null", "'identify', {}", "'identify', NaN", "'onMessage', 7"])
def test_a_senseless_call_throws_nothing(open_page: Page, given: str) -> None:
    open_page.evaluate(f"() => {{ leadlight({given}) }}")


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


def test_a_frame_that_hides_the_title_of_the_document_costs_nothing_else(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    """`document.title` is that frame's window then, which another origin may not read."""
    frame = f'<iframe name="title" src="{pages.url("/frame", host="app.shop.example")}"></iframe>'
    visit(page, pages.add("/", head=snippet, body=frame))
    call(page, "track", "title-hidden")
    fence(page)
    who = status(page)["lead"]
    assert len(stored.views(who)) == 1
    assert [event.name for event in stored.events("title-hidden", lead=who)] == ["title-hidden"]


def test_a_tag_whose_site_was_left_empty_says_so_and_leaves_nothing(
    context: BrowserContext, page: Page, pages: Pages, collector: Collector
) -> None:
    tag = f'<script async src="{collector.url_as("collect.other")}/tracker.js" data-site="" data-automation="count"></script>'
    visit(page, pages.add("/", head=tag))
    call(page, "track", "nobodys")
    assert status(page)["held"] == "site_missing"
    assert context.cookies() == []
    assert page.evaluate("Object.keys(localStorage)") == []


@pytest.mark.parametrize("kept", ['{"id":"x","lead":5,"expires_at":1}', '{"lead":{},"expires_at":1}', "[]", "null", '"text"', "{"])
def test_rubbish_where_the_session_was_kept_costs_nothing(
    page: Page, pages: Pages, snippet: str, lead_cookie: str, kept: str, stored: Stored
) -> None:
    visit(page, pages.add("/", head=snippet))
    fence(page)
    page.evaluate("([key, kept]) => { localStorage[key] = kept }", [f"{lead_cookie}.who", kept])
    visit(page, pages.url("/"))
    call(page, "track", "after-rubbish")
    fence(page)
    assert len(stored.events("after-rubbish", lead=status(page)["lead"])) == 1


def test_settings_that_throw_when_they_are_read_cost_the_option_alone(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    before = """<script>window.leadlightSettings = new Proxy({}, {get(_, name) {
        if (name == 'query') return 'plan';
        throw new Error('no ' + String(name));
    }})</script>"""
    pages.add("/", head=before + snippet)
    visit(page, pages.url("/?plan=pro"))
    call(page, "track", "settings-that-throw")
    fence(page)
    (event,) = stored.events("settings-that-throw")
    assert event.page["url"].endswith("/?plan=pro")


READS = """
    window.read = 0;
    const {get, set} = Object.getOwnPropertyDescriptor(Document.prototype, 'cookie');
    Object.defineProperty(Document.prototype, 'cookie', {get() { read++; return get.call(this) }, set});
"""


def test_what_a_page_tracks_in_one_go_waits_for_its_cookie_once(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    page.add_init_script(READS)
    visit(page, pages.add("/", head=snippet))
    fence(page)
    assert page.evaluate("() => { read = 0; for (let n = 0; n < 10; n++) leadlight('track', 'many'); return read }") == 1
    assert page.evaluate("() => { read = 0; leadlight('track', 'many'); return read }") == 1
    fence(page)
    assert len(stored.events("many")) == 11


def test_the_next_task_reads_the_cookie_anew_though_the_page_spoils_microtasks(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str
) -> None:
    """The lead may have been given up in another tab, where somebody signed out."""
    pages.add("/", head=f"<script>window.queueMicrotask = () => {{}}</script>{snippet}")
    visit(page, pages.url("/"))
    call(page, "track", "before")
    kept = cookie(context, lead_cookie)
    context.add_cookies([{**kept, "value": f"{'b' * 22}.{'c' * 22}"}])
    assert page.evaluate("leadlight('status').lead") == "b" * 22


def test_what_a_site_writes_into_its_own_storage_costs_its_other_tabs_nothing(
    context: BrowserContext, page: Page, pages: Pages, snippet: str
) -> None:
    page.add_init_script(READS)
    visit(page, pages.add("/", head=snippet))
    fence(page)
    page.evaluate("window.read = 0")
    page.evaluate("() => { window.told = new Promise(done => addEventListener('storage', ({key}) => key == 'end' && done())) }")
    other = context.new_page()
    other.goto(pages.add("/plain"))
    other.evaluate("() => { for (let n = 0; n < 50; n++) localStorage['key' + n] = n; localStorage.end = 1 }")
    page.evaluate("told")
    assert page.evaluate("read") == 0
