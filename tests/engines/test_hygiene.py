"""A guest in somebody else's page: whatever is passed, and whatever the page's policy forbids."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.browser.gateway import Gateway
from tests.browser.messages import Message
from tests.browser.rules import SPY, Rules, text
from tests.browser.stored import Stored
from tests.browser.test_hygiene import ENDLESS, HOSTILE
from tests.engines.browsers import Engine
from tests.engines.tab import Tab, until
from tests.support.servers import Collector

Shop = Callable[..., str]
CARD = "document.querySelector('leadlight-message')?.shadowRoot.querySelector('[role=dialog]')"
VIOLATIONS = "window.violations = []; addEventListener('securitypolicyviolation', event => { violations.push(event.violatedDirective) });"


@pytest.fixture
def rules(collector: Collector) -> Iterator[Rules]:
    """Rules of the site, archived afterwards: the collector is shared."""
    made = Rules(collector.client)
    yield made
    made.archive_all()


def test_every_event_is_kept_whatever_its_metadata_hold(tab: Tab, shop: Shop, stored: Stored) -> None:
    """The values are made by the page's own script: Firefox runs what comes by the wire in a world with other errors and dates."""
    calls = " ".join(f"leadlight('track', {json.dumps(f'hostile {kind}')}, {metadata});" for kind, (metadata, _) in HOSTILE.items())
    tab.visit(shop(before=f"{ENDLESS} window.hostile = () => {{ {calls} }};"))
    tab.run("() => { hostile() }")
    tab.fence()
    kept = {kind: [event.metadata for event in stored.events(f"hostile {kind}")] for kind in HOSTILE}
    assert kept == {kind: [expected] for kind, (_, expected) in HOSTILE.items()}


@pytest.mark.parametrize("allowed", ["'nonce-n0nce'", "HOST"])
def test_a_strict_policy_with_trusted_types_is_kept_by_tracker_and_messenger(
    tab: Tab,
    shop: Shop,
    gateway: Gateway,
    new_message: Callable[..., Message],
    stored: Stored,
    maker: Engine,
    allowed: str,
) -> None:
    path = f"/strict-{'nonce' if 'nonce' in allowed else 'host'}-{maker.name}"
    new_message(path, title="Under a strict policy", body="**Bold** and [a link](https://shop.example/)\n\n- one\n- two")
    # The page's own watching goes by nonce in any case.
    policy = (
        f"default-src 'none'; script-src 'nonce-own' {allowed.replace('HOST', gateway.address)}; connect-src {gateway.address}; "
        "style-src 'none'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    tag = "nonce=n0nce" if "nonce" in allowed else ""
    tab.visit(shop(path, tag=tag, before=VIOLATIONS, own="nonce=own", headers={"Content-Security-Policy": policy}))
    tab.wait_for("() => document.querySelector('leadlight-message')?.shadowRoot.querySelector('[role=dialog]')")
    assert (
        tab.run("() => getComputedStyle(document.querySelector('leadlight-message').shadowRoot.querySelector('[role=dialog]')).position")
        == "fixed"
    )
    tab.call("identify", f"strict-in-{maker.name}", {"name": "Ada"})
    tab.track("under-policy", 1)
    tab.fence()
    tab.run("() => { dispatchEvent(new Event('pagehide')) }")
    assert len(stored.events("under-policy")) == 1
    assert tab.run("() => violations") == []
    # They do count: of a violation of the page's own it is told.
    tab.run("() => { document.body.append(Object.assign(new Image(), {src: 'https://collect.other/own.png'})) }")
    assert until(lambda: tab.run("() => violations")) == ["img-src"]


def test_a_rule_by_selector_makes_an_event_of_a_click(tab: Tab, shop: Shop, rules: Rules, stored: Stored, maker: Engine) -> None:
    event = f"bought-in-{maker.name}"
    rules.click(event, "button.buy", metadata=[text("label")])
    tab.visit(shop("/ruled", '<button class="buy">Buy now</button>', before=SPY))
    tab.wait_for("() => window.ruled")
    tab.click("() => document.querySelector('button.buy')")
    tab.fence()
    assert [one.metadata for one in stored.events(event, lead=tab.lead)] == [{"label": "Buy now"}]
