"""Pages that change the language and the browser under the tracker's feet, before it comes or afterwards."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.stored import Stored
from tests.browser.tabs import call, fence, lead, push, status, until, visit
from tests.support.pages import Pages

# As Prototype.js 1.7 does it: toJSON on everything, iteration replaced on lists, `Array.from` that knows no iterators, a `bind` of its own.
PROTOTYPE_JS = """
    const stringify = JSON.stringify;
    Object.toJSON = value => stringify(value);
    Array.from = window.$A = listed => [].slice.call(listed || []);
    const lists = Array.prototype, texts = String.prototype;
    lists.each = lists.forEach = function (call, context) {
        for (let n = 0; n < this.length; n++) call.call(context, this[n], n);
        return this;
    };
    lists.inject = function (memo, call) { this.each((value, n) => { memo = call(memo, value, n) }); return memo };
    lists.map = function (call, context) { return this.inject([], (made, value, n) => made.concat([call.call(context, value, n)])) };
    lists.filter = function (call, context) {
        return this.inject([], (made, value, n) => { if (call.call(context, value, n)) made.push(value); return made });
    };
    lists.some = function (call, context) { return this.inject(false, (found, value, n) => found || !!call.call(context, value, n)) };
    lists.every = function (call, context) { return this.inject(true, (all, value, n) => all && !!call.call(context, value, n)) };
    lists.find = function (call, context) { return this.filter(call, context)[0] };
    lists.entries = lists.clone = function () { return [].concat(this) };
    lists.first = function () { return this[0] };
    lists.last = function () { return this[this.length - 1] };
    lists.clear = function () { this.length = 0; return this };
    lists.inspect = lists.toJSON = function () { return '[' + this.map(Object.toJSON).join(', ') + ']' };
    const reverse = lists.reverse;
    lists.reverse = function (inline) { return reverse.call(inline === false ? this.clone() : this) };
    texts.toJSON = function () { return '"' + this + '"' };
    Number.prototype.toJSON = Date.prototype.toJSON = function () { return String(this) };
    texts.startsWith = function (start) { return this.lastIndexOf(start, 0) === 0 };
    texts.endsWith = function (end) { const at = this.length - end.length; return at >= 0 && this.indexOf(end, at) === at };
    Function.prototype.bind = function (context, ...first) {
        const method = this;
        return function (...rest) { return method.apply(context, first.concat(rest)) };
    };
    window.$ = name => document.getElementById(name);
"""
FROZEN = """
    for (const name of Object.getOwnPropertyNames(window)) {
        const prototype = typeof window[name] == 'function' && window[name].prototype;
        if (prototype) Object.freeze(prototype);
    }
