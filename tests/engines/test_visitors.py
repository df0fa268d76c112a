"""Who a visitor is: the lead's cookie and what stands in for it, users who sign in and out, the visitor's own choice."""

import re
import time
from collections.abc import Callable

import pytest

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.engines.browsers import Engine
from tests.engines.tab import Tab, Visitor
from tests.support.pages import Pages
from tests.support.servers import Collector

Shop = Callable[..., str]
DAY = 86_400


def traces(tab: Tab, gateway: Gateway) -> list[str]:
    """All that shows in the browser or on the network, beside the script, after the page did much of what pages do."""
    tab.call("track", "unasked", {"n": 1})
    tab.call("identify", "unasked-user", {"name": "Ada"})
    tab.run("() => { history.pushState({}, '', '/unasked'); dispatchEvent(new Event('pagehide')) }")
    tab.call("status")
    requests = [sent.path for sent in gateway.log if sent.path != "/tracker.js"]
    stored: list[str] = tab.run("() => Object.keys({...localStorage, ...sessionStorage})")
    return [*requests, *(one["name"] for one in tab.cookies()), *stored]


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize(
    ("host", "domain"),
    [
        pytest.param("app.shop.example", ".shop.example", id="the whole site"),
        pytest.param("www.shop.co.uk", ".shop.co.uk", id="under a public suffix of two labels"),
    ],
)
def test_the_lead_is_one_cookie_of_the_sites_widest_domain(
    tab: Tab, shop: Shop, pages: Pages, collector: Collector, scheme: str, host: str, domain: str
) -> None:
    shop("/")
    tab.visit(pages.url("/", host))
    (only,) = tab.cookies()
    assert only["name"] == f"leadlight_{collector.site_key}"
    assert re.fullmatch(r"[\w-]{22}\.[\w-]{22}", only["value"])
    assert (only["domain"], only["path"], only["secure"]) == (domain, "/", scheme == "https")
    assert abs(only["expiry"] - time.time() - 400 * DAY) < 120


def test_hosts_of_one_site_share_the_lead(tab: Tab, shop: Shop, pages: Pages) -> None:
    tab.visit(shop("/"))
    first = tab.lead
    tab.visit(pages.url("/", "app.shop.example"))
    assert tab.lead == first


def test_without_cookies_and_storage_everything_is_counted_and_nothing_thrown(
    new_visitor: Callable[..., Visitor], shop: Shop, stored: Stored
) -> None:
    tab = new_visitor(storage=False).tab
    tab.visit(shop())
    tab.call("identify", "stateless", {"plan": "pro"})
    tab.track("stateless", 1, 2)
    tab.fence()
    assert tab.run("() => document.cookie") == ""
    assert [event.metadata["n"] for event in stored.events("stateless", user="stateless")] == [1, 2]


def test_what_was_tracked_before_and_after_signing_in_and_out_is_told_apart(
    tab: Tab, shop: Shop, stored: Stored, collector: Collector, maker: Engine
) -> None:
    user = f"reader-in-{maker.name}"
    tab.visit(shop())
    lead = tab.lead
    tab.track("anonymous", 1)
    tab.call("identify", user, {"plan": "pro"})
    tab.track("signed-in", 1)
    tab.fence()
    tab.call("reset")
    tab.track("signed-out", 1)
    tab.fence()
    assert [event.owner for event in stored.events("anonymous")] == [lead]
    assert [event.owner for event in stored.events("signed-in")] == [user]
    assert [event.owner for event in stored.events("signed-out")] == [tab.lead]
    assert tab.lead != lead
    contact = collector.client.api("GET", f"/contacts/find_by_external_id/{user}").json
    assert contact["custom_attributes"]["plan"] == "pro"
    totals = collector.client.api("GET", f"/events?type=user&user_id={user}&summary=true").json["events"]
    assert {one["name"] for one in totals} >= {"anonymous", "signed-in"}
    assert "signed-out" not in {one["name"] for one in totals}


