"""Events without code in the page: what a rule selects is tracked, with what it may read, and a page without rules pays nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.gateway import Gateway
from tests.browser.rules import Rules, attribute, open_ruled, ruled, text
from tests.browser.stored import Stored, StoredEvent
from tests.browser.tabs import call, fence, lead, push, ready, storage, until, visit, wait_for
from tests.support.pages import Pages
from tests.support.servers import Collector


@pytest.fixture
def events(page: Page, stored: Stored) -> Callable[[str], list[StoredEvent]]:
    """What this visitor's page has sent of one name, once all is stored."""

    def read(name: str) -> list[StoredEvent]:
        fence(page)
        return stored.events(name, lead=lead(page))

    return read


Events = Callable[[str], list[StoredEvent]]


def test_a_click_on_something_inside_the_element_counts(page: Page, pages: Pages, snippet: str, rules: Rules, events: Events) -> None:
    rules.click("nested", "button.buy")
    open_ruled(page, pages.add("/nested", head=snippet, body='<button class="buy"><span>Buy <b id="in">now</b></span></button><p>Else</p>'))
    page.click("#in")
    page.click("p")
    found = events("nested")
    assert [(one.metadata, one.page["url"]) for one in found] == [({}, pages.url("/nested"))]
    assert found[0].visit is not None


def test_a_click_on_a_link_that_leaves_the_page_is_not_lost(page: Page, pages: Pages, snippet: str, rules: Rules, stored: Stored) -> None:
    rules.click("left", "a[href='/after']", metadata=[text("label"), attribute("to", "href")])
    pages.add("/after", body="no tracker here")
    open_ruled(page, pages.add("/before", head=snippet, body='<a href="/after">Read <em>more</em></a>'))
    who = lead(page)
    page.click("a")
    page.wait_for_url("**/after")
    found = until(page, lambda: stored.events("left", lead=who))
    assert [one.metadata for one in found] == [{"label": "Read more", "to": "/after"}]


def test_a_submit_counts_and_leaves_the_page(page: Page, pages: Pages, snippet: str, rules: Rules, stored: Stored) -> None:
    rules.submit("asked", "form#contact", metadata=[attribute("form", "data-form"), text("title", "h2")])
    pages.add("/sent", body="thank you")
    form = '<form id="contact" action="/sent" data-form="contact-2"><h2>Ask us</h2>'
    form += '<input name="matches"><input name="closest"><button>Send</button></form>'
    open_ruled(page, pages.add("/form", head=snippet, body=form))
    who = lead(page)
    page.fill("[name=matches]", "secret")
    page.press("[name=matches]", "Enter")
    page.wait_for_url("**/sent*")
    found = until(page, lambda: stored.events("asked", lead=who))
    assert [one.metadata for one in found] == [{"form": "contact-2", "title": "Ask us"}]


def test_a_form_that_is_not_sent_does_not_count(page: Page, pages: Pages, snippet: str, rules: Rules, events: Events) -> None:
    rules.submit("incomplete", "form")
    open_ruled(page, pages.add("/incomplete", head=snippet, body="<form><input required><button>Send</button></form>"))
    page.click("button")
    assert events("incomplete") == []