"""

# When, and what: `before` the tracker comes, or `after`.
TAMPERING = {
    "Prototype.js": ("before", PROTOTYPE_JS),
    "toJSON of lists and texts": (
        "before",
        "Array.prototype.toJSON = String.prototype.toJSON = Object.prototype.toJSON = () => 'prototype'",
    ),
    "enumerable property on every object": ("before", "Object.prototype.extra = 1; Array.prototype.extra = () => 1"),
    "iterating over lists that is enumerable": ("before", "Array.prototype.remove = Array.prototype.contains = function () {}"),
    "prototypes of the language frozen": (
        "before",
        "[Object, Array, Function, String, Number, RegExp, Date, Map, Set, Promise, Error].forEach(one => Object.freeze(one.prototype))",
    ),
    "every prototype frozen": ("before", FROZEN),
    "the language itself frozen": ("before", "[Object, Array, JSON, Math, Reflect, Promise, Date].forEach(Object.freeze)"),
    "JSON replaced": ("after", "JSON.stringify = () => 'broken'; JSON.parse = () => { throw new Error('broken') }"),
    "JSON gone": ("after", "delete window.JSON"),
    "fetch replaced": ("after", "window.fetch = () => { throw new Error('broken') }"),
    "fetch gone": ("after", "delete window.fetch"),
    "fetch wrapped": (
        "before",
        "const original = fetch; window.fetch = function () { return original.apply(this, arguments).then(answer => answer) }",
    ),
    "Promise replaced": ("after", "window.Promise = class { constructor() { throw new Error('broken') } }"),
    "methods of promises broken": (
        "after",
        "Promise.prototype.then = Promise.prototype.catch = Promise.prototype.finally = () => { throw new Error('broken') }",
    ),
    "methods of lists broken": (
        "after",
        "for (const name of ['toJSON', 'at', 'flat', 'entries', 'keys']) Array.prototype[name] = () => { throw new Error('broken') }",
    ),
    "console gone": ("before", "delete window.console"),
    "an address of the page's own where the class was": ("before", "var URL = '/shop/'"),
    "a class of the page's own where that of addresses was": (
        "after",
        "window.URL = class { constructor() { throw new Error('broken') } }",
    ),
    "self replaced": ("before", "var self = {}"),
    "history frozen": ("before", "Object.freeze(history)"),
    "locks and channels gone": ("before", "delete Navigator.prototype.locks; delete window.BroadcastChannel"),
}


@pytest.mark.parametrize("kind", TAMPERING)
def test_a_page_that_changes_the_language_is_tracked(page: Page, pages: Pages, snippet: str, kind: str, stored: Stored) -> None:
    when, script = TAMPERING[kind]
    visit(page, pages.add("/", head=(f"<script>{{{script}}}</script>" if when == "before" else "") + snippet))
    who = page.evaluate("leadlight('status').lead")
    if when == "after":
        page.evaluate(f"() => {{ {script} }}")
    page.evaluate("() => { leadlight('track', 'tampered', {list: 'a', n: 1, at: '2026-01-02', link: 'https://shop.example/?a=b'}) }")
    page.evaluate("() => { leadlight('identify', {name: 'Ada', list_of_none: []}) }")
    push(page, "/next")
    until(page, lambda: len(stored.views(who)) == 2)
    metadata = [event.metadata for event in stored.events("tampered", lead=who)]
    assert metadata == [{"list": "a", "n": 1, "at": "2026-01-02", "link": "https://shop.example/?a=b"}]
    assert [view.path for view in stored.views(who)] == ["/", "/next"]
    assert status(page)["lead"] == who


def test_a_property_on_every_object_leaves_no_trace_in_storage(page: Page, pages: Pages, snippet: str, lead_cookie: str) -> None:
    visit(page, pages.add("/", head=f"<script>Object.prototype.extra = 1</script>{snippet}"))
    fence(page)
    kept = page.evaluate("Object.keys(localStorage)")
    assert [key for key in kept if len(key) <= len(lead_cookie) + 1] == []


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("window.fetch = () => { throw new Error('broken') }", id="throws"),
        pytest.param("window.fetch = () => Promise.resolve({ok: true})", id="answers nonsense"),
        pytest.param("window.fetch = () => new Promise(() => {})", id="never answers"),
        pytest.param("delete window.fetch", id="gone"),
    ],
)
def test_where_the_page_broke_fetch_before_what_was_tracked_leaves_with_the_page(
    page: Page, pages: Pages, snippet: str, script: str, stored: Stored
) -> None:
    visit(page, pages.add("/broken", head=f"<script>{script}</script>{snippet}"))
    call(page, "track", "unfetched", {"n": 1})
    visit(page, pages.add("/whole", head=snippet))
    fence(page)
    found = stored.events(lead=lead(page))
    assert [event.name for event in found] == ["page-view", "unfetched", "page-view", "fence"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_message_is_shown_in_a_page_of_prototype_js(
    page: Page, pages: Pages, snippet: str, new_message: Callable[..., object], when: str
) -> None:
    path = f"/prototype-{when}"
    new_message(path, title="Shown all the same", body="- one\n- two")
    script = f"<script>{{{PROTOTYPE_JS}}}</script>"
    page.goto(pages.add(path, head=script + snippet if when == "before" else snippet + script))
    card = page.get_by_role("dialog")
    card.wait_for()
    assert card.get_by_role("listitem").all_text_contents() == ["one", "two"]


@pytest.mark.parametrize("script", [FROZEN, "var URL = '/shop/'"], ids=["every prototype is frozen", "the class of addresses is gone"])
def test_a_message_is_shown_where(page: Page, pages: Pages, snippet: str, new_message: Callable[..., object], script: str) -> None:
    path = f"/shown-{len(script)}"
    new_message(path, title="Shown all the same", body="[Text](https://shop.example/)")
    page.goto(pages.add(path, head=f"<script>{{{script}}}</script>{snippet}"))
    page.get_by_role("dialog").get_by_role("link").wait_for()


@pytest.mark.parametrize(
    "markup",
    [
        pytest.param('<img name="currentScript" src="{elsewhere}" alt="">', id="the tag"),
        pytest.param('<form id="leadlightSettings"><img name="script" src="{elsewhere}" alt=""></form>', id="the settings"),
    ],
)
def test_markup_of_strangers_does_not_say_where_the_tracker_comes_from(
    page: Page, pages: Pages, snippet: str, markup: str, stored: Stored
) -> None:
    written = markup.format(elsewhere=pages.url("/elsewhere/tracker.js"))
    visit(page, pages.add("/forum", body=written + snippet.replace("async ", "")))
    fence(page)
    assert [view.path for view in stored.views(lead(page))] == ["/forum"]


# What strangers may write in a page, where a site lets them give names to forms and images.
MARKUP = {
    "settings": '<form id="leadlightSettings"><img name="consent"><img name="impersonated"><input name="paused"></form>',
    "settings, twice": '<form id="leadlightSettings"></form><a id="leadlightSettings" name="consent"></a>',
    "settings with two of a name": '<form id="leadlightSettings"><img name="consent"><img name="consent"></form>',
    "the script": '<a id="leadlightSettings"></a><audio id="leadlightSettings" name="script" src="https://elsewhere.example/tracker.js"></audio>',
    "the call": '<form id="leadlight"><img name="v"><img name="q"></form>',
    "cookies": '<img name="cookie">',
}


@pytest.mark.parametrize("kind", MARKUP)
def test_what_strangers_write_into_a_page_stands_for_nothing_of_the_trackers(
    page: Page, pages: Pages, tag: Callable[..., str], kind: str, stored: Stored
) -> None:
    visit(page, pages.add("/", head=tag()))
    fence(page)
    who = lead(page)
    page.goto(pages.add("/written", body=MARKUP[kind] + tag().replace(" async", "")))
    call(page, "track", "beside-markup")
    fence(page)
    assert lead(page) == who
    assert len(stored.events("beside-markup", lead=who)) == 1


def test_an_image_named_like_the_cookies_does_not_hide_that_somebody_opted_out(page: Page, pages: Pages, snippet: str) -> None:
    visit(page, pages.add("/", head=snippet))
    call(page, "optOut")
    page.evaluate("localStorage.clear()")
    visit(page, pages.add("/written", body=MARKUP["cookies"] + snippet))
    assert status(page)["held"] == "opted_out"
