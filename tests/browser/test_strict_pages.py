"""Pages under a strict policy: tracker, messenger and rules keep it, which the browser's own events and reports say."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.gateway import Gateway
from tests.browser.messages import Message
from tests.browser.rules import SPY, Rules, ruled, text
from tests.browser.stored import Stored
from tests.browser.tabs import call, fence, lead, push, until, visit, wait_for
from tests.support.pages import Pages
from tests.support.servers import Collector

WATCH = """
    window.violations = [];
    addEventListener('securitypolicyviolation', ({violatedDirective, blockedURI, sample}) => {
        violations.push([violatedDirective, blockedURI, sample]);
    });
"""


@pytest.mark.parametrize("allowed", ["'nonce-n0nce'", "HOST"])
def test_a_strict_policy_with_trusted_types_is_kept_by_tracker_messenger_and_rules(
    page: Page,
    pages: Pages,
    tag: Callable[..., str],
    gateway: Gateway,
    rules: Rules,
    new_message: Callable[..., Message],
    stored: Stored,
    allowed: str,
) -> None:
    rules.click("strictly-clicked", "button.buy", metadata=[text("label")])
    path = "/strict-by-nonce" if "nonce" in allowed else "/strict-by-host"  # each its own: a message of the other would follow this one
    body = "**Bold**, [a link](https://shop.example/) and `code`\n\n- one\n- two"
    new_message(path, title="Under a strict policy", body=body, question={"kind": "text"})
    policy = (
        f"default-src 'none'; script-src {allowed.replace('HOST', gateway.address)}; connect-src {gateway.address}; "
        "style-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"require-trusted-types-for 'script'; trusted-types 'none'; report-uri {gateway.address}/violations"
    )
    # Of the test's own tools the policy does not hold.
    page.add_init_script(WATCH)
    page.add_init_script(SPY)
    head = '<link rel="icon" href="data:,">' + tag("nonce=n0nce" if "nonce" in allowed else "", gateway.address)
    visit(page, pages.add(path, head=head, body='<button class="buy">Buy</button>', headers={"Content-Security-Policy": policy}))
    card = page.get_by_role("dialog")
    card.wait_for()
    assert card.evaluate("card => getComputedStyle(card).position") == "fixed"
    ruled(page)
    page.click("button.buy")
    call(page, "identify", "strict-user", {"name": "Ada"})
    card.get_by_role("textbox").fill("A form is sent nowhere")
    card.get_by_role("button", name="Send").click()
    card.wait_for(state="detached")
    push(page, f"{path}/next")
    fence(page)
    page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    assert [event.metadata for event in stored.events("strictly-clicked", lead=lead(page))] == [{"label": "Buy"}]
    assert page.evaluate("violations") == []
    assert gateway.sent("/violations") == []

    # The counters do count: a violation of the page's own is seen by both, and it is the only one.
    page.evaluate("() => { document.body.append(Object.assign(new Image(), {src: '/own.png'})) }")
    wait_for(page, "() => violations.length")
    until(page, lambda: gateway.sent("/violations"))
    assert [directive for directive, _, _ in page.evaluate("violations")] == ["img-src"]
    assert [sent.json["csp-report"]["effective-directive"] for sent in gateway.sent("/violations")] == ["img-src"]


def test_a_policy_that_forbids_the_collector_throws_nothing_and_loses_nothing(
    page: Page, pages: Pages, tag: Callable[..., str], collector: Collector, stored: Stored
) -> None:
    origin = collector.url_as("collect.other")
    shop = pages.add(
        "/", head=tag("nonce=n0nce"), headers={"Content-Security-Policy": f"script-src 'nonce-n0nce' {origin}; connect-src 'none'"}
    )
    visit(page, shop)
    call(page, "track", "forbidden", {"n": 1})
    wait_for(page, "() => leadlight('status').retry_at")
    visit(page, pages.add("/open", head=tag()))
    fence(page)
    found = stored.events("forbidden", lead=lead(page))
    assert [event.metadata for event in found] == [{"n": 1}]