TEXTS = {
    "white space is collapsed": ("<p>  Desk\n\t lamp&nbsp; </p>", "Desk lamp"),
    "blocks are words of their own": ("<div>Desk lamp</div><div>49 €<br>net</div>", "Desk lamp 49 € net"),
    "words are not torn": ("<b>D</b>esk", "Desk"),
    "what is not shown is left out": ("Desk<i hidden> lamp</i><script>/* secret */</script><style>b{}</style>", "Desk"),
    "a long text is cut": ("<p>" + "\U0001f600" * 300 + "</p>", "\U0001f600" * 255),
    "a whole document is cut": ("<p>" + "x " * 100_000 + "</p>", ("x " * 128)[:255]),
    "fields are left out": (
        "Plan <input value=a><textarea>b</textarea><select><option>c</select><datalist><option>d</datalist>"
        "<span contenteditable>e</span><span contenteditable=plaintext-only><b>f</b></span><span role=textbox>g</span>"
        '<span role="none combobox">h</span><span role=slider>i</span><span role=option>j</span>.',
        "Plan .",
    ),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_the_text_of_an_element_goes_with_the_event(
    page: Page, pages: Pages, snippet: str, rules: Rules, events: Events, kind: str
) -> None:
    body, expected = TEXTS[kind]
    rules.click("text", "#card", metadata=[text("text")])
    open_ruled(page, pages.add("/text", head=snippet, body=f'<div id="card">{body}</div>'))
    page.dispatch_event("#card", "click")
    assert [one.metadata for one in events("text")] == [{"text": expected}]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://friend.example/a?utm_source=ad&token=secret#top", "https://friend.example/a?utm_source=ad"),
        ("https://ada:secret@friend.example/a", "https://friend.example/a"),
        ("/after-all?ref=menu&session=secret", "/after-all?ref=menu"),
        ("?page=2&token=secret", None),
        ("mailto:ask@example.com?body=secret", "mailto:ask@example.com"),
        ("../up#secret=1", "../up"),
    ],
    ids=["absolute", "password", "relative", "query alone", "mail", "hash"],
)
def test_of_an_address_in_the_page_goes_what_goes_of_those_of_pages(
    page: Page, pages: Pages, snippet: str, rules: Rules, events: Events, written: str, sent: str | None
) -> None:
    read = [attribute("to", "href", "a"), attribute("data", "data-target-url", "a"), text("shown", ".shown"), attribute("id", "data-id")]
    rules.click("followed", "nav", metadata=read)
    link = f'<nav data-id="?7"><a href="{written}" data-target-url="{written}">Go</a><i class="shown">{written}</i><p>Here</p></nav>'
    open_ruled(page, pages.add("/addresses", head=snippet, body=link))
    page.click("p")
    expected = {} if sent is None else {"to": sent, "data": sent}
    shown = sent if written.startswith("https:") else written
    assert [one.metadata for one in events("followed")] == [{**expected, "shown": shown, "id": "?7"}]


def test_metadata_come_from_parts_of_the_element(page: Page, pages: Pages, snippet: str, rules: Rules, events: Events) -> None:
    long_link = "https://shop.example/" + "x" * 500
    rules.click(
        "parts",
        "[data-product]",
        metadata=[
            attribute("id", "data-product"),
            text("price", ".price"),
            attribute("image", "src", "img"),
            attribute("__proto__", "data-product"),
            text("missing", ".nowhere"),
            attribute("empty", "data-empty"),
            text("broken", "b:no-such-thing"),
        ],
    )
    product = (
        f'<article data-product=" lamp-1 " data-empty><img src="{long_link}" alt=""><i class="price">49 €</i><button>Add</button></article>'
    )
    open_ruled(page, pages.add("/parts", head=snippet, body=product))
    page.click("button")
    assert [one.metadata for one in events("parts")] == [{"id": "lamp-1", "price": "49 €", "image": long_link, "__proto__": "lamp-1"}]


ENTERED = {
    "text of a text area": ("<textarea class=it>secret</textarea>", text("it")),
    "text of an option": ("<select size=2><option class=it>secret</select>", text("it")),
    "text inside of editable text": ("<div contenteditable><p class=it>secret</p></div>", text("it")),
    "text of an editor without a native field": ("<div role=textbox><p class=it>secret</p></div>", text("it")),
    "text of a slider without a native field": ("<div role=slider><i class=it>secret</i></div>", text("it")),
    "text of an option without a native field": ("<div role=option class=it>secret</div>", text("it")),
    "attribute of an input": ("<input class=it data-secret=secret>", attribute("it", "data-secret")),
    "attribute of an option": ("<select size=2><option class=it data-secret=secret></select>", attribute("it", "data-secret")),
    "attribute inside of editable text": (
        "<div contenteditable><p class=it data-secret=secret>x</p></div>",
        attribute("it", "data-secret"),
    ),
}


@pytest.mark.parametrize("kind", ENTERED)
def test_what_somebody_enters_is_never_read(page: Page, pages: Pages, snippet: str, rules: Rules, events: Events, kind: str) -> None:
    body, reading = ENTERED[kind]
    rules.click("entered", ".it", metadata=[reading])
    rules.click("around", "#around", metadata=[{**reading, "selector": ".it"}])
    open_ruled(page, pages.add("/entered", head=snippet, body=f'<div id="around">{body}</div>'))
    page.dispatch_event(".it", "click")
    assert [[one.metadata for one in events(name)] for name in ("entered", "around")] == [[{}], [{}]]


