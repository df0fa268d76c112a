"""What the tracker does with each answer, its own or somebody else's: sends again, lets go with a reason, waits."""

import time
from collections.abc import Callable

import jwt
import pytest
from playwright.sync_api import Page, Route

from tests.browser.gateway import Gateway
from tests.browser.people import user_hash
from tests.browser.stored import Stored
from tests.browser.tabs import call, fence, status, track, until, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

Numbers = Callable[[str, int], list[int]]


@pytest.fixture
def shop(page: Page, pages: Pages, through: str) -> str:
    """A page whose tracker works, all of whose events have arrived; its address."""
    address = pages.add("/", head=through)
    visit(page, address)
    fence(page)
    return address


def reasons(page: Page) -> list[str]:
    """The codes of all that was refused in this page."""
    return [one["code"] for one in status(page)["refused"]]


@pytest.mark.parametrize("refusal", [400, 410, 422])
def test_what_is_refused_for_good_is_never_sent_again_and_the_reason_is_kept(
    page: Page, shop: str, gateway: Gateway, stored: Stored, refusal: int
) -> None:
    gateway.fates = [refusal]
    name = f"refused-{refusal}"
    track(page, name, 1)
    page.wait_for_function("leadlight('status').refused.length")
    assert reasons(page) == [f"http_{refusal}"]
    fence(page)
    visit(page, shop)
    fence(page)
    assert len(gateway.tries(name)) == 1
    assert stored.events(name) == []


def test_a_batch_that_is_too_big_is_halved_until_it_passes(page: Page, shop: str, gateway: Gateway, numbers: Numbers) -> None:
    gateway.limit = 4_000
    track(page, "halved", *range(60))
    fence(page)
    assert numbers("halved", 60) == list(range(60))
    assert reasons(page) == []


def test_only_the_event_that_is_alone_too_big_is_dropped_and_the_reason_is_kept(
    page: Page, shop: str, gateway: Gateway, stored: Stored, numbers: Numbers
) -> None:
    gateway.limit = 4_000
    page.evaluate("""() => {
        leadlight('track', 'beside', {n: 1});
        leadlight('track', 'too-big', {text: 'x'.repeat(5000)});
        leadlight('track', 'beside', {n: 2});
    }""")
    assert numbers("beside", 2) == [1, 2]
    page.wait_for_function("!leadlight('status').queued")
    assert reasons(page) == ["http_413"]
    assert stored.events("too-big") == []


def test_an_event_larger_than_the_collector_takes_names_the_collectors_own_reason(
    page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored
) -> None:
    """The tracker bounds an event far below the collector's limit, so the answer is one that the collector gives to a larger body."""
    large = collector.client.request("POST", "/collect", body=b"x" * 1_100_000)
    page.route(
        "**/collect", lambda route: route.fulfill(status=large.status, body=large.text, headers={"Access-Control-Allow-Origin": "*"})
    )
    visit(page, pages.add("/", head=snippet))
    page.wait_for_function("leadlight('status').refused.length")
    assert reasons(page) == ["body_too_large"]
    assert status(page)["queued"] == 0


def test_who_calls_everything_too_big_is_not_asked_without_end(page: Page, shop: str, gateway: Gateway) -> None:
    gateway.limit = 0
    gateway.log.clear()
    page.evaluate("() => { leadlight('identify', 'long-proof', {jwt: 'x'.repeat(3000)}); leadlight('track', 'never-passes') }")
    page.wait_for_function("!leadlight('status').queued")
    assert len(gateway.sent()) < 25


@pytest.mark.parametrize("fate", [200, 202, 204, 403, 404, 429, 500, "empty", "redirect", "drop"])
def test_an_answer_that_is_not_the_collectors_counts_as_none(
    page: Page, shop: str, gateway: Gateway, numbers: Numbers, fate: str | int
) -> None:
    gateway.fates = [fate]
    track(page, f"garbage-{fate}", 1)
    fence(page)
    assert numbers(f"garbage-{fate}", 1) == [1]
    assert len(gateway.tries(f"garbage-{fate}")) >= 2
    assert reasons(page) == []


@pytest.mark.parametrize("fate", ["garble", "shorten"])
def test_an_answer_that_arrives_broken_harms_neither_its_events_nor_the_next(
    page: Page, shop: str, gateway: Gateway, numbers: Numbers, fate: str
) -> None:
    gateway.fates = [fate]
    track(page, fate, 1)
    assert until(page, lambda: gateway.tries(fate))
    track(page, fate, 2)
    fence(page)
    assert numbers(fate, 2) == [1, 2]


def test_a_request_that_hangs_is_given_up_after_thirty_seconds_and_sent_again(
    page: Page, pages: Pages, through: str, gateway: Gateway, numbers: Numbers
) -> None:
    page.add_init_script("""
        window.limits = [];
        const { timeout } = AbortSignal;
        AbortSignal.timeout = ms => { limits.push(ms); return timeout.call(AbortSignal, ms / 100) };
    """)
    gateway.fates = ["hang"]
    visit(page, pages.add("/", head=through))
    track(page, "hung", 1)
    fence(page)
    assert set(page.evaluate("limits")) == {30_000}
    assert numbers("hung", 1) == [1]


