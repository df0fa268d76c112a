"""Query parameters that page rules ask for: the site's own live rules say what else may leave the page."""

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.browser.rules import Rules
from tests.browser.stored import Stored, StoredEvent
from tests.browser.tabs import fence, lead, push, until, visit
from tests.support.pages import Pages


def views(page: Page, stored: Stored) -> list[StoredEvent]:
    """All page views of the visitor once everything has arrived."""
    fence(page)
    return stored.views(lead(page))


def test_a_parameter_that_a_live_message_asks_for_leaves_the_page_from_the_first_view_on(
    page: Page, pages: Pages, snippet: str, new_message: Callable[..., Any], stored: Stored
) -> None:
    new_message(None, title="With this voucher", page={"field": "query.voucher", "operator": "is", "value": "spring"})
    pages.add("/voucher", head=snippet)
    visit(page, pages.url("/voucher?voucher=spring&token=hidden"))
    expect(page.get_by_role("dialog", name="With this voucher")).to_be_visible()
    push(page, "/voucher?voucher=autumn&token=other")
    found = views(page, stored)
    assert [view.path for view in found] == ["/voucher", "/voucher"]
    assert found[1].metadata["url"] == pages.url("/voucher?voucher=autumn")
    visit(page, pages.url("/voucher?voucher=winter&token=hidden"))
    assert views(page, stored)[2].metadata["url"] == pages.url("/voucher?voucher=winter")


def test_a_rule_about_a_parameter_counts_from_the_first_view_on(
    page: Page, pages: Pages, snippet: str, rules: Rules, stored: Stored
) -> None:
    rules.new({"event_name": "second-step", "page": {"field": "query.step", "operator": "is", "value": "2"}})
    pages.add("/form", head=snippet)
    visit(page, pages.url("/form?step=2"))
    assert until(page, lambda: stored.events("second-step", lead=lead(page)))
    assert len(views(page, stored)) == 1
    assert len(stored.events("second-step", lead=lead(page))) == 1


def test_a_parameter_that_no_rule_asks_for_any_more_stays_in_the_page(
    page: Page, pages: Pages, snippet: str, rules: Rules, stored: Stored
) -> None:
    rule = rules.new({"event_name": "third-step", "page": {"field": "query.stage", "operator": "is", "value": "3"}})
    pages.add("/stages", head=snippet)
    visit(page, pages.url("/stages?stage=1"))
    fence(page)
    rules.archive(rule)
    visit(page, pages.url("/stages?stage=2"))
    fence(page)
    push(page, "/stages?stage=2#same")
    visit(page, pages.url("/stages?stage=3"))
    assert [view.metadata["url"] for view in views(page, stored)] == [
        pages.url("/stages"),
        pages.url("/stages?stage=2"),
        pages.url("/stages"),
    ]
    assert stored.events("third-step", lead=lead(page)) == []


def test_collectors_that_disagree_about_a_parameter_hear_of_a_view_twice_at_most(page: Page, pages: Pages, snippet: str) -> None:
    heard: list[str] = []

    def answer(route: Route) -> None:
        heard.extend(item["name"] for item in route.request.post_data_json["items"])
        body = {"accepted": 1, "time": time.time_ns() // 1_000_000, "query": ["plan"] if len(heard) % 2 else []}
        route.fulfill(
            status=202, json=body, headers={"Access-Control-Allow-Origin": pages.origin, "Access-Control-Allow-Credentials": "true"}
        )

    page.route("**/collect", answer)
    pages.add("/offers", head=snippet)
    visit(page, pages.url("/offers?plan=pro"))
    assert until(page, lambda: heard == ["page-view", "page-view"])
    for _ in range(3):
        fence(page)
    assert heard == ["page-view", "page-view", *["fence"] * 3]