def test_a_document_that_is_edited_as_a_whole_is_not_read(page: Page, pages: Pages, snippet: str, rules: Rules, events: Events) -> None:
    rules.click("designed", "p", metadata=[text("it")])
    open_ruled(page, pages.add("/designed", head=snippet, body="<p>secret</p><script>document.designMode = 'on'</script>"))
    page.dispatch_event("p", "click")
    assert [one.metadata for one in events("designed")] == [{}]


def test_an_invalid_selector_harms_neither_the_page_nor_the_other_rules(
    page: Page, pages: Pages, snippet: str, rules: Rules, events: Events
) -> None:
    rules.click("invalid", "p:no-such-thing(x)")
    rules.click("valid", "p")
    open_ruled(page, pages.add("/invalid", head=snippet, body="<p>Text</p>"))
    page.click("p")
    assert (len(events("valid")), events("invalid")) == (1, [])


def test_a_rule_holds_on_the_pages_it_names_as_they_are_shown(page: Page, pages: Pages, snippet: str, rules: Rules, events: Events) -> None:
    rules.click("on page", "p", page={"field": "path", "operator": "wildcard", "value": "/shop/*"})
    open_ruled(page, pages.add("/start", head=snippet, body="<p>Text</p>"))
    page.click("p")
    push(page, "/shop/lamp")
    page.click("p")
    assert [one.page["url"] for one in events("on page")] == [pages.url("/shop/lamp")]


def test_a_click_counts_once_for_each_rule(page: Page, pages: Pages, snippet: str, rules: Rules, events: Events) -> None:
    rules.click("once", ".both")
    rules.click("twice", "#inner")
    body = (
        '<div class="both"><label class="both" id="inner">Plan <input type="radio"></label></div>'  # a click on the text clicks the field
    )
    open_ruled(page, pages.add("/once", head=snippet, body=body))
    page.click("#inner", position={"x": 2, "y": 8})
    assert page.is_checked("input")
    assert (len(events("once")), len(events("twice"))) == (1, 1)
    page.click("#inner", position={"x": 2, "y": 8})
    assert (len(events("once")), len(events("twice"))) == (2, 2)


def test_a_page_that_stops_the_event_is_counted_all_the_same(page: Page, pages: Pages, snippet: str, rules: Rules, events: Events) -> None:
    rules.click("stopped", "button")
    body = "<button>Stop</button><script>document.body.addEventListener('click', event => event.stopImmediatePropagation(), true)</script>"
    open_ruled(page, pages.add("/stopped", head=snippet, body=body))
    page.click("button")
    assert len(events("stopped")) == 1


def test_open_shadow_trees_are_reached(page: Page, pages: Pages, snippet: str, rules: Rules, events: Events) -> None:
    rules.click("in shadow", "button.buy", metadata=[text("label")])
    rules.click("on host", "x-card", metadata=[attribute("plan", "plan")])
    rules.submit("sent in shadow", "form.inner")
    body = """<x-card plan="pro"></x-card><script>
        document.querySelector('x-card').attachShadow({mode: 'open'}).innerHTML =
            '<button class=buy>Buy</button><form class=inner><input><button class=send>Send</button></form>';
        document.querySelector('x-card').shadowRoot.querySelector('form').onsubmit = () => false;
    </script>"""
    open_ruled(page, pages.add("/shadow", head=snippet, body=body))
    page.click("button.buy")
    page.focus("x-card input")
    page.keyboard.press("Enter")
    assert [one.metadata for one in events("in shadow")] == [{"label": "Buy"}]
    assert {one.metadata["plan"] for one in events("on host")} == {"pro"}
    assert len(events("sent in shadow")) == 1


def test_what_happens_to_a_message_is_no_click_on_the_page(
    page: Page, pages: Pages, snippet: str, rules: Rules, events: Events, new_message: Callable[..., Any]
) -> None:
    rules.click("any button", "button, html")
    new_message("/message-rules", title="Hello")
    open_ruled(page, pages.add("/message-rules", head=snippet))
    page.get_by_role("button", name="Close").click()
    assert events("any button") == []


def test_a_page_whose_body_is_replaced_is_heard_on(page: Page, pages: Pages, snippet: str, rules: Rules, events: Events) -> None:
    rules.click("swapped", ".new")
    open_ruled(page, pages.add("/swap", head=snippet, body="<p>Old</p>"))
    page.evaluate("""() => {
        const body = document.createElement('body');
        body.append(Object.assign(document.createElement('p'), {className: 'new', textContent: 'New'}));
        document.body.replaceWith(body);
    }""")
    page.click(".new")
    assert len(events("swapped")) == 1