def test_the_next_page_also_waits_as_long_as_a_busy_collector_asked(page: Page, shop: str, gateway: Gateway, numbers: Numbers) -> None:
    gateway.fates = ["busy"]
    track(page, "busy-twice", 1)
    page.wait_for_function("leadlight('status').retry_at")
    due = status(page)["retry_at"]
    gateway.log.clear()
    visit(page, shop)
    assert status(page)["retry_at"] == due
    assert numbers("busy-twice", 1) == [1]


def signed(collector: Collector, user_id: str, lives: int) -> str:
    """A proof of a user id that ends in so many seconds."""
    return jwt.encode({"user_id": user_id, "exp": int(time.time()) + lives}, collector.identity_secret, algorithm="HS256")


def test_events_of_a_session_that_has_ended_wait_until_the_same_user_is_back(
    page: Page, shop: str, gateway: Gateway, collector: Collector, stored: Stored
) -> None:
    call(page, "identify", "parked", {"jwt": signed(collector, "parked", -60)})
    track(page, "parked", 1, 2)
    page.wait_for_function("leadlight('status').refused.some(({code}) => code == 'session_expired')")
    assert stored.events("parked") == []
    call(page, "identify", "somebody-else")
    track(page, "beside-parked", 1)
    assert until(page, lambda: stored.events("beside-parked", user="somebody-else"))
    visit(page, shop)
    track(page, "beside-parked", 2)
    assert until(page, lambda: len(stored.events("beside-parked")) == 2)
    # The view, two events, and that they were identified.
    page.wait_for_function("leadlight('status').queued == 4")
    assert len(gateway.tries("parked")) <= 4, "once for each page and each user named there, and at an exit before the answer"
    call(page, "identify", "parked", {"jwt": signed(collector, "parked", 600)})
    fence(page)
    assert [event.metadata["n"] for event in stored.events("parked", user="parked")] == [1, 2]
    assert all(abs(event.at - event.tracked_at) < 1_000 for event in stored.events("parked"))


def test_events_that_wait_for_their_user_go_on_in_the_same_page(page: Page, shop: str, collector: Collector, stored: Stored) -> None:
    call(page, "identify", "renewed", {"jwt": signed(collector, "renewed", -60)})
    track(page, "renewed", 1)
    page.wait_for_function("leadlight('status').refused.some(({code}) => code == 'session_expired')")
    call(page, "identify", "renewed", {"jwt": signed(collector, "renewed", 600)})
    track(page, "renewed", 2)
    fence(page)
    assert [event.metadata["n"] for event in stored.events("renewed", user="renewed")] == [1, 2]


def test_events_of_a_user_whose_proof_is_wrong_wait_for_the_right_one(
    page: Page, shop: str, gateway: Gateway, collector: Collector, stored: Stored
) -> None:
    call(page, "identify", "proved-later", {"user_hash": user_hash(collector, "somebody else")})
    track(page, "proved-later", 1)
    page.wait_for_function("leadlight('status').refused.some(({code}) => code == 'user_hash_invalid')")
    call(page, "reset")
    track(page, "beside-proved-later", 1)
    assert until(page, lambda: stored.events("beside-proved-later"))
    assert stored.events("proved-later") == []
    visit(page, shop)
    call(page, "identify", "proved-later", {"user_hash": user_hash(collector, "proved-later")})
    fence(page)
    assert [event.owner for event in stored.events("proved-later")] == ["proved-later"]
    assert len(gateway.tries("proved-later")) <= 3, "once for each page, and with the right proof"


def test_an_event_that_a_firewall_refuses_holds_up_no_other_and_waits(
    page: Page, shop: str, gateway: Gateway, stored: Stored, numbers: Numbers
) -> None:
    """As rules do that look for SQL in what is sent."""

    def firewall(route: Route) -> None:
        if "DROP TABLE" in (route.request.post_data or ""):
            route.fulfill(status=403, body='{"errors": ["blocked"]}', headers={"Access-Control-Allow-Origin": "*"})
        else:
            route.continue_()

    page.route("**/collect", firewall)
    page.evaluate("""() => {
        leadlight('track', 'passes-a-firewall', {n: 1});
        leadlight('track', 'stopped-by-a-firewall', {text: 'DROP TABLE'});
        leadlight('track', 'passes-a-firewall', {n: 2});
    }""")
    assert numbers("passes-a-firewall", 2) == [1, 2]
    page.wait_for_function("leadlight('status').queued == 1")
    page.unroute("**/collect")
    visit(page, shop)
    fence(page)
    assert len(stored.events("stopped-by-a-firewall")) == 1


def test_what_a_collector_is_too_old_for_waits_until_it_is_not(page: Page, shop: str, collector: Collector, numbers: Numbers) -> None:
    newer = collector.client.request("POST", "/collect", body=b'{"v": 99, "site": ""}')
    assert "wire_version_unknown" in newer.text
    headers = {"Access-Control-Allow-Origin": "*"}
    page.route("**/collect", lambda route: route.fulfill(status=newer.status, body=newer.text, headers=headers), times=2)
    track(page, "of-a-newer-tracker", 1)
    fence(page)
    assert numbers("of-a-newer-tracker", 1) == [1]


def test_an_origin_that_the_site_does_not_allow_is_refused_for_good(page: Page, pages: Pages, through: str, gateway: Gateway) -> None:
    pages.add("/", head=through)
    visit(page, pages.url("/", host="collect.other"))
    page.wait_for_function("leadlight('status').refused.length")
    assert reasons(page) == ["origin_not_allowed"]
    assert status(page)["queued"] == 0