def test_a_reset_in_one_tab_is_one_in_the_other(visitor: Visitor, shop: Shop, stored: Stored, maker: Engine) -> None:
    first, second = visitor.tab, visitor.new_tab()
    for tab in (first, second):
        tab.visit(shop())
        tab.call("identify", f"two-tabs-in-{maker.name}")
        tab.fence()
    first.call("reset")
    second.wait_for("() => !leadlight('status').user")
    second.track("after-reset-elsewhere", 1)
    second.fence()
    assert [event.owner for event in stored.events("after-reset-elsewhere")] == [first.lead]


def test_a_page_that_comes_back_from_the_cache_knows_that_its_user_has_signed_out(
    tab: Tab, shop: Shop, stored: Stored, maker: Engine
) -> None:
    tab.visit(shop("/account", before="addEventListener('pageshow', event => { window.restored = event.persisted });"))
    tab.call("identify", f"signed-out-in-{maker.name}")
    tab.fence()
    tab.run("address => { location.href = address }", shop("/goodbye"))
    tab.arrives("/goodbye")
    tab.ready()
    tab.call("reset")
    tab.fence()
    lead = tab.lead
    tab.run("() => { history.back() }")
    tab.wait_for("() => window.restored === true")
    tab.track("after-coming-back", 1)
    tab.fence()
    assert [event.owner for event in stored.events("after-coming-back")] == [lead]


@pytest.mark.sends("gpc")
def test_global_privacy_control_of_the_browsers_own_is_kept(new_visitor: Callable[..., Visitor], shop: Shop, gateway: Gateway) -> None:
    tab = new_visitor(gpc=True).tab
    tab.visit(shop())
    assert traces(tab, gateway) == []
    assert tab.status["held"] == "gpc"


@pytest.mark.sends("dnt")
def test_do_not_track_of_the_browsers_own_is_kept(new_visitor: Callable[..., Visitor], shop: Shop, gateway: Gateway) -> None:
    tab = new_visitor(dnt=True).tab
    tab.visit(shop())
    assert traces(tab, gateway) == []
    assert tab.status["held"] == "dnt"


@pytest.mark.sends("gpc")
def test_who_agrees_in_so_many_words_is_counted_in_spite_of_the_signal(
    new_visitor: Callable[..., Visitor], shop: Shop, stored: Stored
) -> None:
    tab = new_visitor(gpc=True).tab
    tab.visit(shop())
    tab.call("optIn", "v1")
    tab.track("agreed", 1)
    tab.fence()
    assert len(stored.events("agreed", lead=tab.lead)) == 1


def test_nothing_is_kept_or_sent_before_consent_and_all_of_it_after(tab: Tab, shop: Shop, gateway: Gateway, stored: Stored) -> None:
    tab.visit(shop("/asks", tag='data-consent="required"'))
    assert traces(tab, gateway) == []
    assert tab.status["held"] == "consent_required"
    tab.call("optIn", "v1")
    tab.fence()
    assert [event.owner for event in stored.events("unasked")] == [tab.lead]


def test_a_withdrawal_wipes_the_browser_and_ends_the_sending(tab: Tab, shop: Shop, gateway: Gateway, collector: Collector) -> None:
    tab.visit(shop())
    tab.track("before-withdrawal", 1)
    tab.fence()
    tab.call("optOut")
    gateway.log.clear()
    tab.visit(shop())
    choice = f"leadlight_{collector.site_key}_choice"
    assert traces(tab, gateway) == [choice, choice], "a cookie, and its copy in the storage"
    assert tab.status["held"] == "opted_out"


def test_a_withdrawal_in_one_tab_is_one_in_the_other(visitor: Visitor, shop: Shop, gateway: Gateway, collector: Collector) -> None:
    first, second = visitor.tab, visitor.new_tab()
    for tab in (first, second):
        tab.visit(shop())
        tab.fence()
    first.call("optOut")
    second.wait_for("() => leadlight('status').held == 'opted_out'")
    gateway.log.clear()
    second.track("withdrawn-elsewhere", 1)
    second.open(shop("/next"))
    second.ready()
    assert gateway.sent() == []
    kept = second.run("() => Object.keys({...localStorage, ...sessionStorage})")
    assert kept == [f"leadlight_{collector.site_key}_choice"], "the choice alone"