def test_the_next_page_knows_the_rules_before_any_answer(
    page: Page, pages: Pages, through: str, gateway: Gateway, rules: Rules, stored: Stored
) -> None:
    rules.click("early", "p")
    shop = pages.add("/early", head=through, body="<p>Text</p>")
    open_ruled(page, shop)
    fence(page)
    who = lead(page)
    gateway.fate = 500
    page.goto(shop)
    ruled(page)
    page.click("p")
    gateway.fate = "pass"
    assert len(until(page, lambda: stored.events("early", lead=who))) == 1


def test_at_a_first_visit_clicks_wait_for_the_answer_that_names_the_rules(
    page: Page, pages: Pages, through: str, gateway: Gateway, rules: Rules, events: Events
) -> None:
    rules.click("first-click", "p")
    gateway.fates = ["wait"]
    visit(page, pages.add("/first-click", head=through, body="<p>Text</p><div>Else</div>"))
    assert until(page, gateway.sent)
    page.click("p")
    page.click("div")
    assert call(page, "status")["sent"] == 0
    gateway.hold.set()
    wait_for(page, "() => leadlight('status').sent > 1")
    assert [one.page["url"] for one in events("first-click")] == [pages.url("/first-click")]
    page.click("p")
    assert len(events("first-click")) == 2


def test_a_rule_made_or_archived_meanwhile_is_learnt_with_the_next_answer(
    page: Page, pages: Pages, snippet: str, rules: Rules, events: Events
) -> None:
    first = rules.click("first", "p")
    open_ruled(page, pages.add("/meanwhile", head=snippet, body="<p>Text</p>"))
    second = rules.click("second", "p")
    fence(page)
    ruled(page, 2)
    rules.archive(first)
    fence(page)
    ruled(page, 3)
    page.click("p")
    assert (events("first"), len(events("second"))) == ([], 1)
    rules.archive(second)
    fence(page)
    page.click("p")
    assert len(events("second")) == 1
    assert [value for name, value in storage(page).items() if name.endswith(".rules")] == [""]


def test_without_rules_their_script_is_never_fetched(page: Page, pages: Pages, through: str, gateway: Gateway) -> None:
    visit(page, pages.add("/no-rules", head=through, body="<p>Text</p>"))
    fence(page)
    page.click("p")
    fence(page)
    assert {sent.path for sent in gateway.log} == {"/tracker.js", "/collect"}
    assert [name for name in storage(page) if name.endswith(".rules")] == []


def test_the_script_is_fetched_once_for_all_pages(page: Page, pages: Pages, through: str, gateway: Gateway, rules: Rules) -> None:
    rules.click("cached", "p")
    shop = pages.add("/cached", head=through)
    open_ruled(page, shop)
    fence(page)
    page.goto(shop)
    ruled(page)
    fence(page)
    assert len([sent for sent in gateway.log if sent.path.startswith("/rules-")]) == 1


@pytest.mark.parametrize("attributes", ['data-consent="denied"', 'data-consent="required"'])
def test_without_consent_nothing_is_fetched_and_nothing_counts(
    page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, rules: Rules, attributes: str
) -> None:
    rules.click("unasked click", "p")
    visit(page, pages.add("/no-consent", head=tag(attributes, gateway.address), body="<p>Text</p>"))
    page.click("p")
    page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    assert {sent.path for sent in gateway.log} == {"/tracker.js"}


def test_after_a_withdrawal_nothing_counts_until_a_new_consent(
    page: Page, pages: Pages, through: str, gateway: Gateway, rules: Rules, stored: Stored, lead_cookie: str
) -> None:
    rules.click("withdrawn click", "p")
    shop = pages.add("/withdrawn", head=through, body="<p>Text</p>")
    open_ruled(page, shop)
    fence(page)
    call(page, "optOut")
    gateway.log.clear()
    page.click("p")
    page.goto(shop)
    ready(page)
    page.click("p")
    assert storage(page) == {f"{lead_cookie}_choice": "out"}
    assert [sent.path for sent in gateway.log if sent.path != "/tracker.js"] == []
    call(page, "optIn")
    ruled(page)
    page.click("p")
    fence(page)
    assert len(stored.events("withdrawn click")) == 1


