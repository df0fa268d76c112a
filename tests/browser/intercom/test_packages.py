"""The three ways in which customers of Intercom load it, unmodified but for the address: each comes to the same people and events."""

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.intercom.speaking import COUNTED, bundle, delivered, snippet
from tests.browser.people import contact, counts
from tests.browser.stored import Stored
from tests.browser.tabs import fence, lead, push, ready, until
from tests.support.pages import Pages
from tests.support.servers import Collector

# What a page does, said in the words of each way: `app` is the page's own code.
INLINE = """
    window.app = {
        visitor: () => Intercom("boot", {app_id: SITE}),
        track: (name) => Intercom("trackEvent", name, {n: 1}),
        user: (id) => Intercom("boot", {app_id: SITE, user_id: id, email: `${id}@example.com`, created_at: 1700000000}),
        update: () => Intercom("update", {
            name: "Ada", plan: "Team", renews_at: 1800000000, hide_default_launcher: true, alignment: "left",
            company: {company_id: "c-1", name: "Example", seats: 12},
        }),
        shutdown: () => Intercom("shutdown"),
    };
"""
NPM = """
    import Intercom, { boot, shutdown, trackEvent, update } from "@intercom/messenger-js-sdk";
    window.app = {
        visitor: () => Intercom({app_id: SITE, widgetUrl: WIDGET}),
        track: (name) => trackEvent(name, {n: 1}),
        user: (id) => boot({app_id: SITE, user_id: id, email: `${id}@example.com`, created_at: 1700000000}),
        update: () => update({
            name: "Ada", plan: "Team", renews_at: 1800000000, hide_default_launcher: true, alignment: "left",
            company: {company_id: "c-1", name: "Example", seats: 12},
        }),
        shutdown,
    };
"""
REACT = """
    import { createElement } from "react";
    import { createRoot } from "react-dom/client";
    import { IntercomProvider, useIntercom } from "react-use-intercom";
    const App = () => {
        const { boot, shutdown, trackEvent, update } = useIntercom();
        let booted = false;
        window.app = {
            visitor: () => { boot(); booted = true },
            track: (name) => trackEvent(name, {n: 1}),
            // The package has one boot for each shutdown; who signs in meanwhile is an update.
            user: (id) => {
                (booted ? update : boot)({userId: id, email: `${id}@example.com`, createdAt: 1700000000});
                booted = true;
            },
            update: () => update({
                name: "Ada", hideDefaultLauncher: true, alignment: "left", customAttributes: {plan: "Team", renews_at: 1800000000},
                company: {companyId: "c-1", name: "Example", customAttributes: {seats: 12}},
            }),
            shutdown: () => { shutdown(); booted = false },
        };
        return createElement("p", {id: "app"}, "An app");
    };
    createRoot(document.getElementById("root")).render(
        createElement(IntercomProvider, {appId: SITE, apiBase: "https://api-iam.example.com"}, createElement(App)),
    );
"""


@pytest.fixture
def open_app(page: Page, pages: Pages, collector: Collector) -> Callable[[str], Page]:
    """Opens a page of that way; nobody has booted there."""
    widget = f"{collector.url_as('collect.other')}/widget/{collector.site_key}"
    names = f"<script>window.SITE = {json.dumps(collector.site_key)}; window.WIDGET = {json.dumps(widget)}</script>" + COUNTED

    def inline() -> str:
        settings = {"api_base": "https://api-iam.example.com"}
        return pages.add("/inline", head=names + snippet(widget, settings) + f"<script>{INLINE}</script>")

    def npm() -> str:
        pages.by_path["/npm.js"] = bundle(NPM)
        return pages.add("/npm", head=names, body='<script src="/npm.js"></script>')

    def react() -> str:
        pages.by_path["/react.js"] = bundle(REACT)
        # The package's own address cannot be changed: it finds the library at work.
        head = names + f'<script src="{widget}"></script>'
        return pages.add("/react", head=head, body='<div id="root"></div><script src="/react.js"></script>')

    def open_one(way: str) -> Page:
        page.goto({"inline": inline, "npm": npm, "react": react}[way]())
        page.wait_for_function("window.app")
        return page

    return open_one


@pytest.mark.parametrize("way", ["inline", "npm", "react"])
def test_a_visitor_becomes_a_user_and_another_one_follows_after_a_shutdown(
    open_app: Callable[[str], Page], collector: Collector, stored: Stored, way: str
) -> None:
    page = open_app(way)
    one, two = f"{way}-one", f"{way}-two"
    page.evaluate("app.visitor()")
    page.evaluate("app.track('looked')")
    ready(page)
    first = lead(page)
    page.evaluate("id => app.user(id)", one)
    page.evaluate("app.track('bought')")
    page.evaluate("app.update()")
    fence(page)
    assert counts(collector, one) == {"looked": 1, "bought": 1}
    assert [(event.owner, event.metadata) for event in stored.events("looked")] == [(first, {"n": 1})]
    found = contact(collector, one)
    assert (found["email"], found["name"], found["signed_up_at"]) == (f"{one}@example.com", "Ada", 1700000000)
    assert found["custom_attributes"] == {"plan": "Team", "renews_at": 1800000000}
    assert found["company"] == {"id": "c-1", "name": "Example", "seats": 12}

    page.evaluate("app.shutdown()")
    page.evaluate("app.track('nobodys')")
    push(page, "/nobodys")
    delivered(page)

    page.evaluate("id => app.user(id)", two)
    page.evaluate("app.track('bought')")
    # The view waits for its title: what is tracked after it may arrive before it.
    until(page, lambda: stored.events("page-view", user=two))
    fence(page)
    assert lead(page) != first
    assert counts(collector, two) == {"bought": 1}
    assert counts(collector, one) == {"looked": 1, "bought": 1}
    assert contact(collector, two)["id"] != found["id"]
    assert contact(collector, two)["custom_attributes"] == {}
    assert stored.events("nobodys") == []
    assert [event.path for event in stored.events("page-view")] == [f"/{way}", "/nobodys"]
    assert [event.owner for event in stored.events("page-view", user=two)] == [two]


@pytest.mark.parametrize("way", ["inline", "npm", "react"])
def test_what_the_app_says_before_the_library_is_there_is_kept_in_order(
    open_app: Callable[[str], Page], collector: Collector, stored: Stored, way: str
) -> None:
    user = f"{way}-early"
    page = open_app(way)
    page.evaluate("id => { app.visitor(); app.track('first'); app.user(id); app.track('second') }", user)
    ready(page)
    fence(page)
    assert [(event.name, event.kind) for event in stored.events() if event.name in ("first", "second")] == [
        ("first", "lead"),
        ("second", "user"),
    ]
    assert counts(collector, user) == {"first": 1, "second": 1}
