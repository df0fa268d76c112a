"""Page views, also where one document shows many, and where one comes back as it was left."""

from collections.abc import Callable

from tests.browser.stored import Stored, StoredEvent
from tests.engines.tab import Tab, until
from tests.support.pages import Pages

Shop = Callable[..., str]


def views(stored: Stored, lead: str, count: int) -> list[StoredEvent]:
    """Wait for that many page views of a lead and return them all."""
    until(lambda: len(stored.views(lead)) >= count)
    return stored.views(lead)


def test_a_document_is_a_view_with_its_title_address_and_referrer(tab: Tab, shop: Shop, stored: Stored) -> None:
    second = shop("/second") + "?utm_source=letter&token=secret#part"
    tab.visit(shop("/first", f'<a href="{second}">On</a>'))
    tab.fence()
    tab.click("() => document.querySelector('a')")
    tab.arrives("/second")
    tab.ready()
    tab.fence()
    before, after = views(stored, tab.lead, 2)
    assert (before.path, after.path) == ("/first", "/second")
    assert after.page["title"] == "/second"
    assert after.page["url"].endswith("/second?utm_source=letter")
    assert after.page["referrer"].endswith("/first")


def test_every_habit_of_routers_is_a_view_and_the_same_address_none(tab: Tab, shop: Shop, stored: Stored) -> None:
    tab.visit(shop("/"))
    tab.fence()
    tab.run(
        "() => { history.pushState({}, '', '/pushed'); history.replaceState({}, '', '/replaced'); history.pushState({}, '', '/replaced') }"
    )
    tab.fence()
    tab.run("() => { history.pushState({}, '', '/last') }")
    tab.fence()
    tab.run("() => { history.back() }")
    tab.wait_for("() => location.pathname == '/replaced'")
    tab.fence()
    assert [view.path for view in views(stored, tab.lead, 5)] == ["/", "/pushed", "/replaced", "/last", "/replaced"]


def test_a_router_that_holds_on_to_the_browsers_own_push_state_is_heard_where_the_browser_tells(
    tab: Tab, shop: Shop, stored: Stored
) -> None:
    """By the Navigation API; a WebKit without it has views for what goes through `history` alone."""
    tab.visit(shop("/", before="const { pushState } = history; window.go = path => pushState.call(history, {}, '', path);"))
    tab.fence()
    tab.run("() => { go('/kept') }")
    tab.fence()
    told = tab.run("() => !!window.navigation")
    assert [view.path for view in stored.views(tab.lead)] == (["/", "/kept"] if told else ["/"])


def test_a_return_from_the_back_forward_cache_is_a_new_view(tab: Tab, shop: Shop, pages: Pages, stored: Stored) -> None:
    tab.visit(shop("/first", before="addEventListener('pageshow', event => { window.restored = event.persisted });"))
    tab.fence()
    tab.run("address => { location.href = address }", shop("/second"))
    tab.arrives("/second")
    tab.ready()
    tab.fence()
    tab.run("() => { history.back() }")
    tab.wait_for("() => window.restored === true")
    tab.fence()
    found = views(stored, tab.lead, 3)
    assert [view.path for view in found] == ["/first", "/second", "/first"]
    assert len({view.id for view in found}) == 3