def test_rules_work_under_a_strict_policy_with_trusted_types(
    page: Page, pages: Pages, tag: Callable[..., str], collector: Collector, rules: Rules, events: Events
) -> None:
    rules.click("strict", "p", metadata=[text("text")])
    policy = (
        f"default-src 'none'; script-src 'nonce-n0nce'; connect-src {collector.url_as('collect.other')}; style-src 'none'; "
        "base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    shop = pages.add("/strict-rules", head=tag("nonce=n0nce"), body="<p>Text</p>", headers={"Content-Security-Policy": policy})
    open_ruled(page, shop)
    page.click("p")
    assert [one.metadata for one in events("strict")] == [{"text": "Text"}]


def test_rules_leave_no_global_behind(page: Page, pages: Pages, snippet: str, rules: Rules) -> None:
    rules.click("global", "p")
    spy = "<script>window.before = Object.getOwnPropertyNames(window).concat('before')</script>"
    open_ruled(page, pages.add("/rule-globals", head=spy + snippet))
    added = page.evaluate("Object.getOwnPropertyNames(window).filter(name => !before.includes(name))")
    assert sorted(added) == ["leadlight", "ruled"]  # the second is the test's own


ADDRESSES = [
    "/",
    "/docs/intro/start?plan=pro&ref=a%20b&ref=c+d&empty=",
    "/docs/",
    "/a.(b)+/c",
    "/%C3%BCber/%zz/%e2%82/a%2Fb",
    "/a//b/ab/aab",
    "/?ref=",
]
RULED: list[tuple[str, str, str]] = [
    ("host", "is", "SHOP.example"),
    ("host", "wildcard", "*.example"),
    ("host", "wildcard", "*"),
    ("host", "contains", ":"),
    ("path", "is", "/"),
    ("path", "is", "/docs/intro/start"),
    ("path", "starts", "/docs"),
    ("path", "contains", "über"),
    ("path", "contains", "%zz/\ufffd/a%2Fb"),
    ("path", "wildcard", "/*"),
    ("path", "wildcard", "/docs/*"),
    ("path", "wildcard", "/docs/**"),
    ("path", "wildcard", "/*/*/*"),
    ("path", "wildcard", "/**/start"),
    ("path", "wildcard", "/docs/in*o/st*"),
    ("path", "wildcard", "/*/**a*b"),
    ("path", "wildcard", "**a**b"),
    ("path", "wildcard", "/a.(b)+/*"),
    ("query.plan", "is", "pro"),
    ("query.ref", "is", "a b"),
    ("query.ref", "is", "c d"),
    ("query.ref", "is", ""),
    ("query.empty", "is", ""),
    ("query.plan", "wildcard", "p*"),
    ("query.missing", "contains", "x"),
    ("url", "starts", "http://shop.example"),
    ("url", "contains", "?ref="),
    ("url", "wildcard", "http://*/docs/**"),
    ("url", "wildcard", "http://*/*"),
]


def test_browser_and_collector_understand_page_rules_alike(
    page: Page, pages: Pages, tag: Callable[..., str], rules: Rules, stored: Stored
) -> None:
    """The browser judges for clicks, the collector for page views: of each address both say yes to the same rules."""
    asked: list[dict[str, Any]] = [{"field": field, "operator": operator, "value": value} for field, operator, value in RULED]
    asked += [
        {"operator": "NOT", "value": asked[4:6]},
        {"operator": "AND", "value": [asked[6], {"operator": "NOT", "value": [asked[5]]}]},
        {"operator": "OR", "value": [asked[5], {"operator": "AND", "value": asked[9:11]}]},
    ]
    for number, rule in enumerate(asked):
        rules.click(f"click {number}", "html", page=rule)
        rules.new({"event_name": f"view {number}", "page": rule})
    for address in ADDRESSES:
        url = pages.add(address.partition("?")[0], head=tag('data-query="plan empty"')).partition("?")[0]
        open_ruled(page, url + address.removeprefix(address.partition("?")[0]))
        page.dispatch_event("html", "click")
        fence(page)
    found: dict[str, set[tuple[int, str]]] = {"click": set(), "view": set()}
    for event in stored.events(lead=lead(page)):
        kind, _, number = event.name.partition(" ")
        if kind in found:
            found[kind].add((int(number), event.page["url"]))
    assert found["click"] == found["view"]
    assert {number for number, _ in found["view"]} >= {0, 1, 4, 5, 8, 13, 17, 18, 20, 22, 29, 30, 31}
