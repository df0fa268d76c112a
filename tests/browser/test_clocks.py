"""Clocks of browsers that are wrong, set right in the middle, or stand still while the machine sleeps."""

import time

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.browser.tabs import fence, status, track, until, visit
from tests.support.pages import Pages

DAY = 86_400_000
MINUTE = 60_000


def turn_clock(page: Page, by: int) -> None:
    """Let the page's clock be wrong by so many ms, also in its next pages; timers go on as they are."""
    page.add_init_script(f"const {{ now }} = Date; window.wrong = {by}; Date.now = () => now() + wrong")


def jump(page: Page, by: int) -> None:
    """Set the page's clock by so many ms, as happens when a machine wakes."""
    page.evaluate("by => { window.wrong = (window.wrong ?? 0) + by }", by)


def now() -> int:
    return round(time.time() * 1_000)


@pytest.mark.parametrize("wrong", [3 * DAY, -3 * DAY], ids=["ahead", "behind"])
def test_a_clock_that_is_days_wrong_makes_no_wrong_time(page: Page, pages: Pages, snippet: str, stored: Stored, wrong: int) -> None:
    turn_clock(page, wrong)
    visit(page, pages.add("/", head=snippet))
    before = now()
    track(page, f"wrong clock {wrong}", 1)
    fence(page)
    track(page, f"wrong clock {wrong}", 2)
    fence(page)
    events = stored.events(f"wrong clock {wrong}")
    assert [event.metadata["n"] for event in events] == [1, 2]
    assert all(before - 1_000 <= event.at <= now() for event in events)


def test_what_waited_for_two_weeks_arrives_with_its_own_time(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored
) -> None:
    turn_clock(page, -14 * DAY)
    visit(page, pages.add("/", head=snippet))
    fence(page)
    context.set_offline(True)
    at = page.evaluate("Date.now()")
    track(page, "waited", 1)
    page.close()
    context.set_offline(False)
    later = context.new_page()
    visit(later, pages.url("/"))
    fence(later)
    (event,) = stored.events("waited")
    assert abs(event.at - at) < MINUTE


def test_the_quickest_round_trip_tells_the_clock(page: Page, pages: Pages, through: str, gateway: Gateway) -> None:
    turn_clock(page, 3 * DAY)
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fates = ["wait"]
    track(page, "slow", 1)
    assert until(page, lambda: gateway.tries("slow"))
    sent = status(page)["sent"]
    jump(page, 20_000)
    gateway.hold.set()
    page.wait_for_function("sent => leadlight('status').sent > sent", arg=sent)
    jump(page, -20_000)
    track(page, "after-slow", 1)
    assert until(page, lambda: gateway.tries("after-slow"))
    assert [round((one.json["offset"] + 3 * DAY) / 1_000) for name in ("slow", "after-slow") for one in gateway.tries(name)] == [0, 0]


def test_a_machine_that_sleeps_while_it_waits_for_its_first_answer_learns_no_clock_from_it(
    page: Page, pages: Pages, through: str, gateway: Gateway, stored: Stored
) -> None:
    turn_clock(page, -8 * 60 * MINUTE)
    gateway.fates = ["wait"]
    visit(page, pages.add("/", head=through))
    track(page, "slept", 1)
    assert until(page, lambda: gateway.tries("slept"))
    jump(page, 8 * 60 * MINUTE)
    gateway.hold.set()
    page.wait_for_function("leadlight('status').sent")
    track(page, "slept", 2)
    fence(page)
    woken = gateway.tries("slept")[1]
    assert "offset" not in woken.json
    assert [event.metadata["n"] for event in stored.events("slept")] == [1, 2]
    assert all(abs(event.at - now()) < MINUTE for event in stored.events("slept"))


@pytest.mark.parametrize("by", [30 * DAY, -30 * DAY], ids=["forward", "back"])
def test_a_clock_that_is_set_while_events_wait_holds_nothing_up_and_makes_no_wrong_time(
    page: Page, pages: Pages, through: str, gateway: Gateway, stored: Stored, by: int
) -> None:
    turn_clock(page, 0)
    visit(page, pages.add("/", head=through))
    fence(page)
    gateway.fates = ["busy"]
    name = f"clock set {by}"
    track(page, name, 1)
    page.wait_for_function("leadlight('status').retry_at")
    jump(page, by)
    track(page, name, 2)
    assert until(page, lambda: len(stored.events(name)) == 2)
    assert all(abs(event.at - now()) < MINUTE for event in stored.events(name))


def test_the_next_page_waits_an_hour_at_most_though_the_clock_was_set_back_since(
    page: Page, pages: Pages, through: str, gateway: Gateway
) -> None:
    turn_clock(page, 3 * DAY)
    shop = pages.add("/", head=through)
    visit(page, shop)
    fence(page)
    gateway.fates = ["busy"]
    track(page, "asked to wait", 1)
    page.wait_for_function("leadlight('status').retry_at")
    turn_clock(page, 0)
    visit(page, shop)
    assert 0 < status(page)["retry_at"] - now() <= 60 * MINUTE


def test_a_clock_that_is_set_right_while_the_page_is_open_makes_no_wrong_time(
    page: Page, pages: Pages, through: str, stored: Stored
) -> None:
    """The next round trip need not be the quickest, and what was learnt of the clock before is wrong by days."""
    turn_clock(page, 3 * DAY)
    visit(page, pages.add("/", head=through))
    fence(page)
    jump(page, -3 * DAY)
    before = now()
    track(page, "set right", 1)
    assert until(page, lambda: stored.events("set right"))
    assert before - 1_000 <= stored.events("set right")[0].at <= now()


def test_what_a_tab_with_a_clock_ahead_left_behind_is_sent_by_one_whose_clock_is_right(
    context: BrowserContext, page: Page, pages: Pages, through: str, gateway: Gateway, stored: Stored
) -> None:
    shop = pages.add("/", head=through)
    ahead = context.new_page()
    turn_clock(ahead, 3 * DAY)
    visit(ahead, shop)
    fence(ahead)
    gateway.fate = "drop"
    track(ahead, "from the future", 1)
    ahead.wait_for_function("leadlight('status').retry_at")
    ahead.close()
    gateway.fate = "pass"
    visit(page, shop)
    assert until(page, lambda: stored.events("from the future"))
    assert stored.events("from the future")[0].at <= now()


def test_ids_and_order_hold_though_the_clock_is_set_back(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    turn_clock(page, 0)
    visit(page, pages.add("/", head=snippet))
    track(page, "set back", 1)
    jump(page, -MINUTE)
    track(page, "set back", 2, 3)
    fence(page)
    assert [event.metadata["n"] for event in stored.events("set back")] == [1, 2, 3]
