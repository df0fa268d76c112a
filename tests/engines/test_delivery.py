"""What is tracked arrives once, whatever becomes of the page, the tab or the network."""

from collections.abc import Callable

import pytest

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.engines.tab import Tab, Visitor, until
from tests.support.pages import Pages

Shop = Callable[..., str]
both_schemes = pytest.mark.parametrize("scheme", ["https", "http"])
"""With Web Locks and all else that browsers keep for secure pages, and without."""


def numbers(stored: Stored, name: str, count: int) -> list[int]:
    """Wait for that many events of a name and return the numbers they carry, in the order of tracking."""
    until(lambda: len(stored.events(name)) >= count)
    return [event.metadata["n"] for event in stored.events(name)]


@both_schemes
def test_an_event_right_before_leaving_arrives_though_the_next_page_has_no_script(
    tab: Tab, shop: Shop, pages: Pages, stored: Stored
) -> None:
    tab.visit(shop())
    tab.leave("leaving", pages.add("/bare"))
    assert numbers(stored, "leaving", 1) == [1]


def test_more_than_an_exit_may_carry_goes_the_newest_first_and_the_rest_with_the_next_visit(
    tab: Tab, shop: Shop, pages: Pages, stored: Stored
) -> None:
    tab.visit(shop())
    tab.fence()
    tab.run(
        """address => {
            for (let n = 0; n < 100; n++) leadlight('track', 'too-much', {n, text: 'x'.repeat(250)});
            location.href = address;
        }""",
        pages.add("/bare"),
    )
    tab.arrives("/bare")
    assert until(lambda: stored.events("too-much"))
    first = [event.metadata["n"] for event in stored.events("too-much")]
    assert first[-1] == 99
    assert 0 not in first
    tab.visit(shop())
    tab.fence()
    assert numbers(stored, "too-much", 100) == list(range(100))


def test_an_event_right_before_leaving_arrives_while_the_page_still_loads(tab: Tab, shop: Shop, pages: Pages, stored: Stored) -> None:
    bare = pages.add("/bare")
    stub = "window.leadlight = Object.assign(function () { leadlight.q.push(arguments) }, {q: []});"
    leave = f"<script>onload = () => {{ leadlight('track', 'loading', {{n: 1}}); location.href = '{bare}' }}</script>"
    tab.open(shop(body=leave, before=stub))
    assert numbers(stored, "loading", 1) == [1]


def test_an_event_right_before_the_tab_closes_arrives(visitor: Visitor, shop: Shop, stored: Stored) -> None:
    visitor.tab.visit(shop())
    closing = visitor.new_tab()
    closing.visit(shop())
    closing.track("closing", 1)
    closing.close()
    assert numbers(stored, "closing", 1) == [1]


@both_schemes
def test_what_is_tracked_while_the_collector_is_down_arrives_in_order_when_it_is_back(
    tab: Tab, shop: Shop, gateway: Gateway, stored: Stored
) -> None:
    tab.visit(shop())
    tab.fence()
    gateway.fate = "drop"
    tab.track("down", *range(5))
    assert until(lambda: gateway.tries("down"))
    tab.wait_for("() => leadlight('status').retry_at")
    gateway.fate = "pass"
    assert numbers(stored, "down", 5) == list(range(5))


def test_what_a_page_left_behind_is_sent_by_the_next_visit(tab: Tab, shop: Shop, pages: Pages, gateway: Gateway, stored: Stored) -> None:
    tab.visit(shop())
    tab.fence()
    gateway.fate = "drop"
    tab.leave("left-behind", pages.add("/bare"))
    tab.arrives("/bare")
    assert until(lambda: gateway.tries("left-behind"))
    gateway.fate = "pass"
    tab.visit(shop())
    tab.fence()
    assert numbers(stored, "left-behind", 1) == [1]


def test_an_answer_that_is_lost_makes_no_event_twice(tab: Tab, shop: Shop, gateway: Gateway, stored: Stored) -> None:
    tab.visit(shop())
    tab.fence()
    gateway.fates = ["cut"]
    tab.track("answer-lost", 1)
    assert until(lambda: len(gateway.tries("answer-lost")) == 2)
    tab.fence()
    assert numbers(stored, "answer-lost", 1) == [1]


@both_schemes
def test_two_tabs_that_share_a_queue_double_nothing(visitor: Visitor, shop: Shop, gateway: Gateway, stored: Stored) -> None:
    first, second = visitor.tab, visitor.new_tab()
    for tab in (first, second):
        tab.visit(shop())
        tab.fence()
    gateway.fate = "drop"
    first.track("two-tabs", *range(0, 20, 2))
    second.track("two-tabs", *range(1, 20, 2))
    assert until(lambda: len(gateway.tries("two-tabs")) >= 2)
    gateway.fate = "pass"
    for tab in (first, second):
        tab.fence()
    assert sorted(event.metadata["n"] for event in stored.events("two-tabs")) == list(range(20))
